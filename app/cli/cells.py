"""The command that gives up a cell which is gone for good.

It must not judge whether it is; the service does.
"""

from __future__ import annotations

import rich_click as click

from app.cli import words
from app.cli.options import Invocation, speaks_to_service
from app.cli.service import quoted
from app.cli.terminal import printable
from rollout.views import RolloutView


@click.command()
@click.argument("cell")
@click.option("--reason", "-m", required=True, metavar="TEXT", help="Why; stands in the audit.")
@speaks_to_service
def forget(desk: Invocation, cell: str, reason: str) -> None:
    """Give up CELL of another host, which died for good: nobody waits for it; if it comes back, it counts again."""
    body = desk.service.change("DELETE", f"/api/cells/{quoted(cell)}?reason={quoted(reason)}")
    view = desk.service.decode(body, RolloutView)
    left = ", ".join(each.name for each in view.cells)
    desk.say(f"{printable(cell)} is given up; cells: {printable(left)}\n{words.sentence(view)}", body)
