"""What `ps` shows of a process, with the package setproctitle and without it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

SHOWN = """
import sys
from pathlib import Path

if sys.argv[1] == "without":
    sys.modules["setproctitle"] = None
from app.process_title import set_process_title

for role in sys.argv[2:]:
    set_process_title(role)
    print(Path("/proc/self/cmdline").read_text().partition("\\0")[0])
    print(Path("/proc/self/comm").read_text(), end="")
"""


def shown(package: str, *roles: str) -> list[tuple[str, str]]:
    """The first word of the command line and the short name, after each role was set."""
    ran = subprocess.run(
        [sys.executable, "-c", SHOWN, package, *roles],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = iter(ran.stdout.splitlines())
    return list(zip(lines, lines, strict=True))


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_the_whole_title_is_the_command_line() -> None:
    assert shown("with", "gateway a", "worker v3 a-very-long-build-id") == [
        ("crossfade: gateway a", "crossfade: gate"),
        ("crossfade: worker v3 a-very-long-build-id", "crossfade: work"),
    ]


def test_without_the_package_the_short_name_says_which_worker_it_is() -> None:
    assert shown("without", "worker v3", "worker v3 1.4.2-rc1", "worker v3 1.4.é") == [
        (sys.executable, "worker v3"),
        (sys.executable, "worker v3 1.4.2"),
        (sys.executable, "worker v3 1.4."),
    ]
