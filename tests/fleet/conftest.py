"""One service of four cells for the tests that leave it whole."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from ops.chaos.fleet import Fleet, fleet


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def four(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    async with fleet(tmp_path_factory.mktemp("four"), 4) as service:
        yield service


@pytest_asyncio.fixture(loop_scope="module")
async def idle(four: Fleet) -> Fleet:
    """The same, at 0 % and without a lock."""
    desk = four[four.names[0]]
    view = await desk.view()
    if view.lock is not None:
        assert (await desk.command("unlock", view.revision)).status_code == 200
    elif view.percentage:
        await desk.set(0)
    return four
