"""The service as the pages use it: searches, refusals as text, and what works while the store is down."""

from __future__ import annotations

import pytest

from app.api.page_source import PageSource
from app.control.history import SeriesHistory
from dashboards.base.person import Person
from dashboards.base.source import Unavailable
from rollout.plan import DEFAULT_PLAN, QUICK_PLAN
from rollout.views import AuditFilter
from tests.api.service import Service

ADA = Person("ada", "manager")
BOB = Person("bob", "manager")
EVE = Person("eve", "viewer")


@pytest.fixture
def source(service: Service) -> PageSource:
    world = service.world
    return PageSource(
        world.control, service.access, SeriesHistory(world.cell, world.counters, world.store, lambda: world.now)
    )


async def test_history_is_searched_whatever_the_case_and_goes_on(source: PageSource) -> None:
    for number in range(12):
        await source.note(f"Remark {number}" if number % 3 else f"other {number}", ADA)
    first = await source.events(None, 5, AuditFilter(text="remark"))
    assert [entry.reason for entry in first.items] == ["Remark 11", "Remark 10", "Remark 8", "Remark 7", "Remark 5"]
    rest = await source.events(first.next, 5, AuditFilter(text="REMARK"))
    assert [entry.reason for entry in rest.items] == ["Remark 4", "Remark 2", "Remark 1"]
    assert rest.next is None
    assert (await source.events(None, 5, AuditFilter(text="zebra"))).items == []
    assert len((await source.events(None, 50, AuditFilter(text="ada"))).items) == 12


async def test_a_refusal_is_an_outcome_in_words(source: PageSource) -> None:
    assert "role" in (await source.note("hello", EVE)).refusal
    assert "role" in (await source.pin("bob", "v3", "", EVE)).refusal
    assert "characters" in (await source.note("x" * 5000, ADA)).refusal
    assert (await source.events(None, 10)).items == []


async def test_a_pin_shows_with_the_user(source: PageSource) -> None:
    assert (await source.pin("bob", "v3", "a tester", ADA)).ok
    user = await source.user("bob")
    assert (user.pin, user.path, user.reason) == ("v3", "v3", "pinned")
    assert (await source.pin("bob", None, "", ADA)).ok
    assert (await source.user("bob")).pin is None


async def test_a_plan_is_put_in_force_and_the_second_is_told_who_was_faster(source: PageSource) -> None:
    assert await source.plan() == DEFAULT_PLAN
    assert (await source.apply_plan(QUICK_PLAN, "for the demo", 0, ADA)).ok
    assert await source.plan() == QUICK_PLAN
    entry = (await source.events(None, 1)).items[0]
    assert (entry.who, entry.source, entry.what, entry.reason) == ("ada", "page", "plan quick", "for the demo")
    late = await source.apply_plan(DEFAULT_PLAN, "", 0, BOB)
    assert late.stale
    assert "ada did plan quick" in late.refusal
    assert await source.plan() == QUICK_PLAN


async def test_a_plan_is_not_for_everybody_and_a_reason_is_no_book(source: PageSource) -> None:
    refused = await source.apply_plan(QUICK_PLAN, "", 0, EVE)
    assert "eve (viewer) may not change the plan: it needs the role manager" in refused.refusal
    assert not refused.stale
    assert "characters" in (await source.apply_plan(QUICK_PLAN, "x" * 5000, 0, ADA)).refusal
    assert await source.plan() == DEFAULT_PLAN


async def test_without_the_store_the_page_still_has_its_button(source: PageSource, service: Service) -> None:
    await service.start(10)
    service.world.store.fail(True)
    assert (await source.events(None, 5)).items == []
    assert (await source.events(None, 5, AuditFilter(text="go"))).items == []
    assert (await source.act("rollback", None, "bad", None, ADA)).ok
    with pytest.raises(Unavailable):
        await source.exported(None, 5, AuditFilter())
    with pytest.raises(Unavailable):
        await source.receipt("of another time")
    await service.world.control.loop.tick()
    health = await source.health()
    assert (health.store_down, health.audit_entries) == (True, None)
    service.world.store.fail(False)
