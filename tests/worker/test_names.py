"""People's own package may be called `app`, `rollout` or `dashboards`: a worker gives ours back before it comes."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from app.link.frames import Cancel, Done, Run, SetFaults
from app.supervisor.importing import digest_of_files
from tests.pool.recorder import Recorder, chat, hosting, opened, serving
from tests.worker.environments import make_environment

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]

# What the package's supervisors answer: facts of their process as JSON, or an error of their own.
SUPERVISORS = """
import asyncio, importlib.util, json, pickle, sys, typing

from NAME.models import Order
from NAME.worker.stock import sell

imported = []
sys.addaudithook(lambda event, args: imported.append(args[0]) if event == "import" else None)
OURS = ("app", "rollout", "dashboards")


def same(thing):
    return pickle.loads(pickle.dumps(thing)) == thing


def facts(context):
    loaded = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in OURS}
    return {
        "loaded": sorted(loaded),
        "pickled": [same(Order(3)), same(context)],
        "modules": [Order.__module__, type(context).__module__],
        "hints": sorted(typing.get_type_hints(type(context))),
        "found": [name for name in ("litestar", "crossfade", "tests", "ops") if importlib.util.find_spec(name)],
        "finders": [type(finder).__module__ for finder in sys.meta_path],
        "path": sys.path,
        "prefix": sys.prefix,
    }


class Supervisor:
    def __init__(self, context):
        self.context = context
        self.orders = 0

    async def run(self, message):
        if message.content == "imported":
            import colorsys  # the hook must hear of this one
            yield json.dumps(imported)
        elif message.content == "fail":
            sell()
        elif message.content == "wait":
            await asyncio.sleep(600)
        else:
            self.orders += 1
            yield json.dumps(facts(self.context))

    def export_state(self):
        return {"orders": self.orders}

    def restore_state(self, state):
        self.orders = state["orders"]


def create(context):
    return Supervisor(context)
"""
STOCK = """
from NAME.models import OutOfStock

def sell():
    raise OutOfStock("of everything")
"""
MODELS = """
class OutOfStock(Exception):
    pass


class Order:
    def __init__(self, count):
        self.count = count

    def __eq__(self, other):
        return self.count == other.count
"""

PATCHED = """
import app

def create(context):
    async def run(message):
        yield str(app.patched)
    return run
"""
FILES = {
    "__init__.py": "",
    "models.py": MODELS,
    "supervisors.py": SUPERVISORS,
    "worker/__init__.py": "",  # as a package of ours is called
    "worker/stock.py": STOCK,
}
MODULES = ("", ".models", ".supervisors", ".worker", ".worker.stock")


class Facts(msgspec.Struct):
    """As `facts` above says them."""

    loaded: list[str]
    pickled: list[bool]
    modules: list[str]
    hints: list[str]
    found: list[str]
    finders: list[str]
    path: list[str]
    prefix: str


def make_package(folder: Path, name: str) -> Path:
    package = folder / name
    for file, source in FILES.items():
        (package / file).parent.mkdir(parents=True, exist_ok=True)
        (package / file).write_text(source.replace("NAME", name))
    return package


def manage(kind: str, number: int, **payload: object) -> Run:
    return Run(1, 1, number, f"m-{number}", json.dumps({"type": kind, "payload": payload}).encode())


def text_of(recorder: Recorder, done: Done) -> bytes:
    return str(recorder.content_of(done)).encode()


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the service is started, as one with a package of one's own."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("name", ["app", "rollout", "dashboards"])
async def test_a_package_of_our_name_serves_as_any_other(project: Path, name: str) -> None:
    package = make_package(project, name)
    recorder = Recorder()
    async with hosting(recorder, factory=f"{name}.supervisors:create") as host:
        worker = serving(host)
        worker.send(opened())
        worker.send(chat("facts"))
        seen = msgspec.json.decode(text_of(recorder, await recorder.done()), type=Facts)
        assert seen.loaded == [f"{name}{module}" for module in MODULES]
        assert seen.pickled == [True, True]
        assert seen.modules == [f"{name}.models", "crossfade_app.supervisor.context"]
        assert seen.hints == ["connected_at", "connection_id", "thread_id", "user_id"]
        assert "__main__" not in seen.finders
        assert seen.path[0] == str(project)
        files = ((f"{name}{module}", package / file) for module, file in zip(MODULES, FILES, strict=True))
        assert worker.build == digest_of_files(files, name)

        worker.send(chat("fail", number=2))
        done = await recorder.done(number=2)
        assert done.error is not None
        assert done.error[:2] == ("internal", f"{name}.models.OutOfStock {name}.worker.stock:5")


async def test_nothing_of_ours_is_imported_once_people_s_code_is(project: Path) -> None:
    """Whatever a worker is told to do; without a package of that name, such an import would also fail."""
    make_package(project, "shop")
    recorder = Recorder()
    async with hosting(recorder, factory="shop.supervisors:create", message_timeout_s=0.5) as host:
        worker = serving(host)
        worker.send(opened())
        worker.send(chat("facts"))
        document = (await recorder.done()).document
        assert document is not None and worker.sample is not None
        worker.send(manage("get_thread_history", 2))
        assert (await recorder.done(number=2)).terminal == "thread_history"
        worker.send(chat("fail", number=3))
        await recorder.done(number=3)
        worker.send(chat("wait", number=4))
        assert (await recorder.done(number=4)).terminal == "error"  # its time is over
        worker.send(chat("wait", number=5))
        worker.send(Cancel(1, 1, 5))
        assert (await recorder.done(number=5)).terminal == "agent_stopped"
        assert (await worker.check(worker.sample)).ok
        worker.send(SetFaults({"error_on": "broken"}))
        worker.send(chat("broken", number=6))
        assert (await recorder.done(number=6)).terminal == "error"
        worker.send(opened(2, document=document))
        worker.send(chat("imported", 2))
        imported = json.loads(text_of(recorder, await recorder.done(2)))
        assert imported[-1] == "colorsys"
        assert [name for name in imported if name.partition(".")[0] in ("app", "rollout", "dashboards")] == []


async def test_it_serves_from_another_environment_which_sees_nothing_of_ours(tmp_path: Path, project: Path) -> None:
    python = make_environment(tmp_path / "other", with_msgspec=True)
    make_package(project, "app")
    recorder = Recorder()
    async with hosting(recorder, python=str(python), factory="app.supervisors:create") as host:
        serving(host).send(opened())
        serving(host).send(chat("facts"))
        seen = msgspec.json.decode(text_of(recorder, await recorder.done()), type=Facts)
    assert (seen.found, seen.prefix) == ([], str(tmp_path / "other"))
    assert seen.loaded == [f"app{module}" for module in MODULES]
    assert not [entry for entry in seen.path if Path(entry).is_relative_to(ROOT)]


async def test_what_the_environment_imported_before_us_stays_theirs(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a `sitecustomize` of a project does; the same module, not a second one."""
    make_package(project, "app")
    (project / "sitecustomize.py").write_text("import app\napp.patched = True\n")
    (project / "app" / "supervisors.py").write_text(PATCHED)
    monkeypatch.setenv("PYTHONPATH", str(project))
    recorder = Recorder()
    async with hosting(recorder, factory="app.supervisors:create") as host:
        serving(host).send(opened())
        serving(host).send(chat("x"))
        assert recorder.content_of(await recorder.done()) == "True"


@pytest.mark.parametrize("path", ["v2", "v3"])
async def test_the_built_in_supervisors_serve_beside_a_package_of_our_name(project: Path, path: str) -> None:
    (project / "app.py").write_text("raise RuntimeError('imported')")
    recorder = Recorder()
    async with hosting(recorder, path=path, faults={"error_on": "broken"}) as host:
        serving(host).send(opened())
        serving(host).send(chat("good day"))
        assert recorder.content_of(await recorder.done()) == "good day"
        # An error of ours has one name, whosever supervisor a path serves: what one path alone shows stands out.
        serving(host).send(chat("broken", number=2))
        error = (await recorder.done(number=2)).error
        assert error is not None
        assert error[1].startswith("crossfade_app.supervisor.errors.InjectedError crossfade_app.supervisor.faults:")
