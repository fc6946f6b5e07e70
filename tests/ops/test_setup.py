"""The set-up script on machines that lack something, and where everything is there: run for real, with stand-ins.

A stand-in is a script that answers like the program it stands for; nothing is installed.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def script(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with nothing but its lists and the set-up script."""
    (tmp_path / "ops" / "setup").mkdir(parents=True)
    shutil.copy(ROOT / "ops" / "setup" / "venv.sh", tmp_path / "ops" / "setup")
    for name in ("requirements.txt", "requirements-dev.txt", "pyproject.toml"):
        (tmp_path / name).write_text(f"{name} 1\n")
    return tmp_path


def setup(project: Path, python: Path | None, kind: str = "runtime") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(project / "ops" / "setup" / "venv.sh"), kind],
        env={"PATH": "/usr/bin:/bin", **({"PYTHON": str(python)} if python else {})},
        capture_output=True,
        text=True,
        check=False,
    )


def good_python(project: Path, installation: str = "Python 3.11.7 in /usr/lib/python3.11") -> Path:
    """A Python whose `-m venv` makes a folder with a pip that notes what it is asked for."""
    which = f'case "$2" in *os.__file__*) echo "{installation}"; exit 0;; esac'
    install = "touch .venv/bin/crossfade && chmod +x .venv/bin/crossfade"
    pip = f'echo "$@" >>{project}/asked; for each; do [ "$each" = -e ] && {install}; done; exit 0'
    name = installation.replace("/", "-").replace(" ", "-")
    inside = script(project / f"inside-{name}", f"{which}\n{pip}")
    fill = f"rm -rf .venv; mkdir -p .venv/bin; cp {inside} .venv/bin/python"
    make = f'[ "$1 $2 $3" = "-m venv --clear" ] && {{ {fill}; }}'
    return script(project / f"python-{name}", f"{which}\n{make}; exit 0")


def test_an_old_python_is_named_with_what_is_needed(project: Path) -> None:
    old = script(project / "old", '[ "$1" = --version ] && { echo Python 3.9.2; exit 0; }; exit 1')
    result = setup(project, old)
    assert result.returncode == 1
    assert "Python 3.11 or newer is needed; found: Python 3.9.2." in result.stderr


def test_a_python_without_venv_is_named_with_the_package_that_brings_it(project: Path) -> None:
    bare = script(project / "bare", 'case "$*" in *ensurepip*) exit 1;; esac; exit 0')
    result = setup(project, bare)
    assert result.returncode == 1
    assert "python3-venv" in result.stderr


def test_the_first_start_installs_with_hashes_and_the_next_asks_for_nothing(project: Path) -> None:
    python = good_python(project)
    first = setup(project, python)
    assert first.returncode == 0, first.stderr
    asked = (project / "asked").read_text()
    assert "--require-hashes -r requirements.txt" in asked
    assert "--no-deps --no-build-isolation -e ." in asked
    second = setup(project, python)
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert (project / "asked").read_text() == asked


@pytest.mark.parametrize("changed", ["requirements.txt", "pyproject.toml"])
def test_a_changed_list_is_installed_again(project: Path, changed: str) -> None:
    python = good_python(project)
    assert setup(project, python).returncode == 0
    (project / changed).write_text("2\n")
    assert "installing requirements.txt" in setup(project, python).stdout


def test_another_python_than_that_of_the_environment_is_said_and_used(project: Path) -> None:
    old, new = good_python(project), good_python(project, "Python 3.13.1 in /opt/python/lib/python3.13")
    assert setup(project, old, "dev").returncode == 0
    told = setup(project, new).stdout
    assert (
        ".venv has Python 3.11.7 in /usr/lib/python3.11; PYTHON asks for Python 3.13.1 in /opt/python/lib/python3.13: "
        "it is made anew" in told
    )
    assert "installing requirements.txt" in told
    assert setup(project, new).stdout == ""
    # What the tests need went with the old one.
    assert "installing requirements-dev.txt" in setup(project, new, "dev").stdout


def test_an_environment_whose_python_is_gone_is_made_anew(project: Path) -> None:
    python = good_python(project)
    assert setup(project, python).returncode == 0
    (project / ".venv" / "bin" / "python").write_text("#!/no/such/interpreter\n")
    assert ".venv has a Python that does not run" in setup(project, python).stdout
    assert setup(project, python).stdout == ""


def test_without_a_choice_the_environment_stays_as_it_is(project: Path) -> None:
    assert setup(project, good_python(project)).returncode == 0
    assert setup(project, None).stdout == ""


def test_what_the_tests_need_contains_what_the_service_needs(project: Path) -> None:
    python = good_python(project)
    assert setup(project, python, "dev").returncode == 0
    assert setup(project, python, "runtime").stdout == ""
    assert setup(project, python, "other").returncode == 2
