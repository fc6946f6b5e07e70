"""The one name that an installation brings; its `main` is the command `crossfade`.

People's own package is usually called `app`, and so is one of ours. Installed, ours therefore lies in `crossfade/_lib`,
where no import finds it before `main` has put it on the path of its own process. In a checkout it is the repository.
"""

import sys
from pathlib import Path

OURS = ("app", "rollout", "dashboards")


def main() -> None:
    """Run the command `crossfade`, whatever `PYTHONPATH` and the working directory contain."""
    sys.path.insert(0, str(_source()))
    # A `sitecustomize` of a project may have imported the project's `app`, which this process does not need.
    for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
        del sys.modules[name]

    from app.cli import main as command

    command()


def _source() -> Path:
    """The folder of our own packages."""
    here = Path(__file__).resolve().parent
    installed = here / "_lib"
    return installed if installed.is_dir() else here.parents[2]
