"""A real service for chaos runs: its process, its API as an operator uses it, and signals to its workers.

Only public names are used, except for the process ids of workers, which the supervisors of `factories` write to a
folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import httpx
import msgspec
import psutil
from prometheus_client.parser import text_string_to_metric_families

from ops.bench.processes import ROOT, BenchError, free_port, running
from ops.chaos.verification import Sighting
from ops.command import COMMAND, for_command
from rollout.views import RollbackView, RolloutView, SessionView

FACTORIES = Path(__file__).with_name("factories")
UNLIMITED = "1000000000"
VERIFIED_S = 20.0
LOAD_S = 120.0
"""Time limit of a load, which waits for the longest message, because the old worker must be empty."""
TRIES = 100
POLL_S = 0.02

NO_GUARDRAILS = """
name = "chaos"
[[stage]]
percentage = 100
bake = "7d"
guardrails = []
"""

PathName = Literal["v2", "v3"]


class ChaosService:
    """A running service. Commands raise `httpx.HTTPStatusError` if they are refused."""

    def __init__(self, url: str, token: str, folder: Path, process: psutil.Process) -> None:
        self.ws = url.replace("http", "ws", 1) + "/ws"
        self.process = process
        self._folder = folder
        self.headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        self._http = httpx.AsyncClient(base_url=url, headers=self.headers, timeout=30, trust_env=False)

    async def close(self) -> None:
        await self._http.aclose()

    # -- the API ------------------------------------------------------------------------------------------------------

    async def view(self) -> RolloutView:
        return msgspec.json.decode(await self._get("/api/rollout"), type=RolloutView)

    async def sessions(self) -> list[SessionView]:
        return msgspec.json.decode(await self._get("/api/sessions"), type=list[SessionView])

    async def ready(self) -> None:
        """Wait until both paths serve."""
        await self.serves("v2")
        await self.serves("v3")

    async def set(self, percentage: int) -> None:
        """`set N`, repeated if somebody else was faster; a lock is lifted first."""
        await self._say("percentage", {"percentage": percentage})

    async def rollback(self) -> RollbackView:
        """Roll back and wait until that was verified. Raises `TimeoutError`."""
        said_at = time.time()
        answer = await self._http.post("/api/rollout/rollback", json={"reason": "chaos"})
        answer.raise_for_status()
        async with asyncio.timeout(VERIFIED_S):
            while True:
                done = (await self.view()).last_rollback
                if done is not None and done.verified_at is not None and done.verified_at >= said_at - 1:
                    return done
                await asyncio.sleep(POLL_S)

    async def ignore_evidence(self) -> None:
        """Apply a plan without guardrails, because crashes made on purpose would roll back automatically."""
        await self._say("plan", {"toml": NO_GUARDRAILS}, "PUT")

    async def unlock(self) -> None:
        """Lift the lock, if there is one; waits until the flag is at 0 %."""
        await self._say("unlock", {})

    async def load_v3(self, factory: str, build: str) -> None:
        """`load v3 FACTORY --live`. Raises `BenchError` with the reason if it is refused."""
        body = {"factory": factory, "build": build, "live": True, "reason": "chaos"}
        answer = await self._http.post("/api/paths/v3/load", json=body, timeout=LOAD_S)
        if not answer.is_success:
            raise BenchError(f"load v3: {answer.text}")

    async def _say(self, verb: str, body: dict[str, object], method: str = "POST") -> None:
        for _ in range(TRIES):
            view = await self.view()
            if verb == "unlock" and view.lock is None:
                return
            if verb != "unlock" and view.lock is not None:
                await self.unlock()
                continue
            answer = await self._http.request(
                method,
                f"/api/rollout/{verb}",
                json={"reason": "chaos", **body},
                headers={"If-Match": f'"{view.revision}"'},
            )
            if answer.is_success:
                return
            if answer.status_code not in (409, 412):
                answer.raise_for_status()
            await asyncio.sleep(POLL_S)
        raise BenchError(f"{verb} {body} was refused {TRIES} times: {answer.text}")

    async def _get(self, path: str) -> bytes:
        answer = await self._http.get(path)
        answer.raise_for_status()
        return answer.content

    # -- what it counts -----------------------------------------------------------------------------------------------

    async def metrics(self) -> dict[tuple[str, ...], float]:
        """Metrics by name and label values (without `cell`), without buckets."""
        text = (await self._http.get("/metrics")).text
        return {
            (sample.name, *(value for label, value in sorted(sample.labels.items()) if label != "cell")): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if not sample.name.endswith("_bucket")
        }

    async def moved(self) -> int:
        """Number of sessions handed over since the start."""
        metrics = await self.metrics()
        return int(sum(value for name, value in metrics.items() if name[:2] == ("crossfade_handovers_total", "moved")))

    async def sighting(self) -> Sighting:
        """What the service says of v3 now; the time is that before the request."""
        at = time.time()
        metrics = await self.metrics()
        admissions = sum(
            value for name, value in metrics.items() if name[0] == "crossfade_admissions_total" and "v3" in name
        )
        return Sighting(at, int(metrics["crossfade_sessions", "v3"]), admissions)

    # -- its supervisors ----------------------------------------------------------------------------------------------

    async def at_gate(self, gate: int, user_id: str) -> None:
        """Wait until this user's supervisor works before a gate, see `factories`. Raises `BenchError`."""
        end = time.monotonic() + VERIFIED_S
        while not (self._folder / f"at-gate-{gate}-{user_id}").exists():
            if time.monotonic() > end:
                raise BenchError(f"{user_id} does not come to gate {gate}")
            await asyncio.sleep(POLL_S)

    def open_gate(self, gate: int) -> None:
        """Let everybody go on who works before it, now or later."""
        (self._folder / f"gate-{gate}").touch()

    # -- its workers --------------------------------------------------------------------------------------------------

    def worker(self, path: PathName) -> int | None:
        """Process id of the youngest living worker of a path."""
        pids = (int(file.name.partition("-")[2]) for file in self._folder.glob(f"{path}-*"))
        living = [(began, pid) for pid in pids if (began := self._began(pid)) is not None]
        return max(living)[1] if living else None

    def _began(self, pid: int) -> int | None:
        """When a running child of the service was started, in clock ticks; see proc(5)."""
        try:
            state, parent, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            return None
        return int(rest[17]) if int(parent) == self.process.pid and state not in "ZX" else None

    def kill(self, path: PathName) -> bool:
        """Send SIGKILL to the worker; false if there is none now."""
        return self._signal(self.worker(path), signal.SIGKILL)

    def stop(self, path: PathName) -> int | None:
        """Send SIGSTOP to the worker; returns its process id."""
        pid = self.worker(path)
        return pid if self._signal(pid, signal.SIGSTOP) else None

    def go_on(self, pid: int | None) -> bool:
        """Send SIGCONT to a stopped worker; false if it was killed meanwhile."""
        return self._signal(pid, signal.SIGCONT)

    def _signal(self, pid: int | None, number: signal.Signals) -> bool:
        if pid is None or self._began(pid) is None:
            return False
        os.kill(pid, number)
        return True

    async def serves(self, path: PathName) -> None:
        """Wait until a path serves. Raises `BenchError` with the reason if it does not."""
        end = time.monotonic() + VERIFIED_S
        while True:
            figures = next(each for each in (await self.view()).paths if each.path == path)
            if figures.available:
                return
            if time.monotonic() > end:
                raise BenchError(f"{path} does not serve: {figures.unavailable_reason}")
            await asyncio.sleep(POLL_S)


@contextlib.asynccontextmanager
async def chaos_service(folder: Path, **settings: str) -> AsyncIterator[ChaosService]:
    """`crossfade serve` on its own port and data, with the slow supervisors on both paths; `settings` by field."""
    pids = folder / "pids"
    pids.mkdir(parents=True, exist_ok=True)
    port = free_port()
    fields = {
        "bind": f"127.0.0.1:{port}",
        "data": str(folder / "data"),
        "paths_v2": "slow_supervisor:create_v2",
        "paths_v3": "slow_supervisor:create_v3",
        "rate_messages_per_minute": UNLIMITED,
        "rate_messages_burst": UNLIMITED,
        "crash_limit": UNLIMITED,
        "idle_s": "3600",
        **settings,
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CROSSFADE_")}
    environ = for_command(
        {
            **inherited,
            **{f"CROSSFADE_{name.upper()}": value for name, value in fields.items()},
            "PYTHONPATH": str(FACTORIES),
            "CHAOS_PIDS": str(pids),
        }
    )
    async with running([*COMMAND, "serve"], folder / "service.log", port, environ) as process:
        token = await _output([*COMMAND, "token", "--role", "manager"], environ)
        service = ChaosService(f"http://127.0.0.1:{port}", token, pids, process)
        try:
            await service.ready()
            yield service
        finally:
            await service.close()


async def _output(command: list[str], environ: dict[str, str]) -> str:
    """The last line of what a command prints."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    if process.returncode:
        raise BenchError(f"{' '.join(command)}: {errors.decode()}")
    return output.decode().strip().splitlines()[-1]
