"""`crossfade doctor`: checks whether this host is ready for the service, and shows the settings in force.

It repairs nothing and needs no running service.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
import rich_click as click

from app.cli.exits import CommandRefused
from app.cli.target import settings_or_end
from app.cli.terminal import table
from app.errors import SettingError
from app.settings import Settings, describe, shown_value, variable_of
from rollout import formats

ENOUGH_FILES = 4096


class Finding(msgspec.Struct, frozen=True):
    """The result of one check: `bad` makes the command fail, `warn` is worth a look."""

    check: str
    result: Literal["ok", "warn", "bad"]
    words: str


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def doctor(as_json: bool) -> None:
    """Check this host: Python, descriptors, settings, port, data folder, store, workers. Exit 1 if a check is bad."""
    settings = settings_or_end()
    findings = list(examine(settings))
    rows = list(settings_in_force(settings))
    if as_json:
        click.echo(msgspec.json.encode({"checks": findings, "settings": {name: value for name, value, _ in rows}}))
    else:
        click.echo(table(("check", "result", ""), [(f.check, f.result, f.words) for f in findings]))
        click.echo("\n" + table(("setting", "value", "meaning"), rows))
    bad = [finding for finding in findings if finding.result == "bad"]
    if bad:
        raise CommandRefused(
            "this host is not ready: " + "; ".join(f"{finding.check}: {finding.words}" for finding in bad)
        )


def examine(settings: Settings) -> Iterator[Finding]:
    """All checks, the most important first."""
    for check in (_python, _open_files, _port, _parts, _data_folder, _store):
        yield check(settings)
    yield from _paths(settings)
    if settings.client_auth == "jwt" and settings.jwks_url:
        yield _issuer_keys(settings)


def settings_in_force(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Variable, value (without secrets) and meaning of every setting."""
    for name, row in zip(Settings.__struct_fields__, describe(), strict=True):
        yield variable_of(name), shown_value(name, getattr(settings, name)), row.meaning


def _python(_: Settings) -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    return Finding("Python", "ok" if good else "bad", f"{version} at {sys.executable}; 3.11 or newer is needed")


def _open_files(settings: Settings) -> Finding:
    import resource

    from app.serve.descriptors import descriptors_needed

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    possible = hard if hard != resource.RLIM_INFINITY else 1 << 30
    needed = descriptors_needed(settings)
    text = f"`ulimit -n` is {soft} (at most {possible}); a cell of {settings.max_sessions} sessions needs {needed}"
    if possible < ENOUGH_FILES:
        return Finding("open files", "bad", text)
    return Finding("open files", "ok" if possible >= needed else "warn", text)


def _port(settings: Settings) -> Finding:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            return Finding("port", "warn", f"{settings.bind}: {error.strerror}; a service may be running there")
    return Finding("port", "ok", f"{settings.bind} is free")


def _parts(settings: Settings) -> Finding:
    from app.serve.startable import check_parts

    try:
        check_parts(settings)
    except SettingError as error:
        return Finding("settings", "bad", str(error))
    return Finding("settings", "ok", "they are understood")


def _data_folder(settings: Settings) -> Finding:
    from app.serve.startable import check_folder

    try:
        check_folder(settings)
    except SettingError as error:
        return Finding("data folder", "bad", str(error))
    folder = Path(settings.data).resolve()
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    free = os.statvfs(existing)
    text = f"{folder} can be written, {formats.size(free.f_bavail * free.f_frsize)} free"
    return Finding(
        "data folder", "ok" if folder.exists() else "warn", text if folder.exists() else f"{text}; made later"
    )


def _store(settings: Settings) -> Finding:
    from app.cli.local_store import store_answers

    try:
        return Finding("store", "ok", store_answers(settings))
    except Exception as error:  # whatever a driver raises is the finding
        return Finding("store", "bad", f"{type(error).__name__}: {error}")


def _issuer_keys(settings: Settings) -> Finding:
    from app.gateway.issuer_keys import WAIT_S
    from app.gateway.key_set_fetch import FetchFailed, KeySetFetch
    from app.verification_keys import UnusableKeys, keys_of_jwks

    shown = shown_value("jwks_url", settings.jwks_url)
    try:
        keys = keys_of_jwks(asyncio.run(KeySetFetch(settings.jwks_url)(WAIT_S)))
    except (FetchFailed, UnusableKeys) as error:
        return Finding("issuer's keys", "warn", f"{shown}: {error}; until they come nobody can sign in")
    return Finding("issuer's keys", "ok", f"{shown}: {len(keys)} can check tokens")


def _paths(settings: Settings) -> list[Finding]:
    """Start a worker of each path, as the service does, and end it."""
    from app.cli.local_workers import why_not_started

    return [
        Finding(path, "bad" if why else "ok", why or "its worker starts")
        for path, why in why_not_started(settings).items()
    ]
