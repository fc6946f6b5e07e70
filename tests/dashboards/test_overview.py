"""The overview: what it says, and what becomes of a click with a script and without one."""

from __future__ import annotations

import re

import pytest

from dashboards.overview import OverviewPage
from tests.dashboards.memory import (
    NO_FIGURES,
    no_verdicts,
    path,
    receipt,
    rollout,
)
from tests.dashboards.pages import Pages, button, open_pages, page_of

PHASES = [("idle", 0), ("progressing", 10), ("paused", 33), ("completed", 100), ("rolled_back", 0)]


def test_the_overview_says_it_all(pages: Pages) -> None:
    page = pages.get().text
    for words in (
        "<title>● 10 % baking \N{EN DASH} Crossfade</title>",
        "10 % of users on v3",
        "Next: 50 % in 17:56",
        "257 of 61,204 messages",
        "+0.03 points",
        "p99 29 ms",
        "p50 7.0 ms",
        "39.0 KiB",
        "b7c9e21",
        "set 10 %",
        "ada (manager)",
        "production",
        "USE_WEBSOCKET_SUPERVISOR_V3",
        "Unleash in step",
        "2 cells",
    ):
        assert words in page, words


def test_one_click_rolls_back_without_a_script_a_dialog_or_a_revision(pages: Pages) -> None:
    response = pages.click("rollback")
    assert (response.status_code, response.headers["location"]) == (303, "/")
    assert pages.source.commands == [("rollback", None, "", None, "ada")]
    page = pages.get().text
    assert "■ rolled back" in page
    assert "Verified 14:13:19 UTC" in page
    assert "disabled" in button(page, "rollback-button")


def test_with_a_script_a_click_brings_back_the_sections_and_what_became_of_it(pages: Pages) -> None:
    response = pages.click("rollback", script=True)
    assert response.status_code == 200
    assert re.findall(r'<hx-partial hx-target="#([\w-]+)"', response.text) == [
        *OverviewPage.sections,
        "message-rollback",
        "message-controls",
    ]
    assert "Everyone is on v2" in response.text
    assert "<html" not in response.text


def test_a_page_that_hears_its_stream_is_told_only_what_became_of_the_click(pages: Pages) -> None:
    """An answer may come after what the stream has said since, and the stream says each thing once."""
    response = pages.click("rollback", script=True, live=True)
    assert re.findall(r'<hx-partial hx-target="#([\w-]+)"', response.text) == ["message-rollback", "message-controls"]
    assert pages.source.commands == [("rollback", None, "", None, "ada")]


@pytest.mark.parametrize(
    ("verb", "fields", "command"),
    [
        ("set", {"percentage": "100", "typed": "25", "revision": "17", "reason": " why "}, (100, "why", 17)),
        ("set", {"custom": "1", "typed": "25", "revision": "17", "reason": ""}, (25, "", 17)),
        ("promote", {"full": "1", "typed": "", "revision": "17"}, (100, "", 17)),
        ("pause", {"percentage": "", "typed": "25", "revision": "17"}, (None, "", 17)),
        ("unlock", {"percentage": "", "reason": "fixed in b8", "revision": "x"}, (None, "fixed in b8", None)),
    ],
)
def test_the_form_reaches_the_service_as_it_was_meant(
    pages: Pages, verb: str, fields: dict[str, str], command: tuple[int | None, str, int | None]
) -> None:
    pages.click(verb, fields)
    assert pages.source.commands == [(verb, *command, "ada")]


@pytest.mark.parametrize("typed", ["", "101", "-1", "10.5", "ten", "\u0661\u0660", "9" * 30])
def test_what_is_no_whole_percentage_never_reaches_the_service(pages: Pages, typed: str) -> None:
    response = pages.click("set", {"custom": "1", "typed": typed, "revision": "17"})
    assert response.status_code == 409
    assert "a percentage is a whole number, 0 to 100" in response.text
    assert pages.source.commands == []


@pytest.mark.parametrize("script", [True, False])
def test_a_refusal_is_shown_where_the_click_was_and_changes_nothing(pages: Pages, script: bool) -> None:
    response = pages.click("pause", {"revision": "3"}, script=script)
    assert response.status_code == 409
    assert 'role="alert">Refused: someone else changed it first: ada set 10 %' in response.text
    assert "10 % of users on v3" in response.text


def test_a_refused_rollback_says_so_beside_its_button(pages: Pages) -> None:
    pages.source.refusal = "the disk is full"
    page = pages.click("rollback").text
    place = page.index('id="message-rollback"')
    assert place < page.index("Refused: the disk is full") < page.index('id="message-controls"')


@pytest.mark.parametrize("verb", ["destroy", "plan"])
def test_what_has_no_button_is_no_command(pages: Pages, verb: str) -> None:
    assert pages.click(verb).status_code in (400, 404)
    assert pages.source.commands == []


def test_no_data_is_grey_and_neither_good_nor_bad() -> None:
    view = rollout(
        paths=[path("v2", **NO_FIGURES), path("v3", **NO_FIGURES)], verdicts=no_verdicts(), unleash="embedded"
    )
    page = page_of(view)
    figures = page[page.index('id="figures"') : page.index('id="charts"')]
    assert figures.count('<span class="figure none">no data</span>') == 6
    for colour in ("tone-good", "tone-bad", "fill-good", "fill-bad", "0 %", "0.00", "None", "nan"):
        assert colour not in figures, colour


@pytest.mark.parametrize(("phase", "percentage"), PHASES)
def test_what_cannot_be_done_is_disabled_and_says_why(phase: str, percentage: int) -> None:
    view = rollout(phase, percentage)
    page = page_of(view)
    for verb in ("start", "promote", "pause", "resume", "undo", "unlock"):
        reason = view.allowed[verb]
        assert ("disabled" in button(page, f"do-{verb}")) == bool(reason)
        described = re.search(r'aria-describedby="([^"]+)"', button(page, f"do-{verb}"))
        assert described is not None
        said = re.search(rf'id="{described.group(1)}">([^<]*)<', page)
        assert said is not None
        assert said.group(1)
        assert not reason or said.group(1) == reason


def test_a_viewer_sees_the_button_and_why_it_is_not_theirs() -> None:
    page = page_of(rollout(), "viewer")
    assert "disabled" in button(page, "rollback-button")
    assert "needs the role oncall; you are viewer" in page


def test_presets_say_their_effect_before_the_click(pages: Pages) -> None:
    page = pages.get().text
    assert "moves 1,000 users and 180 open sessions back to v2" in page
    assert "moves 9,000 users and 1,620 open sessions to v3, none back" in page
    assert "moves 1,500 users and 270 open sessions to v3" in pages.get("/preview?typed=25").text
    assert "a whole percentage, 0 to 100" in pages.get("/preview?typed=2.5").text


def test_previews_are_asked_for_once_for_all_open_pages(pages: Pages) -> None:
    for _ in range(5):
        pages.get()
    assert pages.source.previews_asked == 1
    pages.source.show(rollout("paused", 20, revision=18))
    assert "moves 2,000 users" in pages.get().text


def test_enter_in_a_field_presses_no_button(pages: Pages) -> None:
    page = pages.get().text
    form = page[page.index('id="change"') :]
    first = re.search(r"<button[^>]*>", form)
    assert first is not None
    assert first.group() == '<button type="submit" disabled hidden>'


def test_what_cannot_take_its_state_along_is_said_before_the_click_and_after() -> None:
    stateless = rollout(paths=[path("v2"), path("v3", exports_state=False)])
    with open_pages(view=stateless) as pages:
        page = pages.get("/").text
        assert "186 sessions cannot take the state along: v3 exports none." in page
        pages.source.without_state = 1674
        assert "1,674 sessions cannot take the state along" in pages.get("/preview?typed=50").text
        pages.source.missing = ["c"]
        assert "the state along; not counted: cell c" in pages.get("/preview?typed=50").text
    with open_pages() as pages:
        assert "the state along" not in pages.get("/").text + pages.get("/preview?typed=50").text
    done = rollout("rolled_back", 0, last_rollback=receipt(without_state=186))
    with open_pages(view=done) as pages:
        for address in ("/", "/rollbacks/r1"):
            assert '<dt>moved without state</dt><dd class="tone-warn">186</dd>' in pages.get(address).text
        assert "- sessions moved without their state: 186" in pages.get("/rollbacks/r1?format=markdown").text
    with open_pages(view=rollout("rolled_back", 0)) as pages:
        page = pages.get("/rollbacks/r1").text + pages.get("/rollbacks/r1?format=markdown").text
        assert "without state" not in page
        assert "without their state" not in page


@pytest.mark.parametrize("span", ["1h", "30d"])
def test_a_span_can_be_linked_to(pages: Pages, span: str) -> None:
    page = pages.get(f"/?span={span}").text
    assert f'data-series="/api/series?span={span}"' in page
    assert re.search(rf'data-span="{span}" aria-current="true"', page)


def test_charts_have_their_numbers_as_a_table(pages: Pages) -> None:
    page = pages.get("/").text
    table = page[page.index('data-table="error_rate"') :]
    table = table[: table.index("</tbody>")]
    assert "10.0 %" in table
    assert "<td>10 %</td>" in table, "the mark stands where it happened"
    assert table.count("no data") == 2, "no message is no error rate"
    assert table.count("<tr>") == 2, "a part in which nothing was seen has no row"
