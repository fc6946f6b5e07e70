"""v2 beside v3: denominators, differences, verdicts, and no data that looks like neither good nor bad."""

from __future__ import annotations

import pytest

from dashboards.sections.figures import MARK, Figure, bar, figures
from rollout.views import RolloutView, VerdictView
from tests.dashboards.memory import NO_FIGURES, no_verdicts, path, rollout


def row(view: RolloutView, name: str) -> tuple[Figure, Figure, str]:
    found = next(row for row in figures(view).rows if row.name == name)
    return found.v2, found.v3, found.difference


def verdict(kind: str, evidence: float | None, limit: float | None = 100.0) -> VerdictView:
    assert kind in ("pass", "fail", "inconclusive", "insufficient_data")
    return VerdictView(guardrail="errors", verdict=kind, words="", evidence=evidence, limit=limit, detail="")  # type: ignore[arg-type]


def test_an_error_rate_carries_its_denominator_and_the_difference_its_unit() -> None:
    assert row(rollout(), "Error rate") == (
        Figure("0.42 %", "257 of 61,204 messages"),
        Figure("0.45 %", "30 of 6,611 messages"),
        "+0.03 points",
    )


def test_latency_memory_restarts_build_are_beside_each_other() -> None:
    view = rollout()
    assert row(view, "Slow messages")[1:] == (Figure("p99 29 ms", "p50 7.0 ms"), "\N{MINUS SIGN}24 %")
    assert row(view, "Memory per session")[0] == Figure("46.0 KiB", "worker 89 MiB")
    assert row(view, "Worker restarts")[1] == Figure("0", "up 2 h 00 min")
    assert row(view, "Open sessions")[1] == Figure("186", "11.0 messages/s")
    assert figures(view).builds == {"v2": "legacy-41f2", "v3": "b7c9e21"}


def test_no_data_is_empty_and_no_difference_is_made_of_it() -> None:
    view = rollout(paths=[path("v2"), path("v3", **NO_FIGURES)], verdicts=no_verdicts())
    for name in ("Error rate", "Slow messages", "Memory per session"):
        _, canary, difference = row(view, name)
        assert (canary.value, difference) == ("", "no data")
    for shown in figures(view).rows:
        assert all((one.tone, one.fill) == ("none", None) for one in shown.bars)


@pytest.mark.parametrize(
    ("name", "changes", "words", "tone", "detail"),
    [
        ("Slow messages", {"p99_ms": 62.0}, "within the limit", "none", "at most 62 ms: 1.5x v2 + 5 ms"),
        ("Slow messages", {"p99_ms": 62.1}, "over the limit", "warn", "more than 62 ms: 1.5x v2 + 5 ms"),
        ("Error rate", {"error_rate": 0.0133}, "within the limit", "none", "at most 1.34 %: 2x v2 + 0.5 points"),
        ("Error rate", {"error_rate": 0.0135}, "over the limit", "warn", "more than 1.34 %: 2x v2 + 0.5 points"),
        (
            "Memory per session",
            {"session_memory_bytes": 61_000.0},
            "over the limit",
            "warn",
            "more than 59.2 KiB: 1.2x v2 + 4 KiB",
        ),
        ("Error rate", {"messages": 49}, "too early", "none", "under 50 messages on a path"),
        ("Slow messages", {"p99_ms": None}, "no data", "none", ""),
    ],
)
def test_plain_counts_are_held_against_a_limit_that_is_said(
    name: str, changes: dict[str, object], words: str, tone: str, detail: str
) -> None:
    shown = figures(rollout(paths=[path("v2"), path("v3", **changes)], verdicts=[]))
    found = next(row for row in shown.rows if row.name == name)
    assert [(one.words, one.tone, one.detail, one.meter) for one in found.bars] == [(words, tone, detail, False)]
    assert shown.basis == "Verdicts are from plain counts, no evidence yet."


def test_where_every_guardrail_has_judged_nothing_is_said_of_plain_counts() -> None:
    assert figures(rollout()).basis == ""


def test_a_path_without_any_figures_is_said() -> None:
    shown = figures(rollout(paths=[path("v2")]))
    assert shown.problems == ["v3: no figures at all"]
    assert all(row.v3.value == "" for row in shown.rows if row.v3.value != "\N{EN DASH}")


@pytest.mark.parametrize(
    ("kind", "tone", "words"),
    [
        ("pass", "good", "no harm found"),
        ("fail", "bad", "harm shown"),
        ("inconclusive", "none", "too early"),
        ("insufficient_data", "none", "no data"),
    ],
)
def test_each_verdict_has_words_first_and_only_two_have_a_colour(kind: str, tone: str, words: str) -> None:
    shown = bar(verdict(kind, 5.0))
    assert (shown.tone, shown.words) == (tone, words)


def test_the_bar_is_logarithmic_with_the_limit_at_its_mark() -> None:
    reached, over, ten, one = (bar(verdict("pass", evidence)).fill or 0 for evidence in (100.0, 5e6, 10.0, 1.0))
    assert reached == MARK
    assert over == 100.0
    assert ten - one == pytest.approx(reached - ten, abs=0.2)
    assert bar(verdict("pass", 0.0)).fill == 1.0


def test_a_guardrail_without_a_row_of_its_own_gets_one() -> None:
    assert figures(rollout()).rows[-1].name == "shown not worse"


def test_the_window_says_since_when() -> None:
    assert figures(rollout()).window == "since 14:03:20 UTC, 10 min"
    unsaid = rollout(paths=[path("v2", since=None), path("v3", since=None)])
    assert figures(unsaid).window == "since this stage began"
