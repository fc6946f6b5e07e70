"""What a browser makes of the answer to its subprotocols, in which its token comes."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from ops.pictures.stage import Stage

CONNECT = """
([address, offered]) => new Promise(resolve => {
  const socket = new WebSocket(address, offered);
  socket.onmessage = () => { resolve("open as " + JSON.stringify(socket.protocol)); socket.close(); };
  socket.onclose = event => resolve("closed " + event.code);
})
"""


@pytest.mark.parametrize(
    ("offered", "outcome"),
    [
        (["crossfade", "jwt.YS5iLmM"], 'open as "crossfade"'),
        (["jwt.YS5iLmM", "crossfade"], 'open as "crossfade"'),
        ([], 'open as ""'),
        (["jwt.YS5iLmM"], "closed 1006"),
    ],
)
def test_a_browser_offers_a_name_beside_its_token(
    stage: Stage, browser: Browser, offered: list[str], outcome: str
) -> None:
    """The last fails in the browser, which wants one of its names; to answer with the token would publish it."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{stage.url}/sign-in")
    address = f"{stage.url.replace('http', 'ws', 1)}/ws?user=protocols"
    assert page.evaluate(CONNECT, [address, offered]) == outcome
    context.close()
