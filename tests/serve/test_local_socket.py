"""The Unix socket of a cell: private, found by commands, replaced after a kill, at any length of path."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.serve.local_socket import LONGEST_BYTES, LocalSocket, address_of, answering_socket, run_folder

PATIENCE_S = 10.0


@contextmanager
def answering(data: Path, cell: str, answer: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> Iterator[LocalSocket]:
    """A cell that gives one answer on its socket."""
    local = LocalSocket(data, cell)
    local.listener.setblocking(True)
    local.listener.listen(1)

    def serve() -> None:
        connected, _ = local.listener.accept()
        with connected, contextlib.suppress(BrokenPipeError):  # whoever asked may have had an answer already
            connected.recv(4096)
            connected.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    yield local
    thread.join(PATIENCE_S)
    local.close()


def open_descriptors() -> set[str]:
    return {each.name for each in Path("/proc/self/fd").iterdir()}


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_only_this_user_may_use_it_and_it_is_gone_afterwards(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        local = LocalSocket(tmp_path, "a@host:8000")
    finally:
        os.umask(before)
    file = tmp_path / "run" / "a.sock"
    assert (mode_of(file.parent), mode_of(file)) == (0o700, 0o600)
    local.close()
    assert not file.exists()


def test_a_folder_that_others_made_wide_is_made_private_and_a_link_is_refused(tmp_path: Path) -> None:
    run_folder(tmp_path).mkdir(mode=0o777)
    LocalSocket(tmp_path, "a").close()
    assert mode_of(run_folder(tmp_path)) == 0o700
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "run").symlink_to(run_folder(tmp_path))
    with pytest.raises(PermissionError):
        LocalSocket(elsewhere, "a")


def test_what_a_killed_service_left_is_replaced_and_the_successor_s_is_not_removed(tmp_path: Path) -> None:
    killed = LocalSocket(tmp_path, "a")
    with answering(tmp_path, "a"):
        killed.close()  # late: its file is another's by now
        assert answering_socket(tmp_path, PATIENCE_S) == run_folder(tmp_path) / "a.sock"


@pytest.mark.parametrize("length", [LONGEST_BYTES, LONGEST_BYTES + 1, 107, 108, 109, 180])
def test_a_path_may_be_longer_than_an_address(tmp_path: Path, length: int) -> None:
    data = tmp_path / ("d" * (length - len(str(tmp_path / "x" / "run" / "a.sock")) + 1))
    data.mkdir()
    assert len(str(run_folder(data) / "a.sock")) == length
    with answering(data, "a"):
        assert answering_socket(data, PATIENCE_S) == run_folder(data) / "a.sock"
    before = open_descriptors()
    with address_of(run_folder(data) / "a.sock"):
        pass
    assert open_descriptors() == before


def test_the_cell_that_answers_is_found_beside_one_that_hangs_one_that_is_dead_and_one_that_is_none(
    tmp_path: Path,
) -> None:
    hung = LocalSocket(tmp_path, "a")
    hung.listener.listen(1)
    dead = LocalSocket(tmp_path, "b")
    dead.listener.close()
    with answering(tmp_path, "c", b"HTTP/1.1 503 no\r\n\r\n"), answering(tmp_path, "d"):
        assert answering_socket(tmp_path, PATIENCE_S) == run_folder(tmp_path) / "d.sock"
    assert answering_socket(tmp_path, 0.05) is None
    hung.close()


def test_where_there_is_none_or_none_may_be_used_nothing_is_found(tmp_path: Path) -> None:
    assert answering_socket(tmp_path) is None
    run_folder(tmp_path).write_text("a file")
    assert answering_socket(tmp_path) is None
    with pytest.raises(OSError, match="run"):
        LocalSocket(tmp_path, "a")
