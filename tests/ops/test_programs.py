"""What becomes of a test whose program is missing: runs of pytest on a few such tests, and the set-up script."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ops.test_setup import script

ROOT = Path(__file__).resolve().parents[2]
CONFTEST = """
import pytest
from tests import programs

programs.PROGRAMS = {"here": lambda: True, "elsewhere": lambda: False, "nowhere": lambda: False}

def pytest_configure(config):
    programs.register(config)

@pytest.fixture(scope="session")
def server():
    programs.require("elsewhere")
"""
TESTS = """
import pytest

@pytest.mark.needs("here")
def test_runs(): ...

@pytest.mark.needs("here", "elsewhere")
def test_by_its_mark(): raise AssertionError("it ran")

@pytest.mark.parametrize("number", [1, 2])
def test_by_its_fixture(server, number): raise AssertionError("it ran")

@pytest.mark.needs("nowhere")
def test_of_another(server): raise AssertionError("it ran")

@pytest.mark.skip(reason="of its own")
def test_skipped_for_something_else(): ...
"""


def run(folder: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_some.py").write_text(TESTS)
    clean = {name: value for name, value in os.environ.items() if name not in ("CI", "PYTEST_ADDOPTS")}
    clean = {name: value for name, value in clean.items() if not name.startswith("PYTEST_XDIST")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "xdist", "--strict-markers", "--rootdir", folder, *words, folder],
        cwd=folder, env={**clean, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **environ},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_missing_program_skips_its_tests_and_the_last_line_names_it(tmp_path: Path, workers: str) -> None:
    done = run(tmp_path, "-n", workers)
    *_, summary, last = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout
    assert re.match(r"1 passed, 5 skipped", summary)
    assert last == "tests skipped for a missing program: elsewhere (3), nowhere (1)"


def test_nothing_is_said_where_nothing_is_missing(tmp_path: Path) -> None:
    assert re.match(r"1 passed", run(tmp_path, "-k", "runs").stdout.splitlines()[-1])


def test_where_ci_is_true_a_missing_program_fails_its_tests(tmp_path: Path) -> None:
    done = run(tmp_path, CI="true")
    assert done.returncode == 1
    assert "missing program: elsewhere; with CI=true nothing is skipped for that" in done.stdout
    assert re.match(r"1 passed, 1 skipped, 4 errors", done.stdout.splitlines()[-1])


def install(folder: Path, *words: str, account: int) -> subprocess.CompletedProcess[str]:
    """The script on a machine that has nothing but a shell and an `apt-get` that notes what it is asked for."""
    script(folder / "id", f"echo {account}")
    script(folder / "apt-get", f'echo "$@" >>{folder}/asked; exit 100')
    for name in ("sh", "mktemp", "rm", "tail"):
        (folder / name).symlink_to(f"/bin/{name}")
    return subprocess.run(
        ["sh", ROOT / "ops/setup/system-packages.sh", *words],
        env={"PATH": str(folder)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(("optional", "status"), [(["--optional"], 0), ([], 1)])
def test_without_root_what_is_missing_is_named_and_only_what_can_do_without_goes_on(
    tmp_path: Path, optional: list[str], status: int
) -> None:
    done = install(tmp_path, *optional, "chromium", account=1000)
    assert (done.returncode, done.stdout) == (status, "")
    assert "missing: chromium." in done.stderr
    assert "sudo apt-get install chromium" in done.stderr
    assert not (tmp_path / "asked").exists()


@pytest.mark.parametrize(("optional", "status"), [(["--optional"], 0), ([], 1)])
def test_as_root_it_is_installed_and_when_that_fails_it_is_said(
    tmp_path: Path, optional: list[str], status: int
) -> None:
    done = install(tmp_path, *optional, "chromium", account=0)
    assert done.returncode == status
    assert "apt-get could not install: chromium" in done.stderr
    assert (tmp_path / "asked").read_text() == "update\n"
