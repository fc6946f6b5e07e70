"""Revisions as entity tags: as they were sent, as a balancer weakens them, in lists, and not from any other text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar.exceptions import ClientException

from app.api.etags import etag_of, parse_etags, revision_of, unchanged
from tests.api.service import Service


@pytest.mark.parametrize(
    ("header", "tags"),
    [
        ('"7"', ["7"]),
        ('W/"7"', ["7"]),
        (' "7" ', ["7"]),
        ('"7", W/"8"', ["7", "8"]),
        ('"7","8",', ["7", "8"]),
        (',, "7"', ["7"]),
        ('"a,b", "7"', ["a,b", "7"]),
        ('""', [""]),
        ("*", ["*"]),
        ("7", None),
        ('w/"7"', None),
        ('W/ "7"', None),
        ('"7', None),
        ('"7" "8"', None),
        ('"7", *', None),
        ("", None),
        (",", None),
        ('"7"-gzip', None),
    ],
)
def test_a_list_of_tags_is_read_by_the_rules_of_http(header: str, tags: list[str] | None) -> None:
    assert parse_etags(header) == tags


@pytest.mark.parametrize(
    ("header", "revision"),
    [(None, None), ('"7"', 7), ('W/"7"', 7), ('"6", W/"7"', 7), ('"5", "6"', 6), ('"8", "9", "x"', 9), ('"007"', 7)],
)
def test_of_several_revisions_the_current_one_counts(header: str | None, revision: int | None) -> None:
    assert revision_of(header, 7) == revision


@pytest.mark.parametrize(
    "header",
    ["", "*", "7", '"seven"', '"7', '"-7"', '"7.0"', '"\N{ARABIC-INDIC DIGIT SEVEN}"', '"1234567890123456"', 'W/"*"'],
)
def test_what_names_no_revision_is_refused(header: str) -> None:
    with pytest.raises(ClientException, match="If-Match must be a revision in quotes"):
        revision_of(header, 7)


@given(st.text(), st.integers(0, 10**15 - 1))
def test_any_header_is_a_list_or_none(text: str, revision: int) -> None:
    parse_etags(text)
    unchanged(text, revision)
    for sent in (etag_of(revision), f"W/{etag_of(revision)}", f'"x", {etag_of(revision)}'):
        assert revision_of(sent, 0) == revision
        assert unchanged(sent, revision)


async def test_a_weakened_tag_is_good_for_a_command(service: Service) -> None:
    await service.start(10)
    for tag in ('W/"{}"', '"0", W/"{}"'):
        seen = (await service.client.get("/api/rollout", headers=service.as_("viewer"))).headers["ETag"].strip('"')
        sent = service.as_("manager") | {"If-Match": tag.format(seen)}
        percentage = 20 if tag.startswith("W") else 30
        body = {"percentage": percentage, "reason": "r"}
        answer = await service.client.post("/api/rollout/percentage", json=body, headers=sent)
        assert (answer.status_code, answer.json()["percentage"]) == (200, percentage)
        stale = await service.client.post("/api/rollout/percentage", json=body, headers=sent)
        assert stale.status_code == 412
        assert re.fullmatch(r'"\d+"', stale.headers["ETag"])


async def test_a_plan_that_is_there_already_is_not_sent_again(service: Service) -> None:
    reader = service.as_("viewer")
    first = await service.client.get("/api/rollout/plan", headers=reader)
    tag = first.headers["ETag"]
    for sent in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        again = await service.client.get("/api/rollout/plan", headers=reader | {"If-None-Match": sent})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    for sent in ('"x"', "nonsense", ""):
        whole = await service.client.get("/api/rollout/plan", headers=reader | {"If-None-Match": sent})
        assert (whole.status_code, whole.json()) == (200, first.json())
