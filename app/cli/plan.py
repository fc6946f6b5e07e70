"""`crossfade plan`: shows the plan in force, checks a file without a service, or puts a file's plan in force."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import rich_click as click

from app.cli.control import reason_option, reason_or_command, revision_option
from app.cli.exits import CommandRefused, Misused
from app.cli.options import Invocation, speaks_to_service
from rollout import formats
from rollout.plan import Plan
from rollout.schedule import FreezeOnce

PLAN = "/api/rollout/plan"
file_argument = click.argument("file", type=click.Path(path_type=Path))


class PlanText(msgspec.Struct, frozen=True):
    """The part of `GET /api/rollout/plan` that is the plan as a file."""

    toml: str


@click.group()
def plan() -> None:
    """Show, check and apply plans: stages, schedule and freeze windows, in a file that can be kept in git."""


@plan.command()
@speaks_to_service
def show(invocation: Invocation) -> None:
    """Print the plan in force as a file, as `apply` takes it."""
    body = invocation.service.read(PLAN)
    invocation.say(invocation.service.decode(body, PlanText).toml.rstrip("\n"), body)


@plan.command()
@file_argument
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def check(file: Path, as_json: bool) -> None:
    """Check FILE without a service. Exit 1 and every mistake, by line and field."""
    from rollout.errors import InvalidPlan
    from rollout.plan_reader import parse_toml

    try:
        parsed = parse_toml(read_file(file))
    except InvalidPlan as error:
        if as_json:
            mistakes = [{"line": each.line, "field": each.field, "message": each.message} for each in error.errors]
            click.echo(msgspec.json.encode({"valid": False, "errors": mistakes}))
        raise CommandRefused("\n".join(f"{file}: {each}" for each in error.errors)) from None
    if as_json:
        click.echo(msgspec.json.encode({"valid": True, "name": parsed.name, "errors": []}))
        return
    click.echo(f"{file}: plan {parsed.name!r} is valid")
    for number, stage in enumerate(parsed.stages, start=1):
        click.echo(
            f"  stage {number}: {stage.percentage} %, bakes {formats.plan_duration(stage.bake_s)}, then {stage.advance}"
        )
    for line in schedule_lines(parsed, time.time()):
        click.echo(f"  {line}")


@plan.command("apply")
@file_argument
@reason_option
@revision_option
@speaks_to_service
def apply(invocation: Invocation, file: Path, reason: str, revision: int | None) -> None:
    """Put the plan of FILE in force."""
    text = read_file(file)
    if revision is None:
        revision = invocation.service.rollout().revision
    answer = invocation.service.change("PUT", PLAN, {"toml": text, "reason": reason_or_command(reason)}, revision)
    invocation.say(f"the plan of {file} is in force", answer or {"applied": str(file)})


def schedule_lines(parsed: Plan, now: float) -> Iterator[str]:
    """When the plan starts by itself and when it is frozen, as text; says if the time of the start is over."""
    if parsed.start_at is not None:
        over = ", which is past: a person has to start it" if parsed.start_at <= now else ""
        yield f"starts by itself at {formats.timestamp(parsed.start_at)}{over}"
    for window in parsed.freezes:
        if isinstance(window, FreezeOnce):
            yield f"frozen from {formats.timestamp(window.from_s)} until {formats.timestamp(window.until_s)}"
        else:
            begin, end = formats.time_of_day(window.from_minute), formats.time_of_day(window.until_minute)
            yield f"frozen every {', '.join(window.days)} from {begin} until {end} UTC"


def read_file(file: Path) -> str:
    """The text of a plan's file. Raises `Misused` if it cannot be read."""
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Misused(f"{file}: {error}") from None
