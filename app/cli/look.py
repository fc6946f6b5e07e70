"""The commands that look at users, sessions, the audit and errors, and those that pin a user to a path.

It must not change a rollout.
"""

from __future__ import annotations

import rich_click as click

from app.cli import words
from app.cli.control import reason_or_command
from app.cli.options import Desk, speaks_to_service
from app.cli.service import quoted
from dashboards.views import AuditPage, ErrorGroup, SessionView, UserView


def user_path(user: str) -> str:
    return f"/api/users/{quoted(user)}"


@click.command()
@click.argument("user")
@speaks_to_service
def who(desk: Desk, user: str) -> None:
    """Which path USER is on, and why."""
    body = desk.service.read(user_path(user))
    desk.say(words.user(desk.service.decode(body, UserView)), body)


@click.command()
@click.argument("user")
@click.argument("path", type=click.Choice(["v2", "v3"]))
@click.option("--reason", "-m", default="", metavar="TEXT", help="Why; stands in the audit.")
@speaks_to_service
def pin(desk: Desk, user: str, path: str, reason: str) -> None:
    """Keep USER on PATH whatever the percentage; a lock still wins."""
    answer = desk.service.change("PUT", f"{user_path(user)}/pin", {"path": path, "reason": reason_or_command(reason)})
    desk.say(f"{user} is pinned to {path}", answer or {"user_id": user, "pin": path})


@click.command()
@click.argument("user")
@speaks_to_service
def unpin(desk: Desk, user: str) -> None:
    """Let the hash decide about USER again."""
    answer = desk.service.change("DELETE", f"{user_path(user)}/pin")
    desk.say(f"{user} is not pinned", answer or {"user_id": user, "pin": None})


@click.command()
@speaks_to_service
def sessions(desk: Desk) -> None:
    """The open sessions, one a line."""
    body = desk.service.read("/api/sessions")
    desk.say(words.sessions(desk.service.decode(body, list[SessionView])), body)


@click.command()
@speaks_to_service
def events(desk: Desk) -> None:
    """The audit: who did what, when, why, from where."""
    body = desk.service.read("/api/rollout/events")
    desk.say(words.events(desk.service.decode(body, AuditPage).items), body)


@click.command()
@speaks_to_service
def errors(desk: Desk) -> None:
    """Errors by group, those seen only on v3 first."""
    body = desk.service.read("/api/errors")
    desk.say(words.errors(desk.service.decode(body, list[ErrorGroup])), body)
