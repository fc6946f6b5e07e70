"""The README's five minutes in seconds: the installed command against the real service, as a person types it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.bench.processes import free_port
from ops.command import COMMAND, for_command

pytestmark = pytest.mark.slow

START_S = 30.0
CLIENTS = 60


class Terminal:
    """A shell in one folder, with a service of its own."""

    def __init__(self, folder: Path, port: int) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CROSSFADE_")}
        told = {"CROSSFADE_BIND": f"127.0.0.1:{port}", "CROSSFADE_DATA": str(folder / "data")}
        self.environ = for_command({**kept, **told})
        self._folder = folder

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*COMMAND, *words],
            cwd=self._folder, env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *words],
            cwd=self._folder, env=self.environ, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    port = free_port()
    terminal = Terminal(tmp_path, port)
    service = terminal.start("serve")
    try:
        assert service.stdout is not None
        while "Crossfade serves" not in (line := service.stdout.readline()):  # said when sockets are accepted
            assert line, "the service has ended"
        yield terminal
    finally:
        service.terminate()
        output, _ = service.communicate(timeout=40)
        assert service.returncode == 0, output


def load_is_on(terminal: Terminal, sessions: int) -> bool:
    return len(json.loads(terminal.run("sessions", "--json").stdout)) >= sessions


def finished_since_the_rollback(terminal: Terminal) -> int:
    """Messages of the figures' window, which begins with the last change of the percentage."""
    return sum(path["messages"] for path in json.loads(terminal.run("status", "--json").stdout)["paths"])


def test_a_canary_and_its_rollback_under_load_close_no_socket(terminal: Terminal) -> None:
    load = subprocess.Popen(
        [*COMMAND, "loadtest", "--clients", str(CLIENTS), "--seconds", "3600", "--json"],
        env=terminal.environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        end = time.monotonic() + START_S
        while not load_is_on(terminal, CLIENTS):
            assert time.monotonic() < end
        assert terminal.run("set", "50", "--reason", "half").returncode == 0
        view = json.loads(terminal.run("status", "--json").stdout)
        assert (view["phase"], view["percentage"]) == ("progressing", 50)
        back = terminal.run("rollback", "--reason", "see it")
        assert back.returncode == 0, back.stderr
        assert "Everyone is on v2. Rollback verified" in back.stdout
        assert ", 0 closed, 0 interrupted" in back.stdout
        refused = terminal.run("set", "10")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "unlock first" in refused.stderr
        end = time.monotonic() + START_S
        while finished_since_the_rollback(terminal) <= CLIENTS:
            assert time.monotonic() < end
        load.send_signal(signal.SIGINT)
        output, _ = load.communicate(timeout=60)
    finally:
        load.kill()
        load.wait()
    report = json.loads(output)
    assert load.returncode == 0, output
    assert report["drops"] == report["broken_rules"] == report["errors"] == {}
    assert report["finished"] == report["sent"] > CLIENTS
    assert report["share"] == {"on_v3": 0, "users": CLIENTS, "expected": 0.0}


def test_pins_notes_plans_and_tokens_work_on_the_real_service(terminal: Terminal, tmp_path: Path) -> None:
    assert terminal.run("pin", "ada", "v3").returncode == 0
    assert terminal.run("who", "ada").stdout.startswith("ada: v3 (pinned;")
    assert terminal.run("unpin", "ada").returncode == 0
    assert terminal.run("who", "ada").stdout.startswith("ada: v2 (")
    assert terminal.run("note", "support hears nothing bad").returncode == 0
    plan = tmp_path / "plan.toml"
    plan.write_text('name = "short"\n\n[[stage]]\npercentage = 25\nbake = "1m"\n')
    assert terminal.run("plan", "apply", str(plan)).returncode == 0
    assert terminal.run("plan", "show").stdout == plan.read_text()
    events = terminal.run("events").stdout
    assert "support hears nothing bad" in events

    viewer = terminal.run("token", "--role", "viewer", "--name", "eve").stdout.strip()
    terminal.environ["CROSSFADE_TOKEN"] = viewer
    assert terminal.run("status").returncode == 0
    assert terminal.run("start").returncode == 1
    terminal.environ["CROSSFADE_TOKEN"] = "cf_wrong"
    assert terminal.run("status").returncode == 1
