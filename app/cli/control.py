"""The commands that look at and change a rollout, in the words of the verb table; each sends the revision it read.

It must not decide anything: what is allowed, the service says.
"""

from __future__ import annotations

import time

import rich_click as click
from click import get_current_context

from app.cli import words
from app.cli.exits import Ending, Unverified
from app.cli.options import Invocation, speaks_to_service
from rollout.views import RolloutView

ROLLBACK = "/api/rollout/rollback"
VERIFY_S = 10.0
VERIFY_EVERY_S = 0.05
WATCH_EVERY_S = 1.0

reason_option = click.option("--reason", "-m", default="", metavar="TEXT", help="Why; stands in the audit.")
revision_option = click.option(
    "--revision", type=click.IntRange(min=0), help="Only if the rollout is still at this revision (default: as it is)."
)
percentage_type = click.IntRange(0, 100)


def reason_or_command(reason: str) -> str:
    """The reason given, else the command itself: the audit has no empty lines."""
    return reason or get_current_context().command_path


def change(desk: Invocation, verb: str, body: dict[str, object], revision: int | None, reason: str) -> None:
    """Send one command with the revision it is meant for, and say where the rollout is then."""
    if revision is None:
        revision = desk.service.rollout().revision
    desk.service.change("POST", f"/api/rollout/{verb}", {**body, "reason": reason_or_command(reason)}, revision)
    after = desk.service.rollout()
    desk.say("\n".join(filter(None, (words.sentence(after), words.what_next(after)))), after)


@click.command()
@click.option("--watch", is_flag=True, help="Again every second, until Ctrl-C.")
@speaks_to_service
def status(desk: Invocation, watch: bool) -> None:
    """Where the rollout is, both paths side by side, the evidence."""
    if not watch:
        view = desk.service.rollout()
        desk.say(words.status(view), view)
        return
    while True:
        view = desk.service.rollout()
        if not desk.as_json:
            click.clear()
        desk.say(words.status(view), view)
        time.sleep(WATCH_EVERY_S)


@click.command()
@click.argument("percentage", type=percentage_type, required=False)
@reason_option
@revision_option
@speaks_to_service
def start(desk: Invocation, percentage: int | None, reason: str, revision: int | None) -> None:
    """Start the rollout: the plan's first stage, or PERCENTAGE."""
    change(desk, "start", {} if percentage is None else {"percentage": percentage}, revision, reason)


@click.command("set")
@click.argument("percentage", type=percentage_type)
@reason_option
@revision_option
@speaks_to_service
def set_percentage(desk: Invocation, percentage: int, reason: str, revision: int | None) -> None:
    """PERCENTAGE of the users on v3, now; leaves the plan's clock until `resume` or `promote`."""
    change(desk, "percentage", {"percentage": percentage}, revision, reason)


@click.command()
@click.option("--full", is_flag=True, help="100 % at once.")
@reason_option
@revision_option
@speaks_to_service
def promote(desk: Invocation, full: bool, reason: str, revision: int | None) -> None:
    """The plan's next stage."""
    change(desk, "promote", {"full": True} if full else {}, revision, reason)


@click.command()
@reason_option
@revision_option
@speaks_to_service
def pause(desk: Invocation, reason: str, revision: int | None) -> None:
    """Hold; the percentage stays."""
    change(desk, "pause", {}, revision, reason)


@click.command()
@reason_option
@revision_option
@speaks_to_service
def resume(desk: Invocation, reason: str, revision: int | None) -> None:
    """Go on after a pause or a `set`."""
    change(desk, "resume", {}, revision, reason)


@click.command()
@reason_option
@revision_option
@speaks_to_service
def undo(desk: Invocation, reason: str, revision: int | None) -> None:
    """Back to where it was, within 10 minutes of a person's rollback."""
    change(desk, "undo", {}, revision, reason)


@click.command()
@click.option("--reason", "-m", required=True, metavar="TEXT", help="Why; stands in the audit.")
@revision_option
@speaks_to_service
def unlock(desk: Invocation, reason: str, revision: int | None) -> None:
    """After a rollback: lift the lock, back to idle at 0 %."""
    change(desk, "unlock", {}, revision, reason)


@click.command()
@click.argument("text")
@speaks_to_service
def note(desk: Invocation, text: str) -> None:
    """Write TEXT into the audit and onto the charts."""
    answer = desk.service.change("POST", "/api/rollout/notes", {"text": text})
    desk.say("noted", answer or {"text": text})


@click.command()
@reason_option
@speaks_to_service
def rollback(desk: Invocation, reason: str) -> None:
    """Everyone to v2, now, and lock. Waits until it was observed in every cell (exit 4 if not within 10 s)."""
    desk.service.change("POST", ROLLBACK, {"reason": reason_or_command(reason)})
    view = wait_until_verified(desk)
    done = view.last_rollback
    if done is not None and done.verified_at is not None and view.lock is not None:
        receipt = f"Receipt: {desk.service.target.url}/rollbacks/{done.id}"
        desk.say(f"Everyone is on v2. Rollback {words.rollback(done, view.cells)}\n{receipt}", view)
        return
    if desk.as_json:
        desk.say("", view)
    seen = words.in_force(done, view.cells) if done is not None else "in force where the service answered"
    raise Unverified(f"{seen}; not verified within {VERIFY_S:.0f} s. `crossfade status` shows when it is.")


def wait_until_verified(desk: Invocation) -> RolloutView:
    """Ask until the rollback that is in force was observed everywhere, or the time is over.

    Raises `Unverified` when the service, having taken the command, is not heard of again in that time.
    """
    end = time.monotonic() + VERIFY_S
    view: RolloutView | None = None
    while True:
        try:
            view = desk.service.rollout()
            if _is_verified(view):
                return view
        except Ending as error:
            if time.monotonic() >= end:
                raise Unverified(f"the rollback was taken, but then: {error}") from None
        if time.monotonic() >= end and view is not None:
            return view
        time.sleep(VERIFY_EVERY_S)


def _is_verified(view: RolloutView) -> bool:
    """A verified rollback under the present lock; one from before that lock says nothing about it."""
    done, lock = view.last_rollback, view.lock
    return done is not None and lock is not None and done.verified_at is not None and done.verified_at >= lock.since
