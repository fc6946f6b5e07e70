"""A real service and its data folder: nobody else serves from it, and without it nothing is accepted."""

from __future__ import annotations

import pytest

from ops.bench.processes import free_port
from tests.service.conftest import Start

pytestmark = pytest.mark.slow


def test_a_folder_has_one_service_and_a_service_keeps_its_folder(start: Start) -> None:
    service = start()
    service.environ["CROSSFADE_BIND"] = f"127.0.0.1:{free_port()}"
    second = service.crossfade("serve")
    assert (second.returncode, second.stdout) == (1, "")
    assert f"belongs to the service at 127.0.0.1:{service.port}, process " in second.stderr
    assert service.crossfade("serve", "--cells", "2").returncode == 1

    service.command("start", percentage=100)
    folder = service.folder / "data"
    folder.rename(service.folder / "elsewhere")
    refused = service.http.post("/api/rollout/pause", json={"reason": "no"}, headers={"If-Match": '"1"'})
    assert refused.status_code == 503
    assert f"the data folder {folder} is gone; nothing was changed" in refused.json()["detail"]
    not_ready = service.http.get("/readyz")
    assert (not_ready.status_code, not_ready.json()["reason"]) == (503, f"the data folder {folder} is gone")
    lock = service.http.post("/api/rollout/rollback", json={"reason": "errors"}).json()["lock"]
    assert (lock["durable"], lock["durability"]) == (False, f"not on disk: the data folder {folder} is gone")
    assert service.on_v3(["ann", "bob"]) == set()
    assert not folder.exists()
