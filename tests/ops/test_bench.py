"""The benchmark's arithmetic, and its load client and processes against a real peer."""

from __future__ import annotations

import socket
from pathlib import Path

import psutil
import pytest

from ops.bench.client import quantile_ms
from ops.bench.processes import BenchError, free_port, load_client, memory_bytes, running
from ops.bench.report import Result, as_table, compare
from ops.bench.rows import Bench, parts, throughput
from ops.bench.servers import Running, backend

ROUNDS = [(10.0, 8.0), (30.0, 10.0), (9.0, 9.0)]


@pytest.mark.parametrize(
    ("must", "aim", "verdict"),
    [(1.25, 1.4, "must"), (1.0, 1.2, "aim"), (1.26, 2.0, "MISSED"), (None, None, "reported")],
)
def test_the_ratio_is_the_median_of_the_rounds_own_ratios(must: float | None, aim: float | None, verdict: str) -> None:
    result = compare(ROUNDS, row="r", point="p", unit="u", peer_name="n", better="higher", must=must, aim=aim)
    assert (result.ours, result.peer, result.ratio) == (10.0, 9.0, 1.25)
    assert result.verdict == verdict


def test_lower_is_better_where_it_says_so() -> None:
    def result(ratio: float) -> Result:
        return Result(
            row="p99",
            point="p",
            unit="ms",
            ours=1,
            peer=1,
            peer_name="n",
            ratio=ratio,
            better="lower",
            must=1.0,
            aim=0.6,
        )

    assert [result(ratio).verdict for ratio in (0.5, 0.6, 0.9, 1.0, 1.1)] == ["aim", "aim", "must", "must", "MISSED"]
    assert "≤0.6x" in as_table([result(1.0)])


@pytest.mark.parametrize(("must", "aim", "verdict"), [(10.0, 9.9, "must"), (12.0, 10.0, "aim"), (9.9, 9.0, "MISSED")])
def test_a_limit_of_its_own_is_no_ratio(must: float, aim: float, verdict: str) -> None:
    result = compare(
        ROUNDS, row="r", point="p", unit="µs", peer_name="n", better="lower", must=must, aim=aim, judged="ours"
    )
    assert result.verdict == verdict
    assert f"≤{must:g} " in as_table([result])


@pytest.mark.slow
async def test_a_step_is_measured_as_the_service_takes_it(tmp_path: Path) -> None:
    found = [line async for line in parts.run(Bench(tmp_path, 1, 0.1))]
    assert [line.point for line in found] == ["deciding a session", "counting a message", "making a supervisor"]
    assert all(line.verdict != "reported" and line.ours and line.peer for line in found)
    assert max(line.ratio or 1.0 for line in found[:2]) < 1.0


def test_a_quantile_is_a_value_that_occurred() -> None:
    assert quantile_ms([0.003, 0.001, 0.002], 0.5) == 2.0
    assert quantile_ms([0.003, 0.001, 0.002], 0.99) == 3.0
    assert quantile_ms([], 0.5) is None


def figures(rate: float, p99: float, front: float, behind: float) -> dict[str, float]:
    """What one slice found, as the row keeps it."""
    parts = {throughput.FRONT: front, throughput.BEHIND: behind, throughput.BOTH: front + behind}
    return {"messages_per_second": rate, "p99_ms": p99, "client_cpu": 0.5, **parts}


def test_a_point_of_the_throughput_row_compares_each_figure_with_the_same_of_the_peer() -> None:
    slices = {
        throughput.OURS: [figures(30.0, 2.0, 8.0, 4.0)],
        throughput.PEER: [figures(20.0, 4.0, 2.0, 8.0)],
        throughput.PEER_ONE: [figures(60.0, 1.0, 1.0, 1.0)],
    }
    found = throughput.results(throughput.Point(64, 1, 1.0, 1.4), slices)
    assert [(each.row, each.ratio, each.verdict) for each in found] == [
        ("throughput", 1.5, "aim"),
        ("p99", 0.5, "aim"),
        ("throughput", 0.5, "reported"),
        ("cpu", 1.2, "reported"),
        ("cpu", 4.0, "reported"),
        ("cpu", 0.5, "reported"),
    ]


@pytest.mark.slow
async def test_children_are_behind_a_server_unless_it_stands_before_workers_of_its_own(tmp_path: Path) -> None:
    async with (
        running(["sh", "-c", "trap 'kill $!' TERM; while :; do :; done & wait"], tmp_path / "parent.log") as parent,
        running(["sleep", "60"], tmp_path / "worker.log") as worker,
    ):
        ours, nginx = Running("ours", "", "", parent), Running("nginx", "", "", parent, workers=(worker,))
        while throughput.Cost(ours).so_far_s()[throughput.BEHIND] < 0.1:
            assert parent.is_running()  # type: ignore[no-untyped-call]
        found = throughput.Cost(ours).so_far_s()
        assert found[throughput.FRONT] < 0.1 <= found[throughput.BEHIND]
        found = throughput.Cost(nginx).so_far_s()
        assert found[throughput.BEHIND] < 0.1 <= found[throughput.FRONT]


async def test_a_program_that_ends_early_is_an_error_with_its_log(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no such luck"):
        async with running(["sh", "-c", "echo no such luck; exit 3"], tmp_path / "sh.log", free_port()):
            raise AssertionError("it never accepted")


@pytest.mark.slow
async def test_the_client_counts_what_a_real_peer_answers_and_everything_is_ended(tmp_path: Path) -> None:
    async with backend(tmp_path, "peer") as peer, load_client() as client:
        await client.ask("connect", "three", url=peer.url, sockets=4)
        await client.ask("connect", "one", url=f"{peer.url}&events=1", sockets=4)
        three = await client.ask("drive", "three", inflight=2, seconds=0.3)
        one = await client.ask("drive", "one", inflight=2, seconds=0.3)
        assert memory_bytes(peer.process) > 10_000_000
        with pytest.raises(BenchError, match="KeyError"):
            await client.ask("drive", "nobody", inflight=1, seconds=0.1)
    # 8 messages may be under way when the slice ends; their frames count, the messages do not.
    assert 3 * three["messages"] <= three["frames"] <= 3 * (three["messages"] + 8)
    assert one["messages"] <= one["frames"] <= one["messages"] + 8
    assert one["messages"] > 100
    assert 0 < three["p50_ms"] <= three["p99_ms"]
    assert not psutil.pid_exists(peer.process.pid)  # type: ignore[no-untyped-call]


def test_a_free_port_refuses_connections_is_given_to_nobody_else_and_can_be_listened_on() -> None:
    port = free_port()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))
    with socket.create_server(("127.0.0.1", port)):
        socket.create_connection(("127.0.0.1", port)).close()
