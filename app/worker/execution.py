"""One message in a path worker: its supervisor is made when needed, its events leave, its terminal event is decided.

Which messages run when is for the scheduler.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine
from time import perf_counter
from typing import Protocol

import msgspec

from app.errors import CrossfadeError
from app.link.frames import Done, RunEvent
from app.messages import error_payload, render, request_of
from app.supervisor.contract import DOCUMENT_BYTES, TERMINAL, AgentEvent, PathServing, SessionSupervisor
from app.worker.failures import Failure, Failures
from app.worker.sessions import RunningMessage

EVENT_BYTES = 512 * 1024
"""Largest rendered event; half of what the gateway keeps for a slow reader."""
EARLY = 16
"""After so many messages what was said of them leaves, so that the gateway tells clients while the next ones run."""
BREATH_EVENTS = 64
"""After so many events of a message the other sessions have their turn, even when its agent never waits."""


class Outgoing(Protocol):
    """Where frames go; `app.link.link.Link` is one."""

    def send(self, frame: msgspec.Struct) -> None: ...
    def flush(self) -> bool: ...
    def drained(self) -> Coroutine[None, None, None]: ...


class BrokenRun(CrossfadeError):
    """A supervisor broke the contract: no terminal event, one too many, or one that is too large."""


class Execution:
    """Runs messages. `ended` is called once for each, when nothing of it runs any more."""

    def __init__(
        self, serving: PathServing, outgoing: Outgoing, failures: Failures, ended: Callable[[RunningMessage], None]
    ) -> None:
        self._serving = serving
        self._outgoing = outgoing
        self._failures = failures
        self._ended = ended
        self._prefix = "r-" + secrets.token_hex(5)
        self._counter = itertools.count(1)
        self._finished = 0

    async def execute(self, running: RunningMessage) -> None:
        """The task of one announced message. Never raises, whatever its supervisor does."""
        try:
            if running.why is None:
                running.touched = True
                running.run_id = f"{self._prefix}-{next(self._counter)}"
                await self._attempt(running)
            elif not running.closed:
                self._stopped(running)
        finally:
            self._ended(running)

    async def _attempt(self, running: RunningMessage) -> None:
        try:
            terminal = await self._events(running)
        except asyncio.CancelledError as error:
            if running.why is None:
                self._fail(running, self._failures.of(error))
        except GeneratorExit:
            raise
        except BaseException as error:  # sys.exit() in an agent ends its message, not everybody's worker
            if running.why is None:
                self._fail(running, self._failures.of(error))
        else:
            if running.why is None:
                self._complete(running, terminal)
                return
        if running.closed or running.given_up:
            return
        if running.why == "stopped":
            self._stopped(running)
        elif running.why == "timeout":
            self._fail(running, self._failures.timeout())

    async def _events(self, running: RunningMessage) -> AgentEvent:
        """Send the events of the message; returns the terminal one, which is not sent."""
        supervisor = running.held.supervisor or await self._make(running)
        running.supervisor = supervisor
        request = request_of(running.run.body)
        running.thread_id = request.thread_id or running.thread_id
        events = supervisor.run(request, running.run_id or "")
        terminal: AgentEvent | None = None
        count = 0
        try:
            async for event in events:
                if terminal is not None:
                    raise BrokenRun(f"{event.type} after {terminal.type}")
                if event.type in TERMINAL:
                    terminal = event
                elif running.why is None:
                    self._send(running, event)
                count += 1
                if count % BREATH_EVENTS == 0:
                    await self._outgoing.drained()
                    await asyncio.sleep(0)
        except BaseException:  # left early, it cleans up now and not when it is collected; exhausted, it has
            await _close(events)
            raise
        if terminal is None:
            raise BrokenRun("the run ended without a terminal event")
        return terminal

    async def _make(self, running: RunningMessage) -> SessionSupervisor:
        held = running.held
        supervisor = await self._serving.make(held.opening)
        if held.document is not None:
            try:
                supervisor.restore_state(held.document)
                held.exported = hash(held.document)
            except Exception as error:
                held.restored = False
                self._failures.restore(error)
                await supervisor.close()
                supervisor = await self._serving.make(held.opening)
        if not running.given_up:
            held.document = None
            held.supervisor = supervisor
        return supervisor

    def _send(self, running: RunningMessage, event: AgentEvent) -> None:
        run = running.run
        body = _written(running, event.type, event.payload, running.thread_id)
        self._outgoing.send(RunEvent(run.session, run.epoch, run.number, body))

    def _complete(self, running: RunningMessage, terminal: AgentEvent) -> None:
        try:
            document = self._changed(running)
            body = _written(running, terminal.type, terminal.payload, running.thread_id)
        except Exception as error:  # its document is too large, or its payload cannot be written down
            self._fail(running, self._failures.of(error), carry=False)
            return
        thread_id = None
        if terminal.type == "thread_switched":
            thread_id = running.held.thread_id = running.thread_id
        self._finish(running, terminal.type, body, document=document, thread_id=thread_id)

    def _changed(self, running: RunningMessage) -> bytes | None:
        """The session's document, if the gateway does not have it. Raises what the supervisor raises."""
        supervisor = running.supervisor
        if supervisor is None or not self._serving.exports_state:
            return None
        document = supervisor.export_state()
        if document is None or hash(document) == running.held.exported:
            return None
        if len(document) > DOCUMENT_BYTES:
            raise BrokenRun(f"a state document of {len(document)} bytes; at most {DOCUMENT_BYTES} are allowed")
        return document

    def _changed_quietly(self, running: RunningMessage) -> bytes | None:
        """The same after a message that did not complete: a document that cannot be had is only logged."""
        try:
            return self._changed(running)
        except Exception as error:
            self._failures.of(error)
            return None

    def _stopped(self, running: RunningMessage, *, started: bool = True) -> None:
        body = _written(running, "agent_stopped", {}, running.thread_id)
        self._finish(running, "agent_stopped", body, document=self._changed_quietly(running), started=started)

    def _fail(self, running: RunningMessage, failure: Failure, *, carry: bool = True) -> None:
        """End with an `error`. Its thread is the session's: the one it names may be another user's."""
        payload = error_payload(failure.code, failure.text, failure.reference)
        body = _written(running, "error", payload, running.held.thread_id)
        document = self._changed_quietly(running) if carry else None
        error = (failure.code, failure.fingerprint, failure.reference)
        self._finish(running, "error", body, document=document, error=error)

    def _finish(
        self,
        running: RunningMessage,
        terminal: str,
        body: bytes,
        *,
        document: bytes | None = None,
        error: tuple[str, str, str] | None = None,
        thread_id: str | None = None,
        started: bool = True,
    ) -> None:
        held, run, supervisor = running.held, running.run, running.supervisor
        if document is not None:
            held.exported = hash(document)
        restored, held.restored = held.restored, True
        self._outgoing.send(
            Done(
                run.session,
                run.epoch,
                run.number,
                terminal,
                body,
                perf_counter() - running.at,
                document,
                started,
                supervisor is not None and bool(getattr(supervisor, "rerun_safe", False)),
                error,
                thread_id,
                restored,
            )
        )
        self._finished += 1
        if self._finished % EARLY == 0:
            self._outgoing.flush()

    # -- ends without a task ------------------------------------------------------------------------------------------

    def stopped_untouched(self, running: RunningMessage) -> None:
        """Cancelled before its `Started` was sent: it may be run elsewhere."""
        self._stopped(running, started=False)

    def refuse(self, running: RunningMessage) -> None:
        """A second message while one runs: the gateway does not do that; nobody waits for ever if it does."""
        self._fail(running, self._failures.refusal("busy", "one message at a time"))

    def give_up(self, running: RunningMessage) -> None:
        """End for its client a message that ignores its cancellation; the session goes on with a new supervisor."""
        held, supervisor = running.held, running.supervisor
        self._fail(running, self._failures.timeout())
        running.given_up = True
        held.supervisor = None
        if supervisor is not None:
            try:
                held.document = supervisor.export_state()
            except Exception as error:
                self._failures.of(error)
        held.exported = None


def _written(running: RunningMessage, type: str, payload: object, thread_id: str) -> bytes:
    """An event of this message as bytes. Raises `BrokenRun` over `EVENT_BYTES`, `TypeError` for what is no JSON."""
    run = running.run
    user_id = running.held.opening.user_id
    body = render(type, payload, user_id, thread_id, run.message_id, run.number, running.run_id)
    if len(body) > EVENT_BYTES:
        raise BrokenRun(f"{type} of {len(body)} bytes; at most {EVENT_BYTES} are allowed")
    return body


async def _close(events: AsyncIterator[AgentEvent]) -> None:
    """End an iterator that was left early, so that it cleans up now; an exhausted generator does nothing."""
    close = getattr(events, "aclose", None)
    if close is not None:
        await close()
