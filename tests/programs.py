"""Other programs that some tests run: whether they are here, and what becomes of a test whose program is missing.

A test says what it needs by `@pytest.mark.needs("postgresql")`, a fixture by `require("postgresql")`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from ops.bench.processes import BenchError
from ops.chaos.postgres import find_programs
from ops.pictures.stage import chromium

SPECIFICATION = Path(__file__).parent.parent / ".cache/npm/node_modules/@unleash/client-specification"
MISSING = "missing program: "
OWN_MOUNTS = ("unshare", "--map-root-user", "--mount")
"""Runs a program that may mount file systems for itself; a kernel may forbid that to accounts other than root."""


def _has_postgresql() -> bool:
    try:
        return find_programs().is_dir()
    except BenchError:
        return False


def find_pgbouncer() -> str | None:
    """PgBouncer's program. Debian installs it where only root looks."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


PROGRAMS: Mapping[str, Callable[[], bool]] = {
    "postgresql": _has_postgresql,
    "chromium": lambda: chromium() is not None,
    "full-disk": lambda: subprocess.run([*OWN_MOUNTS, "true"], capture_output=True, check=False).returncode == 0,
    "pgbouncer": lambda: find_pgbouncer() is not None,
    "client-specification": SPECIFICATION.is_dir,  # no program, but fetched as one: ops/setup/npm-test-packages.sh
}


def require(program: str, environ: Mapping[str, str] = os.environ) -> None:
    """Skip the test that runs now when a program is missing; where CI=true that is a failure instead.

    Raises `KeyError` for a program that is not in `PROGRAMS`.
    """
    if PROGRAMS[program]():
        return
    if environ.get("CI") == "true":
        pytest.fail(f"{MISSING}{program}; with CI=true nothing is skipped for that", pytrace=False)
    pytest.skip(f"{MISSING}{program}")


def register(config: pytest.Config) -> None:
    """To be called when pytest is configured: makes the mark known and what becomes of it."""
    config.addinivalue_line("markers", "needs(program, ...): other programs that a test runs, see tests/programs.py")
    config.pluginmanager.register(MissingPrograms())


class MissingPrograms:
    """Looks at the mark before a test's fixtures are made, and closes the run with what was skipped."""

    def __init__(self) -> None:
        self._skipped: Counter[str] = Counter()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        for mark in item.iter_markers("needs"):
            for program in mark.args:
                require(program)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called where the run is summed up, also for the tests of xdist's workers."""
        if report.skipped and isinstance(report.longrepr, tuple):
            _, found, program = report.longrepr[2].partition(MISSING)
            if found:
                self._skipped[program] += 1

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Iterator[None]:
        yield  # pytest's own summary
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if self._skipped and reporter is not None:
            programs = ", ".join(f"{program} ({count})" for program, count in sorted(self._skipped.items()))
            reporter.write_line(f"tests skipped for a missing program: {programs}")
