"""Release 3.1, the bad one: some messages end its whole process, and no check before it has users can show that.

The defect is of the kind that a canary is for: in a conversation that has begun, one message in eight runs into a bug
in native code, which no `except` can catch.
"""

from __future__ import annotations

import os
import resource
import signal
from typing import Any
from zlib import crc32

from .desk import Desk

ONE_IN = 8


class Fragile(Desk):
    """As release 3.0, but for some messages."""

    def before_answer(self, message: Any) -> None:
        """The defect. It spares a conversation's first message, so that the check before users succeeds."""
        if self.answered and crc32(message.run_id.encode()) % ONE_IN == 0:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # so that the demo leaves no core files
            os.kill(os.getpid(), signal.SIGSEGV)


def create_supervisor(context: Any) -> Fragile:
    """Called once per session."""
    return Fragile("3.1")
