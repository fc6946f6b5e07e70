"""What a start needs of the settings beyond their form: faults, agent, store, interpreter, data folder, secret.

`crossfade serve` asks before anything is opened, and `crossfade doctor` asks the same.
"""

from __future__ import annotations

import errno
import shutil
import tempfile
from pathlib import Path

from app.api.root_path import OWN
from app.errors import CrossfadeError, FactoryError
from app.secret import find_secret
from app.settings import Settings
from app.settings_checks import BUILTIN, refusal
from app.store.engines import check_url
from app.supervisor.agents import check_agent_setting
from app.supervisor.faults import plans_of_setting
from rollout.names import STABLE, PathName


def check_startable(settings: Settings) -> None:
    """Everything that can be known before a worker starts. Raises `SettingError`."""
    check_parts(settings)
    check_folder(settings)


def check_parts(settings: Settings) -> None:
    """What parts of the service have to understand. Raises `SettingError`."""
    plans_of_setting(settings.faults)
    check_agent_setting(settings.agent)
    if settings.store != "sqlite":
        check_url(settings.store)
    first = settings.root_path.strip("/").partition("/")[0]
    if first in OWN:
        raise refusal(
            "root_path",
            settings.root_path,
            f"addresses of the service itself begin with /{first}; allowed: another name",
        )
    # Not v3's: a canary that cannot start must not keep the stable path from starting.
    if settings.paths_v2_python and shutil.which(settings.paths_v2_python) is None:
        raise refusal(
            "paths_v2_python", settings.paths_v2_python, "there is no such program; allowed: a virtual environment's "
            "bin/python, or nothing for the service's own"
        )  # fmt: skip


def check_folder(settings: Settings) -> None:
    """Whether the data folder can be written, and what is in its secret. Makes nothing. Raises `SettingError`."""
    folder = Path(settings.data).absolute()
    allowed = "allowed: a folder in which this account may make files"
    try:
        existing = next(each for each in (folder, *folder.parents) if each.exists())
    except OSError as error:
        raise refusal("data", settings.data, f"cannot be looked at: {error.strerror}; {allowed}") from None
    if not existing.is_dir():
        raise refusal("data", settings.data, f"{existing} is not a folder; {allowed}")
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):  # a full disk is no wrong setting, and may get room again
            raise refusal("data", settings.data, f"{existing} cannot be written: {error.strerror}; {allowed}") from None
    find_secret(settings)


def words_of_start(settings: Settings, path: PathName, error: CrossfadeError | OSError) -> str:
    """Why a path, or the service, does not start; of a factory that the settings name, with the setting."""
    text = str(error)
    spec = settings.paths_v2 if path == STABLE else settings.paths_v3
    said = f"{path}: {spec}"
    if not isinstance(error, FactoryError) or spec == BUILTIN or not text.startswith(said):
        return text
    why = text.removeprefix(said).removeprefix(":").strip()
    return str(refusal(f"paths_{path}", spec, f"{why}; allowed: builtin, or a factory that can be imported and called"))
