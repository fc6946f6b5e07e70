"""The secret that the cells of a service share: from the settings, or made once and kept in the data folder."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from app.data_folder import make_folder
from app.settings import Settings

SECRET_FILE = "secret"  # noqa: S105 - a file's name


def load_secret(settings: Settings) -> bytes:
    """The key of thread ids, resume tokens and sign-in sessions. Raises `OSError` when it cannot be kept."""
    if settings.secret:
        return settings.secret.encode()
    file = Path(settings.data) / SECRET_FILE
    try:
        return file.read_bytes()
    except FileNotFoundError:
        pass
    make_folder(file.parent)
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(secrets.token_hex(32).encode())
    return file.read_bytes()
