"""What is installed: one name beside people's own `app`, complete, and a command that starts wherever it is typed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path

import httpx
import psutil
import pytest
from packaging.requirements import Requirement
from websockets.sync.client import connect

from ops.bench.processes import free_port
from ops.command import for_command, title_of
from tests.worker.environments import make_environment

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
OURS = ("app", "rollout", "dashboards")
START_S = 40

SUPERVISORS = """
import importlib.util, json, sys

FOREIGN = ("litestar", "uvicorn", "setproctitle", "crossfade", "app.cli")

def create(context):
    async def run(message):
        yield json.dumps([sys.prefix, [name for name in FOREIGN if importlib.util.find_spec(name)]])
    return run
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as `pip install` does, from a copy, so that nothing of an earlier build is in it."""
    tree, built = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("built")
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, tree)
    for folder in (*OURS, "ops/package"):
        shutil.copytree(ROOT / folder, tree / folder)
    _pip("wheel", ".", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(built), cwd=tree)
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel and exactly the pinned packages, which are links to those of this one."""
    where = tmp_path_factory.mktemp("installed")
    venv.create(where, symlinks=True)
    (packages,) = where.glob("lib/python3*/site-packages")
    for line in re.findall(r"^(\S+==.+) \\$", (ROOT / "requirements.txt").read_text(), re.MULTILINE):
        pinned = Requirement(line)
        if pinned.marker and not pinned.marker.evaluate():
            continue
        found = distribution(pinned.name)
        assert found.version in pinned.specifier, f"{found.version} is installed; requirements.txt says {line}"
        for top in {Path(file).parts[0] for file in found.files or ()} - {".."}:
            if not (packages / top).exists():
                (packages / top).symlink_to(Path(str(found.locate_file(top))).resolve())
    python = str(where / "bin" / "python")
    _pip("--python", python, "install", "--no-deps", "--no-index", "--no-compile", str(wheel))
    return where


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A team's folder whose modules have our names; the environment imports one of them before anything else."""
    folder = tmp_path / "project"
    (folder / "app").mkdir(parents=True)
    (folder / "app" / "__init__.py").write_text("")
    (folder / "app" / "supervisors.py").write_text(SUPERVISORS)
    for name in ("rollout", "dashboards"):
        (folder / f"{name}.py").write_text("raise RuntimeError('the wrong module')")
    (folder / "sitecustomize.py").write_text("import app")
    return folder


def _pip(*arguments: str, cwd: Path | None = None) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "pip", "-q", *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr


def _clean() -> dict[str, str]:
    """This environment without anything that says where modules or settings are."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("CROSSFADE_", "PYTHON", "USE_"))}


@contextmanager
def serving(command: list[str], folder: Path, **settings: str) -> Iterator[tuple[str, psutil.Process]]:
    """`crossfade serve` there until the block ends: its address without scheme, and its first process."""
    bind = f"127.0.0.1:{free_port()}"
    environ = {**_clean(), "CROSSFADE_BIND": bind, "CROSSFADE_SHUTDOWN_S": "1", **settings}
    log = folder.parent / "service.log"
    with log.open("w") as errors:
        process = subprocess.Popen(command, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        assert process.stdout is not None
        assert "Crossfade serves" in process.stdout.readline(), log.read_text()
        yield bind, psutil.Process(process.pid)  # type: ignore[no-untyped-call]
    finally:
        process.terminate()
        process.communicate(timeout=START_S)
    assert process.returncode == 0, log.read_text()


def answer_of(bind: str, text: str) -> str:
    """What a user is answered on a real socket."""
    with connect(f"ws://{bind}/ws?user=ada", proxy=None) as client:
        client.send(json.dumps({"type": "chat", "payload": {"content": text}}))
        while (event := json.loads(client.recv(START_S)))["type"] != "agent_completed":
            assert event["type"] != "error", event
        return str(event["payload"]["content"])


def test_the_wheel_holds_one_name_and_every_file_of_ours(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names} == {"crossfade", "crossfade-0.1.0.dist-info"}
    expected = {
        f"crossfade/_lib/{path.relative_to(ROOT)}"
        for package in OURS
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    } | {"crossfade/__init__.py", "crossfade/__main__.py"}
    assert {name for name in names if name.startswith("crossfade/")} == expected


@pytest.mark.parametrize("way", ["command", "module", "checkout"])
def test_the_command_starts_whatever_the_import_path_holds(installed: Path, project: Path, way: str) -> None:
    command, environ = {
        "command": ([str(installed / "bin" / "crossfade")], _clean()),
        "module": ([str(installed / "bin" / "python"), "-m", "crossfade"], _clean()),
        "checkout": ([sys.executable, "-m", "crossfade"], for_command({**_clean(), "PYTHONPATH": str(project)})),
    }[way]
    ran = subprocess.run(
        [*command, "--version"],
        cwd=project,
        env={"PYTHONPATH": str(project), **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.stdout, ran.stderr, ran.returncode) == ("crossfade, version 0.1.0\n", "", 0)


def test_it_serves_in_an_empty_folder_with_its_pages(installed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    with serving([str(installed / "bin" / "crossfade"), "serve"], folder) as (bind, process):
        assert answer_of(bind, "good day") == "good day"
        page = httpx.get(f"http://{bind}/sign-in", headers={"Accept": "text/html"}, trust_env=False)
        assert page.status_code == 200
        assets = re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text)
        assert assets
        assert {httpx.get(f"http://{bind}{asset}", trust_env=False).status_code for asset in assets} == {200}
        assert title_of(process) == "crossfade: gateway a"


def test_a_team_s_app_serves_from_its_own_environment_beside_it(installed: Path, project: Path, tmp_path: Path) -> None:
    """In cells, whose processes and workers begin with scripts of their own; nothing of the service's is seen there."""
    theirs = make_environment(tmp_path / "theirs", with_msgspec=True)
    settings = {
        "CROSSFADE_PATHS_V2": "app.supervisors:create",
        "CROSSFADE_PATHS_V2_PYTHON": str(theirs),
        "CROSSFADE_PATHS_V3": "app.supervisors:create",
        "PYTHONPATH": str(project),
    }
    command = [str(installed / "bin" / "crossfade"), "serve", "--cells", "2"]
    with serving(command, project, **settings) as (bind, _):
        assert json.loads(answer_of(bind, "where?")) == [str(tmp_path / "theirs"), []]
