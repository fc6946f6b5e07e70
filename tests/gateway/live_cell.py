"""A cell for tests whose timers are the event loop's, and whose workers answer by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from app.gateway.ports import Timer
from app.link.frames import Run, ToWorker
from rollout.names import PathName
from tests.gateway.harness import HandCell, HandWorker


class LiveCell(HandCell):
    """A cell whose timers are the loop's."""

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        return asyncio.get_running_loop().call_later(seconds, call)

    def bring_up(self, path: PathName) -> HandWorker:
        worker = Answering(self, path)
        self.path_up(path, worker)
        return worker

    def sockets(self) -> int:
        return len(self.index)


class Answering(HandWorker):
    """Answers every message in the next turn; those that ask for patience wait until they are let go."""

    def send(self, frame: ToWorker) -> None:
        super().send(frame)
        if isinstance(frame, Run) and b"patience" not in frame.body:
            asyncio.get_running_loop().call_soon(self.work, frame)
