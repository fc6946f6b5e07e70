"""Where settings come from, which source wins, and that a bad one is named in one line with what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import SettingError
from app.settings import (
    FLAG,
    SECRETS,
    Settings,
    describe,
    is_loopback,
    shown_value,
    variable_of,
)
from app.settings_reader import load_settings

NOWHERE = Path("there-is-no-such-file.toml")


def load(tmp_path: Path, toml: str = "", **environ: str) -> Settings:
    file = tmp_path / "crossfade.toml"
    file.write_text(toml)
    return load_settings(environ, file)


def test_nothing_set_is_the_defaults_of_the_interface() -> None:
    settings = load_settings({}, NOWHERE)
    assert settings == Settings()
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.forced is None
    assert (
        settings.rate_messages_per_minute,
        settings.rate_messages_burst,
        settings.connections_per_user,
        settings.message_bytes,
        settings.heartbeat_s,
        settings.idle_s,
        settings.queue_messages,
        settings.queue_bytes,
        settings.drain_s,
        settings.stop_s,
        settings.resume_s,
        settings.hold_s,
    ) == (30, 10, 3, 8192, 25, 300, 100, 65_536, 2, 2, 120, 10)


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    settings = load(
        tmp_path, 'environment = "staging"\ndrain_s = 5\nidle_s = 60\nforced = true', CROSSFADE_DRAIN_S="7.5"
    )
    assert (settings.environment, settings.drain_s, settings.idle_s, settings.forced) == ("staging", 7.5, 60, True)


def test_the_file_is_named_by_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "other.toml"
    file.write_text("max_sessions = 7")
    assert load_settings({"CROSSFADE_CONFIG": str(file)}).max_sessions == 7


@pytest.mark.parametrize(("value", "forced"), [("false", False), ("true", True), ("0", False), ("1", True), ("", None)])
def test_the_flag_variable_forces_a_path_or_is_unset(tmp_path: Path, value: str, forced: bool | None) -> None:
    assert load(tmp_path, **{FLAG: value}).forced is forced


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("CROSSFADE_BIND", "nowhere", "CROSSFADE_BIND='nowhere'"),
        ("CROSSFADE_BIND", "127.0.0.1:65536", "0..65535"),
        ("CROSSFADE_BIND", "0.0.0.0:8000", "CROSSFADE_CLIENT_AUTH"),
        ("CROSSFADE_DRAIN_S", "soon", "CROSSFADE_DRAIN_S='soon'"),
        ("CROSSFADE_DRAIN_S", "-1", ">= 0"),
        ("CROSSFADE_HEARTBEAT_S", "nan", "CROSSFADE_HEARTBEAT_S='nan'"),
        ("CROSSFADE_STORE", "mysql://x", "`sqlite`"),
        ("CROSSFADE_CLIENT_AUTH", "maybe", "CROSSFADE_CLIENT_AUTH='maybe'"),
        ("CROSSFADE_CLIENT_AUTH", "jwt", "CROSSFADE_JWT_KEY or CROSSFADE_JWKS_URL"),
        ("CROSSFADE_UNLEASH_URL", "http://127.0.0.1:4242/api", "reserved"),
        ("CROSSFADE_TRUSTED_PROXIES", "10.0.0.0/8,here", "'here'"),
        ("CROSSFADE_TRUSTED_USER_HEADER", "X-User", "CROSSFADE_TRUSTED_PROXIES"),
        ("CROSSFADE_TRUSTED_USER_HEADER", "X User", "CROSSFADE_TRUSTED_USER_HEADER='X User'"),
        ("CROSSFADE_TRUSTED_ROLE_HEADER", "X-Role", "needs CROSSFADE_TRUSTED_USER_HEADER"),
        ("CROSSFADE_RATE_CONNECTIONS_PER_SECOND", "0", "> 0"),
        ("CROSSFADE_MAX_SESSIONS", "1.5", "CROSSFADE_MAX_SESSIONS='1.5'"),
        ("CROSSFADE_QUEUE_MESSAGES", "", "CROSSFADE_QUEUE_MESSAGES=''"),
        ("CROSSFADE_PARTITION", "v3", "CROSSFADE_PARTITION='v3'"),
        (FLAG, "maybe", "false, true or unset"),
        ("CROSSFADE_DRIAN_S", "2", "CROSSFADE_DRIAN_S: no such setting; did you mean CROSSFADE_DRAIN_S?"),
        ("CROSSFADE_WHATEVER_ELSE", "2", "CROSSFADE_WHATEVER_ELSE: no such setting; the README has a table"),
    ],
)
def test_a_bad_value_is_one_line_with_the_variable_and_what_is_allowed(
    tmp_path: Path, variable: str, value: str, said: str
) -> None:
    with pytest.raises(SettingError) as caught:
        load(tmp_path, **{variable: value})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("drian_s = 2", "'drian_s' is not a setting; did you mean CROSSFADE_DRAIN_S"),
        ("drain_s = ", "crossfade.toml"),
        ('drain_s = "x"', "CROSSFADE_DRAIN_S"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, toml: str, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        load(tmp_path, toml)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CROSSFADE_SECRET", "hunter2"),
        ("CROSSFADE_SECERT", "hunter2"),
        ("CROSSFADE_STORE", "postgres://crossfade:hunter2@db/crossfade"),
    ],
)
def test_a_secret_that_is_not_accepted_is_not_repeated(tmp_path: Path, variable: str, value: str) -> None:
    with pytest.raises(SettingError, match=variable) as caught:
        load(tmp_path, **{variable: value})
    assert "hunter2" not in str(caught.value)


def test_sign_in_may_be_off_on_loopback_only(tmp_path: Path) -> None:
    assert load(tmp_path, CROSSFADE_BIND="[::1]:9000").host == "::1"
    key = "x" * 64
    signed = load(tmp_path, CROSSFADE_BIND="0.0.0.0:80", CROSSFADE_CLIENT_AUTH="jwt", CROSSFADE_JWT_KEY=key)
    assert (signed.host, signed.port) == ("0.0.0.0", 80)


def test_what_belongs_to_commands_and_tests_is_no_setting(tmp_path: Path) -> None:
    environ = {"CROSSFADE_URL": "http://x", "CROSSFADE_TOKEN": "t", "CROSSFADE_TEST_POSTGRES": "y", "PATH": "z"}
    assert load(tmp_path, **environ) == Settings()


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("localhost", True), ("127.9.9.9", True), ("::1", True), ("0.0.0.0", False), ("10.0.0.1", False), ("db", False)],
)
def test_loopback_is_what_only_this_machine_can_reach(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_every_setting_describes_itself() -> None:
    rows = {row.variable: row for row in describe()}
    assert list(rows) == [variable_of(name) for name in Settings.__struct_fields__]
    assert all(row.meaning for row in rows.values())
    assert rows["CROSSFADE_DRAIN_S"].default == "2"
    assert rows["CROSSFADE_SECRET"].default == "unset"
    assert rows[FLAG].default == "unset"


def test_settings_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Settings().drain_s = 3  # type: ignore[misc]


def test_no_setting_that_sounds_secret_is_shown() -> None:
    """A new setting whose name says what it is must not be forgotten here."""
    sounding = {
        name
        for name in Settings.__struct_fields__
        if any(word in name for word in ("secret", "key", "token", "password")) and not name.startswith("jwks")
    }
    assert sounding <= SECRETS <= set(Settings.__struct_fields__)
    assert {shown_value(name, "hunter2") for name in SECRETS} == {"set, not shown"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("postgresql://crossfade:hunter2@db:5432/crossfade?sslpassword=x", "postgresql://…@db:5432/crossfade?…"),
        ("http://unleash:4242/api", "http://unleash:4242/api"),
        ("http://me:hunter2@[::1/api", "…"),
        ("sqlite", "sqlite"),
        ("", "unset"),
        (None, "unset"),
        (False, "False"),
    ],
)
def test_an_address_keeps_its_host_and_loses_its_password(value: object, text: str) -> None:
    assert shown_value("store", value) == text
