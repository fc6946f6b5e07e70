"""From an exception to what a client may be told and what the log keeps: code, safe text, fingerprint, reference.

The text of an exception leaves this process in the log only.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

from app.message_types import ErrorCode
from app.messages import new_reference
from app.supervisor.errors import RunRefused

INTERNAL_TEXT = "the message could not be processed"
TIMEOUT_TEXT = "the message took too long"

_log = logging.getLogger("crossfade.worker")


@dataclass(frozen=True, slots=True)
class Failure:
    """How a message fails. `fingerprint` names type and place and holds nothing of a user; see `fingerprint_of`."""

    code: ErrorCode
    text: str
    fingerprint: str
    reference: str


class Failures:
    """Makes failures and logs each once, with its reference."""

    def __init__(self, own_packages: frozenset[str] = frozenset()) -> None:
        """`own_packages`: top-level names of what a person wrote, searched first for the place of an error."""
        self._own_packages = own_packages | {_package().partition(".")[0]}

    def of(self, error: BaseException) -> Failure:
        """What an exception out of a supervisor comes to."""
        if isinstance(error, RunRefused):
            return self.refusal(error.code, error.text, type(error).__name__)
        failure = Failure("internal", INTERNAL_TEXT, fingerprint_of(error, self._own_packages), new_reference())
        _log.error("message failed", exc_info=error, extra=_details(failure))
        return failure

    def refusal(self, code: ErrorCode, text: str, name: str = "refused") -> Failure:
        """An answer whose text was written for the client."""
        failure = Failure(code, text, name, new_reference())
        _log.info("message refused: %s", text, extra=_details(failure))
        return failure

    def timeout(self) -> Failure:
        failure = Failure("timeout", TIMEOUT_TEXT, "timeout", new_reference())
        _log.warning("message timed out", extra=_details(failure))
        return failure

    def restore(self, error: BaseException) -> None:
        """A session's document could not be restored: it begins from identity."""
        fingerprint = fingerprint_of(error, self._own_packages)
        _log.warning("state not restored", exc_info=error, extra={"fingerprint": fingerprint})


def fingerprint_of(error: BaseException, own_packages: frozenset[str]) -> str:
    """Type and innermost own `module:line` of an exception; the same for every user who meets the same mistake."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    places = [(_module(frame), line) for frame, line in _places(error)]
    outside = [place for place in places if not place[0].startswith(f"{_package()}.")]
    own = [place for place in outside if place[0].partition(".")[0] in own_packages]
    foreign = [place for place in outside if place[0].partition(".")[0] not in sys.stdlib_module_names]
    for found in (own, foreign, places):
        if found:
            module, line = found[-1]
            return f"{name} {module}:{line}"
    return name


def _package() -> str:
    """The package that this module lies in, by the name it has now: it is another once our names are given back."""
    return __name__.rpartition(".")[0]


def _places(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next


def _module(frame: FrameType) -> str:
    name = frame.f_globals.get("__name__")
    return name if isinstance(name, str) else "?"


def _details(failure: Failure) -> dict[str, str]:
    return {"reference": failure.reference, "code": failure.code, "fingerprint": failure.fingerprint}
