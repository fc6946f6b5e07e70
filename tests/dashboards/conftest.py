"""The pages in front of a manager, who may do everything."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.dashboards.pages import Pages, open_pages


@pytest.fixture
def pages() -> Iterator[Pages]:
    with open_pages() as opened:
        yield opened
