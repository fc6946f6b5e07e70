"""How a command ends that was not done: one exception per exit code, shown as plain lines on standard error.

    Ending
    ├── CommandRefused  1  the service refused, or a check failed
    ├── Misused         2  wrong usage or a wrong setting; the service was not asked
    ├── Unreachable     3  nothing answers at the URL
    ├── Unverified      4  a rollback is in force, but was not observed in every cell
    └── NotDurable      4  a rollback is in force and observed, but a crash of its host would end it

`PlainEndings` prints them and exits with their code.
"""

from __future__ import annotations

from typing import Any, ClassVar

import rich_click as click

from app.cli.terminal import printable


class Ending(Exception):
    """A command was not done; the text is for a person."""

    exit_code: ClassVar[int]


class CommandRefused(Ending):
    """The service refused, or a check failed."""

    exit_code = 1


class Misused(Ending):
    """The command or a setting was wrong; the service was not asked."""

    exit_code = 2


class Unreachable(Ending):
    """Nothing answers at the URL; the text says what to do."""

    exit_code = 3


class Unverified(Ending):
    """A rollback is in force but was not observed in every cell; the text names the silent cells."""

    exit_code = 4


class NotDurable(Ending):
    """A rollback is in force and was observed, but neither the disk nor the store has it; the text says why."""

    exit_code = 4


class PlainEndings(click.RichGroup):
    """A group of commands that shows an `Ending` as plain lines, which can be searched, without a frame.

    The help shows commands in the order in which they were added, which is that of a rollout.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:  # click's own signature
        try:
            return super().invoke(ctx)
        except Ending as ending:
            click.echo(printable(str(ending)), err=True)
            ctx.exit(ending.exit_code)
        except KeyboardInterrupt:
            ctx.exit(130)
