"""The first lines of every cell process, run as a script by the parent's interpreter.

Our own packages come first, whatever is in the working directory or was imported by the environment.
"""

import sys
from pathlib import Path

OURS = ("app", "rollout", "dashboards")


def main() -> None:
    """Arguments: the shared socket, the link to the parent, the owner's file of the data folder."""
    here = Path(__file__).resolve().parent
    # A script's own folder comes first, where our modules would hide others' of the same name.
    sys.path[:] = [str(here.parent.parent), *(entry for entry in sys.path if Path(entry).resolve() != here)]
    for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
        del sys.modules[name]
    from app.serve.cell_process import main as serve

    sys.exit(serve(*map(int, sys.argv[1:4])))


if __name__ == "__main__":
    main()
