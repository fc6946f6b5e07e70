"""`crossfade loadtest`: real WebSocket clients against any URL, live progress, and a verdict."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
import rich_click as click

from app.cli.exits import CommandRefused, Ending, Misused, Unreachable
from app.cli.target import Target, find_target

if TYPE_CHECKING:
    from app.loadtest.run import LoadTest

SETTLE_S = 30.0
"""Seconds that the last messages may take after the sending is over."""


@click.command()
@click.option("--url", metavar="URL", help="ws://HOST:PORT/ws; `{user}` is replaced; default: the local service.")
@click.option(
    "--clients", type=click.IntRange(1, 60_000), default=100, show_default=True, help="Number of WebSocket clients."
)
@click.option(
    "--seconds", type=click.FloatRange(min=0.1), default=30, show_default=True, help="Seconds for which they send."
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0),
    default=0.45,
    show_default=True,
    help="Messages per second and client; the default stays below the service's limit of 30 per minute. 0: no pause.",
)
@click.option(
    "--inflight", type=click.IntRange(1, 1000), default=1, show_default=True, help="Unanswered messages per client."
)
@click.option("--users", default="load-", show_default=True, metavar="PREFIX", help="Prefix of the user ids.")
@click.option("--agent", default="", metavar="NAME", help="Send `start_agent` with this agent.")
@click.option("--content", default="hello", show_default=True, metavar="TEXT", help="Content of the messages.")
@click.option(
    "--jwt-key", default="", metavar="KEY", help="HMAC key; clients then sign in with tokens instead of ?user=."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def loadtest(url: str | None, as_json: bool, **options: object) -> None:
    """Run real WebSocket clients that check every ack and every terminal event. Exit 1 if one is missing.

    Ctrl-C ends the sending and prints the report.
    """
    from app.loadtest.options import LoadOptions, LoadTestError
    from app.loadtest.run import LoadTest, Progress
    from app.loadtest.share import ask_share

    api = api_behind(url)
    chosen = msgspec.convert({**options, "url": url or socket_url(api), "settle_s": SETTLE_S}, LoadOptions)

    def show(progress: Progress) -> None:
        click.echo(progress.words(), err=True)

    async def run() -> None:
        token = api.token if api is not None else None
        test = LoadTest(chosen, show)
        stop_at_interrupt(test)
        report = await test.run(None if not token or api is None else lambda o: ask_share(api.url, token, o))
        if report.connected == 0:
            raise Unreachable(f"no client could connect to {chosen.url}: {next(iter(report.failures), '')}")
        click.echo(msgspec.json.encode(report) if as_json else report.words())
        if not report.passed:
            raise CommandRefused("the load test failed")

    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(run())
    except LoadTestError as error:
        raise Misused(str(error)) from None


def stop_at_interrupt(test: LoadTest) -> None:
    """Let the first SIGINT stop the sending, and the next one interrupt this process as usual."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        test.stop()

    with suppress(NotImplementedError):  # where signals are not the loop's business
        loop.add_signal_handler(signal.SIGINT, stop)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where it is installed, so that the clients are not what limits the measurement."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def api_behind(url: str | None) -> Target | None:
    """The API that knows which users are on v3: that beside the socket; None: there is no access to it."""
    if url is None:
        return find_target(os.environ.get("CROSSFADE_URL"))
    parts = urlsplit(url)
    try:
        beside = parts.path.removesuffix("/ws") if parts.path.endswith("/ws") else ""
        return find_target(f"{'https' if parts.scheme == 'wss' else 'http'}://{parts.netloc}{beside}")
    except Ending:
        return None


def socket_url(api: Target | None) -> str:
    """The URL of a service's `/ws`."""
    return "" if api is None else f"{api.url.replace('http', 'ws', 1)}/ws"
