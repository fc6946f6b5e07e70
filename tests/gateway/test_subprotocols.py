"""Which subprotocol is answered: never the one that carries the token."""

from __future__ import annotations

import pytest

from app.gateway.subprotocols import chosen_from, token_in


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ((), None),
        (("jwt.abc",), None),
        (("crossfade", "jwt.abc"), "crossfade"),
        (("jwt.abc", "crossfade"), "crossfade"),
        (("jwt.abc", "jwt-auth", "crossfade"), "jwt-auth"),
        (("chat",), "chat"),
        (("a b", "x\r\ny", "", "n" * 65, "fine"), "fine"),
    ],
)
def test_the_first_name_without_a_token_is_chosen(offered: tuple[str, ...], chosen: str | None) -> None:
    assert chosen_from(offered) == chosen


@pytest.mark.parametrize(("offered", "token"), [((), None), (("chat",), None), (("chat", "jwt.YS5iLmM"), "a.b.c")])
def test_the_token_is_found_wherever_it_stands(offered: tuple[str, ...], token: str | None) -> None:
    assert token_in(offered) == token


@pytest.mark.parametrize("encoded", ["%%%", "w7w", "a"])
def test_what_cannot_be_decoded_is_said(encoded: str) -> None:
    with pytest.raises(ValueError):
        token_in((f"jwt.{encoded}",))
