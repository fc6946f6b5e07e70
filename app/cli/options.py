"""What the commands share: the options `--url` and `--json`, and output as text or JSON."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import msgspec
import rich_click as click

from app.cli.service import ApiClient
from app.cli.target import find_target
from app.cli.terminal import printable


class Invocation:
    """The service that a command uses, and its form of output: text, or one JSON document per line with `--json`."""

    def __init__(self, service: ApiClient, as_json: bool) -> None:
        self.service = service
        self.as_json = as_json

    def say(self, text: str, value: object, missing_cells: Sequence[str] = ()) -> None:
        """Print `text`, or with `--json` the value (bytes are JSON already), and name cells that are missing in it."""
        if not self.as_json:
            click.echo(printable(text))
        else:
            click.echo(value if isinstance(value, bytes) else msgspec.json.encode(value))
        if missing := missing_cells or self.service.missing_cells:
            click.echo(f"without {', '.join(missing)}: no answer from there", err=True)


def speaks_to_service(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options `--url` and `--json`, and an `Invocation` as its first argument."""

    @click.option("--url", envvar="CROSSFADE_URL", metavar="URL", help="URL of the service; also CROSSFADE_URL.")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
    @functools.wraps(command)
    def run(url: str | None, as_json: bool, **options: object) -> None:
        with ApiClient(find_target(url)) as service:
            command(Invocation(service, as_json), **options)

    return run
