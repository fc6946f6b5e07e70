"""What people may see of the settings: every one, as it was read, and no secret of any kind."""

from __future__ import annotations

import msgspec
import pytest

from app.control.health import SECRETS, settings_view, shown
from app.settings import Settings, describe

HIDDEN = "hunter2-hunter2-hunter2"


def test_every_setting_is_there_and_says_whether_it_was_set() -> None:
    rows = settings_view(Settings(heartbeat_s=7))
    assert [row.variable for row in rows] == [row.variable for row in describe()]
    assert [row.variable for row in rows if not row.is_default] == ["CROSSFADE_HEARTBEAT_S"]
    assert {row.value for row in rows if row.variable == "CROSSFADE_HEARTBEAT_S"} == {"7"}


def test_no_setting_that_sounds_secret_is_shown() -> None:
    """A new setting whose name says what it is must not be forgotten here."""
    sounding = {
        name
        for name in Settings.__struct_fields__
        if any(word in name for word in ("secret", "key", "token", "password")) and not name.startswith("jwks")
    }
    assert sounding <= SECRETS
    settings = msgspec.structs.replace(Settings(), **dict.fromkeys(SECRETS, HIDDEN))
    rows = settings_view(settings)
    assert not any(HIDDEN in row.value for row in rows)
    assert sum(row.value == "set, not shown" for row in rows) == len(SECRETS)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("postgresql://crossfade:hunter2@db:5432/crossfade?sslpassword=x", "postgresql://…@db:5432/crossfade?…"),
        ("http://unleash:4242/api", "http://unleash:4242/api"),
        ("sqlite", "sqlite"),
        ("", "unset"),
        (None, "unset"),
        (False, "False"),
    ],
)
def test_an_address_keeps_its_host_and_loses_its_password(value: object, text: str) -> None:
    assert shown("store", value) == text
