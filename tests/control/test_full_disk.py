"""The rollback lock on a disk that is really full: made, made again, and lifted, on a file system of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import OWN_MOUNTS

ROOT = Path(__file__).parent.parent.parent
MOUNT = 'mount -t tmpfs -o size=64k,mode=0700 tmpfs "$1" && shift && exec "$@"'
FILL = """
import errno, sys
from pathlib import Path
from app.control.lockfile import UNKNOWN, LockFile
from rollout.state import Lock

folder = Path(sys.argv[1])
file = LockFile(folder)
first, second = Lock(1, 0, 1.0, "ann", True, "errors"), Lock(1, UNKNOWN, 2.0, "bob", True, "slow" * 500)

def fill():
    with (folder / "ballast").open("ab", buffering=0) as ballast:
        try:
            while True:
                ballast.write(b"x" * 512)
        except OSError as error:
            assert error.errno == errno.ENOSPC, error

def is_full():
    try:
        (folder / "probe").write_bytes(b"x")
    except OSError:
        return True
    return False
"""
WITH_A_PLACE = """
file.reserve()
fill()
for _ in range(3):
    assert is_full()
    file.write(first)
    assert LockFile(folder).read() == first
    file.write(second)  # without a spare: over the one there is
    assert LockFile(folder).read() == second
    file.lift(1, [second])
    assert LockFile(folder).read() is None
    file.reserve()  # the place is kept
print("held")
"""
WITHOUT_A_PLACE = """
fill()
for attempt in (file.reserve, lambda: file.write(first)):
    try:
        attempt()
        print("it was not full")
    except OSError as error:
        assert error.errno == errno.ENOSPC, error
assert file.read() is None
(folder / "ballast").unlink()
file.write(first)
assert LockFile(folder).read() == first
print("held")
"""


@pytest.mark.needs("full-disk")
@pytest.mark.parametrize("steps", [WITH_A_PLACE, WITHOUT_A_PLACE], ids=["a place was taken", "no place was taken"])
def test_a_lock_on_a_full_disk(tmp_path: Path, steps: str) -> None:
    words = [*OWN_MOUNTS, "sh", "-ec", MOUNT, "sh", str(tmp_path), sys.executable, "-c", FILL + steps, str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("held\n", "")
