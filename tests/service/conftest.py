"""A real service for these tests: `crossfade serve` as a process, spoken to as its users do."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ops.bench.processes import free_port
from ops.command import COMMAND, for_command


class Running:
    """One `crossfade serve` and everything one needs to speak to it."""

    def __init__(self, folder: Path, settings: dict[str, str], descriptors: int | None = None) -> None:
        self._limited = [] if descriptors is None else ["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh"]
        self.port = free_port()
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CROSSFADE_")}
        kept.pop("USE_WEBSOCKET_SUPERVISOR_V3", None)
        self.environ = for_command(
            {
                **kept,
                "CROSSFADE_BIND": f"127.0.0.1:{self.port}",
                "CROSSFADE_DATA": str(folder / "data"),
                "CROSSFADE_SHUTDOWN_S": "1",
                **settings,
            }
        )
        self.ws = f"ws://127.0.0.1:{self.port}/ws"
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30, trust_env=False)
        self._process: subprocess.Popen[str] | None = None
        self.log = folder / "service.log"
        self.link = ""
        """The sign-in link that it printed."""
        self.code = ""
        """Of that link."""

    def start(self, terminal: int | None = None) -> None:
        """Start it and wait until it serves; its log goes to `log`, or to this descriptor."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._limited, *COMMAND, "serve"],
                cwd=self.folder, env=self.environ, stdout=subprocess.PIPE, stderr=terminal or log, text=True,
            )  # fmt: skip
        assert self._process.stdout is not None
        assert "Crossfade serves" in self._process.stdout.readline()
        self.link = self._process.stdout.readline().strip().rpartition(" ")[2]
        self.code = self.link.rpartition("code=")[2]
        token = (self.folder / "data" / "operator.token").read_text().strip()
        self.http.headers["Authorization"] = f"Bearer {token}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def ended(self) -> int:
        """Wait for its end; the exit status."""
        assert self._process is not None
        self._process.communicate(timeout=30)
        status, self._process = self._process.returncode, None
        return status

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.communicate(timeout=30)
            self._process = None

    def use_link(self, client: httpx.Client) -> int:
        """Open the link that it printed, and press the button; the status of the answer."""
        page = client.get("/sign-in/once", params={"code": self.code})
        assert page.status_code == 200, page.text
        fields = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page.text))
        return client.post("/sign-in/once", data=fields).status_code

    def get(self, path: str, **query: str) -> Any:
        answer = self.http.get(path, params=query)
        assert answer.is_success, answer.text
        return answer.json()

    def command(self, verb: str, **body: object) -> Any:
        """A change with the revision that is in force."""
        revision = self.get("/api/rollout")["revision"]
        answer = self.http.post(
            f"/api/rollout/{verb}", json={"reason": "test", **body}, headers={"If-Match": f'"{revision}"'}
        )
        assert answer.is_success, answer.text
        return answer.json()

    def on_v3(self, users: list[str]) -> set[str]:
        """The users that the service would serve by v3, asked one by one."""
        return {user for user in users if self.get(f"/api/users/{user}")["path"] == "v3"}

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """Start the command; its output is a pipe."""
        return subprocess.Popen(
            [*COMMAND, *words],
            cwd=self.folder, env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def crossfade(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *words],
            cwd=self.folder, env=self.environ, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip


Start = Callable[..., Running]


@pytest.fixture(scope="session")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One service for all tests that leave its rollout as it is; it takes as many messages as come."""
    limits = {"CROSSFADE_RATE_MESSAGES_BURST": "1000", "CROSSFADE_RATE_MESSAGES_PER_MINUTE": "60000"}
    service = Running(tmp_path_factory.mktemp("unchanged"), limits)
    service.start()
    yield service
    service.http.close()
    service.stop()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts services; `start(CROSSFADE_X="…")`, also with few `descriptors`. They end with the test."""
    services: list[Running] = []

    def begin(terminal: int | None = None, descriptors: int | None = None, **settings: str) -> Running:
        service = Running(tmp_path / str(len(services)), settings, descriptors)
        service.folder.mkdir()
        services.append(service)
        service.start(terminal)
        return service

    yield begin
    for service in services:
        service.http.close()
        service.stop()


def events_until_terminal(receive: Callable[[], str | bytes]) -> list[dict[str, Any]]:
    """Events of one message, its ack first and its terminal event last."""
    terminal = {"agent_completed", "agent_stopped", "thread_history", "thread_switched", "error"}
    events: list[dict[str, Any]] = []
    while not events or events[-1]["type"] not in terminal:
        events.append(json.loads(receive()))
    return events
