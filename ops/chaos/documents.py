"""What a client can learn about its session's state document: it must count every run once and never go back.

There are two sources: `thread_history`, and what a supervisor made for this puts into its answers. Without I/O.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from app.loadtest.history import ClientHistory

KEPT_EXCHANGES = 10
"""Most exchanges in a thread's history; the documents of a test stay below the limit in bytes."""


class Answer(Struct, frozen=True):
    """The answer of a counting supervisor: the runs of its session, including this one, and who it is."""

    runs: int
    path: str = ""


class _Completed(Struct, frozen=True):
    content: str = ""


class _Exchange(Struct, frozen=True):
    content: str


class _Kept(Struct, frozen=True):
    exchanges: list[_Exchange] = []


_completed = msgspec.json.Decoder(_Completed)
_kept = msgspec.json.Decoder(_Kept)
_answers = msgspec.json.Decoder(Answer)


class DocumentedHistory(ClientHistory):
    """A `ClientHistory` that keeps what was sent, and so what the document must contain. For a single thread."""

    def __init__(self, user_id: str) -> None:
        super().__init__(user_id)
        self.completed = 0
        """Number of completed runs of this session."""
        self._said: dict[str, str] = {}
        self._exchanges: list[str] = []

    def says(self, message_id: str, content: str) -> None:
        """The content of a message that is about to be sent."""
        self._said[message_id] = content

    def on_ended(self, message_id: str, terminal: str, payload: Raw) -> None:
        """Compare the answer with what this client saw before."""
        if terminal == "agent_completed":
            self._exchanges = [*self._exchanges, self._said.get(message_id, "")][-KEPT_EXCHANGES:]
            self._check_runs(message_id, payload)
            self.completed += 1
        elif terminal == "thread_history" and bytes(payload) != b"{}":
            self._check_history(message_id, payload)

    def answered(self, message_id: str, answer: Answer) -> None:
        """Hook for subclasses: a counting supervisor completed a message."""

    def on_new_session(self) -> None:
        self.completed = 0
        self._exchanges = []

    def _check_runs(self, message_id: str, payload: Raw) -> None:
        try:
            answer = _answers.decode(_completed.decode(payload).content)
        except msgspec.DecodeError:
            return  # only an outcome, or the answer of a supervisor that does not count
        self.answered(message_id, answer)
        if answer.runs <= self.completed:
            self._wrong(
                "the document never goes back",
                f"{message_id} is run {answer.runs} on {answer.path}, after {self.completed} that completed",
            )
        elif answer.runs > self.completed + 1:
            self._wrong(
                "run once", f"{message_id} is run {answer.runs} on {answer.path}, after only {self.completed} completed"
            )

    def _check_history(self, message_id: str, payload: Raw) -> None:
        kept = [exchange.content for exchange in _kept.decode(payload).exchanges]
        if kept == self._exchanges:
            return
        missing = [content for content in self._exchanges if content not in kept]
        if missing:
            self._wrong("the document never goes back", f"{message_id}: the history lacks {missing}")
        else:
            self._wrong("run once", f"{message_id}: the history has {kept}, completed were {self._exchanges}")
