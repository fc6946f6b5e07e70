"""First lines of every cell process, run as a script by the parent's interpreter.

It finds our own package first, whatever lies in the working directory, and knows nothing else.
"""

import sys
from pathlib import Path


def main() -> None:
    """Arguments: the cell's name, for whoever lists processes; the shared socket; the link to the parent."""
    here = Path(__file__).resolve().parent
    # A script's own folder comes first, where our modules would hide others' of the same name.
    sys.path[:] = [str(here.parent.parent), *(entry for entry in sys.path if Path(entry).resolve() != here)]
    from app.serve.cell_process import main as serve

    sys.exit(serve(int(sys.argv[2]), int(sys.argv[3])))


if __name__ == "__main__":
    main()
