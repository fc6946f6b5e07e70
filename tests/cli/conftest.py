"""Fixtures for the tests of the command line: the canned service, and the command run in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.cli.root import crossfade
from tests.cli.fake_service import FakeService

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def server() -> Iterator[FakeService]:
    fake = FakeService()
    yield fake
    fake.stop()


@pytest.fixture
def service(server: FakeService) -> FakeService:
    server.canned.answers.clear()
    server.canned.seen.clear()
    server.canned.headers.clear()
    return server


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run("status", ...)` in a folder of its own, without this person's settings."""
    monkeypatch.chdir(tmp_path)
    for name in ("CROSSFADE_URL", "CROSSFADE_TOKEN", "CROSSFADE_CONFIG", "USE_WEBSOCKET_SUPERVISOR_V3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CROSSFADE_DATA", str(tmp_path / "data"))

    def invoke(*words: str, **environ: str) -> Result:
        return CliRunner().invoke(crossfade, list(words), env=environ, prog_name="crossfade")

    return invoke
