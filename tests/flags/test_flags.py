"""The embedded flag: what a record renders to, what the engine accepts, and that a kept bucket decides like the
engine.
"""

from __future__ import annotations

import inspect
import json
import random
import threading
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import pytest
from UnleashClient.constants import FEATURES_URL
from UnleashClient.utils import normalized_hash
from yggdrasil_engine.engine import UnleashEngine

from app.flags import FlagRejected, Flags
from app.flags.document import render, rule_of
from app.flags.embedded import EmbeddedEngine, EmbeddedFlags
from rollout.assign import FlagRule, View, assign
from rollout.cohort import bucket
from rollout.state import Lock, Rollout

FLAG = "USE_WEBSOCKET_SUPERVISOR_V3"
USERS = [f"user-{number}" for number in range(1_000)]


def at(percentage: int) -> Rollout:
    return Rollout(phase="progressing", percentage=percentage, stage=1)


def document(**strategy: Any) -> str:
    plain: dict[str, Any] = {
        "name": "flexibleRollout",
        "parameters": {"groupId": FLAG, "rollout": "50", "stickiness": "userId"},
        "constraints": [],
    }
    return json.dumps(
        {"version": 2, "features": [{"name": FLAG, "enabled": True, "strategies": [{**plain, **strategy}]}]}
    )


def asking(engine: EmbeddedEngine) -> Callable[[str], bool]:
    return lambda user: engine.is_enabled(FLAG, {"userId": user})


def rule(text: str) -> FlagRule:
    found = rule_of(text, FLAG, lambda user: False)
    assert found is not None
    return found


async def test_the_flag_follows_the_record() -> None:
    flags: Flags = EmbeddedFlags(FLAG)
    assert (flags.rule(), flags.percentage(), flags.age_s(5.0)) == (None, None, None)
    assert not flags.engine_evaluate("ada")
    for percentage in (0, 10, 100, 30):
        await flags.apply(at(percentage))
        assert (flags.percentage(), flags.age_s(5.0)) == (percentage, 0.0)
        inside = [user for user in USERS if flags.engine_evaluate(user)]
        assert inside == [user for user in USERS if bucket(FLAG, user) <= percentage]
    assert not flags.engine_evaluate("")
    await flags.close()


async def test_a_lock_turns_the_flag_off() -> None:
    flags = EmbeddedFlags(FLAG)
    await flags.apply(replace(at(100), lock=Lock(1, 0, 0.0, "ada", True, "")))
    found = flags.rule()
    assert found is not None and not found.enabled
    assert flags.percentage() == 0
    assert not any(flags.engine_evaluate(user) for user in USERS[:50])


async def test_a_kept_bucket_decides_as_the_engine_does() -> None:
    chance = random.Random(3)
    flags = {name: EmbeddedFlags(name) for name in (FLAG, "crossfade", "Überblendung")}
    users = [f"{chance.getrandbits(64):x}" if number % 2 else str(number) for number in range(10_000)]
    for percentage in (0, 1, 10, 50, 99, 100):
        for name, flag in flags.items():
            await flag.apply(at(percentage))
            view = View(v3_available=True, flag=flag.rule())
            for user in users[:: 1 if percentage == 10 and name == FLAG else 20]:
                kept = bucket(name, user)
                assert (assign(user, view, kept).path == "v3") == flag.engine_evaluate(user), (user, name, percentage)


def test_our_bucket_is_the_clients_own() -> None:
    for user in USERS:
        assert bucket(FLAG, user) == normalized_hash(user, FLAG)


def test_evaluating_needs_no_thread() -> None:
    before = threading.active_count()
    engine = EmbeddedEngine()
    engine.load(render(at(50), FLAG))
    engine.is_enabled(FLAG, {"userId": "ada"})
    assert threading.active_count() == before


@pytest.mark.parametrize(
    "text",
    [
        document(parameters={"groupId": FLAG, "rollout": 50, "stickiness": "userId"}),
        json.dumps({"version": 2, "features": [{"name": FLAG, "strategies": []}]}),
        "{",
        "[]",
        "{}",
        json.dumps({"version": 2, "features": [{"enabled": True, "strategies": []}]}),
    ],
    ids=["percentage is a number", "enabled is missing", "no JSON", "a list", "no features", "no name"],
)
def test_a_document_that_the_engine_refuses_changes_nothing(text: str) -> None:
    engine = EmbeddedEngine()
    engine.load(render(at(100), FLAG))
    with pytest.raises(FlagRejected):
        engine.load(text)
    assert engine.is_enabled(FLAG, {"userId": "ada"})
    engine.load(render(at(0), FLAG))
    assert not engine.is_enabled(FLAG, {"userId": "ada"})


def test_an_engine_that_keeps_its_old_state_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = EmbeddedEngine()
    engine.load(render(at(100), FLAG))
    monkeypatch.setattr(engine._client._store, "load_from_cache", lambda: None)
    with pytest.raises(FlagRejected, match="did not load"):
        engine.load(render(at(0), FLAG))


PARAMETERS = {"groupId": FLAG, "rollout": "50", "stickiness": "userId"}
CONSTRAINT = {"contextName": "userId", "operator": "IN", "values": ["ada"]}


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ({}, (True, FLAG, 50)),
        ({"parameters": {**PARAMETERS, "rollout": "0"}}, (True, FLAG, 0)),
        ({"parameters": {**PARAMETERS, "groupId": "other"}}, (True, "other", 50)),
        ({"parameters": {"rollout": "50", "stickiness": "userId"}}, (True, FLAG, 50)),
        ({"name": "default"}, (False, FLAG, 0)),
        ({"parameters": {**PARAMETERS, "stickiness": "default"}}, (False, FLAG, 0)),
        ({"parameters": {**PARAMETERS, "rollout": "101"}}, (False, FLAG, 0)),
        ({"parameters": {**PARAMETERS, "rollout": "5.5"}}, (False, FLAG, 0)),
        ({"parameters": {**PARAMETERS, "rollout": "050"}}, (False, FLAG, 0)),
        ({"constraints": [CONSTRAINT]}, (False, FLAG, 0)),
        ({"segments": [1]}, (False, FLAG, 0)),
        ({"variants": [{"name": "a", "weight": 1000, "stickiness": "userId"}]}, (False, FLAG, 0)),
        ({"disabled": True}, (False, FLAG, 0)),
    ],
)
def test_what_is_left_to_the_bucket(strategy: dict[str, Any], expected: tuple[bool, str, int]) -> None:
    found = rule(document(**strategy))
    assert (found.bucket_only, found.group_id, found.percentage) == expected


def test_a_group_id_that_is_missing_is_the_flags_name_for_the_engine_too() -> None:
    engine = EmbeddedEngine()
    engine.load(document(parameters={"rollout": "50", "stickiness": "userId"}))
    for user in USERS:
        assert engine.is_enabled(FLAG, {"userId": user}) == (bucket(FLAG, user) <= 50)


def test_an_unknown_flag_has_no_rule() -> None:
    assert rule_of(document(), "another", lambda user: True) is None


def test_several_strategies_or_none_ask_the_engine() -> None:
    one = {"name": "flexibleRollout", "parameters": PARAMETERS}
    for strategies in ([], [one, one]):
        text = json.dumps({"version": 2, "features": [{"name": FLAG, "enabled": True, "strategies": strategies}]})
        engine = EmbeddedEngine()
        engine.load(text)
        found = rule_of(text, FLAG, asking(engine))
        assert found is not None and not found.bucket_only
        view = View(v3_available=True, flag=found)
        paths = {assign(user, view).path for user in USERS}
        assert paths == ({"v2", "v3"} if strategies else {"v3"})


@pytest.mark.parametrize(
    ("strategy", "changes"),
    [
        ({"parameters": {**PARAMETERS, "rollout": "51"}}, False),
        ({"parameters": {"rollout": "50", "stickiness": "userId"}}, False),
        ({"title": "a tenth", "sortOrder": 7, "id": "0af"}, False),
        ({"name": "default"}, True),
        ({"parameters": {**PARAMETERS, "groupId": "other"}}, True),
        ({"parameters": {**PARAMETERS, "stickiness": "sessionId"}}, True),
        ({"constraints": [CONSTRAINT]}, True),
        ({"segments": [1]}, True),
    ],
)
def test_the_key_changes_exactly_when_kept_buckets_are_wrong(strategy: dict[str, Any], changes: bool) -> None:
    assert (rule(document(**strategy)).key != rule(document()).key) is changes


def test_the_key_follows_the_constraints_of_a_segment() -> None:
    with_segment = json.loads(document(segments=[1]))
    keys = {
        rule(json.dumps({**with_segment, "segments": [{"id": 1, "constraints": constraints}]})).key
        for constraints in ([], [CONSTRAINT], [{**CONSTRAINT, "values": ["bob"]}])
    }
    assert len(keys) == 3


def test_the_private_parts_are_where_they_were() -> None:
    """Fails loudly when UnleashClient or Yggdrasil moves: read `embedded.py` again before changing the pins."""
    assert version("UnleashClient") == "6.9.1"
    assert version("yggdrasil-engine") == "2.0.0"
    assert FEATURES_URL == "/client/features"
    client = EmbeddedEngine()._client
    assert client._store._engine is client._engine, "the store feeds another engine than the one that evaluates"
    assert client._evaluator._engine is client._engine
    assert client._store._cache is client._cache, "the store reads another cache than the one that is written"
    assert list(inspect.signature(client._store.load_from_cache).parameters) == []
    assert list(inspect.signature(UnleashEngine.take_state).parameters) == ["self", "state_json"]
    assert list(inspect.signature(UnleashEngine.get_state).parameters) == ["self"]
