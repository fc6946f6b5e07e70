"""First lines of every worker process, run as a script by the interpreter of any virtual environment.

That environment need not have Crossfade, and people's own package may have the name of one of ours: ours are found in
our folder alone, and their names are given back before people's code is imported. What is missing is said in one line.
"""

import os
import socket
import struct
import sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Dict, Optional, Sequence  # noqa: UP035 - an older interpreter must come as far as its refusal

OURS = ("app", "rollout", "dashboards")
PREFIX = "crossfade_"
"""Stands before the names of our modules once they are given back."""
FAILED_STATUS = 3


def main() -> None:
    """Refuse in one line, or become the worker.

    Arguments: the link's descriptor, and the folder whose packages come first (empty: none).
    """
    descriptor, first = int(sys.argv[1]), sys.argv[2]
    here = Path(__file__).resolve().parent
    root = here.parent.parent
    # A script's own folder comes first, where our modules would hide others' of the same name.
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() not in (here, root)]
    reason = _unusable()
    if reason is not None:
        _refuse(descriptor, reason)
    names = BorrowedNames(root)
    from app.worker.main import main as work

    def make_room() -> None:
        names.give_back()
        if first:
            sys.path.insert(0, first)

    work(descriptor, make_room)


class BorrowedNames:
    """`app`, `rollout` and `dashboards` as names of our own packages, from now on until they are given back."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        # The environment may have imported some already, by a `sitecustomize` or a `.pth` file.
        self._theirs = _taken_out()
        sys.meta_path.insert(0, self)

    def find_spec(
        self,
        name: str,
        path: Optional[Sequence[str]],  # noqa: UP045
        target: Optional[ModuleType] = None,  # noqa: UP045
    ) -> Optional[ModuleSpec]:  # noqa: UP045
        """The import system asks this for every module; what is inside our packages it finds by their paths."""
        return PathFinder.find_spec(name, [self._root]) if name in OURS else None

    def give_back(self) -> None:
        """Leave the names to whoever imports them next; our modules live on as `crossfade_app.…` and so on.

        Under their new names what looks up a class by its module still finds it: pickle, msgspec, type hints.
        """
        sys.meta_path.remove(self)
        for name, module in _taken_out().items():
            module.__name__ = PREFIX + name
            sys.modules[module.__name__] = module
            for thing in vars(module).values():
                if isinstance(thing, (type, FunctionType)) and thing.__module__ == name:
                    thing.__module__ = module.__name__
        sys.modules.update(self._theirs)


def _taken_out() -> Dict[str, ModuleType]:  # noqa: UP006
    """The modules of these names that are loaded, which they then are no more."""
    names = [name for name in sys.modules if name.partition(".")[0] in OURS]
    return {name: sys.modules.pop(name) for name in names}


def _unusable() -> Optional[str]:  # noqa: UP045
    """Why this environment cannot run a worker; None: it can."""
    python = sys.executable
    if sys.version_info < (3, 11):  # noqa: UP036
        return f"{python} is Python {sys.version_info[0]}.{sys.version_info[1]}; a path worker needs 3.11 or later"
    try:
        import msgspec  # noqa: F401
    except ImportError:
        return f"{python} has no msgspec, which the link to the gateway needs: {python} -m pip install msgspec"
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
