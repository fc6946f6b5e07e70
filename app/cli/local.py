"""The commands that run on the service's own host: the service itself, and a new token for its API.

It must not speak to a running service: both must work when there is none.
"""

from __future__ import annotations

import sys

import rich_click as click

from app.cli.exits import Refused
from app.cli.target import settings_or_end
from app.errors import CrossfadeError


@click.command()
@click.option("--cells", type=click.IntRange(1, 26), default=1, help="Processes that share the socket. Default: 1.")
def serve(cells: int) -> None:
    """Run the service until SIGTERM or Ctrl-C. Settings: `crossfade doctor`."""
    from app.cli.local_store import keep_operator_token

    settings = settings_or_end()
    try:
        keep_operator_token(settings)
    except (CrossfadeError, OSError) as error:
        # Users are served without it; a person needs CROSSFADE_TOKEN then.
        click.echo(f"no token for the commands on this host: {error}", err=True)
    if cells > 1:
        from app.cells.host import run_cells

        sys.exit(run_cells(settings, cells))
    from app.server import run

    sys.exit(run(settings))


@click.command()
@click.option("--role", type=click.Choice(["viewer", "oncall", "manager"]), required=True, help="What it may do.")
@click.option("--name", default="", metavar="TEXT", help="Whose it is; stands in the audit. Default: this user.")
@click.option("--days", type=click.FloatRange(min=0, min_open=True), help="Good for so long; default: until revoked.")
def token(role: str, name: str, days: float | None) -> None:
    """Make a token for the API, with the service up or down; it stands alone on the last line."""
    import getpass

    from app.cli.local_store import add_token

    try:
        secret = add_token(settings_or_end(), role, name or getpass.getuser(), days)  # type: ignore[arg-type]
    except (CrossfadeError, OSError) as error:
        raise Refused(f"no token made: {error}") from None
    click.echo(f"a token for {role}; it is shown once:", err=True)
    click.echo(secret)
