"""The pages beside the overview: what they show, whom they let act, and what they say when there is nothing."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from urllib.parse import quote, urlencode

import httpx
import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient
from markupsafe import escape

from rollout.names import TokenRole
from rollout.views import EVERYTHING, AuditFilter, RolloutView, UserView
from tests.dashboards.memory import (
    NOW,
    MemorySource,
    entry,
    make_app,
    path,
    receipt,
    rollout,
    session,
    user_view,
    worker,
)

PAGES = ("/sessions", "/users/ada", "/errors", "/history", "/rollbacks/r1", "/plan", "/health")


class Desk:
    """One person in front of the pages."""

    def __init__(self, client: TestClient[Litestar], source: MemorySource) -> None:
        self.client, self.source = client, source

    def get(self, address: str) -> httpx.Response:
        return self.client.get(address, follow_redirects=False)

    def send(self, address: str, **fields: str) -> httpx.Response:
        found = re.search(r'name="_csrf_token" value="([^"]+)"', self.get("/history").text)
        assert found is not None
        data = {"_csrf_token": found.group(1), **fields}
        return self.client.post(address, data=data, follow_redirects=False)


def desk_of(role: TokenRole | None = "manager", view: RolloutView | None = None) -> Iterator[Desk]:
    source = MemorySource(view, role)
    with TestClient(make_app(source)) as client:
        yield Desk(client, source)


@pytest.fixture
def desk() -> Iterator[Desk]:
    yield from desk_of()


@pytest.fixture
def viewer() -> Iterator[Desk]:
    yield from desk_of("viewer")


@pytest.mark.parametrize("address", PAGES)
def test_every_page_has_one_heading_the_way_to_the_others_and_the_way_out(desk: Desk, address: str) -> None:
    page = desk.get(address).text
    assert len(re.findall("<h1", page)) == 1
    for other in ("/", "/sessions", "/errors", "/history", "/plan", "/health", "/try"):
        assert f'<li><a href="{other}"' in page
    assert 'action="/sign-out"' in page
    identities = re.findall(r'\sid="([^"]+)"', page)
    assert len(identities) == len(set(identities))


@pytest.mark.parametrize("address", [*PAGES, "/history.csv", "/history.jsonl", "/rollbacks/r1?format=json"])
def test_nobody_sees_a_page_without_signing_in(address: str) -> None:
    for desk in desk_of(None):
        answer = desk.get(address)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/sign-in?{urlencode({'next': address})}")


def test_sessions_are_searched_and_each_says_why(desk: Desk) -> None:
    page = desk.get("/sessions?q=bob&path=v3").text
    assert 'href="/users/bob%2F2"' in page
    assert "pinned by a person" in page
    assert "1 of 2 open sessions match" in page
    assert "/users/ada" not in page
    assert 'value="bob"' in page
    assert 'hx-sse:connect="/stream/sessions?q=bob&amp;path=v3"' in page
    assert "None of the 2 open sessions matches." in desk.get("/sessions?q=nobody").text


def test_more_sessions_than_a_page_are_gone_through_and_counted(desk: Desk) -> None:
    desk.source.people = [session(f"user {number:03}", connection_id=f"c{number}") for number in range(250)]
    first = desk.get("/sessions").text
    assert "250 open sessions; showing 1 to 100, search to narrow" in first
    assert "First page" not in first
    address = "/sessions?after=c99+user+099"
    assert f'<a href="{address}">Next page</a>' in first
    second = desk.get(address).text
    assert "showing 101 to 200" in second
    assert "user 100" in second
    assert 'href="/sessions">First page' in second
    assert f'hx-sse:connect="/stream{address}"' in second
    last = desk.get("/sessions?q=user&after=c199+user+199").text
    assert "250 of 250 open sessions match; showing 201 to 250, search to narrow" in last
    assert "Next page" not in last
    assert 'href="/sessions?q=user">First page' in last
    assert "showing none" in desk.get("/sessions?after=c999+zzz").text
    assert "showing 1 to 100" in desk.get("/sessions?after=nonsense").text


def test_whom_a_page_does_not_speak_of_is_named(desk: Desk) -> None:
    desk.source.missing = ["c", "d"]
    for address in ("/sessions", "/users/ada", "/users/carol", "/errors"):
        assert "Not included, because not heard from: cell c, d." in desk.get(address).text
    desk.source.people = []
    page = desk.get("/sessions").text
    assert "Not included, because not heard from: cell c, d." in page
    assert "crossfade loadtest" not in page, "others may be connected there"


def test_what_cannot_take_its_state_along_is_said_before_the_click_and_after() -> None:
    stateless = rollout(paths=[path("v2"), path("v3", exports_state=False)])
    for desk in desk_of(view=stateless):
        page = desk.get("/").text
        assert "186 sessions cannot take the state along: v3 exports none." in page
        desk.source.without_state = 1674
        assert "1,674 sessions cannot take the state along" in desk.get("/preview?typed=50").text
        desk.source.missing = ["c"]
        assert "the state along; not counted: cell c" in desk.get("/preview?typed=50").text
    for desk in desk_of():
        assert "the state along" not in desk.get("/").text + desk.get("/preview?typed=50").text
    done = rollout("rolled_back", 0, last_rollback=receipt(without_state=186))
    for desk in desk_of(view=done):
        for address in ("/", "/rollbacks/r1"):
            assert '<dt>moved without state</dt><dd class="tone-warn">186</dd>' in desk.get(address).text
        assert "- sessions moved without their state: 186" in desk.get("/rollbacks/r1?format=markdown").text
    for desk in desk_of(view=rollout("rolled_back", 0)):
        page = desk.get("/rollbacks/r1").text + desk.get("/rollbacks/r1?format=markdown").text
        assert "without state" not in page
        assert "without their state" not in page


def test_a_user_is_pinned_from_the_list_too(desk: Desk) -> None:
    page = desk.get("/sessions?q=bob").text
    assert re.search(r'<input id="user_id" name="user_id" value="bob/2"', page), "the only one that fits"
    assert re.search(r'<input id="user_id" name="user_id" value=""', desk.get("/sessions").text)
    answer = desk.send("/pins", user_id="", path="v2", reason="")
    assert answer.status_code == 422
    assert 'role="alert">Refused: name a user' in answer.text
    assert desk.source.pins == []


def test_an_empty_page_says_what_a_newcomer_may_do(desk: Desk) -> None:
    desk.source.people, desk.source.groups, desk.source.audit = [], [], []
    sessions = desk.get("/sessions").text
    assert "Nobody is connected." in sessions
    assert "crossfade loadtest" in sessions
    assert "No errors since the service started." in desk.get("/errors").text
    assert "Nothing has been done yet." in desk.get("/history").text


def test_a_user_is_explained_and_pinned(desk: Desk) -> None:
    page = desk.get("/users/bob%2F2").text
    for words in ("bob/2</span> is on v3", "7 of 100", "bucket 7 ≤ 10 %: v3", "pinned to"):
        assert words in page, words
    assert "v3 as long as it is pinned; without the pin v2 below 7 %, v3 from 7 % on" in page
    assert "would be on v3" in desk.get("/users/carol").text
    answer = desk.send("/pins", user_id="bob/2", path="v2", reason="a tester")
    assert (answer.status_code, answer.headers["location"]) == (303, "/users/bob%2F2")
    desk.send("/pins", user_id="bob/2", path="", reason="")
    assert desk.source.pins == [("bob/2", "v2", "a tester"), ("bob/2", None, "")]


@pytest.mark.parametrize(
    ("user", "said"),
    [
        (user_view(bucket=43), ("bucket 43 &gt; 10 %: v2", "v2 below 43 %, v3 from 43 % on")),
        (user_view(bucket=10), ("bucket 10 ≤ 10 %: v3", "v2 below 10 %, v3 from 10 % on")),
        (user_view(bucket=1, percentage=0), ("bucket 1 &gt; 0 %: v2", "v2 below 1 %, v3 from 1 % on")),
        (user_view(path="v2"), ("bucket 7 ≤ 10 %, but the flag&#39;s other conditions keep this user on v2",)),
        (user_view(reason="environment"), ("no percentage changes this while the environment decides; without it",)),
        (
            user_view(path="v2", reason="rolled_back", percentage=0),
            ("Why: a rollback is in force.", "bucket 7 &gt; 0 %"),
        ),
    ],
)
def test_the_arithmetic_of_a_decision_is_shown(desk: Desk, user: UserView, said: tuple[str, ...]) -> None:
    desk.source.somebody = user
    page = desk.get("/users/ada").text
    for words in said:
        assert words in page, words


@pytest.mark.parametrize(
    "evil", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}", "=cmd|' /C calc'!A0"]
)
def test_a_user_id_of_markup_is_text_in_title_address_and_page(desk: Desk, evil: str) -> None:
    desk.source.people = [session(evil)]
    address, shown = f"/users/{quote(evil, safe='')}", str(escape(evil))
    page, listed = desk.get(address).text, desk.get("/sessions").text
    assert f"<title>{shown} " in page
    assert f'<span class="id">{shown}</span>' in page
    assert f'name="user_id" value="{shown}"' in page
    assert f'<a href="{address}">{shown}</a>' in listed
    assert shown == evil or evil not in page + listed


def test_a_refused_pin_and_a_refused_note_say_why(desk: Desk) -> None:
    desk.source.refusal = "the store is away"
    for answer in (desk.send("/pins", user_id="ada", path="v3"), desk.send("/notes", text="hello")):
        assert answer.status_code == 409
        assert 'role="alert">Refused: the store is away' in answer.text
    assert (desk.source.pins, desk.source.notes) == ([], [])


def test_a_viewer_may_look_and_is_told_what_is_not_theirs(viewer: Desk) -> None:
    user = viewer.get("/users/ada").text
    assert "needs the role manager; you are viewer" in user
    assert len(re.findall(r'<button type="submit" name="path"[^>]* disabled', user)) == 3
    history = viewer.get("/history").text
    assert "needs the role oncall; you are viewer" in history
    assert re.search(r'<input id="note"[^>]* disabled', history)


def test_errors_only_on_v3_are_marked_with_words(desk: Desk) -> None:
    page = desk.get("/errors").text
    assert page.index("only on v3</strong>") < page.index("thread_missing") < page.index("agent_timeout")
    assert page.count("only on v3</strong>") == 1
    assert "38 times, 9 users" in page
    assert "<code>8f2c11</code>" in page


def test_history_is_filtered_and_keeps_its_filter_on_the_way(desk: Desk) -> None:
    desk.source.audit = [entry(number, f"note {number}.") for number in range(120, 0, -1)]
    page = desk.get("/history?q=note").text
    assert "/history?q=note&amp;before=71" in page
    assert 'href="/history.csv?q=note"' in page
    older = desk.get("/history?q=note&before=71").text
    assert "note 70." in older
    assert "hx-sse:connect" not in older, "an older page does not change by itself"
    assert "No entry matches your search." in desk.get("/history?q=zebra").text


@pytest.mark.parametrize("address", ["/history", "/history.csv", "/history.jsonl"])
def test_every_field_of_the_filter_counts_on_the_page_and_in_its_files(desk: Desk, address: str) -> None:
    fields = {"q": "note", "who": "ada", "what": "set", "since": "2026-09-20", "until": "2026-09-21"}
    assert desk.get(f"{address}?{urlencode(fields)}").status_code == 200
    assert desk.source.wanted == AuditFilter(
        who="ada", what="set", text="note", since=1_789_862_400.0, until=1_790_035_200.0
    )
    assert desk.get(address).status_code == 200
    assert desk.source.wanted == EVERYTHING


def test_a_day_that_is_none_is_said_and_nothing_is_shown_in_its_place(desk: Desk) -> None:
    page = desk.get("/history?since=31.1.2026").text
    assert "&#39;31.1.2026&#39; is not a day; write one like 2026-01-31." in page
    assert "<li>" not in page.partition('id="history"')[2]
    refused = desk.get("/history.csv?until=yesterday")
    assert refused.status_code == 422
    assert "'yesterday' is not a day" in refused.text


def test_a_file_does_not_pretend_to_be_all_while_the_store_is_down(desk: Desk) -> None:
    desk.source.unavailable = True
    assert desk.get("/history.csv").status_code == 503


def test_history_leaves_as_a_table_without_formulas_and_as_lines(desk: Desk) -> None:
    desk.source.audit = [entry(2, "-1+1", '=HYPERLINK("x")', "@cmd"), entry(1)]
    answer = desk.get("/history.csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["id"] for row in rows] == ["2", "1"]
    assert rows[0]["reason"] == '\'=HYPERLINK("x")'
    assert (rows[0]["who"], rows[0]["what"]) == ("'@cmd", "'-1+1")
    lines = [json.loads(line) for line in desk.get("/history.jsonl").text.splitlines()]
    assert [line["id"] for line in lines] == [2, 1]
    assert lines[0]["reason"] == '=HYPERLINK("x")'


def test_an_export_holds_more_than_a_page(desk: Desk) -> None:
    desk.source.audit = [entry(number) for number in range(450, 0, -1)]
    assert len(desk.get("/history.jsonl").text.splitlines()) == 450


def test_a_note_is_left_and_brings_back_to_where_it_was_written(desk: Desk) -> None:
    assert desk.send("/notes", text=" all quiet ", back="overview").headers["location"] == "/"
    assert desk.send("/notes", text="still quiet", back="history").headers["location"] == "/history"
    assert desk.source.notes == ["ada: all quiet", "ada: still quiet"]
    assert desk.send("/notes", text="   ").status_code == 409


def test_a_receipt_is_a_page_and_markdown_and_json() -> None:
    for desk in desk_of(view=rollout("rolled_back", 0)):
        page = desk.get("/rollbacks/r1").text
        for words in ("Verified 14:13:19 UTC", "186 of 186", "41 ms", "Errors only on v3", "thread_missing"):
            assert words in page, words
        markdown = desk.get("/rollbacks/r1?format=markdown")
        assert markdown.headers["content-type"] == "text/markdown; charset=utf-8"
        assert markdown.text.startswith("# Rollback r1\n")
        assert desk.get("/rollbacks/r1?format=json").json()["rollback"]["sessions_moved"] == 186


@pytest.mark.parametrize(("ago", "live", "until"), [(299, "yes", ""), (300, "no", f"&amp;until={NOW:.0f}")])
def test_charts_of_a_receipt_go_on_for_five_minutes(ago: float, live: str, until: str) -> None:
    for desk in desk_of(view=rollout("rolled_back", 0, last_rollback=receipt(at=NOW - ago))):
        page = desk.get("/rollbacks/r1").text
        assert f'data-live="{live}"' in page
        assert f'data-series="/api/series?span=15m{until}"' in page


def test_the_overview_leads_to_the_receipt() -> None:
    for desk in desk_of(view=rollout("rolled_back", 0, last_rollback=receipt(id="4-2"))):
        assert 'href="/rollbacks/4-2"' in desk.get("/").text


def test_a_receipt_that_is_not_there_and_a_store_that_is_away_say_so(desk: Desk) -> None:
    answer = desk.get("/rollbacks/r9")
    assert answer.status_code == 404
    assert "There was no rollback r9." in answer.text
    desk.source.unavailable = True
    answer = desk.get("/rollbacks/r1")
    assert answer.status_code == 503
    assert "The store does not answer" in answer.text


def test_health_says_what_is_down_and_shows_no_secret(desk: Desk) -> None:
    page = desk.get("/health").text
    assert "sqlite answers" in page
    assert "set, not shown" in page.partition("<details")[0], "what was set stands first"
    assert page.index("CROSSFADE_BIND") < page.index("CROSSFADE_NOTIFY"), "what has no effect yet stands last"
    desk.source.unavailable = True
    assert "sqlite does not answer; only a rollback works" in desk.get("/health").text


def test_health_says_in_words_which_part_is_not_there(desk: Desk) -> None:
    whole = desk.get("/health").text
    assert "cell a</dd>" in whole
    assert 'b</th><td class="tone-good">heard 0.1 s ago' in whole
    assert 'takes the automatic steps</span></th><td class="tone-good">heard' in whole
    assert "not available" not in whole
    cells = [msgspec.structs.replace(desk.source.view.cells[0], silent_s=12.0, silent=True), desk.source.view.cells[1]]
    desk.source.view = rollout(cells=cells)
    desk.source.workers = [
        worker("a", "v2", silent_s=12.0, silent=True),
        worker("b", "v2"),
        worker("b", "v3", available=False, reason="killed by SIGKILL", build=None, memory_bytes=None, uptime_s=None),
    ]
    broken = desk.get("/health").text
    assert "silent for 12 s; its figures are that old" in broken
    assert "not known: its cell has been silent for 12 s" in broken
    assert "not available: killed by SIGKILL" in broken
    assert "cell a, which is silent" in broken
    desk.source.leader = ""
    assert "nobody just now" in desk.get("/health").text
    desk.source.unavailable = True
    assert "not known while the store is away" in desk.get("/health").text


@pytest.mark.parametrize("span", ["1h", "30d"])
def test_a_span_can_be_linked_to(desk: Desk, span: str) -> None:
    page = desk.get(f"/?span={span}").text
    assert f'data-series="/api/series?span={span}"' in page
    assert re.search(rf'data-span="{span}" aria-current="true"', page)


def test_charts_have_their_numbers_as_a_table(desk: Desk) -> None:
    page = desk.get("/").text
    table = page[page.index('data-table="error_rate"') :]
    table = table[: table.index("</tbody>")]
    assert "10.0 %" in table
    assert "<td>10 %</td>" in table, "the mark stands where it happened"
    assert table.count("no data") == 2, "no message is no error rate"
    assert table.count("<tr>") == 2, "a part in which nothing was seen has no row"
