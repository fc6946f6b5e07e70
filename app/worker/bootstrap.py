"""First lines of every worker process, run as a script by the interpreter of any virtual environment.

That environment need not have Crossfade: our source comes last on the path, and what is missing is said in one line.
Nothing of ours or of other packages may be imported before that is checked.
"""

import os
import socket
import struct
import sys
from pathlib import Path
from typing import Optional

FAILED_STATUS = 3


def main() -> None:
    """Prepare the import path, refuse in one line, or become the worker.

    Arguments: the link's descriptor, and the folder whose packages come first (empty: none).
    """
    descriptor, first = int(sys.argv[1]), sys.argv[2]
    here = Path(__file__).resolve().parent
    root = here.parent.parent
    # A script's own folder comes first, where our modules would hide others' of the same name.
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() not in (here, root)]
    if first:
        sys.path.insert(0, first)
    sys.path.append(str(root))
    reason = _unusable(root)
    if reason is not None:
        _refuse(descriptor, reason)
    from app.worker.main import main as work

    work(descriptor)


def _unusable(root: Path) -> Optional[str]:  # noqa: UP045 - an older interpreter must come as far as its refusal
    """Why this environment cannot run a worker; None: it can."""
    python = sys.executable
    if sys.version_info < (3, 11):  # noqa: UP036
        return f"{python} is Python {sys.version_info[0]}.{sys.version_info[1]}; a path worker needs 3.11 or later"
    try:
        import msgspec  # noqa: F401
    except ImportError:
        return f"{python} has no msgspec, which the link to the gateway needs: {python} -m pip install msgspec"
    import app

    place = Path(next(iter(app.__path__))).resolve()
    if place != root / "app":
        return f"the package `app` in {place} hides Crossfade's own; rename it or put it inside another package"
    return None


def _refuse(descriptor: int, reason: str) -> None:
    """Send `Failed(reason)` by hand, because the package that encodes frames may be what is missing; then end."""
    text = reason.encode()
    batch = b"\x91\x92\xa1F\xdb" + struct.pack(">I", len(text)) + text
    with socket.socket(fileno=descriptor) as link:
        link.sendall(struct.pack("<I", len(batch)) + batch)
    # Not `sys.exit`: what the environment has started by itself must not keep the process.
    os._exit(FAILED_STATUS)


if __name__ == "__main__":
    main()
