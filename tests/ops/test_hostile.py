"""The bench of attacks says who noticed what."""

from __future__ import annotations

import msgspec
import pytest
from websockets.frames import Frame, Opcode

from ops.bench.hostile import ATTACKS, Seen, masked, upgrade

CALM = Seen(
    name="x", before_mib=100.0, peak_mib=150.0, after_mib=105.0, p99_ms=20.0, ready_s=0.1, rollback_s=0.2, verified=True
)


def test_what_nobody_notices_is_not_wrong() -> None:
    assert CALM.wrong == []


@pytest.mark.parametrize(
    ("changed", "wrong"),
    [
        ({"p99_ms": 51.0}, "p99"),
        ({"peak_mib": 201.0}, "peak"),
        ({"after_mib": 111.0}, "after"),
        ({"ready_s": 1.1}, "readyz"),
        ({"rollback_s": 1.1}, "rollback"),
        ({"verified": False}, "rollback"),
        ({"dropped": 1}, "dropped"),
    ],
)
def test_each_thing_that_somebody_notices_is_named(changed: dict[str, object], wrong: str) -> None:
    assert msgspec.structs.replace(CALM, **changed).wrong == [wrong]


def test_what_is_sent_is_what_it_is_called() -> None:
    assert upgrade("ann", "X-A: b\r\n").endswith(b"X-A: b\r\n\r\n")
    assert masked(Frame(Opcode.PING, b""))[:2] == b"\x89\x80"
    assert {"pings", "1,000 half handshakes", "1,000 event streams"} <= set(ATTACKS)
