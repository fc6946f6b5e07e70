"""Workers of other virtual environments, and what of the gateway's environment a worker gets to see."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from app.errors import FactoryError
from app.pool.launch import command_of, environment_of
from ops.command import title_of
from rollout.builds import BuildSource, Served
from tests.pool.recorder import Recorder, chat, config_of, hosting, opened, serving
from tests.worker.environments import SUPERVISOR, make_environment


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
async def test_a_worker_runs_in_another_environment_beside_one_in_ours(tmp_path: Path) -> None:
    python = make_environment(tmp_path / "other", with_msgspec=True)
    recorder = Recorder()
    async with hosting(recorder, python=str(python), factory="shop:create") as host:
        serving(host).send(opened())
        serving(host).send(chat("x"))
        assert recorder.content_of(await recorder.done()) == f"release 1 in {tmp_path / 'other'}"
        # Without the package setproctitle only the short name can be set, in 15 bytes.
        theirs = serving(host)
        assert name_of(theirs.pid) == f"worker v3 {theirs.build}"[:15]
        (tmp_path / "shop").mkdir()
        (tmp_path / "shop" / "__init__.py").write_text("VERSION = 'release 2'" + SUPERVISOR)
        host.adopt(await host.spawn_candidate(Served(BuildSource("shop:create"))))
        serving(host).send(opened(2))
        serving(host).send(chat("x", 2))
        assert recorder.content_of(await recorder.done(2)) == f"release 2 in {sys.prefix}"
        ours = serving(host)
        assert title_of(psutil.Process(ours.pid)) == f"crossfade: worker v3 {ours.build}"  # type: ignore[no-untyped-call]


@pytest.mark.slow
async def test_an_environment_without_msgspec_is_told_what_to_install(tmp_path: Path) -> None:
    python = make_environment(tmp_path / "other", with_msgspec=False)
    async with hosting(Recorder(), python=str(python), factory="shop:create", start=False) as host:
        with pytest.raises(FactoryError) as caught:
            await host.start()
    assert str(caught.value) == (
        f"v3: {python} has no msgspec, which the link to the gateway needs: {python} -m pip install msgspec"
    )


@pytest.mark.slow
async def test_a_built_in_path_names_what_another_environment_lacks(tmp_path: Path) -> None:
    python = make_environment(tmp_path / "other", with_msgspec=True)
    async with hosting(Recorder(), path="v2", python=str(python), start=False, log_level="critical") as host:
        with pytest.raises(FactoryError) as caught:
            await host.start()
    assert str(caught.value) == (
        f"v2: the built-in supervisor of v2 needs 'litestar', which this interpreter ({python}) does not have"
    )


@pytest.mark.slow
async def test_a_folder_called_app_where_the_service_is_started_does_not_hide_ours_from_a_built_in_path(
    tmp_path: Path,
) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").write_text("")
    recorder = Recorder()
    async with hosting(recorder):
        assert recorder.unavailable == []


@pytest.mark.slow
async def test_a_launcher_between_gateway_and_worker_is_refused(tmp_path: Path) -> None:
    launcher = tmp_path / "python"
    launcher.write_text(f'#!/bin/sh\n{sys.executable} "$@"\nexit $?\n')
    launcher.chmod(0o755)
    async with hosting(Recorder(), python=str(launcher), start=False, log_level="critical") as host:
        with pytest.raises(FactoryError, match="put a process between the gateway and the worker"):
            await host.start()


def test_no_setting_and_no_secret_reaches_a_worker_s_command_line_or_environment() -> None:
    config = config_of(thread_secret=b"sesame open wide", factory="shop:create")
    command = command_of(config, 7, "")
    assert command[0] == sys.executable
    assert "sesame" not in " ".join(command)
    ours = {"CROSSFADE_SECRET": "s", "CROSSFADE_JWT_KEY": "k", "PATH": "/bin", "PYTHONPATH": "/x", "VIRTUAL_ENV": "/v"}
    assert environment_of(ours, "") == {"PATH": "/bin", "PYTHONPATH": "/x", "VIRTUAL_ENV": "/v"}
    assert environment_of(ours, "/other/bin/python") == {"PATH": "/bin"}


def test_the_bootstrap_can_be_read_by_interpreters_too_old_for_us() -> None:
    """It must come as far as refusing, so it may use no newer syntax than 3.7's."""
    source = (Path(command_of(config_of(), 7, "")[1])).read_text()
    check = "import ast, sys; ast.parse(sys.stdin.read(), feature_version=(3, 7))"
    subprocess.run([sys.executable, "-c", check], input=source, text=True, check=True)
