"""A small real HTTP server with canned documents, for commands that need no running service. It keeps every request."""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass, field

import msgspec
import uvicorn
from litestar import Litestar, Request, Response, route
from litestar.datastructures import State

from rollout.views import CellState, LockView, PathFigures, PlanView, RollbackView, RolloutView, StageView, VerdictView


@dataclass(frozen=True)
class Seen:
    """One request as it came in."""

    method: str
    path: str
    body: object
    if_match: str | None
    authorization: str | None
    query: str = ""
    accept: str = ""


@dataclass
class Canned:
    """What to answer: by method and path; the last of several answers is repeated."""

    answers: dict[tuple[str, str], list[tuple[int, object]]] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    """Sent along with every answer."""

    def answer(self, method: str, path: str, *answers: tuple[int, object]) -> None:
        self.answers[method, path] = list(answers)

    def take(self, method: str, path: str) -> tuple[int, object]:
        answers = self.answers.get((method, path))
        if not answers:
            return 404, {"title": "Not Found", "status": 404, "detail": f"nothing at {method} {path}"}
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def commands(self) -> list[Seen]:
        """Everything but reading."""
        return [each for each in self.seen if each.method != "GET"]


@route(["/", "/{rest:path}"], http_method=["GET", "POST", "PUT", "DELETE"])
async def anything(request: Request[object, object, State]) -> Response[bytes]:
    canned: Canned = request.app.state.canned
    body = await request.body()
    path = request.scope["raw_path"].decode()
    headers = request.headers
    canned.seen.append(
        Seen(
            str(request.method),
            path,
            msgspec.json.decode(body) if body else None,
            headers.get("If-Match"),
            headers.get("Authorization"),
            request.scope["query_string"].decode(),
            headers.get("Accept", ""),
        )
    )
    status, document = canned.take(str(request.method), path)
    content = document if isinstance(document, bytes) else msgspec.json.encode(document)
    return Response(content, status_code=status, media_type="application/json", headers=canned.headers)


class FakeService:
    """The server in a thread of its own, on a free port of loopback."""

    def __init__(self) -> None:
        self.canned = Canned()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        app = Litestar([anything], state=State({"canned": self.canned}), openapi_config=None)
        config = uvicorn.Config(app, lifespan="off", log_level="error", ws="none", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listener]})
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._listener.close()


def figures(path: str) -> PathFigures:
    """One path that answers, with round figures."""
    return PathFigures(
        path="v3" if path == "v3" else "v2",
        role="canary" if path == "v3" else "stable",
        available=True,
        unavailable_reason=None,
        build="abc123",
        sessions=100,
        users=90,
        messages=1000,
        errors=10,
        interrupted=0,
        rejected=0,
        error_rate=0.01,
        messages_per_second=5.0,
        p50_ms=1.0,
        p99_ms=None,
        memory_bytes=50_000_000,
        session_memory_bytes=9000.0,
        restarts=0,
        uptime_s=60.0,
    )


def view(**changes: object) -> RolloutView:
    """A rollout at 10 %, progressing, with what a test wants different."""
    usual = RolloutView(
        phase="progressing",
        percentage=10,
        stage=1,
        stage_started_at=900.0,
        next_percentage=100,
        next_at=1600.0,
        plan=PlanView(name="default", stages=[StageView(percentage=p, bake_s=600, advance="person") for p in (0, 10)]),
        revision=7,
        reason="canary",
        changed_by="ada",
        changed_at=900.0,
        environment="",
        flag="USE_WEBSOCKET_SUPERVISOR_V3",
        flag_age_s=0.2,
        unleash="embedded",
        forced=None,
        lock=None,
        last_rollback=None,
        paths=[figures("v2"), figures("v3")],
        verdicts=[
            VerdictView(guardrail="errors", verdict="pass", words="no harm found", evidence=0.5, limit=100.0, detail="")
        ],
        cells=[cell("a"), cell("d", silent_s=12.0)],
        moving=0,
        allowed={"rollback": ""},
        undo_until=None,
        now=1000.0,
    )
    return msgspec.structs.replace(usual, **changes)


def cell(name: str, silent_s: float = 0.1) -> CellState:
    return CellState(name=name, revision=7, sessions=50, silent_s=silent_s, silent=silent_s > 2, has_lock=False)


def rolled_back(*, verified_at: float | None, silent: list[str], at: float = 2000.0, trouble: str = "") -> RolloutView:
    """A rollout under a lock of second 2000; `trouble`: why it is not durable."""
    done = RollbackView(
        id="r1",
        at=at,
        by="ada",
        reason="bad",
        new_stopped_ms=1.5,
        existing_moved_ms=21.0 if verified_at else None,
        sessions_to_move=100,
        sessions_moved=100,
        closed=0,
        interrupted=0,
        verified_at=verified_at,
        cells=["a"],
        silent_cells=silent,
        durable=not trouble,
        durability=trouble,
    )
    kept = trouble or "on this host's disk and in the store"
    lock = LockView(generation=3, since=2000.0, by="ada", reason="bad", durable=not trouble, durability=kept)
    return view(phase="rolled_back", percentage=0, stage=None, lock=lock, last_rollback=done, now=2001.0)
