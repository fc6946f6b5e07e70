"""The worked example: two releases of one package, each in a virtual environment of its own, serve the two paths."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import app

ROOT = Path(app.__file__).parents[1]
EXAMPLE = Path(__file__).parent / "customer_service"

TALK = """
import asyncio, json, sys
from app.message_types import Request
from app.supervisor.contract import Opening
from app.supervisor.loading import load_path

async def talk(spec, path, document, contents):
    serving = load_path(spec, path, thread_secret=b"secret")
    supervisor = await serving.make(Opening("c-1", "ada", "t-1", 0.0))
    if document is not None:
        supervisor.restore_state(document.encode())
    heard = []
    for content in contents:
        async for event in supervisor.run(Request("message", content), "r"):
            heard.append([event.type, dict(event.payload)])
    document = supervisor.export_state()
    return {
        "heard": heard, "document": document and document.decode(), "build": serving.build,
        "exports_state": serving.exports_state, "rerun_safe": supervisor.rerun_safe, "prefix": sys.prefix,
    }

print(json.dumps(asyncio.run(talk(**json.load(sys.stdin)))))
"""


@pytest.fixture(scope="module")
def interpreters(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """One virtual environment per release: ours and our libraries visible in both, the release in its own only."""
    made = {}
    libraries = Path(json.__file__).parents[1] if sys.prefix == sys.base_prefix else _site_packages(Path(sys.prefix))
    for release in ("release_1", "release_2"):
        folder = tmp_path_factory.mktemp(release)
        venv.create(folder, symlinks=True)
        visible = [str(EXAMPLE / release), str(ROOT), str(libraries)]
        (_site_packages(folder) / "visible.pth").write_text("\n".join(visible) + "\n")
        made[release] = folder / "bin" / "python"
    return made


def _site_packages(prefix: Path) -> Path:
    (found,) = prefix.glob("lib/python3*/site-packages")
    return found


def talk(python: Path, path: str, document: str | None, *contents: str, module: str = "supervisor") -> dict[str, Any]:
    asked = {
        "spec": f"customer_service.{module}:create_supervisor",
        "path": path,
        "document": document,
        "contents": contents,
    }
    ran = subprocess.run(
        [str(python), "-W", "error", "-c", TALK],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    answer: dict[str, Any] = json.loads(ran.stdout)
    return answer


def last(answer: dict[str, Any]) -> object:
    return answer["heard"][-1][1]["content"]


def test_a_customer_is_moved_to_the_new_release_and_back(interpreters: Mapping[str, Path]) -> None:
    old = talk(interpreters["release_1"], "v2", None, "my lamp is broken")
    assert last(old) == "ada: 1 notes on your ticket"

    new = talk(interpreters["release_2"], "v3", old["document"], "it flickers", "status")
    assert [event[0] for event in new["heard"][:5]] == [
        "agent_started",
        "agent_thinking",
        "tool_executing",
        "tool_completed",
        "agent_completed",
    ]
    assert last(new) == "ada: 2 notes, we are on it"

    back = talk(interpreters["release_1"], "v2", new["document"], "status", "now it is dark")
    assert last(back) == "ada: 3 notes on your ticket"
    assert json.loads(back["document"])["v3"] == json.loads(new["document"])["v3"] == {"notes": 2, "release": 2}

    assert old["build"] == back["build"] != new["build"]
    assert old["prefix"] == back["prefix"] != new["prefix"]
    assert (old["exports_state"], old["rerun_safe"], new["rerun_safe"]) == (True, False, True)


def test_the_smallest_supervisor_has_no_state_to_carry(interpreters: Mapping[str, Path]) -> None:
    answer = talk(interpreters["release_1"], "v2", None, "hello", module="smallest")
    assert last(answer) == "Dear ada, you wrote: hello"
    assert (answer["exports_state"], answer["document"]) == (False, None)
