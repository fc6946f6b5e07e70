"""A client that comes back: to its running message, to what it missed, once, and only as itself."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from app.gateway.identity import Identity
from app.gateway.resume_index import digest_of
from app.gateway.saved_session import SavedSession
from app.gateway.session import Session
from rollout.assign import View
from tests.gateway.harness import Client, HandCell, Storage, flag, frame, numbers, opener_of, with_settings

ANN = Identity("ann", "t-ann")


class Gateway:
    """A cell with its opener; `enter` opens a session and gives what `connection_ready` said."""

    def __init__(self, storage: Storage | None = None, percentage: int = 0, **settings: object) -> None:
        self.storage = storage or Storage()
        self.cell = HandCell(with_settings(**settings), percentage=percentage, storage=self.storage)
        self.opener = opener_of(self.cell)

    async def enter(
        self, token: str | None = None, identity: Identity = ANN, client: Client | None = None
    ) -> tuple[Session, Client, dict[str, Any]]:
        client = client or Client()
        session = await self.opener.open_websocket(identity, client, token)
        ready = client.events[0]
        assert (ready["type"], ready["seq"]) == ("connection_ready", 1)
        return session, client, ready["payload"]


async def test_the_first_event_says_how_to_come_back() -> None:
    gateway = Gateway()
    session, client, ready = await gateway.enter()
    assert ready == {
        "connection_id": session.connection_id,
        "resume_token": session.resume_token,
        "heartbeat_s": 25,
        "recovered": False,
        "outcomes": [],
    }
    assert len(ready["resume_token"]) >= 32
    assert client.receiver is session


async def test_who_comes_back_is_told_what_became_of_its_messages_and_goes_on_from_its_document() -> None:
    gateway = Gateway()
    session, _, ready = await gateway.enter()
    session.receive(frame("chat", "m1"))
    gateway.cell.v2.work(document=b"one", terminal="error")
    session.receive(frame("chat", "m2"))
    session.receive(frame("chat", "m3"))
    gateway.cell.v2.started()
    session.on_detached()
    gateway.cell.v2.done(document=b"two")
    again, client, back = await gateway.enter(ready["resume_token"], Identity("ann", "t-another"))
    assert back["recovered"] is True
    assert back["outcomes"] == [["m1", "error"], ["m2", "agent_completed"], ["m3", "interrupted"]]
    assert again.thread_id == "t-ann"
    assert back["resume_token"] != ready["resume_token"]
    for name in ("m1", "m3", "m2"):
        again.receive(frame("chat", name))
    assert client.told[1:] == [("duplicate", None), ("ack", 4), ("duplicate", None)]
    assert gateway.cell.v2.opens[-1].document == b"two"


async def test_a_cell_keeps_so_many_ended_sessions_and_finds_the_older_ones_where_they_are_stored() -> None:
    gateway = Gateway(max_sessions=2)
    tokens = []
    for number in range(4):
        session, _, ready = await gateway.enter()
        session.receive(frame("chat", f"m{number}"))
        gateway.cell.v2.work(document=b"one")
        session.on_detached()
        tokens.append(ready["resume_token"])
    assert [gateway.cell.resumes.knows(token, "ann") for token in tokens] == [False, False, True, True]
    for number, token in enumerate(tokens):
        _, _, back = await gateway.enter(token)
        assert (back["recovered"], back["outcomes"]) == (True, [[f"m{number}", "agent_completed"]])


async def test_a_session_that_two_tokens_open_stays_in_memory_however_many_follow() -> None:
    gateway = Gateway(max_sessions=1)
    session, _, first = await gateway.enter()
    session.on_detached()
    lost = Client()
    lost.silent = True
    again, _, second = await gateway.enter(first["resume_token"], client=lost)
    again.on_detached()
    for _ in range(3):
        other, _, _ = await gateway.enter()
        other.on_detached()
    assert gateway.cell.resumes.knows(first["resume_token"], "ann")
    assert gateway.cell.resumes.knows(second["resume_token"], "ann")
    await gateway.enter(second["resume_token"])
    assert not gateway.cell.resumes.knows(first["resume_token"], "ann")


async def test_the_running_message_goes_on_on_the_new_socket() -> None:
    gateway = Gateway()
    session, _, ready = await gateway.enter()
    session.receive(frame("chat", "m1"))
    gateway.cell.v2.started()
    gateway.cell.v2.event()
    session.on_detached()
    again, client, back = await gateway.enter(ready["resume_token"])
    assert (again, back["recovered"], back["outcomes"]) == (session, True, [])
    gateway.cell.v2.event()
    gateway.cell.v2.done()
    assert client.told[1:] == [("agent_thinking", 1), ("agent_completed", 1)]
    assert list(numbers(client.events)) == [1, 2, 3]


async def test_a_half_open_socket_gives_way_and_nothing_is_interrupted() -> None:
    gateway = Gateway()
    session, old, ready = await gateway.enter()
    session.receive(frame("chat", "m1"))
    session.receive(frame("chat", "m2"))
    gateway.cell.v2.started()
    again, client, _ = await gateway.enter(ready["resume_token"])
    assert again is session
    assert old.closed == (1008, "resumed elsewhere")
    gateway.cell.v2.done()
    gateway.cell.v2.work()
    assert [name for name, _ in client.told[1:]] == ["agent_completed", "agent_thinking", "agent_completed"]
    assert old.told[1:] == [("ack", 1), ("ack", 2)]
    assert gateway.cell.told.ended_keys == []


async def test_a_token_is_spent_once_its_successor_has_arrived() -> None:
    gateway = Gateway()
    first, _, ready = await gateway.enter()
    second, client, again = await gateway.enter(ready["resume_token"])
    await asyncio.sleep(0)  # its pong is there
    third, _, back = await gateway.enter(ready["resume_token"])
    assert second is first
    assert third is not first
    assert back["recovered"] is False
    assert client.closed is None, "who uses an old token takes nobody's place"
    assert gateway.storage.spent == [digest_of(ready["resume_token"], "ann")]
    assert gateway.cell.resumes.knows(again["resume_token"], "ann")


async def test_a_token_whose_successor_was_lost_opens_the_same_session_again() -> None:
    gateway = Gateway()
    first, _, ready = await gateway.enter()
    first.receive(frame("chat", "m1"))
    clients = []
    for _ in range(3):
        silent = Client()
        silent.silent = True
        session, _, back = await gateway.enter(ready["resume_token"], client=silent)
        assert (session, back["recovered"]) == (first, True)
        clients.append(silent)
        session.receive(frame("chat", "m1"))
    assert [client.closed for client in clients] == [(1008, "resumed elsewhere")] * 2 + [None]
    assert len(gateway.cell.v2.sent) == 2, "one session and one message ran, whatever was sent again"
    assert gateway.storage.spent[0] != digest_of(ready["resume_token"], "ann")


@pytest.mark.parametrize("ended", [False, True])
async def test_who_uses_the_new_token_has_got_it_so_the_old_one_is_spent(ended: bool) -> None:
    gateway = Gateway()
    first, _, ready = await gateway.enter()
    silent = Client()
    silent.silent = True
    _, _, second = await gateway.enter(ready["resume_token"], client=silent)
    if ended:
        first.on_detached()
    _, _, third = await gateway.enter(second["resume_token"])
    assert third["recovered"] is True
    _, _, late = await gateway.enter(ready["resume_token"])
    assert late["recovered"] is False


async def test_a_session_that_ended_before_the_new_token_was_confirmed_is_found_by_both_and_once() -> None:
    for by_old in (True, False):
        gateway = Gateway()
        session, _, ready = await gateway.enter()
        silent = Client()
        silent.silent = True
        _, _, again = await gateway.enter(ready["resume_token"], client=silent)
        session.on_detached()
        tokens = [ready["resume_token"], again["resume_token"]]
        assert all(digest_of(token, "ann") in gateway.storage.kept for token in tokens)
        used, other = tokens if by_old else tokens[::-1]
        assert (await gateway.enter(used))[2]["recovered"] is True
        assert (await gateway.enter(other))[2]["recovered"] is False


async def test_a_session_is_given_up_for_another_cell_with_all_that_it_did() -> None:
    gateway = Gateway()
    session, client, ready = await gateway.enter()
    session.receive(frame("chat", "m1"))
    gateway.cell.v2.work(document=b"one")
    saved = await gateway.cell.resumes.give_up(digest_of(ready["resume_token"], "ann"), 1.0)
    assert saved is not None
    assert (saved.complete, saved.document, saved.outcomes) == (True, b"one", {"m1": "agent_completed"})
    assert client.closed == (1008, "resumed elsewhere")
    assert not gateway.cell.resumes.knows(ready["resume_token"], "ann")
    assert await gateway.cell.resumes.give_up(digest_of(ready["resume_token"], "ann"), 1.0) is None
    assert gateway.storage.kept == {}, "it is the other cell's now"


@pytest.mark.parametrize("done", [True, False])
async def test_what_runs_when_a_session_is_given_up_may_finish_and_is_interrupted_at_the_limit(done: bool) -> None:
    gateway = Gateway()
    session, _, ready = await gateway.enter()
    session.receive(frame("chat", "m1"))
    gateway.cell.v2.started()
    giving = asyncio.create_task(
        gateway.cell.resumes.give_up(digest_of(ready["resume_token"], "ann"), 10.0 if done else 0.0)
    )
    await asyncio.sleep(0)
    if done:
        gateway.cell.v2.done(document=b"one")
    saved = await giving
    assert saved is not None
    assert saved.outcomes == ({"m1": "agent_completed" if done else "interrupted"})
    assert saved.document == (b"one" if done else None)


async def test_somebody_else_s_token_opens_nothing_and_stays_good_for_its_owner() -> None:
    gateway = Gateway()
    session, client, ready = await gateway.enter()
    session.receive(frame("chat", "m1"))
    gateway.cell.v2.work(document=b"secret")
    other, _, taken = await gateway.enter(ready["resume_token"], Identity("bob", "t-bob"))
    assert (taken["recovered"], taken["outcomes"], other.document) == (False, [], None)
    assert client.closed is None
    session.on_detached()
    _, _, taken = await gateway.enter(ready["resume_token"], Identity("bob", "t-bob"))
    assert (taken["recovered"], taken["outcomes"]) == (False, [])
    _, _, back = await gateway.enter(ready["resume_token"])
    assert back["recovered"] is True


async def test_somebody_else_s_token_of_another_cell_stays_good_for_its_owner() -> None:
    storage = Storage()
    one, two = Gateway(storage), Gateway(storage)
    session, _, ready = await one.enter()
    session.on_detached()
    _, _, taken = await two.enter(ready["resume_token"], Identity("bob", "t-bob"))
    assert taken["recovered"] is False
    _, _, back = await two.enter(ready["resume_token"])
    assert back["recovered"] is True


async def test_an_expired_token_begins_anew_and_what_departed_is_forgotten() -> None:
    gateway = Gateway(resume_s=120)
    session, _, ready = await gateway.enter()
    session.receive(frame("chat", "m1"))
    gateway.cell.v2.work()
    session.on_detached()
    assert digest_of(ready["resume_token"], "ann") in gateway.storage.kept
    gateway.cell.advance(119)
    assert gateway.cell.resumes.knows(ready["resume_token"], "ann")
    gateway.cell.advance(1)
    assert not gateway.cell.resumes.knows(ready["resume_token"], "ann")
    gateway.storage.kept.clear()  # a store gives nobody what is expired
    _, _, back = await gateway.enter(ready["resume_token"])
    assert back["recovered"] is False


async def test_any_cell_takes_up_a_session_that_departed_from_another() -> None:
    storage = Storage()
    one, two = Gateway(storage), Gateway(storage, percentage=100)
    session, _, ready = await one.enter()
    for number in range(70):
        session.receive(frame("chat", f"m{number}"))
        one.cell.v2.work(document=b"one")
    session.on_detached()
    again, client, back = await two.enter(ready["resume_token"])
    assert back["recovered"] is True
    assert [name for name, _ in back["outcomes"]] == [f"m{number}" for number in range(6, 70)]
    again.receive(frame("chat", "m0"))
    again.receive(frame("chat", "new"))
    # The duplicate window is longer than what a client is told.
    assert client.told[1:] == [("duplicate", None), ("ack", 71)]
    assert two.cell.v3.opens[0].document == b"one"


async def test_what_a_dead_cell_had_written_down_is_stale() -> None:
    storage = Storage()
    one, two = Gateway(storage), Gateway(storage)
    session, _, ready = await one.enter()
    session.receive(frame("chat", "m1"))
    one.cell.v2.work(document=b"one")
    storage.kept.update(one.cell.resumes.changed(10))
    session.receive(frame("chat", "m2"))
    _, _, back = await two.enter(ready["resume_token"])
    assert (back["recovered"], back["outcomes"]) == ("stale", [["m1", "agent_completed"]])


async def test_living_sessions_are_written_down_at_once_and_when_their_document_changed() -> None:
    gateway = Gateway()
    session, _, _ = await gateway.enter()
    assert [digest for digest, _ in gateway.cell.resumes.changed(10)] == [digest_of(session.resume_token, "ann")]
    assert gateway.cell.resumes.changed(10) == []
    session.receive(frame("chat", "m1"))
    gateway.cell.v2.work(document=b"one")
    [(digest, departed)] = gateway.cell.resumes.changed(10)
    assert digest == digest_of(session.resume_token, "ann")
    assert (departed.document, departed.complete, departed.outcomes) == (b"one", False, {"m1": "agent_completed"})
    assert gateway.cell.resumes.changed(10) == []
    decoded = msgspec.msgpack.decode(msgspec.msgpack.encode(departed), type=SavedSession)
    assert decoded == departed


async def test_a_message_over_http_leaves_nothing_to_come_back_to() -> None:
    gateway = Gateway()
    session, _ = gateway.cell.connect("ann", "http")
    session.receive(frame())
    gateway.cell.v2.work(document=b"one")
    assert gateway.cell.resumes.changed(10) == []
    session.end()
    assert gateway.storage.kept == {}


async def test_a_sign_in_that_is_renewed_with_the_resume_lasts_as_long_as_the_new_one() -> None:
    gateway = Gateway()
    until = gateway.cell.wall_clock() + 60
    session, _, ready = await gateway.enter(identity=Identity("ann", "t-ann", until))
    session.receive(frame())
    gateway.cell.v2.started()
    session.on_detached()
    _, client, _ = await gateway.enter(ready["resume_token"], Identity("ann", "t-ann", until + 600))
    gateway.cell.advance(61)
    gateway.cell.close_idle()
    assert client.closed is None


async def test_a_client_that_is_gone_before_it_is_seated_leaves_nothing() -> None:
    gateway = Gateway()
    gone = Client()
    gone.gone = True
    await gateway.enter(client=gone)
    assert len(gateway.cell.index) == 0


async def test_a_client_that_is_gone_again_while_its_message_runs_may_come_back_again() -> None:
    gateway = Gateway()
    session, _, ready = await gateway.enter()
    session.receive(frame("chat", "m1"))
    gateway.cell.v2.started()
    session.on_detached()
    gone = Client()
    gone.gone = True
    await gateway.enter(ready["resume_token"], client=gone)
    gateway.cell.v2.done()
    assert session.recent.outcomes() == [("m1", "agent_completed")]
    assert gateway.cell.resumes.knows(session.resume_token, "ann")


async def test_a_session_taken_up_follows_what_was_decided_meanwhile() -> None:
    gateway = Gateway(percentage=100)
    session, _, ready = await gateway.enter()
    session.receive(frame())
    gateway.cell.v3.started()
    session.on_detached()
    gateway.cell.apply(View(flag=flag(0)))
    again, _, _ = await gateway.enter(ready["resume_token"])
    gateway.cell.v3.done()
    again.receive(frame())
    assert gateway.cell.v2.run.number == 2
