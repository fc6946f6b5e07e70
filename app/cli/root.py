"""The command `crossfade`, with its subcommands in the order in which the help shows them.

A subcommand imports what is slow to import itself, so that the help appears at once.
"""

from __future__ import annotations

import rich_click as click

from app.cli import cells, control, doctor, load, loadtest, local, look, plan
from app.cli.exits import PlainEndings

VERSION_OF = "crossfade"


@click.group(cls=PlainEndings, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name=VERSION_OF)
def crossfade() -> None:
    """Moves live WebSocket users between two versions of a service, and back, without dropping them.

    Exit codes: 0 done, 1 refused, 2 usage, 3 unreachable, 4 rollback in force but not verified in every cell.
    """


for command in (
    local.serve,
    control.status,
    control.start,
    control.set_percentage,
    control.promote,
    control.pause,
    control.resume,
    control.rollback,
    control.undo,
    control.unlock,
    control.note,
    load.load,
    plan.plan,
    look.preview,
    look.who,
    look.pin,
    look.unpin,
    look.sessions,
    look.events,
    look.errors,
    cells.forget,
    loadtest.loadtest,
    doctor.doctor,
    local.token,
):
    crossfade.add_command(command)


def main() -> None:
    """Entry point of the installed command."""
    crossfade(prog_name="crossfade")
