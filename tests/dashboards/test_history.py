"""The history: searched, gone back through, taken along as a file, and added to by notes."""

from __future__ import annotations

import csv
import io
import json
import re
from urllib.parse import urlencode

import pytest

from dashboards.export import as_csv
from rollout.views import EVERYTHING, AuditFilter
from tests.dashboards.memory import (
    entry,
)
from tests.dashboards.pages import Pages


def test_history_goes_back_page_by_page(pages: Pages) -> None:
    pages.source.audit = [entry(number, f"note {number}.") for number in range(60, 0, -1)]
    assert 'href="/history?before=53"' in pages.get().text
    first = pages.get("/history").text
    older = re.search(r'href="(/history\?before=\d+)"', first)
    assert older is not None
    second = pages.get(older.group(1)).text
    assert "note 11." in first
    assert "note 10." not in first
    assert "note 10." in second
    assert "note 1." in second
    assert ">Older<" not in second


def test_history_is_filtered_and_keeps_its_filter_on_the_way(pages: Pages) -> None:
    pages.source.audit = [entry(number, f"note {number}.") for number in range(120, 0, -1)]
    page = pages.get("/history?q=note").text
    assert "/history?q=note&amp;before=71" in page
    assert 'href="/history.csv?q=note"' in page
    older = pages.get("/history?q=note&before=71").text
    assert "note 70." in older
    assert "hx-sse:connect" not in older, "an older page does not change by itself"
    assert "No entry matches your search." in pages.get("/history?q=zebra").text


@pytest.mark.parametrize("address", ["/history", "/history.csv", "/history.jsonl"])
def test_every_field_of_the_filter_counts_on_the_page_and_in_its_files(pages: Pages, address: str) -> None:
    fields = {"q": "note", "who": "ada", "what": "set", "since": "2026-09-20", "until": "2026-09-21"}
    assert pages.get(f"{address}?{urlencode(fields)}").status_code == 200
    assert pages.source.wanted == AuditFilter(
        who="ada", what="set", text="note", since=1_789_862_400.0, until=1_790_035_200.0
    )
    assert pages.get(address).status_code == 200
    assert pages.source.wanted == EVERYTHING


def test_a_day_that_is_none_is_said_and_nothing_is_shown_in_its_place(pages: Pages) -> None:
    page = pages.get("/history?since=31.1.2026").text
    assert "&#39;31.1.2026&#39; is not a day; write one like 2026-01-31." in page
    assert "<li>" not in page.partition('id="history"')[2]
    refused = pages.get("/history.csv?until=yesterday")
    assert refused.status_code == 422
    assert "&#39;yesterday&#39; is not a day" in refused.text


def test_a_file_does_not_pretend_to_be_all_while_the_store_is_down(pages: Pages) -> None:
    pages.source.unavailable = True
    assert pages.get("/history.csv").status_code == 503


def test_history_leaves_as_a_table_without_formulas_and_as_lines(pages: Pages) -> None:
    pages.source.audit = [entry(2, "-1+1", '=HYPERLINK("x")', "@cmd"), entry(1)]
    answer = pages.get("/history.csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["id"] for row in rows] == ["2", "1"]
    assert rows[0]["reason"] == '\'=HYPERLINK("x")'
    assert (rows[0]["who"], rows[0]["what"]) == ("'@cmd", "'-1+1")
    lines = [json.loads(line) for line in pages.get("/history.jsonl").text.splitlines()]
    assert [line["id"] for line in lines] == [2, 1]
    assert lines[0]["reason"] == '=HYPERLINK("x")'


def test_an_export_holds_more_than_a_page(pages: Pages) -> None:
    pages.source.audit = [entry(number) for number in range(450, 0, -1)]
    assert len(pages.get("/history.jsonl").text.splitlines()) == 450


def test_a_note_is_left_and_brings_back_to_where_it_was_written(pages: Pages) -> None:
    assert pages.send("/notes", text=" all quiet ", back="overview").headers["location"] == "/"
    assert pages.send("/notes", text="still quiet", back="history").headers["location"] == "/history"
    assert pages.source.notes == ["ada: all quiet", "ada: still quiet"]
    assert pages.send("/notes", text="   ").status_code == 409


@pytest.mark.parametrize(
    "evil",
    [
        "=1",
        "+1",
        "-1",
        "@SUM(1)",
        "\t=1",
        "\r=1",
        "\n=1",
        "\n1",
        "\r\n=1",
        " =1",
        "\u200b=1",
        "\ufeff@x",
        *"\uff1d\uff0b\uff0d\uff20",
    ],
)
def test_no_cell_begins_as_a_formula(evil: str) -> None:
    row = next(csv.reader(io.StringIO(as_csv([entry(1, evil, evil, evil)]), newline="")))
    assert row.count(f"'{evil}") == 3, "the name, what was done and the reason"


@pytest.mark.parametrize("good", ["a=1", "v3 fails: 61 %", "\u2013 a dash", "1-2", " two"])
def test_other_text_stays_as_it_was_written(good: str) -> None:
    row = next(csv.reader(io.StringIO(as_csv([entry(1, good, good, good)]), newline="")))
    assert row.count(good) == 3
