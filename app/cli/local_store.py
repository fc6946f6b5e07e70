"""The store of this host's settings, opened without a service: for tokens and for `doctor`.

It never changes the control record. Whoever may read the settings and the data folder may do everything here.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal, TypeVar

from app.cli.known_token import KnownToken
from app.cli.target import operator_token_file
from app.data_folder import make_folder
from app.serve.service import make_store
from app.settings import Settings
from app.store.port import AuditSize, Store, Token
from app.store.tokens import OPERATOR_S, digest_of, make_token
from rollout import formats
from rollout.names import TokenRole
from rollout.views import AuditEntry

T = TypeVar("T")

OPERATOR = "operator on this host"
DAY_S = 86_400.0
ID_CHARACTERS = 12
"""Length of the shown part of a token's digest: enough to tell tokens apart, useless for signing in."""


def add_token(settings: Settings, role: TokenRole, name: str, days: float | None) -> str:
    """Save a new token; returns its secret, which is kept nowhere. Raises `StoreUnavailable`."""

    async def add(store: Store) -> str:
        secret = await _add_token(store, role, name, days)
        good = "until revoked" if days is None else f"for {days:g} days"
        await _record(store, f"token {digest_of(secret)[:ID_CHARACTERS]} for {name}, {role}, {good}")
        return secret

    return _with_store(settings, add)


def list_tokens(settings: Settings) -> list[KnownToken]:
    """All tokens, and the browsers that are signed in by a link; the newest first. Raises `StoreUnavailable`."""

    async def load(store: Store) -> list[KnownToken]:
        now = time.time()
        tokens = await store.load_tokens()
        return [_known(token, now) for token in tokens if token.kind == "bearer" or token.valid(now)]

    return sorted(_with_store(settings, load), key=lambda token: token.created_at, reverse=True)


def revoke_tokens(settings: Settings, which: str) -> list[KnownToken]:
    """Revoke the valid token with this id, or all valid ones with this name.

    Returns those that this call revoked. Raises `StoreUnavailable`.
    """

    async def revoke(store: Store) -> list[KnownToken]:
        now = time.time()
        valid = [token for token in await store.load_tokens() if token.valid(now)]
        chosen = [token for token in valid if token.digest[:ID_CHARACTERS] == which]
        chosen = chosen or [token for token in valid if token.name == which]
        revoked = [_known(token, now) for token in chosen if await store.revoke_token(token.digest, now)]
        for token in revoked:
            await _record(store, f"token {token.id} of {token.name}, {token.role}, revoked")
        return revoked

    return _with_store(settings, revoke)


def _known(token: Token, now: float) -> KnownToken:
    state: Literal["good", "expired", "revoked"] = "good" if token.valid(now) else "expired"
    if token.revoked_at is not None:
        state = "revoked"
    return KnownToken(
        id=token.digest[:ID_CHARACTERS],
        name=token.name,
        role=token.role,
        created_at=token.created_at,
        expires_at=token.expires_at,
        state=state,
        kind="browser" if token.kind == "session" else "token",
    )


def keep_operator_token(settings: Settings) -> Path:
    """Make sure that the operator's file contains a valid token; returns the file. The service renews it.

    Raises `StoreUnavailable` and `OSError`.
    """
    file = operator_token_file(settings)

    async def keep(store: Store) -> None:
        known = await store.find_token(digest_of(file.read_text().strip())) if file.exists() else None
        if known is None or not known.valid(time.time()):
            _write_private(file, await _add_token(store, "manager", OPERATOR, OPERATOR_S / DAY_S))

    _with_store(settings, keep)
    return file


def store_answers(settings: Settings) -> str:
    """Open the store and write to it; returns the result, and how much audit there is, as text.

    Raises `StoreUnavailable`.
    """

    async def ask(store: Store) -> AuditSize:
        await store.delete_resumes(0.0, 1)
        return await store.measure_audit()

    audit = _with_store(settings, ask)
    where = "SQLite in the data folder answers" if settings.store == "sqlite" else "PostgreSQL answers"
    return f"{where}; its audit has about {formats.size(audit.size_bytes)}, {formats.count(audit.entries)} rows"


async def _add_token(store: Store, role: TokenRole, name: str, days: float | None) -> str:
    now = time.time()
    secret, token = make_token(role, name, now, None if days is None else now + days * DAY_S)
    await store.save_token(token)
    return secret


def this_user() -> str:
    """Name of the user who runs this command; in a container there may be only a number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


async def _record(store: Store, what: str) -> None:
    """Add an entry to the audit, without the paths' figures, because the service may be down."""
    stored = await store.load_record()
    await store.append_audit(
        AuditEntry(
            id=0,
            at=time.time(),
            who=this_user(),
            role="",
            source=f"cli on {socket.gethostname()}",
            what=what,
            reason="",
            revision=0 if stored is None else stored.revision,
            before={},
            after={},
            figures={},
        )
    )


def _with_store(settings: Settings, use: Callable[[Store], Awaitable[T]]) -> T:
    async def run() -> T:
        async with _opened(settings) as store:
            return await use(store)

    return asyncio.run(run())


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Store]:
    store = make_store(settings)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def _write_private(file: Path, text: str) -> None:
    """Write a file that nobody else can read, not even while it is being written."""
    make_folder(file.parent)
    new = file.with_suffix(".new")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)
    new.write_text(text + "\n")
    new.replace(file)
