"""The commands that show users, sessions, the audit, errors and plans, and the choice of the service."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from msgspec.structs import replace

from app.cli.exits import Misused
from app.cli.target import find_target
from app.cli.words import preview
from rollout.views import AuditEntry, AuditPage, ErrorGroup, Preview, SessionView, UserView
from tests.cli.conftest import Run
from tests.cli.fake_service import FakeService, view

SESSION = SessionView(
    connection_id="c1",
    user_id="u/1 ä",
    path="v3",
    reason="flag",
    state="idle",
    cell="a",
    connected_at=0.0,
    messages=4,
    queued=0,
    epoch=2,
)
PLAN = 'name = "two"\n\n[[stage]]\npercentage = 10\nbake = "1h30m"\n'


def test_who_says_path_and_reason_of_a_user_with_any_name(run: Run, service: FakeService) -> None:
    user = UserView(user_id="u/1 ä", path="v3", reason="flag", bucket=7, percentage=10, pin=None, sessions=[SESSION])
    service.canned.answer("GET", "/api/users/u%2F1%20%C3%A4", (200, user))
    result = run("who", "u/1 ä", "--url", service.url)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("u/1 ä: v3 (flag; bucket 7, percentage 10)\n")
    assert "c1" in result.stdout


def test_pin_and_unpin(run: Run, service: FakeService) -> None:
    service.canned.answer("PUT", "/api/users/u1/pin", (200, {}))
    service.canned.answer("DELETE", "/api/users/u1/pin", (204, b""))
    assert run("pin", "u1", "v3", "--url", service.url).stdout == "u1 is pinned to v3\n"
    assert json.loads(run("unpin", "u1", "--url", service.url, "--json").stdout) == {"user_id": "u1", "pin": None}
    pinned, unpinned = service.canned.commands()
    assert (pinned.method, pinned.body) == ("PUT", {"path": "v3", "reason": "crossfade pin"})
    assert (unpinned.method, unpinned.path) == ("DELETE", "/api/users/u1/pin")
    assert run("pin", "u1", "v4", "--url", service.url).exit_code == 2


@pytest.mark.parametrize(
    ("moves", "said"),
    [
        ((148, 276, 0, 0), "25 % moves 148 users and 276 open sessions to v3"),
        ((0, 0, 1, 1), "25 % moves 1 user and 1 open session to v2"),
        ((1, 1, 2, 3), "25 % moves 1 user and 1 open session to v3 and 2 users and 3 open sessions to v2"),
        ((0, 0, 0, 0), "25 % moves nobody who is connected now"),
    ],
)
def test_a_preview_says_who_would_move_where(
    run: Run, service: FakeService, moves: tuple[int, int, int, int], said: str
) -> None:
    found = Preview(
        percentage=25, users_to_v3=moves[0], sessions_to_v3=moves[1], users_to_v2=moves[2], sessions_to_v2=moves[3]
    )
    without = replace(found, sessions_without_state=3)
    assert preview(without) == f"{said}; 3 sessions cannot take their state along"
    service.canned.answer("GET", "/api/rollout/preview", (200, found))
    assert run("preview", "25", "--url", service.url).stdout == f"{said}\n"
    assert service.canned.seen[-1].query == "percentage=25"
    assert run("preview", "101", "--url", service.url).exit_code == 2


def test_sessions_events_and_errors_print_a_line_each(run: Run, service: FakeService) -> None:
    group = ErrorGroup(
        code="internal", fingerprint="f", path="v2", count=9, users=3, only_on_v3=False,
        first_at=0.0, last_at=0.0, reference="abc",
    )  # fmt: skip
    only = ErrorGroup(
        code="timeout", fingerprint="g", path="v3", count=1, users=1, only_on_v3=True,
        first_at=0.0, last_at=0.0, reference="def",
    )  # fmt: skip
    service.canned.answer("GET", "/api/sessions", (200, [SESSION]))
    service.canned.answer("GET", "/api/rollout/events", (200, AuditPage(items=[entry(3)], next=None)))
    service.canned.answer("GET", "/api/errors", (200, [group, only]))
    assert "u/1 ä  v3    flag" in run("sessions", "--url", service.url).stdout
    assert "ada (manager)  cli   set 10  canary" in run("events", "--url", service.url).stdout
    lines = run("errors", "--url", service.url).stdout.splitlines()
    assert "timeout" in lines[1] and lines[1].endswith("only on v3")
    assert "internal" in lines[2]


def entry(number: int, what: str = "set 10") -> AuditEntry:
    return AuditEntry(
        id=number, at=0.0, who="ada", role="manager", source="cli", what=what, reason="canary", revision=2,
        before={}, after={}, figures={},
    )  # fmt: skip


@pytest.mark.parametrize("command", [("who", ""), ("pin", "", "v3"), ("unpin", "")])
def test_nobody_is_no_user(run: Run, service: FakeService, command: tuple[str, ...]) -> None:
    result = run(*command, "--url", service.url)
    assert (result.exit_code, service.canned.seen) == (2, [])
    assert result.stderr.startswith("USER is empty")


def test_what_others_typed_does_not_steer_the_terminal(run: Run, service: FakeService) -> None:
    typed = "gone\x1b[2J\x07 \u202eback\nand a line"
    service.canned.answer("GET", "/api/rollout/events", (200, AuditPage(items=[entry(3, typed)], next=None)))
    shown = run("events", "--url", service.url).stdout
    assert "gone\N{REPLACEMENT CHARACTER}[2J" in shown
    assert not {"\x1b", "\x07", "\u202e"} & set(shown)
    assert len(shown.splitlines()) == 2, "an entry is a line"
    service.canned.answer("GET", "/api/rollout/events", (403, {"title": "Not allowed", "detail": "no\x1b[2J"}))
    assert run("events", "--url", service.url).stderr == "refused: no\N{REPLACEMENT CHARACTER}[2J\n"


def test_cells_that_an_answer_does_not_speak_of_are_named(run: Run, service: FakeService) -> None:
    missing = {"Crossfade-Missing-Cells": "b, c@host2"}
    for command, path, body in (("sessions", "/api/sessions", [SESSION]), ("errors", "/api/errors", [])):
        service.canned.answer("GET", path, (200, body))
        assert run(command, "--url", service.url).stderr == ""
        service.canned.headers = missing
        assert run(command, "--json", "--url", service.url).stderr == "without b, c@host2: no answer from there\n"
        service.canned.headers = {}
    user = UserView(
        user_id="ada", path="v2", reason="flag", bucket=7, percentage=0, pin=None, sessions=[], missing_cells=["b"]
    )
    service.canned.answer("GET", "/api/users/ada", (200, user))
    assert run("who", "ada", "--url", service.url).stderr == "without b: no answer from there\n"


def test_events_are_filtered_and_followed_to_the_end(run: Run, service: FakeService) -> None:
    pages = [AuditPage(items=[entry(3)], next=3), AuditPage(items=[], next=2), AuditPage(items=[entry(1)], next=None)]
    service.canned.answer("GET", "/api/rollout/events", *((200, page) for page in pages))
    wanted = ("--who", "ada", "--what", "set", "--since", "1970-01-02", "--until", "1970-01-02T00:01")
    result = run("events", *wanted, "--all", "--json", "--url", service.url)
    assert result.exit_code == 0, result.output
    assert [each["id"] for each in json.loads(result.stdout)["items"]] == [3, 1]
    query = "who=ada&what=set&since=86400.0&until=86460.0"
    assert [each.query for each in service.canned.seen] == [
        query,
        f"{query}&before=3&limit=200",
        f"{query}&before=2&limit=200",
    ]


def test_a_page_of_events_says_when_there_is_more(run: Run, service: FakeService) -> None:
    service.canned.answer("GET", "/api/rollout/events", (200, AuditPage(items=[entry(3)], next=3)))
    result = run("events", "--url", service.url)
    assert len(result.stdout.splitlines()) == 2
    assert "--all" in result.stderr
    assert service.canned.seen[0].query == ""
    assert run("events", "--csv", "--json", "--url", service.url).exit_code == 2
    assert run("events", "--since", "yesterday", "--url", service.url).exit_code == 2


@pytest.mark.parametrize(("option", "media_type"), [("--csv", "text/csv"), ("--jsonl", "application/jsonl")])
def test_events_as_a_file_are_printed_as_the_service_sends_them(
    run: Run, service: FakeService, option: str, media_type: str
) -> None:
    service.canned.answer("GET", "/api/rollout/events", (200, b"id,at\r\n3,1970\r\n"))
    result = run("events", option, "--who", "ada", "--url", service.url)
    assert (result.exit_code, result.stdout_bytes) == (0, b"id,at\r\n3,1970\r\n")
    assert [(each.query, each.accept) for each in service.canned.seen] == [("who=ada", media_type)]
    service.canned.answer("GET", "/api/rollout/events", (503, {"title": "Store unavailable", "detail": "no store"}))
    refused = run("events", option, "--url", service.url)
    assert (refused.exit_code, refused.stdout, refused.stderr) == (1, "", "refused: no store\n")


def test_events_that_break_off_are_no_whole_file(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as thread:
        answered = thread.submit(begin_an_answer, listener)
        result = run("events", "--csv", "--url", f"http://127.0.0.1:{listener.getsockname()[1]}")
        answered.result(10)
    assert (result.exit_code, result.stdout) == (3, "id,at\n")
    assert "before its answer was complete" in result.stderr


def begin_an_answer(listener: socket.socket) -> None:
    """And let go of it before its end."""
    connection, _ = listener.accept()
    with connection:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nid,at\n\r\n")


def test_plan_check_needs_no_service_and_names_every_mistake(run: Run, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text(PLAN)
    bad.write_text(PLAN.replace("10", "110").replace("1h30m", "soon"))
    result = run("plan", "check", str(good))
    assert (result.exit_code, result.stdout.splitlines()[1]) == (0, "  stage 1: 10 %, bakes 1h30m, then person")
    result = run("plan", "check", str(bad))
    assert result.exit_code == 1
    assert "line 4: stage[1].percentage" in result.stderr
    assert "line 5: stage[1].bake" in result.stderr
    assert run("plan", "check", str(tmp_path / "none.toml")).exit_code == 2


def test_plan_check_says_when_a_plan_starts_and_when_it_stands_still(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    windows = """
[[freeze]]
from = 2026-12-20T00:00:00+01:00
until = 2027-01-02T00:00:00Z
[[freeze]]
days = ["fri", "sat"]
from = "18:00"
"""
    for start_at, words in (
        ("2999-01-01T08:00:00Z", "starts by itself at 2999-01-01 08:00:00 UTC"),
        (
            "2001-01-01T08:00:00Z",
            "starts by itself at 2001-01-01 08:00:00 UTC, which is past: a person has to start it",
        ),
    ):
        file.write_text(f"start_at = {start_at}\n{PLAN}{windows}")
        assert run("plan", "check", str(file)).stdout.splitlines()[2:] == [
            f"  {words}",
            "  frozen from 2026-12-19 23:00:00 UTC until 2027-01-02 00:00:00 UTC",
            "  frozen every fri, sat from 18:00 until 24:00 UTC",
        ]


def test_plan_apply_sends_the_text_and_show_prints_it(run: Run, service: FakeService, tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_text(PLAN)
    service.canned.answer("GET", "/api/rollout", (200, view(revision=7)))
    service.canned.answer("PUT", "/api/rollout/plan", (200, {}))
    service.canned.answer("GET", "/api/rollout/plan", (200, {"name": "two", "toml": PLAN}))
    assert run("plan", "apply", str(file), "--url", service.url).exit_code == 0
    (sent,) = service.canned.commands()
    assert (sent.if_match, sent.body) == ('"7"', {"toml": PLAN, "reason": "crossfade plan apply"})
    assert run("plan", "show", "--url", service.url).stdout == PLAN


def test_the_operators_token_is_used_on_this_host_only(tmp_path: Path) -> None:
    (tmp_path / "operator.token").write_text("local\n")
    environ = {"CROSSFADE_DATA": str(tmp_path), "CROSSFADE_BIND": "127.0.0.1:9001"}
    here = find_target(None, environ)
    assert (here.url, here.token) == ("http://127.0.0.1:9001", "local")
    assert find_target("http://localhost:8000/", environ).token == "local"
    assert find_target("https://crossfade.example.org", environ).token is None
    assert find_target("http://127.0.0.1:1", {**environ, "CROSSFADE_TOKEN": "given"}).token == "given"


def test_with_url_and_token_given_a_wrong_setting_is_in_nobodys_way() -> None:
    environ = {"CROSSFADE_BIND": "nowhere", "CROSSFADE_TOKEN": "given"}
    assert find_target("http://127.0.0.1:1", environ).token == "given"
    with pytest.raises(Misused, match="CROSSFADE_BIND"):
        find_target(None, environ)


def test_help_imports_nothing_slow() -> None:
    """`crossfade --help` must answer in a blink, on slow machines too: what costs time is imported when needed."""
    slow = ("httpx", "litestar", "uvicorn", "sqlalchemy", "websockets", "app.serve.server", "app.loadtest.run")
    code = f"import sys, app.cli; print([name for name in {slow} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"[]\n"
