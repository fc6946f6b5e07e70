"""Supervisors that export no state: the cost is shown before a click, and the effect after it."""

from __future__ import annotations

import html
import json
from contextlib import ExitStack
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.service.conftest import Running, Start, events_until_terminal

pytestmark = pytest.mark.slow
FORGETFUL = """
def create_supervisor(context):
    async def answer(message):
        yield message.content

    return answer
"""
USERS = [f"user-{number}" for number in range(4)]


def said(service: Running, address: str) -> str:
    """A page as somebody sees it who came by the link."""
    return html.unescape(service.http.get(address, headers={"Authorization": ""}).text)


@pytest.mark.parametrize("path", ["v2", "v3"])
def test_the_page_says_how_many_sessions_cannot_take_their_state_along(start: Start, tmp_path: Path, path: str) -> None:
    (tmp_path / "forgetful.py").write_text(FORGETFUL)
    service = start(**{f"CROSSFADE_PATHS_{path.upper()}": "forgetful:create_supervisor", "PYTHONPATH": str(tmp_path)})
    assert service.use_link(service.http) == 303
    if path == "v3":
        service.command("percentage", percentage=100)
    with ExitStack() as stack:
        sockets = [stack.enter_context(connect(f"{service.ws}?user={user}")) for user in USERS]
        for socket in sockets:
            assert json.loads(socket.recv())["type"] == "connection_ready"
            socket.send(json.dumps({"type": "user_message", "payload": {"content": "hello"}}))
            assert events_until_terminal(socket.recv)[-1]["type"] == "agent_completed"

        leaving, staying = ("100", "0") if path == "v2" else ("0", "100")
        assert service.get("/api/rollout/preview", percentage=leaving)["sessions_without_state"] == 4
        assert service.get("/api/rollout/preview", percentage=staying)["sessions_without_state"] == 0
        assert "4 sessions cannot take the state along" in said(service, f"/preview?typed={leaving}")
        on_overview = "4 sessions cannot take the state along: v3 exports none." in said(service, "/")
        assert on_overview == (path == "v3"), "a rollback is about those on v3"

        assert service.crossfade("rollback").returncode == 0, "verified"
        done = service.get("/api/rollout")["last_rollback"]
        lost = 4 if path == "v3" else 0
        assert (done["sessions_moved"], done["without_state"], done["closed"]) == (lost, lost, 0)
        receipt = said(service, f"/rollbacks/{done['id']}")
        assert ("moved without state" in receipt) == (path == "v3")
