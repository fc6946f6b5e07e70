"""`crossfade load v3`: a new build of v3, for open sockets and new ones. It ends when the old build is gone."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from app.cli.control import reason_option, reason_or_command
from app.cli.options import Invocation, speaks_to_service
from rollout.views import Loaded


@click.command()
@click.argument("path", type=click.Choice(["v3"]))
@click.argument("factory", default="", metavar="[PACKAGE.MODULE:FACTORY]")
@click.option("--python", default="", metavar="PATH", help="Python of the build's virtual environment.")
@click.option("--build", default="", metavar="ID", help="Id of the build; default: a digest of the code it loads.")
@click.option("--live", is_flag=True, help="Load even if users are on v3; their sessions are handed over.")
@reason_option
@speaks_to_service
def load(invocation: Invocation, path: str, factory: str, python: str, build: str, live: bool, reason: str) -> None:
    """Start a new build of v3 beside the old one, check it, and hand the sessions over; no socket is closed."""
    body = {
        "factory": factory,
        "python": str(Path(python).absolute()) if python else "",
        "build": build,
        "live": live,
        "reason": reason_or_command(reason),
    }
    answer = invocation.service.change("POST", f"/api/paths/{path}/load", body)
    loaded = invocation.service.decode(answer, Loaded)
    build = f"{loaded.build} in place of {loaded.previous_build}" if loaded.previous_build else loaded.build
    invocation.say(
        f"v3 runs build {build}; {loaded.sessions_moved} sessions handed over in {loaded.seconds:.2f} s",
        answer,
        loaded.missing_cells,
    )
