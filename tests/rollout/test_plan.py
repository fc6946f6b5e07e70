"""Plans: what a text may say, which line a mistake is on, and that what is written reads back the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.errors import InvalidPlan
from rollout.guardrails import BUILT_IN, failed, worst_for, worst_of
from rollout.names import Verdict
from rollout.plan import DAY_S, DEFAULT_PLAN, QUICK_PLAN, SEEDS, Plan, Query, Stage
from rollout.plan_reader import parse_toml
from rollout.plan_writer import dump_toml
from rollout.schedule import DAYS, FreezeOnce, FreezeWeekly, frozen

FULL = '''\
name = "checkout"            # line 1
new_connections_only = true
ramp_per_second = 200
holdback = 10
start_at = 2026-03-02T08:00:00Z

[[guardrail]]
name = "refunds"
query = """
sum(rate(refunds_total{path="v3"}[5m]))
percentage = 7
"""
limit = 0.5

[[stage]]
percentage = 0
bake = "7d"

[[stage]]
percentage = 10
bake = "1h30m"
guardrails = ["errors", "refunds"]
advance = "automatic"

[[stage]]
percentage = 100
bake = "90s"

[[freeze]]
days = ["sun", "fri"]
from = "16:00"

[[freeze]]
from = 2026-12-24T00:00:00+01:00
until = 2027-01-01T00:00:00Z
'''


def test_a_full_plan_is_read() -> None:
    plan = parse_toml(FULL)
    assert plan.name == "checkout"
    assert (plan.new_connections_only, plan.ramp_per_second, plan.holdback) == (True, 200, 10)
    assert plan.start_at == 1772438400
    assert plan.stages == (
        Stage(0, 7 * DAY_S, ()),
        Stage(10, 5400, ("errors", "refunds"), "automatic"),
        Stage(100, 90, BUILT_IN, "person"),
    )
    assert plan.freezes == (FreezeWeekly(("fri", "sun"), 960, 1440), FreezeOnce(1798066800, 1798761600))
    assert plan.queries == (Query("refunds", 'sum(rate(refunds_total{path="v3"}[5m]))\npercentage = 7\n', 0.5),)
    assert parse_toml(dump_toml(plan)) == plan


def mistakes(text: str) -> list[tuple[int, str]]:
    with pytest.raises(InvalidPlan) as caught:
        parse_toml(text)
    return [(error.line, error.field) for error in caught.value.errors]


@pytest.mark.parametrize(
    ("old", "new", "line", "field"),
    [
        ('name = "checkout"', 'name = ""', 1, "name"),
        ('name = "checkout"', 'nmae = "checkout"\nname = "x"', 1, "nmae"),
        ("ramp_per_second = 200", "ramp_per_second = -1", 3, "ramp_per_second"),
        ("holdback = 10", "holdback = 51", 4, "holdback"),
        ("2026-03-02T08:00:00Z", "2026-03-02T08:00:00", 5, "start_at"),
        ("2026-03-02T08:00:00Z", "7", 5, "start_at"),
        ("limit = 0.5", "limit = true", 13, "guardrail[1].limit"),
        ("percentage = 10\n", "percentage = 10.5\n", 20, "stage[2].percentage"),
        ("percentage = 10\n", "percentage = true\n", 20, "stage[2].percentage"),
        ("percentage = 10\n", 'percentage = "10"\n', 20, "stage[2].percentage"),
        ('bake = "1h30m"', 'bake = "soon"', 21, "stage[2].bake"),
        ('bake = "1h30m"', "bake = 90", 21, "stage[2].bake"),
        ('"errors", "refunds"', '"errors", "luck"', 22, "stage[2].guardrails"),
        ('"automatic"', '"always"', 23, "stage[2].advance"),
        ('bake = "1h30m"\n', "", 19, "stage[2].bake"),
        ("percentage = 100\n", "percentage = 10\n", 26, "stage[3].percentage"),
        ('bake = "90s"', 'bake = "90s"\ncolour = "red"', 28, "stage[3].colour"),
        ('"sun", "fri"', '"sonntag"', 30, "freeze[1].days"),
        ('from = "16:00"', 'from = "24:30"', 31, "freeze[1].from"),
        ('from = "16:00"', 'from = "16:00"\nuntil = "03:00"', 32, "freeze[1].until"),
        ("until = 2027", "until = 2025", 35, "freeze[2].until"),
        ('name = "refunds"', 'name = "errors"', 8, "guardrail[1].name"),
    ],
)
def test_a_mistake_is_named_by_line_and_field(old: str, new: str, line: int, field: str) -> None:
    assert old in FULL
    found = mistakes(FULL.replace(old, new, 1))
    assert (line, field) in found


def test_every_mistake_is_named_not_only_the_first() -> None:
    text = 'name = 7\n[[stage]]\npercentage = 101\nbake = "x"\n[[stage]]\n'
    assert mistakes(text) == [
        (1, "name"),
        (3, "stage[1].percentage"),
        (4, "stage[1].bake"),
        (5, "stage[2].percentage"),
        (5, "stage[2].bake"),
        (5, "stage[2].percentage"),
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [("name = \n", 1), ('name = "a"\n\n[[stage\n', 3), ('name = "a"\nname = "b"\n', 2), ('a = """', 1)],
)
def test_text_that_is_no_toml_has_a_line_too(text: str, line: int) -> None:
    assert mistakes(text) == [(line, "")]


def test_a_plan_needs_stages_written_as_tables() -> None:
    assert mistakes('name = "a"\n') == [(1, "stage")]
    assert mistakes('name = "a"\nstage = 3\n')[0] == (2, "stage")
    assert mistakes('name = "a"\nstage = [{percentage = 5}]\n') == [(2, "stage[1].bake")]


def test_the_message_says_what_is_allowed() -> None:
    with pytest.raises(
        InvalidPlan, match=r"line 3: stage\[1\]\.percentage: 200 is not allowed: a whole number from 0 to 100"
    ):
        parse_toml('name = "a"\n[[stage]]\npercentage = 200\nbake = "1s"\n')


def test_the_seeds() -> None:
    assert [(stage.percentage, stage.bake_s / DAY_S) for stage in DEFAULT_PLAN.stages] == [(0, 7), (10, 7), (100, 14)]
    assert {stage.advance for plan in SEEDS.values() for stage in plan.stages} == {"person"}
    assert sum(stage.bake_s for stage in QUICK_PLAN.stages) <= 600
    for plan in SEEDS.values():
        assert parse_toml(dump_toml(plan)) == plan


whole_seconds = st.integers(0, 4_000_000_000).map(float)
queries = st.builds(
    Query,
    st.text(min_size=1, max_size=9).filter(str.strip),
    st.text(min_size=1).filter(str.strip),
    st.floats(allow_nan=False, allow_infinity=False),
)
once = st.tuples(whole_seconds, st.integers(1, 10**6)).map(lambda pair: FreezeOnce(pair[0], pair[0] + pair[1]))
weekly = (
    st.tuples(st.sets(st.sampled_from(DAYS), min_size=1), st.integers(0, 1439), st.integers(1, 1440))
    .filter(lambda parts: parts[1] < parts[2])
    .map(lambda parts: FreezeWeekly(tuple(day for day in DAYS if day in parts[0]), parts[1], parts[2]))
)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    own = tuple(draw(st.lists(queries, max_size=2, unique_by=lambda query: query.name)))
    own = tuple(query for query in own if query.name not in BUILT_IN)
    names = [*BUILT_IN, *(query.name for query in own)]
    stages = tuple(
        Stage(
            percentage,
            float(draw(st.integers(0, 10**7))),
            tuple(draw(st.lists(st.sampled_from(names), unique=True))),
            draw(st.sampled_from(("person", "automatic"))),
        )
        for percentage in sorted(draw(st.sets(st.integers(0, 100), min_size=1, max_size=5)))
    )
    return Plan(
        draw(st.text(min_size=1).filter(str.strip)),
        stages,
        draw(st.booleans()),
        draw(st.integers(0, 1_000_000)),
        draw(st.none() | st.integers(0, 50)),
        draw(st.none() | whole_seconds),
        tuple(draw(st.lists(once | weekly, max_size=3))),
        own,
    )


@given(plans())
def test_what_is_written_reads_back_the_same(plan: Plan) -> None:
    assert parse_toml(dump_toml(plan)) == plan


@pytest.mark.parametrize(
    ("advance", "holdback", "expected"),
    [("person", None, 100), ("automatic", None, 95), ("person", 10, 90), ("automatic", 0, 100)],
)
def test_holdback_of_the_last_stage(advance: str, holdback: int | None, expected: int) -> None:
    chosen: str = advance
    stage = Stage(100, 60, BUILT_IN, "automatic" if chosen == "automatic" else "person")
    plan = Plan("p", (Stage(10, 60), stage), holdback=holdback)
    assert [plan.percentage_of(index) for index in (0, 1)] == [10, expected]
    assert Plan("p", (Stage(10, 60), Stage(50, 60, advance="automatic"))).percentage_of(1) == 50


def test_where_a_percentage_stands_in_a_plan() -> None:
    plan = Plan("p", (Stage(5, 1), Stage(10, 1), Stage(100, 1)))
    assert [plan.next_after(percentage) for percentage in (0, 4, 5, 9, 10, 99, 100)] == [0, 0, 1, 1, 2, 2, None]
    assert [plan.stage_at(percentage) for percentage in (0, 4, 5, 9, 10, 99, 100)] == [0, 0, 0, 0, 1, 1, 2]


MONDAY_NOON = 1_772_452_800.0  # 2026-03-02T12:00:00Z


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        (FreezeOnce(MONDAY_NOON, MONDAY_NOON + 1), True),
        (FreezeOnce(MONDAY_NOON - 1, MONDAY_NOON), False),
        (FreezeWeekly(("mon",)), True),
        (FreezeWeekly(("tue", "sun")), False),
        (FreezeWeekly(("mon",), 720, 721), True),
        (FreezeWeekly(("mon",), 721, 1440), False),
        (FreezeWeekly(("mon",), 0, 720), False),
    ],
)
def test_freeze_windows(window: FreezeOnce | FreezeWeekly, expected: bool) -> None:
    assert window.holds(MONDAY_NOON) is expected
    assert frozen([FreezeOnce(0, 1), window], MONDAY_NOON) is expected


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([], "insufficient_data"),
        (["pass", "pass"], "pass"),
        (["pass", "inconclusive"], "inconclusive"),
        (["inconclusive", "insufficient_data", "pass"], "insufficient_data"),
        (["insufficient_data", "fail", "pass"], "fail"),
    ],
)
def test_the_worst_verdict(verdicts: list[Verdict], expected: Verdict) -> None:
    assert worst_of(verdicts) == expected


def test_a_guardrail_that_did_not_report_is_no_pass() -> None:
    assert worst_for(("errors", "slow"), {"errors": "pass"}) == "insufficient_data"
    assert worst_for(("errors",), {"errors": "pass", "slow": "fail"}) == "pass"
    assert failed(("slow", "errors"), {"errors": "fail", "slow": "pass", "memory": "fail"}) == ("errors",)
