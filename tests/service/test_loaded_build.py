"""A loaded build outlives restarts of a real service, until the setting is changed: then that wins, and it is said."""

from __future__ import annotations

import html
import json
import sys
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.service.conftest import Running, Start, events_until_terminal

pytestmark = pytest.mark.slow
SHOP = """
def says(words):
    class Shop:
        async def run(self, message):
            yield words

        def export_state(self):
            return {}

        def restore_state(self, state, document):
            pass

    return lambda context: Shop()


fixed = says("from the loaded build")
changed = says("from the changed setting")


def without_state(context):
    async def answer(message):
        yield message.content

    return answer
"""
LOADED, CHANGED = "from the loaded build", "from the changed setting"


def answer(service: Running) -> str:
    """What a user is answered."""
    with connect(f"{service.ws}?user=u1") as socket:
        assert json.loads(socket.recv())["type"] == "connection_ready"
        socket.send(json.dumps({"type": "user_message", "payload": {"content": "hello"}}))
        last = events_until_terminal(socket.recv)[-1]
        assert last["type"] == "agent_completed", last
        return str(last["payload"]["content"])


def restart(service: Running, **settings: str) -> None:
    """With these settings beside those it began with."""
    service.stop()
    service.environ.pop("CROSSFADE_PATHS_V3", None)
    service.environ.update(settings)
    service.start()


def audit(service: Running) -> list[str]:
    """Loads and settings, the oldest first."""
    lines = [entry["what"] for entry in reversed(service.get("/api/rollout/events")["items"])]
    return [line for line in lines if line.startswith(("load", "setting"))]


def v3(service: Running) -> tuple[bool, str]:
    """Whether it is available, and why not."""
    figures = service.get("/api/rollout")["paths"][1]
    return figures["available"], figures["unavailable_reason"] or ""


@pytest.fixture
def interpreter(tmp_path: Path) -> Path:
    """One of people's own, which can be taken away."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return python


def test_what_was_loaded_is_served_until_the_setting_is_changed(start: Start, interpreter: Path) -> None:
    service = start()
    module = service.folder / "shop.py"
    module.write_text(SHOP)
    stateless = service.http.post("/api/paths/v3/load", json={"factory": "shop:without_state", "build": "r0"})
    assert stateless.status_code == 200, "nobody is on v3, so no state is lost"
    load = {"factory": "shop:fixed", "python": str(interpreter), "build": "r1"}
    assert service.http.post("/api/paths/v3/load", json=load).status_code == 200
    service.command("percentage", percentage=100)
    assert answer(service) == LOADED
    lines = audit(service)
    assert lines[1:] == ["load v3 build r1 in place of r0"]

    restart(service)
    assert answer(service) == LOADED
    assert service.get("/api/rollout")["paths"][1]["build"] == "r1"
    restart(service, CROSSFADE_PATHS_V3="shop:fixed", CROSSFADE_PATHS_V3_PYTHON=str(interpreter))
    assert answer(service) == LOADED
    assert audit(service) == lines
    assert service.get("/api/rollout")["build_notes"] == []

    del service.environ["CROSSFADE_PATHS_V3_PYTHON"]
    restart(service, CROSSFADE_PATHS_V3="shop:changed")
    assert answer(service) == CHANGED
    assert audit(service) == [*lines, "setting of v3: shop:changed"]
    note = "v3 is served from shop:changed: its setting was changed after build r1 was loaded"
    assert f"builds: {note}" in service.crossfade("status").stdout
    assert service.use_link(service.http) == 303
    assert note in html.unescape(service.http.get("/", headers={"Authorization": ""}).text)

    restart(service)
    assert answer(service) == LOADED
    assert audit(service)[3:] == ["setting of v3: builtin"]

    for missing, reason in ((interpreter, f"cannot start {interpreter}"), (module, "there is no module 'shop'")):
        text = missing.read_text()
        missing.unlink()
        restart(service)
        available, why = v3(service)
        assert not available
        assert reason in why
        assert answer(service) not in (LOADED, CHANGED)
        assert service.on_v3(["u1", "u2", "u3"]) == set()
        missing.write_text(text)
        if missing is interpreter:
            missing.chmod(0o755)
