"""The commands that look at users, sessions, the audit and errors, and those that pin a user to a path.

It must not change a rollout.
"""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import urlencode

import rich_click as click

from app.cli import words
from app.cli.control import percentage_type, reason_option, reason_or_command
from app.cli.exits import Misused
from app.cli.options import Invocation, speaks_to_service
from app.cli.service import quoted
from app.store.port import AUDIT_PAGE
from rollout.views import AuditPage, ErrorGroup, Preview, SessionView, UserView

MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"])
EVENTS = "/api/rollout/events"


def user_path(user: str) -> str:
    """Raises `Misused` for nobody."""
    if not user:
        raise Misused("USER is empty; allowed is a user id, 1 to 256 printable characters")
    return f"/api/users/{quoted(user)}"


@click.command()
@click.argument("user")
@speaks_to_service
def who(desk: Invocation, user: str) -> None:
    """Which path USER is on, and why."""
    body = desk.service.read(user_path(user))
    user_view = desk.service.decode(body, UserView)
    desk.say(words.user(user_view), body, user_view.missing_cells)


@click.command()
@click.argument("percentage", type=percentage_type)
@speaks_to_service
def preview(desk: Invocation, percentage: int) -> None:
    """Users and open sessions that PERCENTAGE would move; changes nothing."""
    body = desk.service.read("/api/rollout/preview", {"percentage": percentage})
    found = desk.service.decode(body, Preview)
    desk.say(words.preview(found), body, found.missing_cells)


@click.command()
@click.argument("user")
@click.argument("path", type=click.Choice(["v2", "v3"]))
@reason_option
@speaks_to_service
def pin(desk: Invocation, user: str, path: str, reason: str) -> None:
    """Keep USER on PATH whatever the percentage; a lock still wins."""
    answer = desk.service.change("PUT", f"{user_path(user)}/pin", {"path": path, "reason": reason_or_command(reason)})
    desk.say(f"{user} is pinned to {path}", answer or {"user_id": user, "pin": path})


@click.command()
@click.argument("user")
@reason_option
@speaks_to_service
def unpin(desk: Invocation, user: str, reason: str) -> None:
    """Let the hash decide about USER again."""
    query = urlencode({"reason": reason_or_command(reason)})
    answer = desk.service.change("DELETE", f"{user_path(user)}/pin?{query}")
    desk.say(f"{user} is not pinned", answer or {"user_id": user, "pin": None})


@click.command()
@speaks_to_service
def sessions(desk: Invocation) -> None:
    """The open sessions, one a line."""
    body = desk.service.read("/api/sessions")
    desk.say(words.sessions(desk.service.decode(body, list[SessionView])), body)


@click.command()
@click.option("--who", "name", default="", metavar="TEXT", help="Only of people with this in their name.")
@click.option("--what", default="", metavar="TEXT", help="Only what was done with this in its words.")
@click.option("--since", type=MOMENT, help="Only from this moment on, such as 2026-01-31 or 2026-01-31T09:30; UTC.")
@click.option("--until", type=MOMENT, help="Only before this moment.")
@click.option("--all", "everything", is_flag=True, help="As far back as there is anything, not one page.")
@click.option("--csv", "kind", flag_value="text/csv", help="All of it as CSV.")
@click.option("--jsonl", "kind", flag_value="application/jsonl", help="All of it as JSON lines, with the figures.")
@speaks_to_service
def events(
    desk: Invocation,
    name: str,
    what: str,
    since: datetime | None,
    until: datetime | None,
    everything: bool,
    kind: str | None,
) -> None:
    """The audit: who did what, when, why, from where."""
    if kind and desk.as_json:
        raise click.UsageError("say one of --json, --csv and --jsonl")
    wanted: dict[str, str | int] = {"who": name, "what": what, "since": _seconds(since), "until": _seconds(until)}
    wanted = {key: value for key, value in wanted.items() if value}
    if kind:
        for piece in desk.service.stream(EVENTS, wanted, kind):
            click.echo(piece, nl=False)
        return
    page = _events(desk, wanted)
    while everything and page.next is not None:
        older = _events(desk, {**wanted, "before": page.next, "limit": AUDIT_PAGE})
        page = AuditPage(items=[*page.items, *older.items], next=older.next)
    desk.say(words.events(page.items), page)
    if page.next is not None:
        click.echo("there is more: --all", err=True)


def _events(desk: Invocation, wanted: dict[str, str | int]) -> AuditPage:
    return desk.service.decode(desk.service.read(EVENTS, wanted), AuditPage)


def _seconds(moment: datetime | None) -> str:
    """Unix seconds; a moment without a zone is UTC."""
    return "" if moment is None else str(moment.replace(tzinfo=UTC).timestamp())


@click.command()
@speaks_to_service
def errors(desk: Invocation) -> None:
    """Errors by group, those seen only on v3 first."""
    body = desk.service.read("/api/errors")
    desk.say(words.errors(desk.service.decode(body, list[ErrorGroup])), body)
