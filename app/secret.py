"""The secret that the cells of a service share: from the settings, or made once and kept in the data folder."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

from app.data_folder import make_folder
from app.errors import SettingError
from app.settings import Settings
from app.settings_checks import SECRET_BYTES, refusal

SECRET_FILE = "secret"  # noqa: S105 - a file's name


def load_secret(settings: Settings) -> bytes:
    """The key of thread ids, resume tokens and sign-in sessions, as text in UTF-8.

    Raises `SettingError` for a file that contains none, and `OSError` when a new one cannot be kept.
    """
    secret = find_secret(settings)
    if secret is None:
        _make(Path(settings.data) / SECRET_FILE)
        secret = find_secret(settings)
    if secret is None:
        raise refusal("data", settings.data, f"{SECRET_FILE} was removed while the service started; start it again")
    return secret


def find_secret(settings: Settings) -> bytes | None:
    """The secret as it is set or kept; None: one has still to be made. Raises `SettingError`."""
    if settings.secret:
        return settings.secret.encode()
    file = Path(settings.data) / SECRET_FILE
    try:
        secret = file.read_bytes()
        secret.decode()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(settings, file, f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise _unusable(settings, file, "is not text in UTF-8") from None
    if len(secret.strip()) < SECRET_BYTES:
        raise _unusable(settings, file, f"has {len(secret.strip())} bytes, at least {SECRET_BYTES} are needed")
    return secret


def _unusable(settings: Settings, file: Path, why: str) -> SettingError:
    return refusal(
        "data",
        settings.data,
        f"the secret {file} {why}; allowed: what was there before, or no such file: then a new one is made, and "
        "everybody signs in again",
    )


def _make(file: Path) -> None:
    """Complete or not at all, and the first one wins: other cells may start, and any process may be killed."""
    make_folder(file.parent)
    descriptor, new = tempfile.mkstemp(dir=file.parent, prefix=f".{SECRET_FILE}-")  # readable by this account only
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(secrets.token_hex(32).encode())
            stream.flush()
            os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):
            os.link(new, file)
    finally:
        Path(new).unlink()
