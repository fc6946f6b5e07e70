"""The command that gives up a cell."""

from __future__ import annotations

from tests.cli.conftest import Run
from tests.cli.fake_service import FakeService, cell, view


def test_forget_sends_name_and_reason_and_names_the_cells_that_are_left(run: Run, service: FakeService) -> None:
    service.canned.answer("DELETE", "/api/cells/c%40far%3A8000", (200, view(cells=[cell("a"), cell("b")])))
    result = run("forget", "c@far:8000", "--reason", "burnt & gone", "--url", service.url)
    assert (result.exit_code, result.stdout.splitlines()[0]) == (0, "c@far:8000 is given up; remaining cells: a, b")
    (sent,) = service.canned.commands()
    assert (sent.query, sent.if_match) == ("reason=burnt%20%26%20gone", None)
    assert run("forget", "c@far:8000", "--url", service.url).exit_code == 2


def test_forget_is_refused_with_the_services_words(run: Run, service: FakeService) -> None:
    problem = {"title": "This cell is still there", "detail": "cell c was heard 3 s ago"}
    service.canned.answer("DELETE", "/api/cells/c", (409, problem))
    result = run("forget", "c", "-m", "x", "--url", service.url)
    assert (result.exit_code, result.stderr) == (1, "refused: cell c was heard 3 s ago\n")
