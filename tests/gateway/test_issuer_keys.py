"""The kept keys of an issuer: who waits for a fetch and how long, when one begins, and how long keys are good."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest
from structlog.testing import capture_logs

from app.gateway.issuer_keys import (
    BETWEEN_S,
    FRESH_S,
    GOOD_S,
    MOST_WAITING,
    IssuerKeys,
    KeysUnavailable,
    UnknownKey,
)
from app.gateway.key_set_fetch import FetchFailed
from app.verification_keys import VerificationKey
from tests.gateway.issuer import Signer, key_set
from tests.gateway.serving import PATIENCE_S

SHORT_S = 0.05


class Published:
    """What the issuer says; a fetch waits while it is `held`."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.fetches = 0
        self.said: bytes | FetchFailed = key_set(Signer("k1"))
        self.released = asyncio.Event()
        self.released.set()

    async def fetch(self, limit_s: float) -> bytes:
        self.fetches += 1
        await self.released.wait()
        if isinstance(self.said, FetchFailed):
            raise self.said
        return self.said


Make = Callable[..., IssuerKeys]


@pytest.fixture
def published() -> Published:
    return Published()


@pytest.fixture
async def make(published: Published) -> AsyncIterator[Make]:
    async with AsyncExitStack() as stack:

        def made(wait_s: float = PATIENCE_S) -> IssuerKeys:
            keys = IssuerKeys(published.fetch, "http://issuer/keys", clock=lambda: published.now, wait_s=wait_s)
            stack.push_async_callback(keys.close)
            return keys

        yield made


async def outcome(keys: IssuerKeys, name: str | None, instead_of: VerificationKey | None = None) -> str:
    try:
        return (await keys.of(name, instead_of)).name or "unnamed"
    except UnknownKey:
        return "unknown"
    except KeysUnavailable as unavailable:
        return f"unavailable {unavailable.retry_after_s}"


async def turns() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_all_wait_for_one_fetch_and_known_keys_for_none(published: Published, make: Make) -> None:
    keys = make()
    assert await asyncio.gather(*(outcome(keys, "k1") for _ in range(20))) == ["k1"] * 20
    assert published.fetches == 1
    published.released.clear()
    published.now += GOOD_S - 1
    assert await outcome(keys, "k1") == "k1"


async def test_a_known_key_waits_for_nobody_while_unknown_ones_wait(published: Published, make: Make) -> None:
    keys = make()
    assert await outcome(keys, "k1") == "k1"
    published.now += BETWEEN_S
    published.released.clear()
    waiting = asyncio.create_task(outcome(keys, "k2"))
    await turns()
    assert await outcome(keys, "k1") == "k1"
    assert not waiting.done()
    published.said = key_set(Signer("k1"), Signer("k2"))
    published.released.set()
    assert await waiting == "k2"


async def test_a_fetch_begins_once_in_ten_seconds_at_most(published: Published, make: Make) -> None:
    keys = make()
    for name in ("k1", "no", "none", "k1", "nothing"):
        assert await outcome(keys, name) == ("k1" if name == "k1" else "unknown")
    assert published.fetches == 1
    published.now += BETWEEN_S - 0.1
    published.said = key_set(Signer("k2"))
    assert await outcome(keys, "k2") == "unknown"
    published.now += 0.1
    assert await outcome(keys, "k2") == "k2"
    assert await outcome(keys, "k1") == "unknown", "it was withdrawn"
    assert published.fetches == 2


async def test_a_failed_fetch_says_when_to_come_again_and_is_tried_no_sooner(published: Published, make: Make) -> None:
    keys, published.said = make(), FetchFailed("status 503")
    assert await outcome(keys, "k1") == "unavailable 10"
    published.now += 3.5
    assert await outcome(keys, "k1") == "unavailable 7"
    assert published.fetches == 1
    published.now += 6.5
    published.said = key_set(Signer("k1"))
    assert await outcome(keys, "k1") == "k1"


async def test_who_has_waited_long_enough_is_sent_away_and_the_fetch_goes_on(published: Published, make: Make) -> None:
    keys = make(SHORT_S)
    published.released.clear()
    assert await outcome(keys, "k1") == "unavailable 1"
    published.released.set()
    await turns()
    assert await outcome(keys, "k1") == "k1"
    assert published.fetches == 1


async def test_so_many_wait_and_the_next_is_sent_away_at_once(published: Published, make: Make) -> None:
    keys = make()
    published.released.clear()
    waiting = [asyncio.create_task(outcome(keys, "k1")) for _ in range(MOST_WAITING)]
    await turns()
    assert await asyncio.wait_for(outcome(keys, "k1"), PATIENCE_S / 2) == "unavailable 10"
    waiting[0].cancel()
    await turns()
    late = asyncio.create_task(outcome(keys, "k1"))
    await turns()
    assert not late.done(), "whoever goes away makes room"
    published.released.set()
    assert await asyncio.gather(*waiting[1:], late) == ["k1"] * MOST_WAITING


async def test_old_keys_are_good_for_an_hour_while_the_issuer_is_down(published: Published, make: Make) -> None:
    keys = make()
    assert await outcome(keys, "k1") == "k1"
    published.said = FetchFailed("down")
    with capture_logs() as logs:
        for _ in range(int(GOOD_S // FRESH_S)):
            published.now += FRESH_S
            assert await outcome(keys, "k1") == "k1"
            assert await outcome(keys, "k2") in ("unknown", "unavailable 10"), "a new key cannot be checked"
            await turns()
        published.now += 1
        assert (await outcome(keys, "k1")).startswith("unavailable")
    assert {log["error"] for log in logs} == {"down"}
    assert logs[0]["url"] == "http://issuer/keys"
    published.now += BETWEEN_S
    published.said = key_set(Signer("k1"))
    assert await outcome(keys, "k1") == "k1"


async def test_keys_are_renewed_before_they_are_old_and_nobody_waits(published: Published, make: Make) -> None:
    keys = make()
    assert await outcome(keys, "k1") == "k1"
    published.now += FRESH_S + 1
    published.said = key_set(Signer("k2"))
    assert await outcome(keys, "k1") == "k1", "in the meantime the old ones count"
    await turns()
    assert published.fetches == 2
    assert await outcome(keys, "k2") == "k2"
    assert published.fetches == 2


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"<html>Sorry</html>", "the answer is not JSON"),
        (b"[" * 100_000, "the answer is not JSON"),
        (b"[]", "the answer is no JSON Web Key Set"),
        (b"{}", "the answer is no JSON Web Key Set"),
        (b'{"keys": []}', "no key in the answer can check tokens"),
        (b'{"keys": 7}', "`keys` must be a list of at most 100 keys"),
    ],
)
async def test_an_answer_that_is_no_key_set_changes_nothing(
    published: Published, make: Make, said: bytes, why: str
) -> None:
    keys = make()
    assert await outcome(keys, "k1") == "k1"
    published.now += BETWEEN_S
    published.said = said
    with capture_logs() as logs:
        assert await outcome(keys, "k2") == "unavailable 10"
    assert [log["error"] for log in logs] == [why]
    assert await outcome(keys, "k1") == "k1"


async def test_the_only_key_needs_no_name_on_either_side(published: Published, make: Make) -> None:
    keys, published.said = make(), key_set(Signer(None))
    assert [await outcome(keys, name) for name in (None, "k1")] == ["unnamed", "unnamed"]
    other, published.said = make(), key_set(Signer("k1"))
    assert [await outcome(other, name) for name in (None, "k1", "k2")] == ["k1", "k1", "unknown"]
    several, published.said = make(), key_set(Signer("k1"), Signer("k2"))
    assert [await outcome(several, name) for name in (None, "k1", "k2")] == ["unknown", "k1", "k2"]


async def test_a_key_without_a_name_is_asked_for_again_when_it_does_not_fit(published: Published, make: Make) -> None:
    keys, published.said = make(), key_set(Signer(None))
    first = await keys.of(None)
    assert await outcome(keys, None, first) == "unknown", "it was fetched just now"
    published.now += BETWEEN_S
    assert await outcome(keys, None, first) == "unnamed"
    assert await keys.of(None) is not first


async def test_a_fetch_ends_with_its_cell(published: Published, make: Make) -> None:
    keys = make()
    published.released.clear()
    waiting = asyncio.create_task(outcome(keys, "k1"))
    await turns()
    await asyncio.wait_for(keys.close(), PATIENCE_S)
    assert await waiting == "unavailable 10"
