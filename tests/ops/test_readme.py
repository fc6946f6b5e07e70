"""The README says what the code does: its tables are the code's, its links lead somewhere, its commands exist."""

from __future__ import annotations

import re
import shlex

import pytest
import rich_click as click

from app.cli.root import crossfade
from ops.readme import README, TABLES, rendered

TEXT = README.read_text()


def test_the_tables_are_the_codes() -> None:
    assert rendered(TEXT) == TEXT, "run `python -m ops.readme`"


@pytest.mark.parametrize("name", TABLES)
def test_a_table_that_is_out_of_date_or_has_no_place_is_noticed(name: str) -> None:
    marker = f"<!-- {name}: `python -m ops.readme` -->\n"
    assert rendered(TEXT.replace(marker, f"{marker}| old |\n")) == TEXT
    with pytest.raises(ValueError, match=name):
        rendered(TEXT.replace(marker, ""))


def test_links_lead_to_something() -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)]+)\)", TEXT)
    assert links
    assert [link for link in links if not (README.parent / link).exists()] == []


def test_every_command_line_that_is_shown_is_one() -> None:
    lines = [line for block in re.findall(r"```\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]
    shown = [shlex.split(line.partition(" >")[0])[1:] for line in lines if line.startswith("crossfade ")]
    assert len(shown) >= 5
    for name, *words in shown:
        command = crossfade.commands[name]
        assert isinstance(command, click.Command)
        command.make_context(name, words)
