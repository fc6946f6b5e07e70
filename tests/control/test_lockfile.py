"""The lock is on the disk when `write` returns, and whatever is found there means v2."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.control.lockfile import NAME, UNKNOWN, LockFile
from rollout.state import Lock

LOCK = Lock(rollout=3, generation=2, since=1000.5, by="ann", by_person=True, reason="errors ü")


def test_a_lock_is_found_again(tmp_path: Path) -> None:
    file = LockFile(tmp_path)
    assert file.read() is None
    file.write(LOCK)
    assert LockFile(tmp_path).read() == LOCK
    file.remove()
    assert file.read() is None
    file.remove()


NOT_TEXT = b'{"rollout":3,"generation":2,"since":1.0,"by":"\xff","by_person":true,"reason":""}'


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"rollout": "x"}', b"\xff\xfe", b"[]", NOT_TEXT, b'{"x":' + b"[" * 9999]
)
def test_a_lock_that_cannot_be_read_is_a_lock(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    found = LockFile(tmp_path).read()
    assert found is not None
    assert (found.generation, found.by) == (UNKNOWN, "unknown")


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_crash_in_any_step_leaves_the_old_lock_or_the_new_one(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = LockFile(tmp_path)
    file.write(LOCK)

    def crash(*_: object) -> None:
        raise OSError("crashed")

    with monkeypatch.context() as broken:
        broken.setattr(*((os, "fsync", crash) if step == "fsync" else (Path, "replace", crash)))
        with pytest.raises(OSError, match="crashed"):
            file.write(Lock(4, 3, 1.0, "bob", True, ""))
    assert file.read() == LOCK


def test_file_and_folder_are_flushed_in_this_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    flush, replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        seen.append("folder" if Path(f"/proc/self/fd/{descriptor}").resolve().is_dir() else "file")
        flush(descriptor)

    def renamed(self: Path, target: Path) -> Path:
        seen.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", renamed)
    LockFile(tmp_path).write(LOCK)
    assert seen == ["file", "rename", "folder"]
