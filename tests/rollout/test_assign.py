"""The six steps of a decision, in their order, and the doubt that always ends on v2."""

from __future__ import annotations

import itertools
import timeit
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.assign import Assignment, FlagRule, View, assign
from rollout.cohort import bucket
from rollout.names import PathName

USER = "ada"
EVERYBODY = FlagRule("flag", 100, bucket_only=True, enabled=True)
NOBODY = replace(EVERYBODY, percentage=0)
OPEN = View(v3_available=True, flag=EVERYBODY)

# Each step as (what makes it match, what it answers), in the order of precedence.
STEPS: list[tuple[Callable[[View], View], Assignment]] = [
    (lambda view: replace(view, forced=False), Assignment("v2", "environment")),
    (lambda view: replace(view, locked=True), Assignment("v2", "rolled_back")),
    (lambda view: replace(view, v3_available=False), Assignment("v2", "v3_unavailable")),
    (lambda view: replace(view, pins={USER: "v2"}), Assignment("v2", "pinned")),
    (lambda view: replace(view, pins={USER: "v3"}), Assignment("v3", "pinned")),
    (lambda view: replace(view, forced=True), Assignment("v3", "environment")),
    (lambda view: replace(view, flag=EVERYBODY), Assignment("v3", "flag")),
]
SAME_FIELD = {(0, 5), (3, 4)}  # one view cannot hold both


@pytest.mark.parametrize(("change", "expected"), STEPS)
@pytest.mark.parametrize("flag", [None, NOBODY, EVERYBODY])
def test_each_step_alone(flag: FlagRule | None, change: Callable[[View], View], expected: Assignment) -> None:
    assert assign(USER, change(replace(OPEN, flag=flag))) == expected


@pytest.mark.parametrize(
    ("first", "second"), [pair for pair in itertools.combinations(range(len(STEPS)), 2) if pair not in SAME_FIELD]
)
def test_every_pair_the_earlier_step_wins(first: int, second: int) -> None:
    base = replace(OPEN, flag=NOBODY)
    both = STEPS[first][0](STEPS[second][0](base))
    assert assign(USER, both) == STEPS[first][1]


@pytest.mark.parametrize(
    ("user", "view", "expected"),
    [
        (None, OPEN, Assignment("v2", "flag")),
        ("", OPEN, Assignment("v2", "flag")),
        (USER, replace(OPEN, flag=None), Assignment("v2", "flag")),
        (USER, replace(OPEN, flag=replace(EVERYBODY, enabled=False)), Assignment("v2", "flag")),
        (USER, replace(OPEN, flag=replace(EVERYBODY, bucket_only=False)), Assignment("v2", "flag")),
        (USER, View(), Assignment("v2", "v3_unavailable")),
        ("", replace(OPEN, pins={"": "v3"}, flag=None), Assignment("v2", "flag")),
        (None, replace(OPEN, forced=True), Assignment("v3", "environment")),
    ],
)
def test_doubt_ends_on_the_stable_path(user: str | None, view: View, expected: Assignment) -> None:
    assert assign(user, view) == expected


@pytest.mark.parametrize("answer", [True, False])
def test_engine_decides_where_the_bucket_does_not(answer: bool) -> None:
    asked: list[str] = []

    def engine(user: str) -> bool:
        asked.append(user)
        return answer

    flag = FlagRule("flag", 100, bucket_only=False, enabled=True, evaluate=engine)
    assert assign(USER, replace(OPEN, flag=flag), bucket=1).path == ("v3" if answer else "v2")
    assert asked == [USER]
    assert assign(None, replace(OPEN, flag=flag)).path == "v2"
    assert assign(USER, replace(OPEN, flag=replace(flag, enabled=False))).path == "v2"
    assert asked == [USER]


@given(st.text(min_size=1), st.integers(0, 100))
def test_a_kept_bucket_decides_as_a_fresh_one(user: str, percentage: int) -> None:
    view = replace(OPEN, flag=replace(EVERYBODY, percentage=percentage))
    kept = bucket("flag", user)
    assert assign(user, view, kept) == assign(user, view)
    assert (assign(user, view).path == "v3") == (kept <= percentage)


def path_at(user: str, percentage: int) -> PathName:
    return assign(user, replace(OPEN, flag=replace(EVERYBODY, percentage=percentage))).path


@given(st.text(min_size=1), st.integers(0, 99))
def test_a_higher_percentage_only_adds_users(user: str, percentage: int) -> None:
    assert path_at(user, percentage) <= path_at(user, percentage + 1)


@given(st.text(min_size=1))
def test_nobody_at_zero_everybody_at_a_hundred(user: str) -> None:
    assert (path_at(user, 0), path_at(user, 100)) == ("v2", "v3")


def oracle(user: str | None, view: View) -> tuple[str, str]:
    """The same six steps, written as a list of matches."""
    matches: list[tuple[bool, tuple[str, str]]] = [
        (view.forced is False, ("v2", "environment")),
        (view.locked, ("v2", "rolled_back")),
        (not view.v3_available or view.v3_withheld, ("v2", "v3_unavailable")),
        (bool(user) and user in view.pins, (view.pins.get(user or "", "v2"), "pinned")),
        (view.forced is True, ("v3", "environment")),
        (bool(user) and view.flag == EVERYBODY, ("v3", "flag")),
        (True, ("v2", "flag")),
    ]
    return next(answer for matched, answer in matches if matched)


def test_all_combinations() -> None:
    pins: list[dict[str, PathName]] = [{}, {USER: "v2"}, {USER: "v3"}, {"": "v3"}]
    seen = set()
    for forced, locked, available, pin, flag, withheld, user in itertools.product(
        (None, False, True),
        (False, True),
        (False, True),
        pins,
        (None, NOBODY, EVERYBODY),
        (False, True),
        (None, "", USER),
    ):
        view = View(forced, locked, available, pin, flag, withheld)
        answer = assign(user, view)
        assert (answer.path, answer.reason) == oracle(user, view)
        seen.add((answer.path, answer.reason))
    assert seen == {(step.path, step.reason) for _, step in STEPS} | {("v2", "flag")}


def test_a_kept_bucket_costs_under_two_microseconds() -> None:
    view = replace(OPEN, flag=replace(EVERYBODY, percentage=50))
    best = min(timeit.repeat(lambda: assign(USER, view, 40), number=20_000, repeat=7)) / 20_000
    assert best < 2e-6
