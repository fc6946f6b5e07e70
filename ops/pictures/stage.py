"""A real service as a process of its own, and Debian's Chromium in front of it, for pictures and for tests in a
browser.

Only public names are used: the command, its output, the API.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from ops.bench.processes import ROOT, free_port
from ops.command import COMMAND, for_command

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
STOP_S = 20.0


class StageError(Exception):
    """The service did not start; the text is its output."""


class Stage:
    """One service with its data in `folder`; `settings` by field of the settings."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        fields = {
            "bind": f"127.0.0.1:{self.port}",
            "data": str(folder / "data"),
            "rate_messages_per_minute": "1000000",
            "rate_messages_burst": "1000000",
            "shutdown_s": "0",
            **settings,
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CROSSFADE_")}
        told = {f"CROSSFADE_{name.upper()}": value for name, value in fields.items()}
        self.environ = for_command({**inherited, **told})
        self.link = ""
        """Signs its first visitor in as a manager."""
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the service and wait until it has printed its address. Raises `StageError`."""
        log = (self.folder / "service.log").open("a")
        with log:
            self._process = subprocess.Popen(
                [*COMMAND, "serve"], cwd=ROOT, env=self.environ, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if found := re.search(r"http://\S+/sign-in/once\?code=\S+", line):
                self.link = found.group()
                return
        self.stop()
        raise StageError((self.folder / "service.log").read_text()[-2000:])

    def stop(self) -> None:
        """End the service; it may be started again on the same address and data."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def say(self, *arguments: str) -> str:
        """The output of a `crossfade` command."""
        done = subprocess.run(
            [*COMMAND, *arguments], cwd=ROOT, env=self.environ, capture_output=True, text=True, check=True
        )
        return done.stdout

    def token(self, role: str, name: str = "ada") -> str:
        return self.say("token", "--role", role, "--name", name).splitlines()[-1]

    @contextlib.contextmanager
    def clients(self, number: int, *options: str) -> Iterator[None]:
        """The running clients of a load test until the block ends; all are connected when it begins."""
        log = (self.folder / "clients.log").open("w")
        with log:
            process = subprocess.Popen(
                [*COMMAND, "loadtest", "--clients", str(number), "--seconds", "3600", *options],
                cwd=ROOT,
                env=self.environ,
                stdout=log,
                stderr=log,
            )
        try:
            yield
        finally:
            process.terminate()
            process.wait(STOP_S)


class Remote:
    """The API, with a token: brings a service into the state that a test or a picture needs."""

    def __init__(self, stage: Stage, role: str = "manager") -> None:
        headers = {"Authorization": f"Bearer {stage.token(role)}"}
        self._client = httpx.Client(base_url=stage.url, headers=headers, timeout=30, trust_env=False)

    def close(self) -> None:
        self._client.close()

    def view(self) -> dict[str, Any]:
        found: dict[str, Any] = self._client.get("/api/rollout").raise_for_status().json()
        return found

    def say(self, verb: str, **body: object) -> None:
        """Send a command, based on the current revision. Raises `httpx.HTTPStatusError` if it is refused."""
        headers = {"If-Match": f'"{self.view()["revision"]}"'}
        self._client.post(f"/api/rollout/{verb}", json=body, headers=headers).raise_for_status()

    def note(self, text: str) -> None:
        self._client.post("/api/rollout/notes", json={"text": text}).raise_for_status()

    def plan(self) -> str:
        """The plan in force, as TOML."""
        return str(self._client.get("/api/rollout/plan").raise_for_status().json()["toml"])

    def apply(self, toml: str) -> None:
        """Put this plan in force."""
        headers = {"If-Match": f'"{self.view()["revision"]}"'}
        self._client.put("/api/rollout/plan", json={"toml": toml}, headers=headers).raise_for_status()

    def reset(self, percentage: int = 0) -> None:
        """Lift the lock and set this percentage."""
        if self.view()["lock"] is not None:
            self.say("unlock", reason="between two scenes")
        if self.view()["percentage"] != percentage:
            self.say("percentage", percentage=percentage)


@contextlib.contextmanager
def staged(folder: Path, **settings: str) -> Iterator[Stage]:
    """A running service until the block ends."""
    stage = Stage(folder, **settings)
    stage.start()
    try:
        yield stage
    finally:
        stage.stop()


def chromium() -> str | None:
    """The browser that `CROSSFADE_TEST_CHROMIUM` names, or the first that is installed; None: there is none."""
    named = os.environ.get("CROSSFADE_TEST_CHROMIUM")
    return next(filter(None, map(shutil.which, [named] if named else CHROMIUM_NAMES)), None)


def launch(playwright: Playwright) -> Browser:
    """A browser without a window. Raises `StageError` if no Chromium is installed."""
    path = chromium()
    if path is None:
        raise StageError(f"Chromium is needed: install {' or '.join(CHROMIUM_NAMES)}")
    return playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
