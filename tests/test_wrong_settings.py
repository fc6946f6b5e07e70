"""Every setting with values that are wrong: the start stops with one line, and no value makes anything but that line.

Reading either succeeds or raises `SettingError`; nothing else may come out of any text or file.
"""

from __future__ import annotations

import json
import os
import re
import string
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from app.cli.root import crossfade as command
from app.errors import SettingError
from app.secret import SECRET_FILE, find_secret, load_secret
from app.serve.startable import check_startable
from app.settings import FLAG, SECRETS, Settings, shown_value, variable_of
from app.settings_reader import RESERVED, load_settings
from ops.command import COMMAND, for_command

TEXT = ("a\x00b", "a\nb", "a\x1bb", "\udcff")
"""What no text may contain: it stands in logs, headers, file names and on a terminal."""
POSITIVE = ("0", "-1", "nan", "inf", "-inf", "1e999", "many", "", "1 2", "1e13")
NOT_NEGATIVE = ("-1", "nan", "inf", "many", "", "1e13")
WHOLE = ("0", "-1", "1.5", "many", "", "1" + "0" * 30, "0x10")
FACTORY = ("", "v2", "package.module", "package:", ":factory", "pack age:factory", "package.module:factory()", *TEXT)
WRONG: dict[str, tuple[str, ...]] = {
    "bind": ("", "nowhere", ":8000", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "[::1:80", "a..b:80", "a b:80",
             "http://127.0.0.1:80", "0.0.0.0:8000", "127.0.0.1:\N{ARABIC-INDIC DIGIT THREE}", *TEXT),
    "data": ("", "/proc/no-such-folder", "/dev/null", "/dev/null/data", *TEXT),
    "store": ("", "mysql://x", "postgres://u:p@h/d", "sqlite.db", "postgresql://", "postgresql://u:p@h:port/d",
              "postgresql://u:p@[h/d", "postgresql://u:p@h/d?x", *TEXT),
    "flag": ("", *TEXT),
    "environment": TEXT,
    "client_auth": ("", "JWT", "maybe", "jwt"),
    "jwt_key": ("-----BEGIN PUBLIC KEY-----", "-----BEGIN PRIVATE KEY-----\\nx\\n-----END PRIVATE KEY-----",
                "a\x00" * 40, "\udcff" * 40),
    "jwks_url": ("issuer.example/keys", "ftp://issuer.example", "https://", "https://[::1", "https://h:port/", *TEXT),
    "jwt_issuer": TEXT,
    "jwt_audience": TEXT,
    "origins": ("app.example", "*", "null", "https://", "https://a.example/path", "https://a.example:99999",
                "https://u@a.example", "https://a.example https://b.example", "https://*.example", *TEXT),
    "hosts": ("https://app.example", "app.example:8000", "*.example", "a/b", "münchen.example", "a b", *TEXT),
    "root_path": ("crossfade", "/", "/crossfade/", "//crossfade", "/a/../b", "/a?b", "/a b", "/%2e", "https://x/y",
                  "/api/x", *TEXT),
    "trusted_proxies": ("here", "10.0.0.0/33", "10.0.0.1:80", "10.0.0.1 10.0.0.2", "::/129", *TEXT),
    "trusted_user_header": ("X User", "X-User:", "X-User", *TEXT),
    "trusted_role_header": ("X Role", "X-Role", *TEXT),
    "secret": ("hunter2", " " * 40, "\n" * 40, *TEXT),
    "paths_v2": FACTORY,
    "paths_v3": FACTORY,
    "paths_v2_python": ("/no/such/python", "/dev/null", *TEXT),
    "paths_v3_python": TEXT,
    "agent": ("", "Echo", "nobody", *TEXT),
    "faults": ("{", "[]", "0", '{"v4": {}}', '{"v3": {"eror_rate": 1}}', '{"v3": {"error_rate": 2}}',
               '{"v3": {"hang": "yes"}}', '{"v3": 1}', "[" * 100_000, '{"v3": {"seed": 1e400}}', "\udcff", "a\x00b"),
    "rate_messages_per_minute": POSITIVE,
    "rate_messages_burst": WHOLE,
    "rate_connections_per_second": POSITIVE,
    "rate_connections_burst": WHOLE,
    "connections_per_user": WHOLE,
    "max_sessions": WHOLE,
    "message_bytes": (*WHOLE, "63", "1048577"),
    "queue_messages": WHOLE,
    "queue_bytes": (*WHOLE, "63"),
    "send_buffer_bytes": (*WHOLE, "1023"),
    "heartbeat_s": POSITIVE,
    "idle_s": POSITIVE,
    "message_timeout_s": POSITIVE,
    "stop_s": POSITIVE,
    "drain_s": NOT_NEGATIVE,
    "hold_s": POSITIVE,
    "resume_s": POSITIVE,
    "shutdown_s": NOT_NEGATIVE,
    "ramp_per_second": WHOLE[1:],
    "ping_s": POSITIVE,
    "hang_v2_s": POSITIVE,
    "hang_v3_s": POSITIVE,
    "unstarted_s": POSITIVE,
    "request_s": POSITIVE,
    "keep_alive_s": POSITIVE,
    "start_s": POSITIVE,
    "crash_limit": WHOLE,
    "crash_window_s": POSITIVE,
    "worker_memory_bytes": WHOLE[1:],
    "worker_nice_v3": (*WHOLE[1:], "20"),
    "partition": ("", "v3", "HOLD"),
    "log_level": ("", "trace", "INFO", "10"),
    "forced": ("maybe", "v3", "2", " "),
    **dict.fromkeys(RESERVED, ("https://flags.example/api",)),
}  # fmt: skip


def started(environ: dict[str, str], file: Path | None = None) -> Settings:
    """What a start does with its settings before it opens anything."""
    settings = load_settings(environ, file)
    check_startable(settings)
    return settings


def test_every_setting_has_wrong_values_here() -> None:
    names = set(Settings.__struct_fields__)
    assert set(WRONG) == names
    assert all(WRONG.values())


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_is_one_line_with_the_variable_the_value_and_what_is_allowed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for value in WRONG[name]:
        with pytest.raises(SettingError) as caught:
            started({variable_of(name): value})
        line = str(caught.value)
        assert line.splitlines() == [line], value
        assert line.isprintable(), value
        assert variable_of(name) in line, (value, line)
        assert re.search("allowed|needs|needed|reserved|must be|README", line), (value, line)
        assert len(line) < 1000
        if name in SECRETS:
            assert not value.strip() or value not in line


def test_a_password_in_the_address_of_a_store_is_not_repeated() -> None:
    for value in ("postgres://u:hunter2@h/d", "postgresql://u:hunter2@[h/d", "postgresql://u:hunter2@h:port/d"):
        with pytest.raises(SettingError) as caught:
            started({"CROSSFADE_STORE": value})
        assert "hunter2" not in str(caught.value)


def any_text() -> st.SearchStrategy[str]:
    """Text of every kind, and what nearly is a value."""
    pieces = [
        "http://",
        "://",
        ":",
        "/",
        ",",
        "[",
        "]",
        "@",
        "127.0.0.1",
        "::1",
        "8000",
        "e9",
        "-",
        "nan",
        "true",
        "{",
        '"',
    ]
    return st.one_of(
        st.text(st.characters(exclude_characters="\x00")),
        st.lists(st.sampled_from(pieces)).map("".join),
        st.sampled_from([value for values in WRONG.values() for value in values if len(value) < 1000]),
    )


@given(st.dictionaries(st.sampled_from(sorted(map(variable_of, WRONG.keys() - {"data"}))), any_text(), max_size=4))
def test_whatever_the_environment_says_reading_succeeds_or_refuses_in_one_line(environ: dict[str, str]) -> None:
    try:
        settings = started({"CROSSFADE_DATA": "/tmp", **environ}, Path("there-is-no-such-file.toml"))
    except SettingError as error:
        assert str(error).splitlines() == [str(error)]
    else:
        for name in Settings.__struct_fields__:  # and what was taken can be shown
            shown_value(name, getattr(settings, name)).encode()


@given(st.binary() | st.text().map(str.encode) | st.builds(lambda key, value: f"{key} = {value}".encode(),
       st.sampled_from(Settings.__struct_fields__), st.text(string.printable, max_size=30)))  # fmt: skip
def test_whatever_the_file_contains_reading_succeeds_or_refuses_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.toml"
    file.write_bytes(content)
    try:
        load_settings({}, file)
    except SettingError as error:
        assert str(error).splitlines() == [str(error)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\xfe", "utf-8"),
        (b"drain_s = [[[", "TOML"),
        (b"x = " + b"[" * 10_000, "TOML"),
        (b"secret = 12345678901234567890", "CROSSFADE_SECRET='\N{HORIZONTAL ELLIPSIS}'"),
        (b"drain_s = 2026-11-27", "CROSSFADE_DRAIN_S"),
        (b'[data]\nfolder = "x"', "CROSSFADE_DATA"),
        (b"idle_s = " + b"9" * 400, "CROSSFADE_IDLE_S"),
        (b'"a\\nb" = 1', "not a setting"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "crossfade.toml"
    file.write_bytes(content)
    with pytest.raises(SettingError, match=re.escape(said)) as caught:
        load_settings({}, file)
    assert str(caught.value).splitlines() == [str(caught.value)]
    assert "1234567890" not in str(caught.value)


@pytest.mark.parametrize("named", ["", "missing.toml", "folder", "missing/crossfade.toml"])
def test_a_file_that_is_named_must_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(SettingError, match=re.escape(f"CROSSFADE_CONFIG={named!r}: ")):
        load_settings({"CROSSFADE_CONFIG": named})
    assert load_settings({}) == Settings(), "without a name there need not be one"


def test_what_kubernetes_sets_for_a_service_of_our_name_is_no_setting() -> None:
    address = {f"CROSSFADE_PORT_8000_TCP{rest}": "x" for rest in ("", "_PROTO", "_PORT", "_ADDR")}
    service = {
        "CROSSFADE_SERVICE_HOST": "10.0.0.1",
        "CROSSFADE_SERVICE_PORT": "80",
        "CROSSFADE_SERVICE_PORT_HTTP": "80",
    }
    others = {"CROSSFADE_METRICS_SERVICE_HOST": "10.0.0.2", "CROSSFADE_METRICS_PORT": "tcp://10.0.0.2:80"}
    environ = {"CROSSFADE_PORT": "tcp://10.0.0.1:8000", **address, **service, **others}
    assert load_settings(environ, Path("none.toml")) == Settings()
    for variable, value in {"CROSSFADE_PORT": "9000", "CROSSFADE_HOST": "x", "CROSSFADE_PORT_X": "1"}.items():
        with pytest.raises(SettingError, match=f"{variable}: no such setting"):
            load_settings({variable: value}, Path("none.toml"))


@pytest.mark.parametrize("content", [b"", b"\n", b"short", b" " * 40, b"\xff" * 40])
def test_a_kept_secret_that_is_none_stops_the_start_and_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    (tmp_path / SECRET_FILE).write_bytes(content)
    for use in (load_secret, find_secret, check_startable):
        with pytest.raises(SettingError, match=r"CROSSFADE_DATA=.*secret.*allowed") as caught:
            use(Settings(data=str(tmp_path)))
        assert "short" not in str(caught.value)
    assert (tmp_path / SECRET_FILE).read_bytes() == content


def test_a_secret_is_made_once_and_for_this_account_only(tmp_path: Path) -> None:
    settings = Settings(data=str(tmp_path / "data"))
    assert find_secret(settings) is None
    made = load_secret(settings)
    assert (len(made), load_secret(settings), find_secret(settings)) == (64, made, made)
    assert [file.name for file in (tmp_path / "data").iterdir()] == [SECRET_FILE]
    assert (tmp_path / "data" / SECRET_FILE).stat().st_mode & 0o777 == 0o600


# -- the command ------------------------------------------------------------------------------------------------------


HANDFUL: list[dict[str, str]] = [
    {"CROSSFADE_FAULTS": '{"v3": {"eror_rate": 1}}'},
    {"CROSSFADE_PATHS_V2": "no_such_package:make"},
    {"CROSSFADE_CONFIG": "no-such-file.toml"},
    {"CROSSFADE_DATA": "/proc/no-such-folder"},
]


@pytest.mark.slow
@pytest.mark.parametrize("wrong", HANDFUL, ids=lambda wrong: next(iter(wrong)))
def test_the_start_ends_with_one_line_and_doctor_says_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [*os.environ]:
        if name.startswith("CROSSFADE_") or name == FLAG:
            monkeypatch.delenv(name)
    for name, value in {"CROSSFADE_BIND": "127.0.0.1:0", **wrong}.items():
        monkeypatch.setenv(name, value)
    served = subprocess.run(
        [*COMMAND, "serve"], env=for_command(os.environ), capture_output=True, text=True, timeout=60, check=False
    )
    [line] = served.stderr.splitlines()
    assert (served.returncode in (1, 2), served.stdout) == (True, "")
    line = line.removeprefix("crossfade: ")
    assert line.startswith(tuple(wrong))
    report = CliRunner().invoke(command, ["doctor", "--json"])
    assert report.exit_code == (1 if report.stdout else 2)
    assert line in report.stderr
    if report.stdout:
        checks: list[dict[str, Any]] = json.loads(report.stdout)["checks"]
        assert line in [check["words"] for check in checks if check["result"] == "bad"]
