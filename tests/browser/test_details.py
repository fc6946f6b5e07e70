"""The pages beside the overview in a browser: each is live, says when it is not, and does what it offers."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from ops.pictures.stage import Remote, Stage
from tests.browser.conftest import Visitor


@pytest.fixture(scope="module", autouse=True)
def people(stage: Stage, cookies: list[object], remote: Remote) -> Iterator[None]:
    """Some clients, and a rollback behind us."""
    with stage.clients(12):
        remote.say("percentage", percentage=50)
        remote.say("rollback", reason="a drill")
        remote.reset(30)
        yield


def address_of(page: str, remote: Remote) -> str:
    return f"/rollbacks/{remote.view()['last_rollback']['id']}" if page == "receipt" else page


@pytest.mark.parametrize("address", ["/sessions", "/users/load-00001", "/errors", "/history", "/health", "receipt"])
def test_a_cut_stream_is_stale_since_and_live_again(
    visitor: Visitor, stage: Stage, remote: Remote, address: str
) -> None:
    page = visitor(address_of(address, remote))
    expect(page.locator("#live")).to_have_text("live")
    os.kill(stage.pid, signal.SIGSTOP)
    try:
        expect(page.locator("#stale")).to_contain_text(re.compile(r"^Stale since \d\d:\d\d:\d\d"))
        expect(page.locator("#live")).to_contain_text("stale since")
    finally:
        os.kill(stage.pid, signal.SIGCONT)
    expect(page.locator("#stale")).to_be_hidden()
    expect(page.locator("#live")).to_have_text("live")


def test_a_users_page_follows_what_others_do_and_keeps_what_is_being_typed(visitor: Visitor, remote: Remote) -> None:
    one, other = visitor("/users/load-00003"), visitor("/users/load-00003")
    expect(one.locator("#live")).to_have_text("live")
    one.get_by_label("Reason").fill("half a sen")
    before = "v2" if "is on v2" in one.locator("#headline").inner_text() else "v3"
    target = "v3" if before == "v2" else "v2"
    pin(other, f"Pin to {target}")
    expect(one.locator("#headline")).to_have_text(f"load-00003 is on {target}")
    expect(one.get_by_role("button", name=f"Pin to {target}")).to_be_disabled()
    expect(one.get_by_label("Reason")).to_have_value("half a sen")
    pin(other, "Unpin")
    expect(one.locator("#headline")).to_have_text(f"load-00003 is on {before}")


def pin(page: Page, name: str) -> None:
    page.get_by_role("button", name=name).click()


def test_a_receipt_grows_while_one_looks(visitor: Visitor, remote: Remote) -> None:
    page = visitor(address_of("receipt", remote))
    expect(page.locator("#live")).to_have_text("live")
    remote.note("nobody complains")
    expect(page.locator("#history")).to_contain_text("nobody complains")
