"""Writes the README's tables from the code: `python -m ops.readme`.

It writes between the markers of README.md and nowhere else; a test compares the README with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import rich_click as click
from prometheus_client.metrics_core import Metric

from app.cli.root import crossfade
from app.metrics.prometheus import CellsCollector
from app.settings import describe
from app.supervisor.faults import NO_FAULTS
from ops.kept import kept

README = Path(__file__).resolve().parents[1] / "README.md"


def settings_table() -> str:
    """Every setting, its default, its meaning."""
    rows = [(f"`{row.variable}`", row.default, row.meaning) for row in describe()]
    return _table(("variable", "default", "meaning"), [(name, _code(text), meaning) for name, text, meaning in rows])


def commands_table() -> str:
    """Every command with its arguments and its help."""
    return _table(("command", "does"), [(f"`crossfade {usage}`", help) for usage, help in _commands(crossfade)])


def metrics_table() -> str:
    """Every metric as a scraper sees it, with its labels."""
    rows = [
        (f"`{_published(metric)}`", ", ".join(getattr(metric, "_labelnames", ())), metric.documentation)
        for metric in CellsCollector([]).collect()
    ]
    return _table(("metric", "labels", "meaning"), rows)


def faults_table() -> str:
    """Every key of a path's faults, with its default."""
    defaults = msgspec.to_builtins(NO_FAULTS)
    rows = [
        (f"`{name}`", "unset" if value is None else f"`{msgspec.json.encode(value).decode()}`")
        for name, value in defaults.items()
    ]
    return _table(("key", "default"), rows)


def kept_table() -> str:
    """Everything that is kept, how much of it, and until when."""
    return _table(("what is kept", "how much at most", "until"), [(row.what, row.most, row.until) for row in kept()])


TABLES: dict[str, Callable[[], str]] = {
    "settings": settings_table,
    "commands": commands_table,
    "metrics": metrics_table,
    "faults": faults_table,
    "kept": kept_table,
}


def rendered(text: str) -> str:
    """The README with its tables made from the code. Raises `ValueError` if a marker is missing."""
    for name, table in TABLES.items():
        begin, end = f"<!-- {name}: `python -m ops.readme` -->\n", "<!-- end -->"
        before, marker, rest = text.partition(begin)
        _, closing, after = rest.partition(end)
        if not marker or not closing:
            raise ValueError(f"README.md has no place for the table {name!r}")
        text = f"{before}{begin}{table()}\n{end}{after}"
    return text


def _commands(group: click.Group, prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _commands(command, f"{prefix}{name} ")
            continue
        shown = [_argument(each) for each in command.params if each.param_type_name == "argument"]
        help = " ".join((command.help or "").split())
        yield " ".join([f"{prefix}{name}", *shown]), help


def _argument(parameter: click.Parameter) -> str:
    name = (parameter.name or "").upper()
    return name if parameter.required else f"[{name}]"


def _published(metric: Metric) -> str:
    return metric.name + {"counter": "_total", "info": "_info"}.get(metric.type, "")


def _code(text: str) -> str:
    return text if text == "unset" else f"`{text}`"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    README.write_text(rendered(README.read_text()))
