"""The client-features document of Unleash: writes the one flag of a rollout, and reads what any flag asks for.

Knows the format (Unleash client API, document version 2); must not know the engine that evaluates it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Final

import msgspec
from msgspec import Struct

from rollout.assign import FlagRule
from rollout.state import Rollout

STRATEGY: Final = "flexibleRollout"
STICKINESS: Final = "userId"


class Strategy(Struct, frozen=True):
    """One activation strategy; without any a feature that is on is on for everyone."""

    name: str
    parameters: dict[str, Any] = {}
    constraints: list[dict[str, Any]] | None = None
    segments: list[int] | None = None
    variants: list[dict[str, Any]] | None = None
    disabled: bool | None = None


class Feature(Struct, frozen=True):
    """One flag, as far as it decides between on and off."""

    name: str
    enabled: bool
    strategies: list[Strategy] | None = None
    dependencies: list[dict[str, Any]] | None = None


class Segment(Struct, frozen=True):
    """Constraints that strategies share by id."""

    id: int
    constraints: list[dict[str, Any]] = []


class FeaturesDocument(Struct, frozen=True):
    """A client-features document."""

    features: list[Feature] = []
    segments: list[Segment] | None = None


def render(rollout: Rollout, flag: str) -> str:
    """The document that puts the record's percentage of users on v3; the groupId is the flag's name.

    Unleash wants the percentage as text: a number is refused without a word, and other text counts as 0 %.
    """
    feature = {
        "name": flag,
        "type": "release",
        "project": "default",
        "enabled": rollout.lock is None,
        "stale": False,
        "strategies": [
            {
                "name": STRATEGY,
                "constraints": [],
                "parameters": {"groupId": flag, "rollout": str(rollout.percentage), "stickiness": STICKINESS},
            }
        ],
        "variants": [],
    }
    return msgspec.json.encode({"version": 2, "features": [feature]}).decode()


def rule_of(document: str, flag: str, evaluate: Callable[[str], bool]) -> FlagRule | None:
    """What a document says of a flag; None when it does not know it.

    Only a single plain flexibleRollout sticky on the user id is left to the bucket. All else asks the engine, with the
    percentage 0 standing for "not a plain percentage".
    """
    parsed = msgspec.json.decode(document, type=FeaturesDocument)
    feature = next((feature for feature in parsed.features if feature.name == flag), None)
    if feature is None:
        return None
    strategies = feature.strategies or []
    key = _key(feature, parsed.segments or [])
    if len(strategies) == 1 and not feature.dependencies and (share := _plain_share(strategies[0])) is not None:
        return FlagRule(_group_id(strategies[0], flag), share, True, feature.enabled, evaluate, key)
    return FlagRule(flag, 0, False, feature.enabled, evaluate, key)


def _plain_share(strategy: Strategy) -> int | None:
    """The percentage of a strategy that the bucket alone decides, else None."""
    if strategy.name != STRATEGY or strategy.parameters.get("stickiness") != STICKINESS:
        return None
    if strategy.constraints or strategy.segments or strategy.variants or strategy.disabled:
        return None
    text = strategy.parameters.get("rollout")
    if not isinstance(text, str) or not text.isascii() or not text.isdecimal() or str(int(text)) != text:
        return None
    return int(text) if int(text) <= 100 else None


def _group_id(strategy: Strategy, flag: str) -> str:
    return str(strategy.parameters.get("groupId", flag))


def _key(feature: Feature, segments: list[Segment]) -> Hashable:
    """Strategy, groupId, stickiness and constraints (segments are constraints by reference), and nothing else."""
    constraints_of = {segment.id: segment.constraints for segment in segments}
    parts = [
        (
            strategy.name,
            {name: value for name, value in strategy.parameters.items() if name not in ("rollout", "groupId")},
            _group_id(strategy, feature.name),
            strategy.constraints or [],
            [constraints_of.get(segment) for segment in strategy.segments or []],
        )
        for strategy in feature.strategies or []
    ]
    return msgspec.json.encode((parts, feature.dependencies or []), order="sorted")
