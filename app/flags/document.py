"""Unleash's client-features document (client API, document version 2): writes the rollout's flag, reads any flag."""

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
    """One activation strategy. A feature that is on and has no strategy is on for everyone."""

    name: str
    parameters: dict[str, Any] = {}
    constraints: list[dict[str, Any]] | None = None
    segments: list[int] | None = None
    variants: list[dict[str, Any]] | None = None
    disabled: bool | None = None


class Feature(Struct, frozen=True):
    """One flag: the parts that decide between on and off."""

    name: str
    enabled: bool
    strategies: list[Strategy] | None = None
    dependencies: list[dict[str, Any]] | None = None


class Segment(Struct, frozen=True):
    """Constraints that strategies refer to by id."""

    id: int
    constraints: list[dict[str, Any]] = []


class FeaturesDocument(Struct, frozen=True):
    """A client-features document."""

    features: list[Feature] = []
    segments: list[Segment] | None = None


def render(rollout: Rollout, flag: str) -> str:
    """The document that puts the record's percentage of users on v3; the groupId is the flag's name.

    Unleash wants the percentage as text: it silently refuses a number, and takes other text for 0 %.
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
    """The rule of a flag in a document; None: the flag is not in it.

    The bucket alone decides only for a single plain flexibleRollout that is sticky on the user id. Everything else asks
    the engine, and then the percentage is 0.
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
    """The percentage of a strategy for which the bucket alone decides; None for any other."""
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
    """What a session's bucket depends on: strategy, groupId, stickiness, and constraints, also those of segments."""
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
