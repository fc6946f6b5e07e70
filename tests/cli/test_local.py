"""The commands on the service's own host: a new token with the service down, the operator's token, and the doctor."""

from __future__ import annotations

import asyncio
import getpass
import json
import socket
import stat
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from app.cli.local_store import keep_operator_token, store_answers
from app.settings import Settings
from app.store.port import Token
from app.store.sql import sqlite_store
from app.store.tokens import digest_of
from rollout.views import AuditEntry
from tests.cli.conftest import Run
from tests.gateway.issuer import Signer, key_set


async def stored(folder: Path, secret: str) -> Token | None:
    store = sqlite_store(folder)
    await store.open()
    try:
        return await store.find_token(digest_of(secret))
    finally:
        await store.close()


async def audit(folder: Path) -> list[AuditEntry]:
    store = sqlite_store(folder)
    await store.open()
    try:
        return (await store.load_audit()).items
    finally:
        await store.close()


async def revoke(folder: Path, secret: str) -> None:
    store = sqlite_store(folder)
    await store.open()
    try:
        assert await store.revoke_token(digest_of(secret), time.time())
    finally:
        await store.close()


@pytest.mark.parametrize("days", [None, "0.5"])
def test_a_token_stands_alone_on_the_last_line_and_is_in_the_store(run: Run, tmp_path: Path, days: str | None) -> None:
    result = run("token", "--role", "oncall", "--name", "ada", *(["--days", days] if days else []))
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) == 1
    token = asyncio.run(stored(tmp_path / "data", result.stdout.strip()))
    assert token is not None
    assert (token.role, token.name, token.kind) == ("oncall", "ada", "bearer")
    lives_s = 30 * 86_400 if days is None else 43_200
    assert token.valid(time.time() + lives_s - 100)
    assert not token.valid(time.time() + lives_s + 100)


@pytest.mark.parametrize("role", ["viewer", "manager"])
def test_other_tokens_are_good_until_they_are_revoked(run: Run, tmp_path: Path, role: str) -> None:
    token = asyncio.run(stored(tmp_path / "data", run("token", "--role", role).stdout.strip()))
    assert token is not None
    assert token.expires_at is None


def test_tokens_are_listed_without_a_secret_and_revoked_by_id_or_name(run: Run, tmp_path: Path) -> None:
    secrets = [run("token", "--role", "viewer", "--name", name).stdout.strip() for name in ("ada", "ada", "bob")]
    listed = run("token", "--list")
    assert listed.exit_code == 0, listed.output
    assert not any(secret in listed.stdout for secret in secrets)
    known = {digest_of(secret)[:12]: secret for secret in secrets}
    assert {each["id"]: each["state"] for each in json.loads(run("token", "--list", "--json").stdout)} == dict.fromkeys(
        known, "good"
    )
    bob = digest_of(secrets[2])[:12]
    assert bob in listed.stdout
    assert run("token", "--revoke", bob).stdout == f"revoked {bob}: bob (viewer)\n"
    assert len(run("token", "--revoke", "ada").stdout.splitlines()) == 2
    for secret in secrets:
        token = asyncio.run(stored(tmp_path / "data", secret))
        assert token is not None
        assert token.revoked_at is not None
    again = run("token", "--revoke", "ada")
    assert (again.exit_code, again.stdout) == (1, "")
    assert "'ada'" in again.stderr


def test_the_audit_says_who_was_given_a_token_and_of_whom_it_was_taken(run: Run, tmp_path: Path) -> None:
    secret = run("token", "--role", "oncall", "--name", "ada").stdout.strip()
    known = digest_of(secret)[:12]
    run("token", "--revoke", "ada")
    entries = asyncio.run(audit(tmp_path / "data"))
    assert [entry.what for entry in entries] == [
        f"token {known} of ada, oncall, revoked",
        f"token {known} for ada, oncall, for 30 days",
    ]
    for entry in entries:
        assert (entry.who, entry.source) == (getpass.getuser(), f"cli on {socket.gethostname()}")
        assert entry.figures == {}
        assert secret not in str(entry)


@pytest.mark.parametrize("options", [[], ["--list", "--role", "viewer"], ["--list", "--revoke", "ada"]])
def test_token_does_one_thing_at_a_time(run: Run, options: list[str]) -> None:
    result = run("token", *options)
    assert result.exit_code == 2
    assert "--revoke" in result.stderr


def test_a_store_that_does_not_answer_is_exit_1(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run("token", "--role", "viewer", CROSSFADE_DATA=str(tmp_path / "file" / "data"))
    assert result.exit_code == 1
    assert result.stderr.startswith("no token made: ")
    assert result.stdout == ""


def test_the_operators_token_is_private_kept_and_made_anew_when_it_is_no_longer_good(tmp_path: Path) -> None:
    settings = Settings(data=str(tmp_path))
    file = keep_operator_token(settings)
    first = file.read_text().strip()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    token = asyncio.run(stored(tmp_path, first))
    assert token is not None
    assert token.role == "manager"
    assert keep_operator_token(settings).read_text().strip() == first
    asyncio.run(revoke(tmp_path, first))
    assert keep_operator_token(settings).read_text().strip() != first
    assert asyncio.run(stored(tmp_path, file.read_text().strip())) is not None


def test_doctor_checks_this_host_and_shows_settings_but_no_secret(run: Run, tmp_path: Path) -> None:
    secret = "x" * 20
    result = run("doctor", CROSSFADE_SECRET=secret, CROSSFADE_BIND="127.0.0.1:0", CROSSFADE_MAX_SESSIONS="100")
    assert result.exit_code == 0, result.output
    assert secret not in result.output
    assert "CROSSFADE_SECRET" in result.stdout
    assert "set, not shown" in result.stdout
    report = json.loads(run("doctor", "--json", CROSSFADE_BIND="127.0.0.1:0").stdout)
    assert [check["check"] for check in report["checks"]] == [
        "Python", "open files", "port", "settings", "data folder", "store", "v2", "v3",
    ]  # fmt: skip
    (words,) = [check["words"] for check in report["checks"] if check["check"] == "store"]
    assert words == "SQLite in the data folder answers; its audit has about 0 B, 0 rows"
    assert run("token", "--role", "oncall", "--name", "ada").exit_code == 0
    assert store_answers(Settings(data=str(tmp_path / "data"))).endswith(", 1 rows")
    store = "postgresql://crossfade:hunter2@127.0.0.1:1/crossfade"
    down = run("doctor", CROSSFADE_STORE=store, CROSSFADE_BIND="127.0.0.1:0")
    assert "hunter2" not in down.output
    assert "postgresql://…@127.0.0.1:1/crossfade" in down.stdout
    assert report["settings"]["CROSSFADE_DATA"] == str(tmp_path / "data")


def test_doctor_fails_where_the_data_folder_cannot_be(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run("doctor", CROSSFADE_DATA=str(tmp_path / "file"), CROSSFADE_BIND="127.0.0.1:0")
    assert result.exit_code == 1
    assert "data folder: " in result.stderr


def test_doctor_says_that_the_port_is_taken(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = run("doctor", CROSSFADE_BIND=f"127.0.0.1:{taken.getsockname()[1]}")
    assert "a service may be running there" in result.stdout


class KeySetOrNothing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(key_set(Signer("a"), Signer("b")) if self.path == "/keys" else b"<html>")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on standard error."""


@pytest.fixture
def issuer_url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), KeySetOrNothing) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("path", "result", "said"),
    [("/keys", "ok", "2 can check tokens"), ("/down", "warn", "the answer is not JSON; until they come nobody can")],
)
def test_doctor_asks_the_issuer_for_its_keys(run: Run, issuer_url: str, path: str, result: str, said: str) -> None:
    settings = {
        "CROSSFADE_CLIENT_AUTH": "jwt",
        "CROSSFADE_JWKS_URL": issuer_url + path,
        "CROSSFADE_BIND": "127.0.0.1:0",
    }
    check = json.loads(run("doctor", "--json", **settings).stdout)["checks"][-1]
    assert (check["check"], check["result"]) == ("issuer's keys", result)
    assert said in check["words"]


@pytest.mark.parametrize("command", ["doctor", "serve"])
def test_doctor_says_of_a_wrong_key_what_the_start_says(run: Run, command: str) -> None:
    key = "-----BEGIN PRIVATE KEY-----\\nMIIB\\n-----END PRIVATE KEY-----"
    result = run(command, CROSSFADE_CLIENT_AUTH="jwt", CROSSFADE_JWT_KEY=key)
    assert result.exit_code == 2
    assert [line for line in result.stderr.splitlines() if "CROSSFADE_JWT_KEY='…': is a private key" in line]
    assert "Traceback" not in result.output
    assert "MIIB" not in result.output
