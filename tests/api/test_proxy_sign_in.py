"""Sign-in by a proxy's headers: believed from its addresses only, and useless for a foreign page."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.api.access import Proxies, proxies_of
from app.api.csrf import HEADER
from app.settings import Settings
from tests.api.service import COOKIES, serve
from tests.service.conftest import Running

BOTH = proxies_of(Settings(trusted_proxies="10.0.0.0/8", trusted_user_header="X-User", trusted_role_header="X-Role"))
USER_ONLY = proxies_of(Settings(trusted_proxies="10.0.0.0/8", trusted_user_header="X-User"))
NOBODY = proxies_of(Settings(trusted_proxies="10.0.0.0/8"))
ADA = {"X-User": "ada", "X-Role": "manager"}


@pytest.mark.parametrize(
    ("proxies", "peer", "sent", "status"),
    [
        (BOTH, "10.1.2.3", ADA, 200),
        (BOTH, "10.1.2.3", {"X-User": "ada", "X-Role": "Viewer"}, 200),
        (USER_ONLY, "10.1.2.3", {"X-User": "ada"}, 200),
        (BOTH, "192.0.2.1", ADA, 401),
        (BOTH, "192.0.2.1", {**ADA, "X-Forwarded-For": "10.1.2.3"}, 401),
        (NOBODY, "10.1.2.3", ADA, 401),
        (BOTH, "10.1.2.3", {"X-User": "ada"}, 401),
        (BOTH, "10.1.2.3", {"X-User": "ada", "X-Role": "root"}, 401),
        (BOTH, "10.1.2.3", {"X-User": " ", "X-Role": "manager"}, 401),
        (BOTH, "10.1.2.3", {"X-Role": "manager"}, 401),
        (BOTH, "10.1.2.3", [("X-User", "eve"), ("X-User", "ada"), ("X-Role", "manager")], 401),
        (BOTH, "10.1.2.3", [("X-User", "ada"), ("X-Role", "manager"), ("X-Role", "viewer")], 401),
    ],
)
async def test_only_the_proxy_is_believed_and_only_when_it_is_clear(
    tmp_path: Path,
    proxies: Proxies,
    peer: str,
    sent: dict[str, str] | list[tuple[str, str]],
    status: int,
) -> None:
    async with serve(tmp_path, proxies, peer) as service:
        assert (await service.client.get("/api/rollout", headers=sent)).status_code == status
        assert (await service.client.get("/", headers=sent)).status_code == (200 if status == 200 else 303)


async def test_without_a_role_header_everybody_only_looks(tmp_path: Path) -> None:
    async with serve(tmp_path, USER_ONLY, "10.1.2.3") as service:
        page = await service.client.get("/", headers=ADA)
        csrf = {HEADER: service.client.cookies[COOKIES.csrf]}
        assert page.status_code == 200
        refused = await service.client.post("/api/rollout/rollback", headers={**ADA, **csrf})
        assert (refused.status_code, refused.json()["type"]) == (403, "urn:crossfade:not_allowed")
        assert "viewer" in refused.json()["detail"]


async def test_a_foreign_page_cannot_use_the_proxys_word_but_the_page_itself_can(tmp_path: Path) -> None:
    async with serve(tmp_path, BOTH, "10.1.2.3") as service:
        sent = {**ADA, "X-Forwarded-For": "198.51.100.7, 10.9.9.9"}
        foreign = await service.client.post("/api/rollout/rollback", headers=sent)
        assert foreign.status_code == 403
        assert service.world.control.record.phase == "idle"
        await service.client.get("/", headers=sent)
        csrf = {HEADER: service.client.cookies[COOKIES.csrf]}
        own = await service.client.post("/api/rollout/rollback", headers={**sent, **csrf})
        assert (own.status_code, own.json()["phase"]) == (200, "rolled_back")
        entry = (await service.world.control.repository.events()).items[0]
        assert (entry.who, entry.role, entry.source) == ("ada", "manager", "page 198.51.100.7")


async def test_a_bearer_token_counts_alone_behind_a_proxy_too(tmp_path: Path) -> None:
    async with serve(tmp_path, BOTH, "10.1.2.3") as service:
        answer = await service.client.post("/api/rollout/start", json={}, headers={**ADA, **service.as_("viewer", 0)})
        assert (answer.status_code, "viewer person" in answer.text) == (403, True)


@pytest.mark.slow
def test_the_service_takes_the_settings(tmp_path: Path) -> None:
    settings = {"PROXIES": "127.0.0.0/8", "USER_HEADER": "X-User", "ROLE_HEADER": "X-Role"}
    running = Running(tmp_path, {f"CROSSFADE_TRUSTED_{name}": value for name, value in settings.items()})
    try:
        running.start()
        del running.http.headers["Authorization"]
        assert running.http.get("/api/rollout").status_code == 401
        assert running.http.get("/api/rollout", headers=ADA).status_code == 200
        assert running.http.post("/api/rollout/rollback", headers=ADA).status_code == 403
    finally:
        running.http.close()
        running.stop()
