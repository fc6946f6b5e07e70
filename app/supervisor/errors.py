"""What can go wrong in a supervisor, typed so that the worker can answer a client without ever quoting an exception.

    CrossfadeError
    └── SupervisorError
        ├── RunRefused           ends a message with `error {code, text}`; both are safe to show to the client
        │   ├── UnknownAgent         invalid_payload
        │   ├── ThreadDenied         access_denied
        │   └── SupervisorBusy       busy: one message at a time
        ├── BrokenAgent          an agent broke the rules of events; `error internal`
        ├── DocumentTooLarge     a path's own part is over its bound; `error internal`, the last document stays
        ├── UnreadableDocument   also a ValueError: a state document cannot be gone on from
        ├── SharedDependency     something that another session uses already was offered as a dependency
        └── InjectedError        the error of a drill

It must not know of the link, of a web framework or of how errors are counted.
"""

from __future__ import annotations

from app.errors import CrossfadeError
from app.message_types import ErrorCode


class SupervisorError(CrossfadeError):
    """Root of what a supervisor raises; unless it is a `RunRefused`, its text is for the log only."""


class RunRefused(SupervisorError):
    """A message that ends with an error of this `code`; `text` may be shown to the client."""

    code: ErrorCode = "internal"

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class UnknownAgent(RunRefused):
    """A message names an agent that there is not."""

    code: ErrorCode = "invalid_payload"


class ThreadDenied(RunRefused):
    """A message names a thread that is not its user's."""

    code: ErrorCode = "access_denied"


class SupervisorBusy(RunRefused):
    """A second message was started while one runs."""

    code: ErrorCode = "busy"


class BrokenAgent(SupervisorError):
    """An agent, or a supervisor of people's own, yielded what is no event or broke the order of events."""


class DocumentTooLarge(SupervisorError):
    """A path's own part of the state document is over `document.PART_BYTES`."""


class UnreadableDocument(SupervisorError, ValueError):
    """A state document has another schema, another user, or is no document."""


class SharedDependency(SupervisorError):
    """A dependency is global, or belongs to another session already."""


class InjectedError(SupervisorError):
    """The failure that `error_rate` injects in a drill."""
