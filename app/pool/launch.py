"""Starts the process of a worker: its command, its environment and its end of the link."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from app.link.config import WorkerConfig
from app.link.spawn import spawn

BOOTSTRAP = Path(__file__).parent.parent / "worker" / "bootstrap.py"
BUILTIN = "builtin"
SOCKET_BYTES = 4 * 1024 * 1024
_STDERR = 2


def launch(config: WorkerConfig, python: str = "") -> tuple[subprocess.Popen[bytes], socket.socket]:
    """The process, and our end of its link. `python`: the interpreter, empty for this one.

    Call it in the thread of the event loop: on Linux a worker ends with the thread that started it. Raises
    `HostShortage`, and `OSError` when the interpreter cannot be executed.
    """
    return spawn(
        config,
        lambda descriptor: command_of(config, descriptor, python),
        buffer_bytes=SOCKET_BYTES,
        stdout=_STDERR,  # what people's code prints must not run into a command's own output
        env=environment_of(os.environ, python),
    )


def command_of(config: WorkerConfig, descriptor: int, python: str) -> list[str]:
    """The command line; it holds no secret. People's packages are also found in the working directory."""
    first = "" if config.factory == BUILTIN else str(Path.cwd())
    return [python or sys.executable, str(BOOTSTRAP), str(descriptor), first]


def environment_of(environ: Mapping[str, str], python: str) -> dict[str, str]:
    """The environment of a worker: without our settings, whose secrets are no business of a supervisor.

    With another interpreter also without what would bend that one to ours.
    """
    theirs = {name: value for name, value in environ.items() if not name.startswith("CROSSFADE_")}
    if python and Path(python) != Path(sys.executable):
        for name in ("PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV"):
            theirs.pop(name, None)
    return theirs
