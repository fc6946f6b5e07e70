"""What a service keeps, how much of it, and for how long: the rows of the README's table, with the code's own numbers.

A test holds it against the tables of the store and the files of the data folder, so that nothing is kept unsaid.
"""

from __future__ import annotations

from typing import NamedTuple

from app.api.access import SESSION_S
from app.api.known_tokens import KEPT_S as KNOWN_S
from app.control.controller import PINS
from app.control.history import WAITING as WAITING_SLOTS
from app.control.register import FORGOTTEN_S
from app.control.repository import WAITING as WAITING_ENTRIES
from app.control.retention import RECEIPTS, SIGN_INS_S, TOKENS_S
from app.control.verification import REPORTS
from app.gateway.issuer_keys import GOOD_S
from app.gateway.key_set_fetch import MOST_BYTES
from app.gateway.rate_limits import RECENT
from app.gateway.recent import DUPLICATE_WINDOW
from app.gateway.resume_store import WAITING as WAITING_SESSIONS
from app.metrics.error_groups import GROUPS, USERS
from app.metrics.error_groups import KEPT_S as ERRORS_S
from app.metrics.series import TIERS
from app.store.engines import JOURNAL_BYTES
from app.store.tokens import CODE_S, OPERATOR_S
from app.supervisor.contract import DOCUMENT_BYTES
from dashboards.base.places import IN_ALL
from rollout import formats

HOUR_S, DAY_S = 3600, 86_400


class Kept(NamedTuple):
    """One kind of thing that is kept."""

    what: str
    most: str
    until: str
    tables: tuple[str, ...] = ()
    """Of the store."""
    files: tuple[str, ...] = ()
    """Of the data folder."""


def kept() -> list[Kept]:
    """All kinds: first what is in the store, then the rest of the data folder, then what a cell has in its memory."""
    return [*_in_the_store(), *_in_the_folder(), *_in_memory()]


def _in_the_store() -> list[Kept]:
    chunks = sum(keep_s // max(step_s, 10) for step_s, keep_s in TIERS)
    databases = tuple(f"{name}.db{more}" for name in ("control", "sessions") for more in ("", "-wal", "-shm"))
    return [
        Kept("the record of the rollout", "one", "it is replaced", ("rollout",), databases),
        Kept(
            "the audit", "one entry for a command or an automatic step, about 1 KiB, reasons 1,000 characters",
            "for ever: the database refuses to change it; `crossfade events` exports it, `doctor` and the page Health "
            "say its size",
            ("audit",),
        ),
        Kept("receipts of rollbacks", f"the newest {RECEIPTS:,}", "a newer one takes its place", ("rollbacks",)),
        Kept("pins", f"{PINS:,}", "somebody removes them", ("pins",)),
        Kept(
            "tokens, as digests", "one for each that was made",
            f"{_time(TOKENS_S)} after they expired or were revoked; the token of a host's own commands expires "
            f"{_time(OPERATOR_S)} after its last service",
            ("tokens",),
        ),
        Kept(
            "sign-in links and the browsers that they signed in, as digests", "a link for each start",
            f"{_time(SIGN_INS_S)} after they were used or expired; a link is good for {_time(CODE_S)}, a browser for "
            f"{_time(SESSION_S)}",
        ),
        Kept(
            "sessions of clients, for their coming back",
            f"of each its state ({DOCUMENT_BYTES // 1024} KiB), and ids and outcomes of {DUPLICATE_WINDOW} messages",
            "the client has come back, or `CROSSFADE_RESUME_S` is over; deleted within seconds",
            ("resumes",),
        ),
        Kept(
            "figures for the charts", f"about {round(chunks, -3):,} rows a cell",
            ", ".join(f"{_time(keep_s)} by {_step(step_s)}" for step_s, keep_s in TIERS) + "; cells that are gone, too",
            ("series",),
        ),
        Kept(
            "which cells there are and which leads", "a row a cell, and one",
            f"the cell stops, or was silent for {_time(FORGOTTEN_S)}", ("cells", "leases"),
        ),
    ]  # fmt: skip


def _in_the_folder() -> list[Kept]:
    return [
        Kept(
            "the databases' files", f"of each a log of {formats.size(JOURNAL_BYTES)}",
            "they do not shrink: the place of what was deleted is used again",
        ),
        Kept(
            "secret, owner, this host's token, the lock and the place for it, sockets in `run`", "a few KiB",
            "they are replaced",
            files=("secret", "owner", "operator.token", "rollback.lock", "rollback.spare"),
        ),
    ]  # fmt: skip


def _in_memory() -> list[Kept]:
    return [
        Kept(
            "in memory: open sessions", "`CROSSFADE_MAX_SESSIONS`, each with its queue and what waits to be sent",
            "their sockets close",
        ),
        Kept(
            "in memory: sessions that ended", "as many as may be open; older ones are in the store alone",
            "`CROSSFADE_RESUME_S` is over",
        ),
        Kept(
            "in memory: who sends and connects how fast, by user and address", f"the last {RECENT:,} of each",
            "it no longer matters, after some minutes",
        ),
        Kept(
            "in memory: error groups", f"{GROUPS}, each with {USERS:,} users as digests of 32 bits",
            f"{_time(ERRORS_S)} after the last error, or the end of the process",
        ),
        Kept("in memory: known tokens", "those in the store", f"{_time(KNOWN_S)} after they ended"),
        Kept("in memory: reports of a rollback", f"{REPORTS}, or one a cell if these are more", "the lock is lifted"),
        Kept("in memory: an issuer's keys", f"those in {formats.size(MOST_BYTES)}", f"{_time(GOOD_S)} after they came"),
        Kept(
            "in memory: what waits for a store that is down",
            f"{WAITING_ENTRIES:,} audit entries, {WAITING_SLOTS:,} parts of the charts, {WAITING_SESSIONS:,} sessions",
            "the store is back; the audit is in the log, too",
        ),
        Kept("in memory: event streams of pages", f"{IN_ALL} a cell", "the page closes"),
    ]  # fmt: skip


def _time(seconds: float) -> str:
    whole = int(seconds)
    if whole % DAY_S == 0:
        return formats.plural(whole // DAY_S, "day")
    return formats.plural(whole // HOUR_S, "hour")


def _step(seconds: int) -> str:
    return {1: "the second", 60: "the minute"}.get(seconds, f"{seconds} s")
