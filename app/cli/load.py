"""`crossfade load v3`: a new build of v3 for open sockets and new ones.

It must not know how that is done; the answer comes when the old build is gone.
"""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from app.cli.control import reason_option, reason_or_command
from app.cli.options import Invocation, speaks_to_service
from rollout.views import Loaded


@click.command()
@click.argument("path", type=click.Choice(["v3"]))
@click.argument("factory", default="", metavar="[PACKAGE.MODULE:FACTORY]")
@click.option("--python", default="", metavar="PATH", help="Interpreter of the build's own virtual environment.")
@click.option("--build", default="", metavar="ID", help="Its id; default: a digest of the code it loads.")
@click.option("--live", is_flag=True, help="Although users are on v3: their sessions are handed over.")
@reason_option
@speaks_to_service
def load(desk: Invocation, path: str, factory: str, python: str, build: str, live: bool, reason: str) -> None:
    """A new build of v3 beside the old one: started, checked, given the sessions; no socket is closed."""
    body = {
        "factory": factory,
        "python": str(Path(python).absolute()) if python else "",
        "build": build,
        "live": live,
        "reason": reason_or_command(reason),
    }
    answer = desk.service.change("POST", f"/api/paths/{path}/load", body)
    loaded = desk.service.decode(answer, Loaded)
    was = f" in place of {loaded.previous_build}" if loaded.previous_build else ""
    desk.say(
        f"v3 runs build {loaded.build}{was}; {loaded.sessions_moved} sessions handed over in {loaded.seconds:.2f} s",
        answer,
        loaded.missing_cells,
    )
