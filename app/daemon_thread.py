"""A thread of its own for calls that may hang: what hangs there holds up nothing else, nor the end of the process.

The event loop's default executor is for nobody: whoever fills it would stop all others that use it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeVar

Result = TypeVar("Result")


class DaemonThread:
    """Runs one call after the other. It begins with the first call; callers bound how many wait."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: SimpleQueue[tuple[Future[object], Callable[[], object]]] = SimpleQueue()
        self._begun = False

    def submit(self, call: Callable[[], Result]) -> asyncio.Future[Result]:
        """Call this in the thread, after what was submitted before. Use it in a running event loop.

        A call whose future was cancelled before its turn is left out.
        """
        if not self._begun:
            self._begun = True
            threading.Thread(target=self._run, name=self._name, daemon=True).start()
        future: Future[Result] = Future()
        self._calls.put((future, call))  # type: ignore[arg-type]  # the queue holds futures of every kind
        return asyncio.wrap_future(future)

    def _run(self) -> None:
        while True:
            future, call = self._calls.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = call()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)
            del future, call  # while it waits for the next call it keeps nothing of this one
