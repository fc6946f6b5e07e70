"""The commands for the service's own host: `serve`, and `token` for its API. They need no running service."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from app.cli.exits import CommandRefused, Misused
from app.cli.target import settings_or_end
from app.data_folder import take_folder
from app.errors import CrossfadeError, FolderTaken, SettingError
from rollout.names import TOKEN_ROLES, TokenRole

if TYPE_CHECKING:
    from app.settings import Settings

ONCALL_DAYS = 30.0
"""Days for which a token of the role oncall is valid by default."""


@click.command()
@click.option(
    "--cells", type=click.IntRange(1, 26), default=1, help="Number of processes that share the socket. Default: 1."
)
def serve(cells: int) -> None:
    """Run the service until SIGTERM or Ctrl-C. Settings: `crossfade doctor`."""
    from app.cli.local_store import keep_operator_token
    from app.serve.startable import check_startable

    settings = settings_or_end()
    try:
        check_startable(settings)
    except SettingError as error:
        raise Misused(str(error)) from None
    try:
        folder = take_folder(Path(settings.data), settings.bind)
    except FolderTaken as taken:
        raise CommandRefused(f"crossfade: {taken}") from None
    except OSError as error:
        why = error.strerror or str(error)
        raise CommandRefused(f"crossfade: CROSSFADE_DATA={settings.data!r} cannot be used: {why}") from None
    try:
        keep_operator_token(settings)
    except (CrossfadeError, OSError) as error:
        # Users are served without it; commands on this host then need CROSSFADE_TOKEN.
        click.echo(f"no token for the commands on this host: {error}", err=True)
    if cells > 1:
        from app.serve.parent import run_cells

        assert folder.owner is not None  # it was just taken
        sys.exit(run_cells(settings, folder.owner, cells))
    from app.serve.server import run

    sys.exit(run(settings, folder))


@click.command()
@click.option("--role", type=click.Choice(TOKEN_ROLES), help="Role of the new token.")
@click.option(
    "--name", default="", metavar="TEXT", help="Owner of the new token, named in the audit. Default: this user."
)
@click.option(
    "--days",
    type=click.FloatRange(min=0, min_open=True),
    help=f"Days for which it is valid. Default: {ONCALL_DAYS:g} for oncall, otherwise until it is revoked.",
)
@click.option("--list", "listed", is_flag=True, help="List all tokens by id; their secrets are not kept.")
@click.option("--revoke", metavar="ID_OR_NAME", help="Revoke the token with this id, or all tokens with this name.")
@click.option("--json", "as_json", is_flag=True, help="With --list: print JSON instead of text.")
def token(role: str | None, name: str, days: float | None, listed: bool, revoke: str | None, as_json: bool) -> None:
    """Make a token for the API, printed alone on the last line. The service may be up or down."""
    if (role is not None) + listed + (revoke is not None) != 1:
        raise click.UsageError("use exactly one of --role, --list, --revoke")
    settings = settings_or_end()
    try:
        if listed:
            _list_tokens(settings, as_json)
        elif revoke is not None:
            _revoke_tokens(settings, revoke)
        else:
            _make_token(settings, role, name, days)  # type: ignore[arg-type]
    except (CrossfadeError, OSError) as error:
        raise CommandRefused(f"{'no token made: ' if role else ''}{error}") from None


def _make_token(settings: Settings, role: TokenRole, name: str, days: float | None) -> None:
    from app.cli.local_store import add_token, this_user

    if days is None and role == "oncall":
        days = ONCALL_DAYS
    secret = add_token(settings, role, name or this_user(), days)
    until = "until it is revoked" if days is None else f"for {days:g} days"
    click.echo(f"a token for the role {role}, valid {until}; it is shown only once:", err=True)
    click.echo(secret)


def _list_tokens(settings: Settings, as_json: bool) -> None:
    import msgspec

    from app.cli import words
    from app.cli.local_store import list_tokens

    tokens = list_tokens(settings)
    click.echo(msgspec.json.encode(tokens) if as_json else words.tokens(tokens))


def _revoke_tokens(settings: Settings, which: str) -> None:
    from app.cli.local_store import revoke_tokens

    revoked = revoke_tokens(settings, which)
    if not revoked:
        raise CommandRefused(f"no valid token has the id or name {which!r}; see `crossfade token --list`")
    for each in revoked:
        click.echo(f"revoked {each.id}: {each.name} ({each.role})")
