"""Unleash's client specification, all 279 cases, through the embedded engine and through our own reading of a flag."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import pytest
from yggdrasil_engine.custom_strategy import get_features_json

from app.flags.document import rule_of
from app.flags.embedded import EmbeddedEngine
from rollout.assign import View, assign
from tests.programs import SPECIFICATION

pytestmark = pytest.mark.needs("client-specification")

VERSION = "6.1.0"
CASES = 279


class Case(NamedTuple):
    file: str
    flag: str
    context: dict[str, Any]
    expected: Any
    variant: bool


def read(name: str) -> Any:
    return json.loads((SPECIFICATION / name).read_text(encoding="utf-8"))


@cache
def specifications() -> dict[str, Any]:
    return {name: read(f"specifications/{name}") for name in read("specifications/index.json")}


def cases(name: str) -> list[Case]:
    specification = specifications()[name]
    return [
        Case(name, test["toggleName"], test["context"], test["expectedResult"], kind == "variantTests")
        for kind in ("tests", "variantTests")
        for test in specification.get(kind, [])
    ]


def engine_of(name: str) -> EmbeddedEngine:
    engine = EmbeddedEngine()
    engine.load(json.dumps(specifications()[name]["state"]))
    return engine


def asking(engine: EmbeddedEngine, flag: str) -> Callable[[str], bool]:
    return lambda user: engine.is_enabled(flag, {"userId": user})


def test_the_specification_is_complete() -> None:
    assert read("package.json")["version"] == VERSION
    assert sum(len(cases(name)) for name in specifications()) == CASES


def test_every_case_through_the_embedded_engine() -> None:
    wrong = []
    for name in specifications():
        engine = engine_of(name)
        for case in cases(name):
            ask = engine.get_variant if case.variant else engine.is_enabled
            if (answer := ask(case.flag, case.context)) != case.expected:
                wrong.append((case, answer))
    assert not wrong


def test_what_we_leave_to_the_bucket_decides_as_the_engine() -> None:
    """Every flag of the specification, read as we read our own: bucket or engine, the answer for a user is the same."""
    users = [str(number) for number in range(200)]
    left_to_the_bucket = 0
    for name, specification in specifications().items():
        if "features" not in specification["state"]:
            continue  # events, which only the engine reads
        engine = engine_of(name)
        document = json.dumps(specification["state"])
        for feature in get_features_json(specification["state"]):  # type: ignore[no-untyped-call]
            flag = feature["name"]
            rule = rule_of(document, flag, asking(engine, flag))
            assert rule is not None
            if not rule.bucket_only:
                continue
            left_to_the_bucket += 1
            view = View(v3_available=True, flag=rule)
            for user in users:
                assert (assign(user, view).path == "v3") == engine.is_enabled(flag, {"userId": user}), (flag, user)
    assert left_to_the_bucket == 1
