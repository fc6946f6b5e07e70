"""Health: what is down or silent is said in words, and no secret is shown."""

from __future__ import annotations

import msgspec

from tests.dashboards.memory import (
    rollout,
    worker,
)
from tests.dashboards.pages import Pages


def test_health_says_what_is_down_and_shows_no_secret(pages: Pages) -> None:
    page = pages.get("/health").text
    assert "sqlite answers" in page
    assert "set, not shown" in page.partition("<details")[0], "what was set stands first"
    assert page.index("CROSSFADE_BIND") < page.index("CROSSFADE_NOTIFY"), "what has no effect yet stands last"
    pages.source.unavailable = True
    assert "sqlite does not answer; only a rollback works" in pages.get("/health").text


def test_health_says_whether_a_rollback_s_lock_has_a_place(pages: Pages) -> None:
    assert "/var/lib/crossfade has a place for the lock of a rollback" in pages.text("/health")
    pages.source.folder_trouble = "the data folder /var/lib/crossfade is gone"
    assert "/var/lib/crossfade: the data folder /var/lib/crossfade is gone" in pages.text("/health")


def test_health_says_how_much_there_is_of_what_is_kept_for_ever(pages: Pages) -> None:
    assert "1,234 rows, about 1 MiB, kept for ever" in pages.text("/health")
    pages.source.unavailable = True
    assert "not known while the store is away" in pages.text("/health")


def test_health_says_in_words_which_part_is_not_there(pages: Pages) -> None:
    whole = pages.get("/health").text
    assert "cell a</dd>" in whole
    assert 'b</th><td class="tone-good">heard 0.1 s ago' in whole
    assert 'takes the automatic steps</span></th><td class="tone-good">heard' in whole
    assert "not available" not in whole
    cells = [
        msgspec.structs.replace(pages.source.view.cells[0], silent_s=12.0, silent=True),
        pages.source.view.cells[1],
    ]
    pages.source.view = rollout(cells=cells)
    pages.source.workers = [
        worker("a", "v2", silent_s=12.0, silent=True),
        worker("b", "v2"),
        worker("b", "v3", available=False, reason="killed by SIGKILL", build=None, memory_bytes=None, uptime_s=None),
    ]
    broken = pages.get("/health").text
    assert "silent for 12 s; its figures are that old" in broken
    assert "not known: its cell has been silent for 12 s" in broken
    assert "not available: killed by SIGKILL" in broken
    assert "cell a, which is silent" in broken
    pages.source.leader = ""
    assert "nobody just now" in pages.get("/health").text
    pages.source.unavailable = True
    assert "not known while the store is away" in pages.get("/health").text
