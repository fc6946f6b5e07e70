"""Origins and hosts: what is the same in another spelling, and that no text is taken for one that it is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.origins import Host, Origin, parse_host, parse_names, parse_origin, parse_origins


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("app.example", Host("app.example", None)),
        ("App.Example:8000", Host("app.example", 8000)),
        (" app.example. ", Host("app.example", None)),
        ("app.example:", Host("app.example", None)),
        ("127.0.0.1:80", Host("127.0.0.1", 80)),
        ("[::1]:80", Host("::1", 80)),
        ("[0:0:0:0:0:0:0:1]", Host("::1", None)),
        ("my_service", Host("my_service", None)),
        ("", None),
        ("::1", None),
        ("[::1", None),
        ("[::g]", None),
        ("app.example:99999", None),
        ("app.example:80:80", None),
        ("a..b", None),
        ("a b", None),
        ("user@app.example", None),
        ("app.example/path", None),
        ("app.example, other.example", None),
        ("münchen.example", None),
        ("app.example\n", Host("app.example", None)),
    ],
)
def test_a_host_is_a_name_or_an_address_and_perhaps_a_port(text: str, host: Host | None) -> None:
    assert parse_host(text) == host


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://app.example", Origin("https", "app.example", 443)),
        ("HTTPS://APP.EXAMPLE:443/", Origin("https", "app.example", 443)),
        ("http://app.example:8080", Origin("http", "app.example", 8080)),
        ("http://[::1]", Origin("http", "::1", 80)),
        ("capacitor://localhost", Origin("capacitor", "localhost", None)),
        ("null", None),
        ("app.example", None),
        ("https://", None),
        ("https://app.example/path", None),
        ("https://app.example?x", None),
        ("https://u:p@app.example", None),
        ("https://a.example https://b.example", None),
        ("http://[", None),
        ("//app.example", None),
        ("", None),
    ],
)
def test_an_origin_is_a_scheme_a_host_and_a_port(text: str, origin: Origin | None) -> None:
    assert parse_origin(text) == origin


def test_lists_have_no_place_for_what_is_none() -> None:
    assert parse_origins(" https://a.example ,, http://B.example:80/ ") == {
        Origin("https", "a.example", 443),
        Origin("http", "b.example", 80),
    }
    assert parse_names("A.example, 10.0.0.1,[::1], fd00::1,") == {"a.example", "10.0.0.1", "::1", "fd00::1"}
    for wrong in ("a.example", "https://a.example,null"):
        with pytest.raises(ValueError, match=wrong.rpartition(",")[2]):
            parse_origins(wrong)
    for wrong in ("a.example:80", "https://a.example", "*"):
        with pytest.raises(ValueError, match=r".+"):
            parse_names(wrong)


@given(
    st.text()
    | st.lists(st.sampled_from(["http", "://", "[", "]", ":", "::1", "%", "@", "/", "9", ",", "a", "."])).map("".join)
)
def test_no_text_makes_it_raise_and_what_is_read_is_read_the_same_again(text: str) -> None:
    host, origin = parse_host(text), parse_origin(text)
    if host is not None:
        name = f"[{host.name}]" if ":" in host.name else host.name
        assert parse_host(name if host.port is None else f"{name}:{host.port}") == host
    if origin is not None:
        name = f"[{origin.name}]" if ":" in origin.name else origin.name
        port = "" if origin.port is None else f":{origin.port}"
        assert parse_origin(f"{origin.scheme}://{name}{port}") == origin
