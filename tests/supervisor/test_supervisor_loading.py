"""Loading a path: the built-in one, custom factories of every shape, and a clear text for everything that can be
wrong.
"""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

import app
from app.errors import FactoryError, SettingError
from app.message_types import Request
from app.supervisor.contract import AgentEvent, Opening, PathServing, SessionSupervisor
from app.supervisor.document import PART_BYTES
from app.supervisor.errors import BrokenAgent, DocumentTooLarge, SharedDependency
from app.supervisor.loading import load_path
from rollout.names import PathName

SECRET = b"secret"
ROOT = Path(app.__file__).parents[1]
HELLO = Request("message", "hello")
_numbers = itertools.count()

Package = Callable[[str], str]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """Writes the source of `<a new package>.new` and gives the package's name."""

    def write(source: str) -> str:
        name = f"mypkg{next(_numbers)}"
        folder = tmp_path / name
        folder.mkdir()
        (folder / "__init__.py").write_text("")
        (folder / "new.py").write_text(textwrap.dedent(source))
        return name

    monkeypatch.syspath_prepend(str(tmp_path))
    return write


def load(spec: str, path: PathName = "v3", build: str | None = None) -> PathServing:
    return load_path(spec, path, thread_secret=SECRET, build=build)


async def make(serving: PathServing, user: str = "ada", connection: str = "c-1") -> SessionSupervisor:
    return await serving.make(Opening(connection, user, f"t-of-{user}", 0.0))


async def ask(supervisor: SessionSupervisor, request: Request = HELLO, run_id: str = "r-1") -> list[AgentEvent]:
    return [event async for event in supervisor.run(request, run_id)]


SMALLEST = """
    def create_supervisor(context):
        async def answer(message):
            yield f"{context.user_id} said "
            yield message.content
        return answer
"""


async def test_the_smallest_factory(package: Package) -> None:
    serving = load(f"{package(SMALLEST)}.new:create_supervisor")
    supervisor = await make(serving)
    assert await ask(supervisor) == [
        AgentEvent("agent_started"),
        AgentEvent("agent_completed", {"content": "ada said hello"}),
    ]
    assert serving.exports_state is False and supervisor.export_state() is None and supervisor.rerun_safe is False
    (history,) = await ask(supervisor, Request("history"))
    assert history.payload["exchanges"] == [{"run_id": "r-1", "content": "hello", "answer": "ada said hello"}]


EVENTS = """
    class Own:
        def __init__(self, type, payload):
            self.type, self.payload = type, payload

    async def create_supervisor(context):
        async def answer(message):
            yield {"type": "agent_started", "payload": {"thread": message.thread_id, "run": message.run_id}}
            yield {"type": "agent_thinking"}
            yield Own("tool_executing", {"tool_name": message.agent})
            yield {"type": "tool_completed", "payload": {"tool_name": message.agent, "results": [message.kind]}}
            yield {"type": "agent_completed", "payload": {"content": "done", "score": 1}}
        return answer
"""


async def test_events_as_dicts_or_objects_and_an_async_factory(package: Package) -> None:
    supervisor = await make(load(f"{package(EVENTS)}.new:create_supervisor"))
    assert await ask(supervisor, Request("agent", "x", "finder")) == [
        AgentEvent("agent_started", {"thread": "t-of-ada", "run": "r-1"}),
        AgentEvent("agent_thinking"),
        AgentEvent("tool_executing", {"tool_name": "finder"}),
        AgentEvent("tool_completed", {"tool_name": "finder", "results": ["agent"]}),
        AgentEvent("agent_completed", {"content": "done", "score": 1}),
    ]


COUNTING = """
    CLOSED = []

    class Counting:
        rerun_safe = True

        def __init__(self, context):
            self.context, self.count = context, 0

        async def run(self, message):
            self.count += 1
            if message.content == "fail":
                raise RuntimeError("a text with internals")
            yield str(self.count)

        def export_state(self):
            return {"count": self.count}

        def restore_state(self, state):
            self.count = state["count"]

        async def close(self):
            CLOSED.append(self.context.user_id)

    create_supervisor = Counting
"""


async def test_state_travels_in_this_paths_part_and_the_others_is_kept(package: Package) -> None:
    serving = load(f"{package(COUNTING)}.new:create_supervisor")
    assert serving.exports_state and (await make(serving)).rerun_safe
    v2 = await make(load("builtin", "v2"))
    await ask(v2)
    v3 = await make(serving)
    v3.restore_state(v2.export_state() or b"")
    await ask(v3)
    await ask(v3)
    document = msgspec.json.decode(v3.export_state() or b"")
    assert (document["v2"], document["v3"], document["common"]["runs"]) == (
        {"runs": 1, "agent": "echo"},
        {"count": 2},
        3,
    )

    moved = await make(serving)
    moved.restore_state(v3.export_state() or b"")
    assert (await ask(moved))[-1].payload == {"content": "3"}


async def test_a_failed_message_leaves_the_document(package: Package) -> None:
    supervisor = await make(load(f"{package(COUNTING)}.new:create_supervisor"))
    await ask(supervisor)
    before = supervisor.export_state()
    with pytest.raises(RuntimeError):
        await ask(supervisor, Request("message", "fail"))
    assert supervisor.export_state() == before


async def test_close_reaches_people_s_own(package: Package) -> None:
    name = package(COUNTING)
    supervisor = await make(load(f"{name}.new:create_supervisor"))
    closed = sys.modules[f"{name}.new"].CLOSED
    assert closed == ["crossfade-check-1", "crossfade-check-2"]
    await supervisor.close()
    assert closed[-1] == "ada"


async def test_a_part_that_its_path_cannot_read_is_a_value_error(package: Package) -> None:
    supervisor = await make(load(f"{package(COUNTING)}.new:create_supervisor"))
    document = (supervisor.export_state() or b"").replace(b'"v3":null', b'"v3":{"other":1}')
    with pytest.raises(ValueError, match="v3 cannot restore the document"):
        supervisor.restore_state(document)


@pytest.mark.parametrize(
    ("exported", "error"),
    [
        ("['no dict']", BrokenAgent),
        ("{'a': object()}", BrokenAgent),
        (f"{{'a': 'x' * {PART_BYTES}}}", DocumentTooLarge),
    ],
)
async def test_a_state_that_cannot_be_kept_fails_the_message_and_keeps_the_last(
    package: Package, exported: str, error: type[Exception]
) -> None:
    name = package(f"""
        class Bad:
            async def __call__(self, message):
                yield "x"
            def export_state(self):
                return {exported}
        def create_supervisor(context):
            return Bad()
    """)
    supervisor = await make(load(f"{name}.new:create_supervisor"))
    before = supervisor.export_state()
    with pytest.raises(error):
        await ask(supervisor)
    assert supervisor.export_state() == before


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("yield 1", "allowed: text, or an event"),
        ("yield {'type': 'nonsense'}", "allowed: text, or an event"),
        ("yield {'type': 'agent_completed'}; yield 'more'", "continued after agent_completed"),
        ("yield {'type': 'tool_completed', 'payload': {}}", "without results"),
    ],
)
async def test_what_is_no_event_fails_the_message(package: Package, body: str, told: str) -> None:
    name = package(f"""
        def create_supervisor(context):
            async def answer(message):
                {body}
            return answer
    """)
    supervisor = await make(load(f"{name}.new:create_supervisor"))
    with pytest.raises(BrokenAgent, match=told):
        await ask(supervisor)


SHARED = "class S:\n    async def run(self, message):\n        yield 'x'\nONE = S()\n"


@pytest.mark.parametrize("returned", ["ONE", "ONE.run"])
def test_one_object_for_all_users_stops_the_start(package: Package, returned: str) -> None:
    name = package(SHARED + f"def create_supervisor(context):\n    return {returned}\n")
    with pytest.raises(FactoryError, match="the same object for two users"):
        load(f"{name}.new:create_supervisor")


async def test_one_object_for_all_users_is_refused_when_it_shows_only_later(package: Package) -> None:
    name = package(SHARED + "async def create_supervisor(context):\n    return ONE\n")
    serving = load(f"{name}.new:create_supervisor")
    first = await make(serving, "ada")
    with pytest.raises(SharedDependency):
        await make(serving, "bob", "c-2")
    assert (await ask(first))[-1].payload == {"content": "x"}


async def test_a_context_fits_the_transport(package: Package) -> None:
    name = package("""
        def create_supervisor(context):
            async def answer(message):
                yield type(context).__name__
            return answer
    """)
    serving = load(f"{name}.new:create_supervisor", "v2")
    for transport, expected in (("websocket", "WebSocketContext"), ("http", "RequestContext")):
        opening = Opening("c-1", "ada", "t-1", 0.0, "http" if transport == "http" else "websocket")
        assert (await ask(await serving.make(opening)))[-1].payload == {"content": expected}


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("mypkg", "'mypkg' is not a factory; allowed: `builtin` or `package.module:factory`"),
        ("my pkg:f", "is not a factory"),
        (":f", "is not a factory"),
        ("../x:f", "is not a factory"),
        ("no_such_package.new:f", "there is no module 'no_such_package' in this interpreter"),
        ("{name}.newer:f", "there is no module '{name}.newer'"),
        ("{name}.new:factory", "{name}.new has no 'factory'; it has: create_supervisor, helper"),
        ("{name}.new:VALUE", "'VALUE' is of type int and cannot be called"),
    ],
)
def test_a_spec_that_cannot_be_loaded_is_told_in_one_line(package: Package, spec: str, told: str) -> None:
    name = package("VALUE = 1\ndef create_supervisor(context): ...\ndef helper(): ...\n")
    with pytest.raises(FactoryError) as caught:
        load(spec.format(name=name))
    assert told.format(name=name) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import no_such_library", ".new needs 'no_such_library', which this interpreter does not have"),
        ("raise ValueError('two\\nlines')", "failed: ValueError: two"),
        ("1 / 0", "failed: ZeroDivisionError: division by zero"),
        (
            "def create_supervisor(context): return 5",
            "returned int; allowed: an async generator function, or an object",
        ),
        ("def create_supervisor(context): return None", "returned NoneType"),
        ("class C: ...\ndef create_supervisor(context): return C()", "returned C;"),
        (
            "async def answer(message): return 'x'\ndef create_supervisor(context): return answer",
            "returned a coroutine function; allowed: an async generator function, one with `yield`",
        ),
        ("def create_supervisor(): ...", "failed for a test context: TypeError"),
        ("def create_supervisor(context): raise KeyError('x')", "failed for a test context: KeyError: 'x'"),
    ],
)
def test_a_factory_that_is_not_usable_stops_the_start(package: Package, source: str, told: str) -> None:
    name = package(source + "\n")
    with pytest.raises(FactoryError) as caught:
        load(f"{name}.new:create_supervisor")
    assert told in str(caught.value) and name in str(caught.value) and "\n" not in str(caught.value)


def test_the_build_is_given_or_digests_what_was_loaded(package: Package, tmp_path: Path) -> None:
    name = package(SMALLEST)
    spec = f"{name}.new:create_supervisor"
    assert load(spec, build="2024-06-01").build == "2024-06-01"
    first = load(spec).build
    assert len(first) == 12 and load(spec, "v2").build == first
    (tmp_path / name / "unused.py").write_text("x = 1")
    assert load(spec).build == first
    (tmp_path / name / "new.py").write_text(textwrap.dedent(SMALLEST) + "\n")
    assert load(spec).build != first
    assert load("builtin", "v2").build == load("builtin", "v2").build != load("builtin", "v3").build


def test_an_agent_that_there_is_not_stops_the_start() -> None:
    with pytest.raises(SettingError, match="CROSSFADE_AGENT"):
        load_path("builtin", "v3", thread_secret=SECRET, agent="parrot")


TALK = """
import asyncio, sys
import app
from app.errors import FactoryError
from app.message_types import Request
from app.supervisor.contract import Opening
from app.supervisor.loading import load_path

async def talk(transport):
    supervisor = await load_path("builtin", "v3", thread_secret=b"s").make(Opening("c", "ada", "t", 0.0, transport))
    events = [event.type async for event in supervisor.run(Request("agent", "One. Two.", "outline"), "r-1")]
    history = [event.type async for event in supervisor.run(Request("history"), "r-2")]
    supervisor.restore_state(supervisor.export_state())
    return [*events, *history]

print(app.__file__)
print(asyncio.run(talk("websocket")) == asyncio.run(talk("http")), len(asyncio.run(talk("http"))))
print("litestar" in sys.modules)
try:
    load_path("builtin", "v2", thread_secret=b"s")
except FactoryError as error:
    print(error)
"""


def test_v3_and_http_stay_green_when_v2_is_deleted(tmp_path: Path) -> None:
    """Deleting v2 is deleting one file and one line."""
    for package in ("app", "rollout"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "app/supervisor/legacy.py").unlink()
    removed = 0
    for file in (tmp_path / "app").rglob("*.py"):
        lines = file.read_text().splitlines(keepends=True)
        kept = [line for line in lines if "supervisor.legacy" not in line]
        removed += len(lines) - len(kept)
        file.write_text("".join(kept))
    assert removed == 1

    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", TALK],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.stderr == "" and ran.stdout.splitlines() == [
        str(tmp_path / "app/__init__.py"),
        "True 8",
        "False",
        "v2: this path has no built-in supervisor any more; allowed: `package.module:factory`",
    ]
