"""The counters of a cell: plain integers in one list, which the hot path increments and others read later.

Every combination of labels has its slot from the start, so nothing is looked up or formatted per message.

Latencies go into log-linear buckets: 32 per doubling from 2**-15 s (31 µs) to 2**9 s. A bucket is 1.6 to 3.1 % wide, so
a quantile read from its middle is off by at most 1.6 %. Faster or slower ones go into the first or last bucket.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from math import frexp
from typing import Literal

from msgspec import Struct

from app.metrics.error_groups import ErrorGroups
from rollout.names import PATHS, REASONS, PathName

Transport = Literal["websocket", "http"]
Outcome = Literal["ok", "error", "interrupted", "rejected"]
HandoverOutcome = Literal["moved", "interrupted", "identity"]

TRANSPORTS: tuple[Transport, ...] = ("websocket", "http")
OUTCOMES: tuple[Outcome, ...] = ("ok", "error", "interrupted", "rejected")
FINISHED: frozenset[str] = frozenset({"ok", "error"})
"""Outcomes that have a duration and count for the error rate."""
HANDOVER_OUTCOMES: tuple[HandoverOutcome, ...] = ("moved", "interrupted", "identity")
"""`moved`; `interrupted`: a running message was cancelled for it; `identity`: the new path could not restore the
document, and the session goes on from its identity."""
DIRECTIONS: tuple[tuple[PathName, PathName], ...] = (("v2", "v3"), ("v3", "v2"), ("v2", "v2"), ("v3", "v3"))
"""From a path to itself: to a new build, or to the restarted worker."""

WINDOW_S = 900
"""Seconds that the ring keeps."""
RATE_S = 10
"""Whole seconds over which messages per second are averaged."""

_SUB = 32
_LOWEST = -15
_OCTAVES = 24
BUCKETS = _SUB * _OCTAVES
_LAST = BUCKETS - 1
# frexp gives 0.5 <= m < 1, so int(m * 64) is 32..63: the bucket is (e - lowest - 1) * 32 + int(m * 64) - 32.
_SHIFT = (_LOWEST + 1) * _SUB + _SUB


def bucket_of(seconds: float) -> int:
    """The latency bucket of a duration; a negative duration counts as zero."""
    mantissa, exponent = frexp(seconds)
    index = exponent * _SUB + int(mantissa * 64) - _SHIFT
    if index < 0 or seconds <= 0:
        return 0
    return index if index < BUCKETS else _LAST


def bucket_start_s(index: int) -> float:
    """Lower edge of a bucket in seconds; `bucket_start_s(BUCKETS)` is the upper edge of the last."""
    octave, part = divmod(index, _SUB)
    return float((_SUB + part) * 2.0 ** (octave + _LOWEST - 5))


def _layout(keys: Iterable[tuple[str, ...]], start: int) -> dict[tuple[str, ...], int]:
    return {key: start + offset for offset, key in enumerate(keys)}


MESSAGES = _layout(product(PATHS, TRANSPORTS, OUTCOMES), 0)
ADMISSIONS = _layout(product(PATHS, REASONS), len(MESSAGES))
HANDOVERS = _layout(
    ((*way, outcome) for way in DIRECTIONS for outcome in HANDOVER_OUTCOMES), len(MESSAGES) + len(ADMISSIONS)
)
_NEXT = len(MESSAGES) + len(ADMISSIONS) + len(HANDOVERS)
STALE = _NEXT
HANDOVER_MICROSECONDS = _NEXT + 1
MICROSECONDS: dict[str, int] = {"v2": _NEXT + 2, "v3": _NEXT + 3}
HISTOGRAM: dict[str, int] = {"v2": _NEXT + 4, "v3": _NEXT + 4 + BUCKETS}
HANDOVER_HISTOGRAM = _NEXT + 4 + 2 * BUCKETS
SLOTS = HANDOVER_HISTOGRAM + BUCKETS

# For the hot path: nested, so that no tuple is built per message.
_MESSAGE: dict[str, dict[str, dict[str, int]]] = {
    path: {transport: {outcome: MESSAGES[path, transport, outcome] for outcome in OUTCOMES} for transport in TRANSPORTS}
    for path in PATHS
}


class Tally(Struct, frozen=True, array_like=True):
    """One path's counts over a period; `histogram` by latency bucket, without empty ones."""

    seconds: float
    ok: int
    errors: int
    interrupted: int
    rejected: int
    messages_per_second: float
    histogram: dict[int, int]


@dataclass(frozen=True, slots=True)
class CountersMark:
    """All slots at one moment, in seconds of the caller's monotonic clock: the beginning of a period."""

    at: float
    slots: array[int]


class Counters:
    """The counters of one cell. Call `tick` once a second; everything else may be called at any time."""

    __slots__ = ("_before", "_ring", "_tail", "errors", "slots")

    def __init__(self, now: float = 0.0) -> None:
        self.slots: list[int] = [0] * SLOTS
        self.errors = ErrorGroups()
        self._before = array("q", self.slots)
        # The slots as they were WINDOW_S ago: a second that leaves the ring is added here.
        self._tail = CountersMark(now, array("q", self.slots))
        self._ring: deque[tuple[float, array[int]]] = deque()

    # -- the hot path ---------------------------------------------------------------------------------------------

    def message(self, path: PathName, transport: Transport, outcome: Outcome, seconds: float = 0.0) -> None:
        """One message ended, `seconds` after it was accepted; they count for `ok` and `error` only."""
        slots = self.slots
        slots[_MESSAGE[path][transport][outcome]] += 1
        if outcome == "ok" or outcome == "error":  # noqa: PLR1714 - half the cost of a set or tuple
            mantissa, exponent = frexp(seconds)
            index = exponent * 32 + int(mantissa * 64) - _SHIFT
            if index < 0 or seconds <= 0:
                index = 0
            elif index > _LAST:
                index = _LAST
            slots[HISTOGRAM[path] + index] += 1
            slots[MICROSECONDS[path]] += int(seconds * 1e6)

    def admission(self, path: PathName, reason: str) -> None:
        """A session was bound to `path`, or an HTTP message dispatched to it, for a reason of `rollout.assign`."""
        self.slots[ADMISSIONS[path, reason]] += 1

    def handover(self, source: PathName, target: PathName, outcome: HandoverOutcome, seconds: float) -> None:
        """A session left `source` for `target`; `seconds` from the decision until it was bound there."""
        slots = self.slots
        slots[HANDOVERS[source, target, outcome]] += 1
        slots[HANDOVER_HISTOGRAM + bucket_of(seconds)] += 1
        slots[HANDOVER_MICROSECONDS] += int(seconds * 1e6)

    def stale_event(self) -> None:
        """An event of a fenced epoch arrived and was discarded."""
        self.slots[STALE] += 1

    def error(self, path: PathName, code: str, fingerprint: str, reference: str, user_id: str, *, now: float) -> None:
        """A message ended with `error`: count it in its error group. `now` in Unix seconds."""
        self.errors.add(path, code, fingerprint, reference, user_id, now=now)

    # -- once a second --------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Close a second: add what changed since the last call to the ring, and drop what is older than the ring."""
        current = array("q", self.slots)
        before = self._before
        changed = array("q")
        if current != before:
            for index in _changed(current, before):
                changed.append(index)
                changed.append(current[index] - before[index])
            self._before = current
        self._ring.append((now, changed))
        tail = self._tail.slots
        while self._ring and self._ring[0][0] <= now - WINDOW_S:
            at, old = self._ring.popleft()
            for position in range(0, len(old), 2):
                tail[old[position]] += old[position + 1]
            self._tail = CountersMark(at, tail)

    # -- reading --------------------------------------------------------------------------------------------------

    def mark(self, now: float) -> CountersMark:
        """The beginning of a period, for `tally`."""
        return CountersMark(now, array("q", self.slots))

    def tally(self, path: PathName, now: float, since: CountersMark | None = None) -> Tally:
        """Counts of `path` since `since`, at most of the last 15 minutes; those of several cells can be added."""
        start = self._tail if since is None or since.at < self._tail.at else since
        old, new = start.slots, self.slots
        counts = {
            outcome: sum(
                new[slot] - old[slot] for slot in (MESSAGES[path, transport, outcome] for transport in TRANSPORTS)
            )
            for outcome in OUTCOMES
        }
        base = HISTOGRAM[path]
        return Tally(
            seconds=max(now - start.at, 0.0),
            ok=counts["ok"],
            errors=counts["error"],
            interrupted=counts["interrupted"],
            rejected=counts["rejected"],
            messages_per_second=self._rate(path),
            histogram={
                index - base: new[index] - old[index]
                for index in range(base, base + BUCKETS)
                if new[index] != old[index]
            },
        )

    def _rate(self, path: PathName) -> float:
        finished = {MESSAGES[path, transport, outcome] for transport in TRANSPORTS for outcome in FINISHED}
        recent = [self._ring[index] for index in range(-min(RATE_S, len(self._ring)), 0)]
        count = sum(
            changed[position + 1]
            for _, changed in recent
            for position in range(0, len(changed), 2)
            if changed[position] in finished
        )
        return count / len(recent) if recent else 0.0


def _changed(current: array[int], before: array[int]) -> Iterator[int]:
    return (index for index, (new, old) in enumerate(zip(current, before, strict=True)) if new != old)


def quantile_ms(histogram: list[int], share: float) -> float | None:
    """A quantile of a latency histogram: the middle of its bucket, in milliseconds; None: the histogram is empty."""
    total = sum(histogram)
    if total == 0:
        return None
    rank, seen = share * total, 0
    for index, count in enumerate(histogram):
        seen += count
        if count and seen >= rank:
            return (bucket_start_s(index) + bucket_start_s(index + 1)) * 500
    return None
