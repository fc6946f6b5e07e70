"""A data folder has one owner, whatever way the last one ended; one that is gone or replaced keeps nothing."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.data_folder import OWNER, DataFolder, FolderLost, FolderWatch, make_private, take_folder
from app.errors import FolderTaken, StoreUnavailable
from app.store.port import StoredRecord
from app.store.sql import sqlite_store
from tests.store.stores import entry

ROOT = Path(__file__).parent.parent
TAKES = """
import subprocess, sys
from pathlib import Path
from app.data_folder import take_folder
folder = take_folder(Path(sys.argv[1]), "127.0.0.1:8123")
child = subprocess.Popen(["sleep", "60"], pass_fds=[folder.owner]) if sys.argv[2] == "with a child" else None
print(child.pid if child else 0, flush=True)
sys.stdin.read()
"""


@contextmanager
def owner(folder: Path, child: str = "") -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that owns the folder, and the number of a child that has inherited it."""
    words = [sys.executable, "-c", TAKES, str(folder), child]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())
        process.kill()


def test_a_second_service_is_told_whose_the_folder_is(tmp_path: Path) -> None:
    with owner(tmp_path / "data") as (process, _):
        with pytest.raises(FolderTaken) as refused:
            take_folder(tmp_path / "data", "127.0.0.1:9000")
        assert f"the service at 127.0.0.1:8123, process {process.pid}, since 20" in str(refused.value)
        assert "CROSSFADE_DATA" in str(refused.value)
        process.kill()
        process.wait()
        take_folder(tmp_path / "data", "127.0.0.1:9000").close()  # nothing is left of the one that was killed


def test_the_folder_is_its_owner_s_until_the_last_cell_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.data_folder.ENDS_S", 0.2)
    with owner(tmp_path, "with a child") as (process, child):
        process.kill()
        process.wait()
        with pytest.raises(FolderTaken):
            take_folder(tmp_path, "127.0.0.1:9000")
        os.kill(child, signal.SIGKILL)
        monkeypatch.setattr("app.data_folder.ENDS_S", 30.0)  # it is waited for
        take_folder(tmp_path, "127.0.0.1:9000").close()


def test_a_full_disk_keeps_nobody_from_owning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    folder = take_folder(tmp_path, "127.0.0.1:9000")
    monkeypatch.setattr("app.data_folder.ENDS_S", 0.0)
    with pytest.raises(FolderTaken, match="belongs to another service"):
        take_folder(tmp_path, "127.0.0.1:9001")
    folder.close()


def gone(folder: Path) -> None:
    shutil.rmtree(folder)


def moved_away(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))


def replaced(folder: Path) -> None:
    moved_away(folder)
    folder.mkdir()


def replaced_by_a_copy(folder: Path) -> None:
    moved_away(folder)
    shutil.copytree(folder.with_name("elsewhere"), folder)


def made_anew(folder: Path) -> None:
    """A file system may give the inode's number again at once."""
    gone(folder)
    folder.mkdir()
    (folder / OWNER).touch()


def emptied(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def taken_over(folder: Path) -> None:
    emptied(folder)
    (folder / OWNER).touch()


LOSSES: dict[Callable[[Path], None], str] = {
    gone: "is gone",
    moved_away: "is gone",
    replaced: "another folder lies in the place",
    replaced_by_a_copy: "another folder lies in the place",
    made_anew: "another folder lies in the place",
    emptied: "was emptied",
    taken_over: "was taken over by another service",
}


@pytest.fixture
def owned(tmp_path: Path) -> Iterator[DataFolder]:
    folder = take_folder(tmp_path / "data", "127.0.0.1:9000")
    yield folder
    folder.close()


@pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__)
def test_a_folder_that_is_lost_is_noticed(owned: DataFolder, lose: Callable[[Path], None]) -> None:
    owned.verify()
    lose(owned.path)
    with pytest.raises(FolderLost, match=LOSSES[lose]):
        owned.verify()


async def test_a_folder_that_is_put_back_is_there_again(owned: DataFolder) -> None:
    watch = FolderWatch(owned)
    await watch.check()
    moved_away(owned.path)
    with pytest.raises(FolderLost):
        await watch.check()
    assert watch.lost == f"the data folder {owned.path} is gone"
    owned.path.with_name("elsewhere").rename(owned.path)
    await watch.check()
    assert watch.lost == ""


@pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__)
async def test_a_store_takes_nothing_that_would_be_lost(owned: DataFolder, lose: Callable[[Path], None]) -> None:
    store = sqlite_store(owned.path, check=FolderWatch(owned).check)
    await store.open()
    await store.save_record(StoredRecord(1, "one"), None, entry())
    lose(owned.path)
    with pytest.raises(StoreUnavailable, match=LOSSES[lose]):
        await store.save_record(StoredRecord(2, "two"), 1, entry())
    with pytest.raises(StoreUnavailable):
        await store.save_pin("ann", "v3", entry())
    with pytest.raises(StoreUnavailable):
        await store.load_tokens()
    await store.close()
    found = {file.name for file in owned.path.glob("*")}
    assert "control.db" not in found or lose is replaced_by_a_copy  # nothing was made anew


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_nobody_else_may_read_what_a_service_keeps(tmp_path: Path) -> None:
    folder = take_folder(tmp_path / "data", "127.0.0.1:9000")
    store = sqlite_store(folder.path)
    await store.open()
    await store.save_record(StoredRecord(1, "one"), None, entry())
    assert mode(folder.path) == 0o700
    modes = {file.name: mode(file) for file in folder.path.iterdir()}
    assert {"control.db", "control.db-wal", "control.db-shm", "sessions.db", OWNER} <= set(modes)
    assert set(modes.values()) == {0o600}
    await store.close()
    folder.close()


def test_what_an_earlier_release_left_readable_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for name, before in (("control.db", 0o644), ("secret", 0o640), ("notes.txt", 0o644), ("sessions.db", 0o400)):
        (tmp_path / name).touch(before)
        (tmp_path / name).chmod(before)
    make_private(tmp_path)
    assert mode(tmp_path) == 0o700
    assert {file.name: mode(file) for file in tmp_path.iterdir()} == {
        "control.db": 0o600,
        "secret": 0o600,
        "notes.txt": 0o644,  # not ours
        "sessions.db": 0o400,  # rights are taken, never given
    }


@pytest.mark.parametrize(("before", "ours"), [(0o1777, True), (0o755, False)], ids=["like /tmp", "no service's"])
def test_a_folder_that_is_not_ours_alone_is_left_as_it_is(tmp_path: Path, before: int, ours: bool) -> None:
    tmp_path.chmod(before)
    if ours:
        (tmp_path / "control.db").touch()
    make_private(tmp_path)
    assert mode(tmp_path) == before
