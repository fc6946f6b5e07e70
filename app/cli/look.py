"""The commands that show users, sessions, the audit and errors, and those that pin a user to a path."""

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
    """The API's address of a user. Raises `Misused` for an empty id."""
    if not user:
        raise Misused("USER is empty; allowed: a user id of 1 to 256 printable characters")
    return f"/api/users/{quoted(user)}"


@click.command()
@click.argument("user")
@speaks_to_service
def who(invocation: Invocation, user: str) -> None:
    """Show which path USER is on, and why."""
    body = invocation.service.read(user_path(user))
    user_view = invocation.service.decode(body, UserView)
    invocation.say(words.user(user_view), body, user_view.missing_cells)


@click.command()
@click.argument("percentage", type=percentage_type)
@speaks_to_service
def preview(invocation: Invocation, percentage: int) -> None:
    """Show which users and open sessions PERCENTAGE would move; changes nothing."""
    body = invocation.service.read("/api/rollout/preview", {"percentage": percentage})
    view = invocation.service.decode(body, Preview)
    invocation.say(words.preview(view), body, view.missing_cells)


@click.command()
@click.argument("user")
@click.argument("path", type=click.Choice(["v2", "v3"]))
@reason_option
@speaks_to_service
def pin(invocation: Invocation, user: str, path: str, reason: str) -> None:
    """Keep USER on PATH, whatever the percentage is; a lock still wins."""
    answer = invocation.service.change(
        "PUT", f"{user_path(user)}/pin", {"path": path, "reason": reason_or_command(reason)}
    )
    invocation.say(f"{user} is pinned to {path}", answer or {"user_id": user, "pin": path})


@click.command()
@click.argument("user")
@reason_option
@speaks_to_service
def unpin(invocation: Invocation, user: str, reason: str) -> None:
    """Remove the pin of USER, so that the hash decides again."""
    query = urlencode({"reason": reason_or_command(reason)})
    answer = invocation.service.change("DELETE", f"{user_path(user)}/pin?{query}")
    invocation.say(f"{user} is not pinned", answer or {"user_id": user, "pin": None})


@click.command()
@speaks_to_service
def sessions(invocation: Invocation) -> None:
    """List the open sessions."""
    body = invocation.service.read("/api/sessions")
    invocation.say(words.sessions(invocation.service.decode(body, list[SessionView])), body)


@click.command()
@click.option("--who", "name", default="", metavar="TEXT", help="Only entries of people whose name contains this.")
@click.option("--what", default="", metavar="TEXT", help="Only entries whose action contains this.")
@click.option("--since", type=MOMENT, help="Only from this time on, such as 2026-01-31 or 2026-01-31T09:30, in UTC.")
@click.option("--until", type=MOMENT, help="Only before this time.")
@click.option("--all", "everything", is_flag=True, help="All entries instead of one page.")
@click.option("--csv", "kind", flag_value="text/csv", help="All entries as CSV.")
@click.option("--jsonl", "kind", flag_value="application/jsonl", help="All entries as JSON lines, with the figures.")
@speaks_to_service
def events(
    invocation: Invocation,
    name: str,
    what: str,
    since: datetime | None,
    until: datetime | None,
    everything: bool,
    kind: str | None,
) -> None:
    """Show the audit: who did what, when, why, from where."""
    if kind and invocation.as_json:
        raise click.UsageError("use only one of --json, --csv and --jsonl")
    wanted: dict[str, str | int] = {"who": name, "what": what, "since": _seconds(since), "until": _seconds(until)}
    wanted = {key: value for key, value in wanted.items() if value}
    if kind:
        for piece in invocation.service.stream(EVENTS, wanted, kind):
            click.echo(piece, nl=False)
        return
    page = _events(invocation, wanted)
    while everything and page.next is not None:
        older = _events(invocation, {**wanted, "before": page.next, "limit": AUDIT_PAGE})
        page = AuditPage(items=[*page.items, *older.items], next=older.next)
    invocation.say(words.events(page.items), page)
    if page.next is not None:
        click.echo("there are more entries: --all shows them", err=True)


def _events(invocation: Invocation, wanted: dict[str, str | int]) -> AuditPage:
    return invocation.service.decode(invocation.service.read(EVENTS, wanted), AuditPage)


def _seconds(moment: datetime | None) -> str:
    """A UTC time as Unix seconds; empty for None."""
    return "" if moment is None else str(moment.replace(tzinfo=UTC).timestamp())


@click.command()
@speaks_to_service
def errors(invocation: Invocation) -> None:
    """List errors by group, those seen only on v3 first."""
    body = invocation.service.read("/api/errors")
    invocation.say(words.errors(invocation.service.decode(body, list[ErrorGroup])), body)
