"""`crossfade forget`: gives up a cell of another host that is gone for good."""

from __future__ import annotations

import rich_click as click

from app.cli import words
from app.cli.options import Invocation, speaks_to_service
from app.cli.service import quoted
from app.cli.terminal import printable
from rollout.views import RolloutView


@click.command()
@click.argument("cell")
@click.option("--reason", "-m", required=True, metavar="TEXT", help="Why; written to the audit.")
@speaks_to_service
def forget(invocation: Invocation, cell: str, reason: str) -> None:
    """Give up CELL of another host that is gone for good: nobody waits for it. If it comes back, it counts again."""
    body = invocation.service.change("DELETE", f"/api/cells/{quoted(cell)}?reason={quoted(reason)}")
    view = invocation.service.decode(body, RolloutView)
    remaining = ", ".join(each.name for each in view.cells)
    invocation.say(
        f"{printable(cell)} is given up; remaining cells: {printable(remaining)}\n{words.sentence(view)}", body
    )
