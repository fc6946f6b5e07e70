"""The commands that show and change a rollout, named like the verbs; each change sends the revision it is based on.

What is allowed is decided by the service.
"""

from __future__ import annotations

import time

import rich_click as click
from click import get_current_context

from app.cli import words
from app.cli.exits import Ending, NotDurable, Unverified
from app.cli.options import Invocation, speaks_to_service
from rollout.views import RolloutView

ROLLBACK = "/api/rollout/rollback"
VERIFY_S = 10.0
VERIFY_EVERY_S = 0.05
WATCH_EVERY_S = 1.0

reason_option = click.option("--reason", "-m", default="", metavar="TEXT", help="Why; written to the audit.")
revision_option = click.option(
    "--revision",
    type=click.IntRange(min=0),
    help="Refuse if the rollout is not at this revision (default: the current one).",
)
percentage_type = click.IntRange(0, 100)


def reason_or_command(reason: str) -> str:
    """The given reason, else the command itself, so that every audit entry has a reason."""
    return reason or get_current_context().command_path


def change(invocation: Invocation, verb: str, body: dict[str, object], revision: int | None, reason: str) -> None:
    """Send one command with the revision it is based on, and show where the rollout is afterwards."""
    if revision is None:
        revision = invocation.service.rollout().revision
    invocation.service.change("POST", f"/api/rollout/{verb}", {**body, "reason": reason_or_command(reason)}, revision)
    after = invocation.service.rollout()
    invocation.say("\n".join(filter(None, (words.sentence(after), words.what_next(after)))), after)


@click.command()
@click.option("--watch", is_flag=True, help="Repeat every second until Ctrl-C.")
@speaks_to_service
def status(invocation: Invocation, watch: bool) -> None:
    """Show where the rollout is, both paths side by side, and the evidence."""
    if not watch:
        view = invocation.service.rollout()
        invocation.say(words.status(view), view)
        return
    while True:
        view = invocation.service.rollout()
        if not invocation.as_json:
            click.clear()
        invocation.say(words.status(view), view)
        time.sleep(WATCH_EVERY_S)


@click.command()
@click.argument("percentage", type=percentage_type, required=False)
@reason_option
@revision_option
@speaks_to_service
def start(invocation: Invocation, percentage: int | None, reason: str, revision: int | None) -> None:
    """Start the rollout: the plan's first stage, or PERCENTAGE."""
    change(invocation, "start", {} if percentage is None else {"percentage": percentage}, revision, reason)


@click.command("set")
@click.argument("percentage", type=percentage_type)
@reason_option
@revision_option
@speaks_to_service
def set_percentage(invocation: Invocation, percentage: int, reason: str, revision: int | None) -> None:
    """Put PERCENTAGE of the users on v3 now; the plan's clock stops until `resume` or `promote`."""
    change(invocation, "percentage", {"percentage": percentage}, revision, reason)


@click.command()
@click.option("--full", is_flag=True, help="Go to 100 % at once.")
@reason_option
@revision_option
@speaks_to_service
def promote(invocation: Invocation, full: bool, reason: str, revision: int | None) -> None:
    """Go to the plan's next stage."""
    change(invocation, "promote", {"full": True} if full else {}, revision, reason)


@click.command()
@reason_option
@revision_option
@speaks_to_service
def pause(invocation: Invocation, reason: str, revision: int | None) -> None:
    """Stop the plan's clock; the percentage stays."""
    change(invocation, "pause", {}, revision, reason)


@click.command()
@reason_option
@revision_option
@speaks_to_service
def resume(invocation: Invocation, reason: str, revision: int | None) -> None:
    """Continue the plan after `pause` or `set`."""
    change(invocation, "resume", {}, revision, reason)


@click.command()
@reason_option
@revision_option
@speaks_to_service
def undo(invocation: Invocation, reason: str, revision: int | None) -> None:
    """Take back a rollback that a person made, within 10 minutes."""
    change(invocation, "undo", {}, revision, reason)


@click.command()
@click.option("--reason", "-m", required=True, metavar="TEXT", help="Why; written to the audit.")
@revision_option
@speaks_to_service
def unlock(invocation: Invocation, reason: str, revision: int | None) -> None:
    """Lift the lock of a rollback; the rollout is then idle at 0 %."""
    change(invocation, "unlock", {}, revision, reason)


@click.command()
@click.argument("text")
@speaks_to_service
def note(invocation: Invocation, text: str) -> None:
    """Add TEXT to the audit and as a line on the charts."""
    answer = invocation.service.change("POST", "/api/rollout/notes", {"text": text})
    invocation.say("noted", answer or {"text": text})


@click.command()
@reason_option
@speaks_to_service
def rollback(invocation: Invocation, reason: str) -> None:
    """Move everyone to v2 now, and lock. Waits up to 10 s until every cell was observed and the lock is durable.

    Exit 4 if not: it is in force all the same.
    """
    invocation.service.change("POST", ROLLBACK, {"reason": reason_or_command(reason)})
    view = wait_until_done(invocation)
    done = view.last_rollback
    verified = done is not None and done.verified_at is not None and view.lock is not None
    if done is not None and verified and words.durable(view):
        receipt = f"Receipt: {invocation.service.target.url}/rollbacks/{done.id}"
        invocation.say(f"Everyone is on v2. Rollback {words.rollback(done, view.cells)}\n{receipt}", view)
        return
    if invocation.as_json:
        invocation.say("", view)
    if done is not None and verified:
        raise NotDurable(f"Everyone is on v2. Rollback {words.rollback(done, view.cells)}\n{words.not_durable(view)}")
    extent = words.in_force(done, view.cells) if done is not None else "in force where the service answered"
    kept = words.not_durable(view)
    raise Unverified(
        f"{extent}; not verified within {VERIFY_S:.0f} s. `crossfade status` shows when it is."
        + (f"\n{kept}" if kept else "")
    )


def wait_until_done(invocation: Invocation) -> RolloutView:
    """Poll until the rollback in force was observed everywhere and is durable, or the time is over.

    Raises `Unverified` if the service took the command but does not answer again within that time.
    """
    end = time.monotonic() + VERIFY_S
    view: RolloutView | None = None
    while True:
        try:
            view = invocation.service.rollout()
            if _is_verified(view) and words.durable(view):
                return view
        except Ending as error:
            if time.monotonic() >= end:
                raise Unverified(f"the service took the rollback, but then: {error}") from None
        if time.monotonic() >= end and view is not None:
            return view
        time.sleep(VERIFY_EVERY_S)


def _is_verified(view: RolloutView) -> bool:
    """Whether the rollback of the current lock is verified; one from before this lock does not count."""
    done, lock = view.last_rollback, view.lock
    return done is not None and lock is not None and done.verified_at is not None and done.verified_at >= lock.since
