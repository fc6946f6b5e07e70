"""Keeps a cell's time series: samples once a second, and saves finished slots to the store a little later.

While the store is down the charts lose nothing, unless the service is restarted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from time import time

import msgspec
import structlog

from app.control.ports import CellPort
from app.control.repository import Repository
from app.errors import StoreUnavailable
from app.fleet.aggregate import per_session_bytes
from app.fleet.members import Fleet
from app.metrics.counters import Counters
from app.metrics.series import SPAN_S, TIERS, Gauges, SavedSlots, Series
from app.store.port import SeriesChunk, Store
from rollout.names import PATHS
from rollout.views import AuditEntry, ChartMark, SeriesView, Span

LOOK_S = 1.0
SAVE_S = 10
"""How often finished slots are saved; a service that is killed loses as much of its charts."""
WAITING = 2000
"""Chunks kept while the store is down: more than five hours of them."""
RESTORED = 25
"""Chunks restored before sockets get their turn again: about four milliseconds of work."""
FIRST_READ, READ = 20, 200
"""Entries of the audit asked for at first (the last quarter of an hour seldom has more), and from then on."""
MARKS = 1000
"""Most marks in one answer; the audit page has the rest."""
log = structlog.get_logger()


class SeriesHistory:
    """The time series of all cells, as seen by one of them, as far back as the store goes.

    Without a `fleet` this is the only cell.
    """

    def __init__(
        self,
        cell: CellPort,
        counters: Counters,
        store: Store,
        clock: Callable[[], float] = time,
        fleet: Fleet | None = None,
    ) -> None:
        self.series = Series(counters.slots)
        self._cell = cell
        self._counters = counters
        self._store = store
        self._clock = clock
        self._fleet = fleet
        self._waiting: deque[SeriesChunk] = deque(maxlen=WAITING)
        self._restored = False

    def look(self) -> None:
        """Record this second."""
        others = [] if self._fleet is None else list(self._fleet.others().values())
        gauges = {}
        for path in PATHS:
            states = [self._cell.path_state(path), *(other.paths[path] for other in others)]
            memory = [state.memory_bytes for state in states if state.memory_bytes is not None]
            gauges[path] = Gauges(
                sum(state.sessions for state in states), per_session_bytes(states), sum(memory) if memory else None
            )
        slots = self._counters.slots if self._fleet is None else self._fleet.slots(self._counters.slots)
        self.series.sample(self._clock(), slots, gauges)

    async def run(self) -> None:
        """Restore what the store has, then look once a second and save every ten, until cancelled."""
        await self.load()
        last_saved = int(self._clock()) // SAVE_S
        while True:
            self.look()
            if (turn := int(self._clock()) // SAVE_S) != last_saved:
                last_saved = turn
                await self.save()
            await asyncio.sleep(LOOK_S)

    async def load(self) -> None:
        """Restore what the store has; tried again with every save until it answers."""
        with suppress(StoreUnavailable):
            chunks = await self._store.load_series(self._cell.name)
            for start in range(0, len(chunks), RESTORED):
                self.series.restore(_read(chunks[start : start + RESTORED]))
                await asyncio.sleep(0)  # a month has 50,000 of them, and sockets are served meanwhile
            self._restored = True

    async def save(self) -> None:
        """Save finished slots; they wait for the next time when the store does not answer."""
        if not self._restored:
            await self.load()
        name = self._cell.name
        self._waiting.extend(
            SeriesChunk(name, saved.step_s, saved.slots[-1].number * saved.step_s, msgspec.msgpack.encode(saved))
            for saved in self.series.finished()
        )
        if not self._waiting:
            return
        now, chunks = int(self._clock()), list(self._waiting)
        try:
            await self._store.save_series(chunks, {step_s: now - keep_s for step_s, keep_s in TIERS})
        except StoreUnavailable:
            return
        for _ in chunks:
            self._waiting.popleft()

    async def view(self, span: Span, repository: Repository, until: float | None = None) -> SeriesView:
        """The charts of a span that ends at `until` (Unix seconds), or now, with marks from the audit.

        Without the store there are figures and no marks.
        """
        end = self._clock() if until is None else min(until, self._clock())
        shown = self.series.view(span, end)
        marks: list[ChartMark] = []
        with suppress(StoreUnavailable):
            marks = await _marks(repository, end - SPAN_S[span], end)
        return msgspec.structs.replace(shown, marks=marks)


def _read(chunks: Iterable[SeriesChunk]) -> Iterator[SavedSlots]:
    """What can be read; another version may have written something else."""
    for chunk in chunks:
        try:
            yield msgspec.msgpack.decode(chunk.data, type=SavedSlots)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            log.warning("a part of the charts cannot be read", at=chunk.at, step_s=chunk.step_s, error=str(error))


async def _marks(repository: Repository, since: float, until: float) -> list[ChartMark]:
    marks: list[ChartMark] = []
    before: int | None = None
    limit = FIRST_READ
    while len(marks) < MARKS:
        page = await repository.events(before, limit)
        limit = READ
        # An entry without figures is of a token, changed beside the service: it has no place on a chart.
        marks += [mark_of(entry) for entry in page.items if since <= entry.at <= until and entry.figures]
        if page.next is None or page.items[-1].at < since:
            break
        before = page.next
    return marks[:MARKS][::-1]


def mark_of(entry: AuditEntry) -> ChartMark:
    """An audit entry as a line on a chart: the new percentage if it changed, else the verb."""
    was, now = entry.before.get("percentage"), entry.after.get("percentage")
    verb = entry.what.split(" ", 1)[0]
    word = {"rollback": "rolled back", "note": "note"}.get(verb) or (f"{now} %" if was != now else verb)
    return ChartMark(at=entry.at, word=word, who=entry.who, what=entry.what, reason=entry.reason)
