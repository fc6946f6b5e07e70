"""The command `crossfade` of the tree that this file lies in, and how `ps` shows what it starts."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil

PACKAGE = Path(__file__).resolve().parent / "package"
COMMAND = (sys.executable, "-m", "crossfade")
"""It needs the environment that `for_command` makes."""


def for_command(environ: Mapping[str, str]) -> dict[str, str]:
    """This environment, in which `COMMAND` is found in this tree, whatever the interpreter has installed."""
    paths = [str(PACKAGE), *filter(None, [environ.get("PYTHONPATH")])]
    return {**environ, "PYTHONPATH": os.pathsep.join(paths)}


def title_of(process: psutil.Process) -> str:
    """What `ps` shows, such as "crossfade: gateway a"; empty for a zombie. Raises `psutil.NoSuchProcess`."""
    words: list[str] = process.cmdline()  # type: ignore[no-untyped-call]
    return words[0] if words else ""
