"""The errors of a supervisor, typed so that the worker can answer a client without quoting an exception.

    CrossfadeError
    └── SupervisorError
        ├── RunRefused           ends a message with `error {code, text}`; the client may see both
        │   ├── UnknownAgent         invalid_payload
        │   ├── ThreadDenied         access_denied
        │   └── SupervisorBusy       busy: one message at a time
        ├── BrokenAgent          an agent broke the rules of events; `error internal`
        ├── DocumentTooLarge     a path's part is too large; `error internal`, the last document stays
        ├── UnreadableDocument   a state document cannot be restored; also a ValueError
        ├── SharedDependency     a dependency is global, or another session uses it
        └── InjectedError        the error of a drill

Unless it says otherwise, an error's text is for the log only.
"""

from __future__ import annotations

from app.errors import CrossfadeError
from app.message_types import ErrorCode


class SupervisorError(CrossfadeError):
    """Root of what a supervisor raises."""


class RunRefused(SupervisorError):
    """A message ends with an error of this `code`; the client may see `text`."""

    code: ErrorCode = "internal"

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class UnknownAgent(RunRefused):
    """A message names an agent that does not exist."""

    code: ErrorCode = "invalid_payload"


class ThreadDenied(RunRefused):
    """A message names a thread that is not its user's."""

    code: ErrorCode = "access_denied"


class SupervisorBusy(RunRefused):
    """A message was started while another one runs."""

    code: ErrorCode = "busy"


class BrokenAgent(SupervisorError):
    """An agent or a custom supervisor yielded something that is no event, or events in a wrong order."""


class DocumentTooLarge(SupervisorError):
    """A path's part of the state document, or the whole of it, is too large."""


class UnreadableDocument(SupervisorError, ValueError):
    """A state document has another schema or user, or is not a document."""


class SharedDependency(SupervisorError):
    """A dependency is global, or another session uses it."""


class InjectedError(SupervisorError):
    """The failure that `error_rate` injects in a drill."""
