"""The control commands against a real HTTP server: what they send, what they print and how they end."""

from __future__ import annotations

import json

import msgspec
import pytest

from app.cli import control
from app.cli.words import what_next
from ops.bench.processes import free_port
from rollout.views import PlanView, StageView
from tests.cli.conftest import Run
from tests.cli.fake_service import FakeService, rolled_back, view

AUTOMATIC = PlanView(
    name="night", stages=[StageView(percentage=p, bake_s=600, advance="automatic") for p in (0, 10, 100)]
)
VERBS: list[tuple[tuple[str, ...], str, dict[str, object]]] = [
    (("start",), "start", {}),
    (("start", "5"), "start", {"percentage": 5}),
    (("set", "25"), "percentage", {"percentage": 25}),
    (("promote",), "promote", {}),
    (("promote", "--full"), "promote", {"full": True}),
    (("pause",), "pause", {}),
    (("resume",), "resume", {}),
    (("undo",), "undo", {}),
    (("unlock",), "unlock", {}),
]


@pytest.mark.parametrize(("words", "verb", "body"), VERBS)
def test_a_verb_sends_the_revision_that_was_read(
    run: Run, service: FakeService, words: tuple[str, ...], verb: str, body: dict[str, object]
) -> None:
    service.canned.answer("GET", "/api/rollout", (200, view(revision=7)), (200, view(revision=8)))
    service.canned.answer("POST", f"/api/rollout/{verb}", (200, {}))
    result = run(*words, "--url", service.url, "--reason", "because", CROSSFADE_TOKEN="t0ken")
    assert result.exit_code == 0, result.output
    (sent,) = service.canned.commands()
    assert sent.path == f"/api/rollout/{verb}"
    assert sent.if_match == '"7"'
    assert sent.authorization == "Bearer t0ken"
    assert sent.body == {**body, "reason": "because"}
    assert result.stdout.startswith("10 % of users on v3: progressing, stage 2 of 2.")


def test_a_revision_given_is_sent_as_it_is_and_the_command_stands_for_a_missing_reason(
    run: Run, service: FakeService
) -> None:
    service.canned.answer("GET", "/api/rollout", (200, view(revision=9)))
    service.canned.answer("POST", "/api/rollout/pause", (200, {}))
    assert run("pause", "--revision", "4", "--url", service.url).exit_code == 0
    (sent,) = service.canned.commands()
    assert sent.if_match == '"4"'
    assert sent.body == {"reason": "crossfade pause"}


def test_a_stale_revision_says_who_was_faster(run: Run, service: FakeService) -> None:
    detail = "bob did set 50 (revision 8, the command is based on 7)"
    service.canned.answer("GET", "/api/rollout", (200, view()))
    service.canned.answer("POST", "/api/rollout/percentage", (412, {"title": "Stale", "detail": detail}))
    result = run("set", "20", "--url", service.url)
    assert result.exit_code == 1
    assert detail in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("status", [403, 409, 422, 428, 500, 503])
def test_a_refusal_is_exit_1_with_the_services_words(run: Run, service: FakeService, status: int) -> None:
    service.canned.answer("GET", "/api/rollout", (200, view()))
    service.canned.answer("POST", "/api/rollout/resume", (status, {"title": "No", "detail": "not in this phase"}))
    result = run("resume", "--url", service.url)
    assert result.exit_code == 1
    assert result.stderr == "refused: not in this phase\n"


def test_without_a_token_the_refusal_says_how_to_get_one(run: Run, service: FakeService) -> None:
    service.canned.answer("GET", "/api/rollout", (401, {"title": "Unauthorized", "detail": "no token"}))
    result = run("status", "--url", service.url)
    assert result.exit_code == 1
    assert "crossfade token --role oncall" in result.stderr


@pytest.mark.parametrize("words", [("status",), ("set", "10"), ("rollback",), ("who", "u1")])
def test_nobody_there_is_exit_3_and_says_what_to_do(run: Run, words: tuple[str, ...]) -> None:
    port = free_port()
    result = run(*words, "--url", f"http://127.0.0.1:{port}")
    assert result.exit_code == 3
    assert f"cannot reach http://127.0.0.1:{port}" in result.stderr
    assert "make run" in result.stderr


def test_something_else_that_answers_is_exit_3(run: Run, service: FakeService) -> None:
    service.canned.answer("GET", "/api/rollout", (200, b"<html>hello</html>"))
    result = run("status", "--url", service.url)
    assert result.exit_code == 3
    assert "does not answer like Crossfade" in result.stderr


@pytest.mark.parametrize(
    "words",
    [("set",), ("set", "101"), ("set", "ten"), ("fly",), ("unlock",), ("status", "--url", "localhost:8000"), ("note",)],
)
def test_wrong_usage_is_exit_2(run: Run, words: tuple[str, ...]) -> None:
    assert run(*words).exit_code == 2


def test_a_wrong_setting_is_exit_2_with_one_line_that_names_it(run: Run) -> None:
    result = run("status", CROSSFADE_BIND="nowhere")
    assert result.exit_code == 2
    assert result.stderr.startswith("CROSSFADE_BIND='nowhere'")
    assert result.stderr.count("\n") == 1


def test_status_shows_both_paths_and_the_evidence(run: Run, service: FakeService) -> None:
    service.canned.answer("GET", "/api/rollout", (200, view()))
    result = run("status", CROSSFADE_URL=service.url)
    assert result.exit_code == 0
    assert "next: 100 %, when a person promotes; 10:00 of baking left" in result.stdout
    assert "revision 7 by ada, 100 s ago: canary" in result.stdout
    assert "10 of 1000 (1.00 %)" in result.stdout
    assert "no data" in result.stdout  # v3's p99
    assert "0.5x, rolls back at 100x" in result.stdout
    assert "2 cells, silent: d" in result.stdout
    assert "includes the last figures of silent cells: d 12 s ago" in result.stdout


def test_status_says_what_has_to_be_known_of_the_builds(run: Run, service: FakeService) -> None:
    notes = ["v3 runs build b7 in a and build b8 in d", "v3 is served from shop.v4:create"]
    service.canned.answer(
        "GET", "/api/rollout", (200, msgspec.structs.replace(view(), build_notes=notes)), (200, view())
    )
    lines = run("status", CROSSFADE_URL=service.url).stdout.splitlines()
    assert [line for line in lines if line.startswith("builds: ")] == [f"builds: {note}" for note in notes]
    assert "builds: " not in run("status", CROSSFADE_URL=service.url).stdout


def test_json_is_one_document(run: Run, service: FakeService) -> None:
    service.canned.answer("GET", "/api/rollout", (200, view()))
    document = json.loads(run("status", "--json", "--url", service.url).stdout)
    assert (document["phase"], document["percentage"], document["revision"]) == ("progressing", 10, 7)


def test_rollback_waits_until_it_was_observed(run: Run, service: FakeService) -> None:
    service.canned.answer("POST", "/api/rollout/rollback", (200, {}))
    service.canned.answer(
        "GET",
        "/api/rollout",
        (200, view()),
        (200, rolled_back(verified_at=1500.0, silent=[], at=1400.0)),  # an earlier one, not this lock's
        (200, rolled_back(verified_at=None, silent=[])),
        (200, rolled_back(verified_at=2000.5, silent=[])),
    )
    result = run("rollback", "--url", service.url, "-m", "errors")
    assert result.exit_code == 0, result.output
    assert service.canned.commands()[0].body == {"reason": "errors"}
    assert service.canned.commands()[0].if_match is None
    assert "Everyone is on v2. Rollback verified" in result.stdout
    assert "new stopped in 1.5 ms, existing moved in 21 ms, 100 of 100 sessions moved, 0 closed" in result.stdout


def test_rollback_that_is_not_verified_is_exit_4_and_names_the_silent_cells(
    run: Run, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "VERIFY_S", 0.2)
    service.canned.answer("POST", "/api/rollout/rollback", (200, {}))
    service.canned.answer("GET", "/api/rollout", (200, rolled_back(verified_at=None, silent=["d"])))
    result = run("rollback", "--url", service.url)
    assert result.exit_code == 4
    assert "in force in 1 of 2 cells; d silent for 12 s; not verified" in result.stderr
    assert "existing moved in" not in result.stderr  # nobody has seen that yet
    assert result.stdout == ""


FULL = "not on disk: no space"


def test_rollback_that_is_not_durable_is_exit_4_and_says_why(
    run: Run, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "VERIFY_S", 0.2)
    service.canned.answer("POST", "/api/rollout/rollback", (200, {}))
    service.canned.answer("GET", "/api/rollout", (200, rolled_back(verified_at=2000.5, silent=[], trouble=FULL)))
    result = run("rollback", "--url", service.url)
    assert (result.exit_code, result.stdout) == (4, "")
    assert "Everyone is on v2. Rollback verified" in result.stderr
    assert f"{FULL}: a crash or a restart of this host would put users back on v3." in result.stderr


def test_rollback_waits_until_it_is_durable(run: Run, service: FakeService) -> None:
    service.canned.answer("POST", "/api/rollout/rollback", (200, {}))
    service.canned.answer(
        "GET",
        "/api/rollout",
        (200, rolled_back(verified_at=2000.5, silent=[], trouble="not on disk yet")),
        (200, rolled_back(verified_at=2000.5, silent=[])),
    )
    result = run("rollback", "--url", service.url)
    assert result.exit_code == 0, result.output
    assert "not on disk" not in result.output


def test_rollback_that_is_neither_verified_nor_durable_says_both(
    run: Run, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "VERIFY_S", 0.2)
    service.canned.answer("POST", "/api/rollout/rollback", (200, {}))
    service.canned.answer("GET", "/api/rollout", (200, rolled_back(verified_at=None, silent=["d"], trouble=FULL)))
    result = run("rollback", "--url", service.url, "--json")
    assert result.exit_code == 4
    assert "d silent for 12 s; not verified within" in result.stderr
    assert FULL in result.stderr
    assert json.loads(result.stdout)["lock"]["durable"] is False


@pytest.mark.parametrize(
    ("trouble", "words"),
    [(FULL, f"{FULL}: a crash or a restart"), ("", "the lock is kept on this host's disk and in the store")],
)
def test_status_says_whether_the_lock_would_last(run: Run, service: FakeService, trouble: str, words: str) -> None:
    service.canned.answer("GET", "/api/rollout", (200, rolled_back(verified_at=2000.5, silent=[], trouble=trouble)))
    assert words in run("status", "--url", service.url).stdout


def test_rollback_that_was_taken_and_then_not_answered_is_exit_4(
    run: Run, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "VERIFY_S", 0.2)
    service.canned.answer("POST", "/api/rollout/rollback", (200, {}))
    service.canned.answer("GET", "/api/rollout", (502, b"bad gateway"))
    result = run("rollback", "--url", service.url)
    assert result.exit_code == 4
    assert "the service took the rollback, but then" in result.stderr


def test_a_note_is_sent(run: Run, service: FakeService) -> None:
    service.canned.answer("POST", "/api/rollout/notes", (201, {"id": 5}))
    result = run("note", "support hears nothing bad", "--url", service.url)
    assert (result.exit_code, result.stdout) == (0, "noted\n")
    assert service.canned.commands()[0].body == {"text": "support hears nothing bad"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"next_percentage": None}, ""),
        ({"next_at": None}, "next: 100 %, when a person promotes"),
        ({"next_at": 1600.0}, "next: 100 %, when a person promotes; 10:00 of baking left"),
        ({"next_at": 900.0}, "next: 100 %, when a person promotes; the bake is over"),
        ({"next_at": 1600.0, "plan": AUTOMATIC}, "next: 100 % in 10:00, once every guardrail passes"),
        (
            {"next_at": 900.0, "plan": AUTOMATIC, "frozen_until": 2000.0},
            "next: 100 %, once every guardrail passes; frozen until 1970-01-01 00:33:20 UTC",
        ),
        (
            {"phase": "idle", "stage": None, "next_at": 1030.0, "frozen_until": 2000.0},
            "next: 100 % by the plan's schedule, in 30 s; frozen until 1970-01-01 00:33:20 UTC",
        ),
    ],
)
def test_what_comes_next_says_when_by_whom_and_what_is_in_the_way(changes: dict[str, object], words: str) -> None:
    assert what_next(view(**changes)) == words


def test_help_shows_the_commands_in_the_order_of_a_rollout(run: Run) -> None:
    shown = run("--help").stdout
    places = [shown.index(f"│ {name} ") for name in ("serve", "start", "promote", "rollback", "unlock", "doctor")]
    assert places == sorted(places)
