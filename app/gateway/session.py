"""One client's session as a state machine: what it was sent, which message runs where, and how it changes paths.

It does no I/O and knows no message format: a `Socket`, a `Codec` and a `SessionContext` are handed in, every call is
synchronous, and time is asked of the context. The rules are "Life of a message" in the design.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from enum import Enum
from typing import Literal

from app.errors import IllegalTransition
from app.gateway.message import AcceptedMessage
from app.gateway.ports import HandoverOutcome, MessageOutcome, SessionContext, Socket, Timer, Worker
from app.gateway.recent import RecentMessages
from app.gateway.saved_session import SavedSession
from app.gateway.session_setup import ClientConnection, SessionSetup
from app.link.frames import Cancel, Close, Done, Open, Run
from app.message_types import ErrorCode, Inbound, Refusal
from rollout.names import PathName

CANCEL_GRACE_S = 0.25
"""A worker answers `Cancel` within a turn of its loop; one that does not is busy or gone, and is fenced."""


class SessionState(Enum):
    """What a session waits for."""

    ACTIVE = "active"
    """Bound to its path; messages are dispatched as they come."""
    DRAINING = "draining"
    """To be handed over: waits for the running message's terminal event; nothing new is dispatched."""
    MOVING = "moving"
    """The running message was told to stop for the handover; waits for the answer, or fences without it."""
    HELD = "held"
    """Its path is down and will come back; nothing is dispatched until then."""
    CLOSING = "closing"
    """Its socket is gone: the running message finishes, then the session ends (or a resume takes it up)."""
    ENDED = "ended"
    """Closed here and in its worker; no call changes it any more."""


class Session:
    """See the module. `epoch` grows whenever the session is bound to a worker anew. Its fields are read by others and
    written by it alone.
    """

    __slots__ = (
        "bucket",
        "bucket_key",
        "cell",
        "codec",
        "connected_at",
        "connection_id",
        "document",
        "epoch",
        "expires_at",
        "input_rate",
        "key",
        "last_input_at",
        "last_number",
        "limits",
        "message_rate",
        "path",
        "queue",
        "queued_bytes",
        "reason",
        "recent",
        "resume_token",
        "running",
        "seq",
        "socket",
        "state",
        "stop_timer",
        "target",
        "target_reason",
        "target_since",
        "thread_id",
        "timer",
        "transport",
        "user_id",
        "worker",
    )

    def __init__(self, setup: SessionSetup, cell: SessionContext[Session]) -> None:
        self.key = setup.key
        self.user_id = setup.identity.user_id
        self.thread_id = setup.identity.thread_id
        self.expires_at = setup.identity.expires_at
        self.socket: Socket | None = setup.client.socket
        self.connection_id = setup.client.connection_id
        self.resume_token = setup.client.resume_token
        self.connected_at = setup.client.connected_at
        self.path: PathName = setup.assignment.path
        self.reason: str = setup.assignment.reason
        self.bucket = setup.bucket
        self.bucket_key = setup.bucket_key
        self.message_rate = setup.message_rate
        self.input_rate = setup.input_rate
        self.transport: Literal["websocket", "http"] = setup.transport
        self.cell = cell
        self.codec = cell.codec
        self.limits = cell.limits
        self.state = SessionState.ACTIVE if cell.workers[self.path] is not None else SessionState.HELD
        self.epoch = 1
        self.worker: Worker | None = None
        """Where this epoch was opened; None: nowhere yet."""
        self.queue: deque[AcceptedMessage] = deque()
        self.queued_bytes = 0
        self.running: AcceptedMessage | None = None
        self.document: bytes | None = None
        self.seq = 0
        self.last_number = 0
        self.recent = RecentMessages()
        self.target: PathName | None = None
        self.target_reason = ""
        self.target_since = 0.0
        self.timer: Timer | None = None
        """Of the handover or the hold."""
        self.stop_timer: Timer | None = None
        """Of `stop_agent`."""
        self.last_input_at = cell.clock()

    @classmethod
    def resume(cls, saved: SavedSession, setup: SessionSetup, cell: SessionContext[Session]) -> Session:
        """A session that goes on where an earlier one of the same user ended, in this cell or another."""
        session = cls(setup, cell)
        session.thread_id = saved.thread_id
        session.document = saved.document
        session.last_number = saved.last_number
        session.recent.restore(saved.outcomes)
        return session

    def saved(self, expires_at: float, *, complete: bool) -> SavedSession:
        """What `resume` needs; `complete`: the session has ended and nothing is missing."""
        return SavedSession(
            self.user_id, self.thread_id, self.document, self.recent.history(), self.last_number, expires_at, complete
        )

    # -- what the client does -----------------------------------------------------------------------------------------

    def receive(self, frame: str | bytes) -> None:
        """One whole message of the client, however it was framed."""
        if self.socket is None:
            return
        cell = self.cell
        self.last_input_at = cell.clock()
        if not self.input_rate.take(self.last_input_at):
            self.close(1008, "too many messages")
            return
        if len(frame) > self.limits.message_bytes:
            self._refuse("too_large", f"a message is at most {self.limits.message_bytes} bytes", None)
            return
        body = frame.encode() if isinstance(frame, str) else frame
        if len(body) > self.limits.message_bytes:
            self._refuse("too_large", f"a message is at most {self.limits.message_bytes} bytes", None)
            return
        inbound = self.codec.read(body)
        if isinstance(inbound, Refusal):
            self._refuse(inbound.code, inbound.message, inbound.message_id)
        elif inbound.kind == "work":
            self._accept(inbound, body)
        elif inbound.kind == "ping":
            self.send_event(self.codec.pong(self, inbound.message_id))
        else:
            self._stop(inbound)

    def refuse_binary(self) -> None:
        """Answer a binary frame: messages are text."""
        if self.socket is not None:
            self._refuse("invalid_json", "a message is a text frame that holds a JSON object", None)

    def _refuse(self, code: ErrorCode, words: str, message_id: str | None) -> None:
        self.cell.rejected(self)
        self.send_event(self.codec.error(self, code, words, None, message_id))

    def _accept(self, inbound: Inbound, body: bytes) -> None:
        cell, limits = self.cell, self.limits
        message_id = inbound.message_id
        if not self.message_rate.take(self.last_input_at):
            return self._refuse("rate_limited", "too many messages; slow down", message_id)
        if len(self.queue) >= limits.queue_messages or self.queued_bytes + len(body) > limits.queue_bytes:
            return self._refuse("busy", "too many messages are waiting; send again later", message_id)
        if message_id is None:
            message_id = self.codec.new_message_id()
        elif message_id in self.recent:
            cell.rejected(self)
            return self.send_event(self.codec.duplicate(self, message_id, self.recent.outcome(message_id)))
        thread_id = inbound.thread_id
        if thread_id is not None and thread_id != self.thread_id and not cell.owns_thread(self.user_id, thread_id):
            return self._refuse("access_denied", "this thread is not yours", message_id)
        self.last_number += 1
        message = AcceptedMessage(self.last_number, message_id, body, self.last_input_at)
        self.recent.begin(message_id)
        self.queue.append(message)
        self.queued_bytes += len(body)
        self._acknowledge(message)
        if self.state is SessionState.ACTIVE:
            self._dispatch_next()
        elif self.state is SessionState.HELD and self.timer is None:
            self._hold()
        return None

    def _stop(self, inbound: Inbound) -> None:
        running, target = self.running, inbound.target
        if running is not None and target in (None, running.message_id):
            if not running.stopping:
                running.stopping = True
                if not running.cancelled:
                    self._send_cancel(running)
                self.stop_timer = self.cell.later(self.limits.stop_s, self._stop_by_force)
            return
        for message in self.queue:
            if target == message.message_id:
                self.queue.remove(message)
                self.queued_bytes -= len(message.body)
                self._terminate(message, "agent_stopped", self.codec.stopped(self, message), "ok")
                return
        self._refuse("invalid_payload", "nothing to stop", inbound.message_id)

    def _stop_by_force(self) -> None:
        self.stop_timer = None
        message = self.running
        if message is None or not message.stopping:
            return
        self._fence()
        self._terminate(message, "agent_stopped", self.codec.stopped(self, message), "ok")
        self._after_boundary()

    # -- what the worker says -----------------------------------------------------------------------------------------

    def on_started(self, number: int) -> None:
        """The worker is about to touch the running message. Raises `IllegalTransition` for any other."""
        message = self._current(number)
        message.started = True
        if self.socket is not None:
            self.socket.hurry()

    def on_event(self, number: int, body: bytes) -> None:
        """One event of the running message. Raises `IllegalTransition` for any other."""
        message = self._current(number)
        message.events += 1
        self.send_event(body)

    def on_done(self, done: Done) -> None:
        """The terminal event of the running message, or the answer to `Cancel`. Raises `IllegalTransition`."""
        message = self._current(done.number)
        answer = done.terminal == "agent_stopped" and message.cancelled and not message.stopping
        untouched = not done.started or (done.rerun_safe and message.events == 0)
        if answer and untouched and self.state is not SessionState.CLOSING:
            self._requeue(message)  # it starts again from the document before it
        elif answer:
            self._interrupt(message, "interrupted", done)
        else:
            outcome: MessageOutcome = "error" if done.terminal == "error" else "ok"
            self._terminate(message, done.terminal, done.body, outcome, done)
        self._after_boundary("interrupted" if answer else "moved")

    def _current(self, number: int) -> AcceptedMessage:
        message = self.running
        if message is None or message.number != number:
            running = None if message is None else message.number
            raise IllegalTransition(f"session {self.key}: expected an event of message {running}, got one of {number}")
        return message

    # -- changing paths -----------------------------------------------------------------------------------------------

    def keep_bucket(self, bucket: int, bucket_key: Hashable) -> None:
        """The user's bucket under another rule of the flag."""
        self.bucket, self.bucket_key = bucket, bucket_key

    def stay(self, reason: str) -> None:
        """It was decided again, for its own path: only the reason may be another."""
        self.reason = reason

    def move(self, path: PathName, reason: str, cancel_after_s: float | None = None) -> bool:
        """Hand over to `path` at the next message boundary; true when that is now.

        `cancel_after_s`: seconds after which a running message is cancelled (rollback); None: it is waited for.
        """
        if self.state is SessionState.ENDED:
            return True
        if self.state in (SessionState.DRAINING, SessionState.MOVING, SessionState.CLOSING):
            return self._redirect(path, reason, cancel_after_s)
        if path == self.path:
            self.reason = reason
            return True
        if self.running is None:
            self._bind(path, reason, "moved")
            self._activate_or_hold()
            return True
        self.target, self.target_reason, self.target_since = path, reason, self.cell.clock()
        self.state = SessionState.DRAINING
        if cancel_after_s is not None:
            self._cancel_after(cancel_after_s)
        return False

    def _redirect(self, path: PathName, reason: str, cancel_after_s: float | None) -> bool:
        """A message still runs: change where the session goes when it ends."""
        cancelled = self.running is not None and self.running.cancelled
        if path == self.path and not cancelled:
            self._clear_target()
            self.reason = reason
            if not self._worker_replaced():
                if self.state is SessionState.DRAINING:
                    self.state = SessionState.ACTIVE
                return True
        self.target, self.target_reason = path, reason
        if self.target_since == 0.0:
            self.target_since = self.cell.clock()
        if path != self.path and cancel_after_s is not None and self.timer is None:
            self._cancel_after(cancel_after_s)
        return False

    def _worker_replaced(self) -> bool:
        """Whether its path is served by another worker than the one it was opened in."""
        return self.worker is not None and self.worker is not self.cell.workers[self.path]

    def renew(self) -> bool:
        """Hand over to a new worker of the same path: a new epoch now, or at the terminal event."""
        if self.running is None:
            self._bind(self.path, self.reason, "moved")
            return True
        if self.state is SessionState.ACTIVE:
            self.target, self.target_reason, self.target_since = self.path, self.reason, self.cell.clock()
            self.state = SessionState.DRAINING
        return False

    def _cancel_after(self, seconds: float) -> None:
        self.timer = self.cell.later(seconds, self._cancel)

    def _cancel(self) -> None:
        """The deadline of a rollback: tell the worker to stop the message, and do not wait long for its answer."""
        self.timer = None
        message = self.running
        if message is None:
            return
        if self.state is not SessionState.CLOSING:
            self._expect(SessionState.DRAINING)
            self.state = SessionState.MOVING
        message.cancelled = True
        self._send_cancel(message)
        self.timer = self.cell.later(CANCEL_GRACE_S, self._cancel_unanswered)

    def _send_cancel(self, message: AcceptedMessage) -> None:
        if self.worker is not None:
            self.worker.send(Cancel(self.key, self.epoch, message.number))

    def _cancel_unanswered(self) -> None:
        """The worker did not answer: fence. Whether the message was touched is unknown, so it is not run again."""
        self.timer = None
        message = self.running
        if message is None:
            return
        self._fence()
        if message.stopping:
            self._terminate(message, "agent_stopped", self.codec.stopped(self, message), "ok")
        else:
            self._interrupt(message, "interrupted")
        self._after_boundary("interrupted")

    def on_path_lost(self, path: PathName | None, reason: str) -> None:
        """The worker of this session is gone, and all that it sent was read: continue on `path`, or wait (None).

        A started message may have caused it: it is interrupted and never run on the other path. One that was not
        started (each `Started` reaches the kernel before its message is touched) is run again.
        """
        message = self.running
        self.worker = None
        self._fence()
        if message is not None:
            if message.stopping:
                self._terminate(message, "agent_stopped", self.codec.stopped(self, message), "ok")
            elif message.started:
                self._interrupt(message, "error")
            else:
                self._requeue(message)
        target = self.target or self.path
        if path is not None:
            self.target, self.target_reason = path, reason
        elif (
            self.state in (SessionState.DRAINING, SessionState.MOVING)
            and target != self.path
            and self.cell.workers[target] is not None
        ):
            pass  # it is being handed over to a path that is up: do that now
        else:
            self._clear_target()
        self._after_boundary()

    def on_path_restored(self) -> None:
        """Its path is served again: continue from the last committed document."""
        if self.state is SessionState.HELD:
            self._activate_or_hold()

    def _hold(self) -> None:
        self.state = SessionState.HELD
        if self.timer is None:
            self.timer = self.cell.later(self.limits.hold_s, self._hold_over)

    def _hold_over(self) -> None:
        """The path was down too long: waiting messages are interrupted, the socket stays."""
        self.timer = None
        if self.state is SessionState.HELD:
            self._interrupt_queue("error")

    # -- the end ------------------------------------------------------------------------------------------------------

    def on_detached(self) -> None:
        """The socket is gone: the running message finishes, waiting ones are interrupted."""
        if self.socket is None:
            return
        self.socket = None
        waiting_for_boundary = self.state in (SessionState.DRAINING, SessionState.MOVING)
        if self.timer is not None and not waiting_for_boundary:
            self.timer.cancel()
            self.timer = None
        self.state = SessionState.CLOSING
        self._interrupt_queue("interrupted")
        if self.running is None:
            self.end()

    def close(self, code: int, reason: str) -> None:
        """Close the socket from this side; for the session it is as if the client had left."""
        socket = self.socket
        if socket is not None:
            self.cell.closing(self, code)
            self.on_detached()
            socket.close(code, reason)

    def interrupt_all(self) -> None:
        """The service stops: what runs and what waits ends as `interrupted`, and the client is told."""
        message = self.running
        if message is not None:
            self._fence()
            self._interrupt(message, "interrupted")
        self._interrupt_queue("interrupted")

    def end(self) -> None:
        """Close the session here and in its worker, once. What still runs is fenced and interrupted; nobody is told."""
        if self.state is SessionState.ENDED:
            return
        self.socket = None
        self.state = SessionState.ENDED
        message = self.running
        if message is not None:
            self._fence()
            self._interrupt(message, "interrupted")
        self._interrupt_queue("interrupted")
        for timer in (self.timer, self.stop_timer):
            if timer is not None:
                timer.cancel()
        self.timer = self.stop_timer = None
        self._close_in_worker()
        self.cell.ended(self)

    def reconnect(self, client: ClientConnection, expires_at: float | None) -> None:
        """The client of this living session has come back on a new socket. `seq` begins again at 1.

        What still runs continues, and its events go to the new socket. An old socket that still looks open is closed;
        nothing is interrupted for it. `expires_at`: of the new sign-in.
        """
        if self.socket is not None:
            self._release_socket(self.socket)
        self._expect(SessionState.CLOSING)
        self.socket, self.connection_id, self.connected_at, self.resume_token = client
        self.expires_at = expires_at
        self.seq = 0
        self.last_input_at = self.cell.clock()
        running = self.running
        if running is not None and self.target is None and self._worker_replaced():
            self.target, self.target_reason, self.target_since = self.path, self.reason, self.last_input_at
        if running is not None and self.target is not None:
            self.state = SessionState.MOVING if running.cancelled else SessionState.DRAINING
        elif self.cell.workers[self.path] is None:
            self._hold()
        else:
            self.state = SessionState.ACTIVE

    def _release_socket(self, socket: Socket) -> None:
        socket.close(1008, "resumed elsewhere")
        self.socket = None
        if self.state is SessionState.ACTIVE or self.state is SessionState.HELD:
            self._clear_target()
        self.state = SessionState.CLOSING

    # -- inside -------------------------------------------------------------------------------------------------------

    def send_event(self, body: bytes) -> None:
        """Number and send one event; a reader too slow for its buffer is closed with 1013."""
        socket = self.socket
        if socket is None:
            return
        self.seq += 1
        socket.send(self.codec.stamp(self.seq, body))
        if socket.buffered_bytes() > self.limits.send_buffer_bytes:
            self.close(1013, "too slow")

    def _acknowledge(self, message: AcceptedMessage) -> None:
        """The ack leaves with the message's first event if that comes at once: writing is what a message costs most."""
        socket = self.socket
        if socket is not None:
            self.seq += 1
            socket.hold(self.codec.stamp(self.seq, self.codec.ack(self, message)))

    def _dispatch_next(self) -> None:
        """Dispatch the next message if one waits and may run."""
        if self.running is not None or self.state is not SessionState.ACTIVE or not self.queue:
            return
        if self.path == "v3" and self.cell.locked:
            self._bind("v2", "rolled_back", "moved")
        serving = self.cell.workers[self.path]
        if serving is None:
            self._hold()
            return
        message = self.queue.popleft()
        self.queued_bytes -= len(message.body)
        message.path = self.path
        message.started = False
        message.dispatched_at = self.cell.clock()
        self.running = message
        worker = self.worker
        if worker is None:
            worker = self.worker = serving
            worker.send(
                Open(
                    self.key,
                    self.epoch,
                    self.connection_id,
                    self.user_id,
                    self.thread_id,
                    self.connected_at,
                    self.transport,
                    self.document,
                ),
            )
        self.cell.dispatched(self)
        worker.send(Run(self.key, self.epoch, message.number, message.message_id, message.body))

    def _terminate(
        self,
        message: AcceptedMessage,
        terminal: str,
        body: bytes,
        outcome: MessageOutcome,
        done: Done | None = None,
        *,
        retry: bool = False,
    ) -> None:
        """The one place where an accepted message ends; `retry`: its id may be sent again.

        The event is sent last, because sending may find the socket full and end the session.
        """
        if message is self.running:
            self.running = None
            if self.stop_timer is not None:
                self.stop_timer.cancel()
                self.stop_timer = None
        else:
            message.path = self.path  # it never ran: it counts for the path where it waited
        if retry:
            self.recent.forget(message.message_id)
        else:
            self.recent.finish(message.message_id, terminal)
        if done is not None:
            self._commit(done)
        self.cell.finished(self, message, outcome, done)
        self.send_event(body)

    def _commit(self, done: Done) -> None:
        if done.thread_id is not None:
            self.thread_id = done.thread_id
        if done.document is not None:
            self.document = done.document
            self.cell.committed(self)

    def _interrupt(self, message: AcceptedMessage, outcome: MessageOutcome, done: Done | None = None) -> None:
        words = "the message was interrupted; it may have had effects; send it again"
        body = self.codec.error(self, "interrupted", words, message, None)
        self._terminate(message, "error", body, outcome, done, retry=True)

    def _interrupt_queue(self, outcome: MessageOutcome) -> None:
        while self.queue:
            message = self.queue.popleft()
            self.queued_bytes -= len(message.body)
            self._interrupt(message, outcome)

    def _requeue(self, message: AcceptedMessage) -> None:
        """The message was not touched: it is first in the queue again, under its number."""
        self.running = None
        if self.state is SessionState.CLOSING:
            self._interrupt(message, "interrupted")
            return
        message.started = message.cancelled = False
        message.dispatched_at = 0.0
        self.queue.appendleft(message)
        self.queued_bytes += len(message.body)
        self.cell.rerun(self)

    def _fence(self) -> None:
        """From now on events of the old epoch are thrown away."""
        self._close_in_worker()
        self.epoch += 1

    def _close_in_worker(self) -> None:
        if self.worker is not None:
            self.worker.send(Close([(self.key, self.epoch)]))
            self.worker = None

    def _bind(self, path: PathName, reason: str, outcome: HandoverOutcome) -> None:
        source = self.path
        self._fence()
        self.path, self.reason = path, reason
        waited_s = self.cell.clock() - self.target_since if self.target_since else 0.0
        self._clear_target()
        self.cell.rebound(self, source, outcome, waited_s)

    def _clear_target(self) -> None:
        self.target, self.target_since = None, 0.0
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _after_boundary(self, outcome: HandoverOutcome = "moved") -> None:
        """No message runs now: hand over if that is wanted, then dispatch the next message."""
        if self.state is SessionState.CLOSING and self.running is None:
            self.end()
        if self.state in (SessionState.CLOSING, SessionState.ENDED):
            return
        if self.target is not None:
            self._bind(self.target, self.target_reason, outcome)
        self._activate_or_hold()

    def _activate_or_hold(self) -> None:
        """Dispatch while the path is up, else wait for it."""
        if self.cell.workers[self.path] is not None:
            if self.state is SessionState.HELD and self.timer is not None:
                self.timer.cancel()
                self.timer = None
            self.state = SessionState.ACTIVE
            self._dispatch_next()
        else:
            self._hold()

    def _expect(self, *states: SessionState) -> None:
        if self.state not in states:
            expected = " or ".join(state.value for state in states)
            raise IllegalTransition(f"session {self.key}: expected {expected}, is {self.state.value}")
