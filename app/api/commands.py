"""The bodies of requests, and the commands of the rollout that API and pages make from them."""

from __future__ import annotations

from typing import Annotated, Literal

from litestar.exceptions import ClientException
from msgspec import Meta, Struct

from app.control.change import Change
from dashboards.plan_text import PLAN_CHARACTERS
from rollout.events import Actor, Pause, Promote, Resume, Rollback, SetPercentage, Start, Undo, Unlock
from rollout.names import PathName, Verb

REASON_CHARACTERS = 1000

# A description says what is allowed; a refusal repeats it.
Reason = Annotated[str, Meta(max_length=REASON_CHARACTERS, description=f"text, at most {REASON_CHARACTERS} characters")]
Percentage = Annotated[int, Meta(ge=0, le=100, description="a whole number, 0 to 100")]
Flag = Annotated[bool, Meta(description="true or false")]


class ReasonBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of a command with nothing but a reason."""

    reason: Reason = ""


class StartBody(Struct, frozen=True, forbid_unknown_fields=True):
    percentage: Annotated[Percentage | None, Meta(description="a whole number, 0 to 100, or null")] = None
    reason: Reason = ""


class PercentageBody(Struct, frozen=True, forbid_unknown_fields=True):
    percentage: Percentage
    reason: Reason = ""


class PromoteBody(Struct, frozen=True, forbid_unknown_fields=True):
    full: Flag = False
    reason: Reason = ""


class NoteBody(Struct, frozen=True, forbid_unknown_fields=True):
    text: Annotated[
        str,
        Meta(min_length=1, max_length=REASON_CHARACTERS, description=f"text, 1 to {REASON_CHARACTERS} characters"),
    ]


class PinBody(Struct, frozen=True, forbid_unknown_fields=True):
    path: Annotated[PathName, Meta(description='"v2" or "v3"')]
    reason: Reason = ""


class PlanBody(Struct, frozen=True, forbid_unknown_fields=True):
    toml: Annotated[
        str, Meta(max_length=PLAN_CHARACTERS, description=f"a plan as TOML, at most {PLAN_CHARACTERS} characters")
    ]
    reason: Reason = ""


class LoadBody(Struct, frozen=True, forbid_unknown_fields=True):
    """A build of v3; fields that are empty keep their current value."""

    factory: Annotated[
        str, Meta(max_length=200, description="`package.module:factory` or `builtin`, at most 200 characters")
    ] = ""
    python: Annotated[str, Meta(max_length=1000, description="path of an interpreter, at most 1000 characters")] = ""
    build: Annotated[
        str, Meta(max_length=64, description="an id, at most 64 characters; empty: a digest of its code")
    ] = ""
    live: Annotated[bool, Meta(description="true or false; true: load even if users are on v3")] = False
    reason: Reason = ""


class Alert(Struct, frozen=True):
    """One alert of a notification; labels and annotations are those of its rule."""

    status: Annotated[Literal["firing", "resolved"], Meta(description='"firing" or "resolved"')]
    labels: dict[str, str]
    annotations: dict[str, str] = {}


class AlertsBody(Struct, frozen=True):
    """The parts of Alertmanager's webhook that are used here; others are ignored.

    https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
    """

    version: Annotated[Literal["4"], Meta(description='"4", the version of Alertmanager\'s webhook')]
    alerts: Annotated[list[Alert], Meta(description="the alerts of one notification")]


def command_of(
    verb: Verb, actor: Actor, *, reason: str, revision: int | None, percentage: int | None = None, full: bool = False
) -> Change | Rollback:
    """The command for a verb. Raises ClientException for `set` without a percentage, and for `plan`."""
    match verb:
        case "rollback":
            return Rollback(actor=actor, reason=reason)
        case "start":
            return Start(actor=actor, reason=reason, revision=revision, percentage=percentage)
        case "set":
            if percentage is None:
                raise ClientException(detail="set needs a percentage, a whole number from 0 to 100")
            return SetPercentage(actor=actor, reason=reason, revision=revision, percentage=percentage)
        case "promote":
            return Promote(actor=actor, reason=reason, revision=revision, full=full)
        case "pause":
            return Pause(actor=actor, reason=reason, revision=revision)
        case "resume":
            return Resume(actor=actor, reason=reason, revision=revision)
        case "undo":
            return Undo(actor=actor, reason=reason, revision=revision)
        case "unlock":
            return Unlock(actor=actor, reason=reason, revision=revision, flag_percentage=None)
        case "plan":
            raise ClientException(detail="a plan is not put in force by a verb alone; send it to /api/rollout/plan")
