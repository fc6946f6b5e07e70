"""Which service a command uses, and with which token: `--url`, `CROSSFADE_URL`, `CROSSFADE_TOKEN`, or this host's.

The token that this host's service made is never sent to another host.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from app.cli.exits import Misused
from app.data_folder import OPERATOR_TOKEN
from app.errors import SettingError
from app.serve.local_socket import answering_socket
from app.settings import Settings, is_loopback
from app.settings_reader import load_settings


class Target(msgspec.Struct, frozen=True):
    """A service's base URL, without a slash at the end, and the bearer token for it, if there is one.

    `token_from` names the variable or file that the token came from. `socket`: the Unix socket of this host's service,
    to be used instead of the URL; None: there is none that answers, or another service was named.
    """

    url: str
    token: str | None
    token_from: str
    socket: Path | None = None


def settings_or_end(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this host. Raises `Misused` with one line that says which setting is wrong."""
    try:
        return load_settings(environ)
    except SettingError as error:
        raise Misused(str(error)) from None


def operator_token_file(settings: Settings) -> Path:
    """The file in which `crossfade serve` keeps a token for those who may read its data folder (mode 0600)."""
    return Path(settings.data) / OPERATOR_TOKEN


def find_target(url: str | None, environ: Mapping[str, str] = os.environ) -> Target:
    """The service and token for a command. Raises `Misused` for a wrong URL, or a wrong setting if there is no URL."""
    token = environ.get("CROSSFADE_TOKEN")
    if url and token:
        return Target(_checked(url), token, "CROSSFADE_TOKEN")
    settings = settings_or_end(environ)
    base = _checked(url or f"http://{_reachable(settings)}")
    local = None if url else answering_socket(Path(settings.data))
    if token:
        return Target(base, token, "CROSSFADE_TOKEN", local)
    if local is not None or is_loopback(urlsplit(base).hostname or ""):
        file = operator_token_file(settings)
        try:
            return Target(base, file.read_text().strip() or None, str(file), local)
        except OSError:
            pass
    return Target(base, None, "", local)


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Misused(f"--url {url!r}: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise Misused(f"--url {url!r}: allowed: http://HOST:PORT or https://HOST")
    return url.rstrip("/")


def _reachable(settings: Settings) -> str:
    """The address at which the service can be reached; if it binds all addresses, that is loopback."""
    if settings.host in ("0.0.0.0", "::", "*"):  # noqa: S104 - compared, not bound
        return f"127.0.0.1:{settings.port}"
    return settings.bind
