"""Whatever happens, in whatever order, the delivery contract holds; and the checker finds defects that are planted."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from app.errors import IllegalTransition
from app.gateway.message import AcceptedMessage
from app.gateway.ports import MessageOutcome
from app.gateway.session import Session
from app.link.frames import Done
from rollout.names import PathName
from tests.gateway.world import Broken, World

ids = st.sampled_from(["a", "b", "c", "d", "e"])
paths: st.SearchStrategy[PathName] = st.sampled_from(["v2", "v3"])


class Machine(RuleBasedStateMachine):
    """Steps of `World`, drawn by Hypothesis; those that move a message on are drawn more often."""

    session_class: type[Session] = Session

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.session_class)

    @rule(message_id=ids)
    def say(self, message_id: str) -> None:
        self.world.say(message_id)

    @rule(fresh=st.integers(0, 10**9))
    def say_something_new(self, fresh: int) -> None:
        self.world.say(f"n{fresh}")

    @rule(message_id=st.none() | ids)
    def stop(self, message_id: str | None) -> None:
        self.world.stop(message_id)

    @rule()
    def started(self) -> None:
        self.world.started()

    @rule(many=st.booleans())
    def event(self, many: bool) -> None:
        self.world.started()
        self.world.event()

    @rule(terminal=st.sampled_from(["agent_completed", "error", "thread_history"]), document=st.booleans())
    def done(self, terminal: str, document: bool) -> None:
        self.world.started()
        self.world.done(terminal, document)

    @rule(rerun_safe=st.booleans())
    def answer_cancel(self, rerun_safe: bool) -> None:
        self.world.answer_cancel(rerun_safe)

    @rule(index=st.integers(0, 20), what=st.sampled_from(["started", "event", "done"]))
    def late(self, index: int, what: str) -> None:
        self.world.late(index, what)

    @rule(path=paths)
    def bring_up(self, path: PathName) -> None:
        self.world.bring_up(path)

    @rule(path=paths, oldest=st.booleans())
    def kill(self, path: PathName, oldest: bool) -> None:
        self.world.kill(path, oldest)

    @rule(percentage=st.sampled_from([0, 100]))
    def decide(self, percentage: int) -> None:
        self.world.decide(percentage)

    @rule(fresh=st.integers(0, 10**9))
    def work_on_the_canary(self, fresh: int) -> None:
        self.world.decide(100)
        self.world.say(f"w{fresh}")
        self.world.started()

    @rule(seconds=st.sampled_from([0.0, 2.0, 10.0]))
    def roll_back(self, seconds: float) -> None:
        self.world.roll_back()
        self.world.wait(seconds)

    @rule()
    def leave(self) -> None:
        self.world.leave()

    @rule()
    def come_back(self) -> None:
        self.world.come_back()

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.25, 2.0, 10.0]))
    def wait(self, seconds: float) -> None:
        self.world.wait(seconds)

    @invariant()
    def holds(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        self.world.settle()


QUICK = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
)


def test_the_delivery_contract_holds() -> None:
    run_state_machine_as_test(Machine, settings=QUICK)


def test_a_message_cancelled_while_its_client_is_away_leaves_its_document() -> None:
    world = World()
    world.decide(100)
    world.say("m1")
    world.started()
    world.leave()
    world.roll_back()
    world.wait(2.0)
    world.answer_cancel(rerun_safe=True)
    world.come_back()
    world.say("m1")
    world.settle()
    assert world.session.document == b"2"


# -- planted defects: a checker that finds nothing proves nothing -----------------------------------------------------


class KeepsItsEpoch(Session):
    """Fences without a new epoch: what the old worker says late is believed."""

    __slots__ = ()

    def _fence(self) -> None:
        self._close_in_worker()


class RunsTheCulpritAgain(Session):
    """A started message whose path died is run on the other path."""

    __slots__ = ()

    def on_path_lost(self, path: PathName | None, reason: str) -> None:
        if self.running is not None:
            self.running.started = False
        super().on_path_lost(path, reason)


class LosesItsDocument(Session):
    """Keeps an old document when a newer one was given."""

    __slots__ = ()

    def _commit(self, done: Done) -> None:
        if self.document is None:
            super()._commit(done)


class SwallowsItsQueue(Session):
    """What waited when the socket died ends without a word."""

    __slots__ = ()

    def _interrupt_queue(self, outcome: MessageOutcome) -> None:
        self.queue.clear()


class RemembersTheInterrupted(Session):
    """An interrupted id stays in the duplicate window, so its retry never runs."""

    __slots__ = ()

    def _interrupt(self, message: AcceptedMessage, outcome: MessageOutcome, done: Done | None = None) -> None:
        super()._interrupt(message, outcome, done)
        self.recent.begin(message.message_id)
        self.recent.finish(message.message_id, "error")


class SkipsANumber(Session):
    """Counts an event that it does not send."""

    __slots__ = ()

    def on_started(self, number: int) -> None:
        super().on_started(number)
        self.seq += 1


class NeverCancels(Session):
    """Waits for the running message in a rollback too."""

    __slots__ = ()

    def _cancel_after(self, seconds: float) -> None:
        pass


class RunsTwoAtOnce(Session):
    """Dispatches the next message without waiting for the running one."""

    __slots__ = ()

    def _dispatch_next(self) -> None:
        self.running = None
        super()._dispatch_next()


class EndsTwice(Session):
    """Tells the client again that a message ended."""

    __slots__ = ()

    def on_done(self, done: Done) -> None:
        super().on_done(done)
        self.send_event(done.body)


THOROUGH = settings(QUICK, max_examples=1000, phases=[Phase.generate], derandomize=True, database=None)


@pytest.mark.parametrize(
    "defective",
    [
        KeepsItsEpoch,
        RunsTheCulpritAgain,
        LosesItsDocument,
        SwallowsItsQueue,
        RemembersTheInterrupted,
        SkipsANumber,
        NeverCancels,
        RunsTwoAtOnce,
        EndsTwice,
    ],
)
def test_the_checker_finds_a_planted_defect(defective: type[Session]) -> None:
    class Defective(Machine):
        session_class = defective

    with pytest.raises((Broken, IllegalTransition)):
        run_state_machine_as_test(Defective, settings=THOROUGH)
