"""One rule for where a request comes from and under which name its sender knows us, for pages, API and sockets.

Each row is asked of the function, of a socket's admission, and of the protection of the pages' forms.
"""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar.connection import ASGIConnection
from litestar.datastructures import Headers

from app.api.access import Access, is_https, proxies_of
from app.api.csrf import sent_by_foreign_page
from app.gateway.addresses import client_address, network_of, parse_address, parse_networks, within
from app.gateway.admission import Admission, AdmissionRefused, Caller
from app.gateway.forwarding import Reached, parse_forwarded, reached, same_origin, says_secure
from app.settings import Settings
from tests.gateway.harness import FixedOccupancy

PROXIES = "10.0.0.0/8, 2001:db8:1::/48"
TRUSTED = parse_networks(PROXIES)
PROXY, STRANGER = "10.0.0.1", "192.0.2.1"
Sent = dict[str, str]


def lines_of(sent: list[tuple[str, str]] | Sent) -> Headers:
    pairs = sent.items() if isinstance(sent, dict) else sent
    return Headers([(name.lower().encode("latin-1"), value.encode("latin-1", "replace")) for name, value in pairs])


def reach(peer: str, sent: list[tuple[str, str]] | Sent) -> Reached:
    headers = lines_of(sent)
    return reached(peer, lambda name: headers.getall(name, []), TRUSTED)


# -- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("198.51.100.7:4711", "198.51.100.7"),
        ("[2001:DB8:0:0::1]:4711", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ('"[2001:db8::1]:80"', "2001:db8::1"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("[::ffff:c633:6407]:80", "198.51.100.7"),
        ("fe80::1%eth0", "fe80::1"),
        ("unknown", None),
        ("_hidden", None),
        ("", None),
        ("1.2.3", None),
        ("[", None),
    ],
)
def test_an_address_is_read_in_every_spelling(text: str, address: str | None) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    ("peer", "sent", "address"),
    [
        (PROXY, {"X-Forwarded-For": "198.51.100.7:4711"}, "198.51.100.7"),
        (PROXY, {"X-Forwarded-For": "203.0.113.9, 198.51.100.7, 10.0.0.2"}, "198.51.100.7"),
        (f"::ffff:{PROXY}", {"X-Forwarded-For": "198.51.100.7"}, "198.51.100.7"),
        ("2001:db8:1::9", {"X-Forwarded-For": "[2001:db8:2::7]:443"}, "2001:db8:2::7"),
        (PROXY, [("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-For", "198.51.100.7")], "198.51.100.7"),
        (PROXY, {"X-Forwarded-For": "198.51.100.7, unknown"}, PROXY),
        (PROXY, {"X-Forwarded-For": "10.0.0.3"}, "10.0.0.3"),
        (PROXY, {}, PROXY),
        (STRANGER, {"X-Forwarded-For": "198.51.100.7"}, STRANGER),
        (STRANGER, {"Forwarded": "for=198.51.100.7"}, STRANGER),
        (f"::ffff:{STRANGER}", {}, STRANGER),
        (PROXY, {"Forwarded": "for=198.51.100.7"}, "198.51.100.7"),
        (PROXY, {"Forwarded": 'For="[2001:db8:2::7]:4711";Proto=https, for=10.0.0.2'}, "2001:db8:2::7"),
        (PROXY, [("Forwarded", "for=203.0.113.9"), ("Forwarded", "for=198.51.100.7;by=_us")], "198.51.100.7"),
        (PROXY, {"Forwarded": "for=_hidden"}, PROXY),
        (PROXY, {"Forwarded": 'for="198.51.100.7'}, PROXY),
        (PROXY, {"Forwarded": "for=203.0.113.9", "X-Forwarded-For": "198.51.100.7"}, "198.51.100.7"),
        (PROXY, {"Forwarded": "for=203.0.113.9", "X-Forwarded-Proto": "https"}, PROXY),
        ("", {}, ""),
    ],
)
def test_the_client_is_the_last_hop_that_is_no_trusted_proxy(
    peer: str, sent: list[tuple[str, str]] | Sent, address: str
) -> None:
    assert reach(peer, sent).address == address


def test_limits_count_an_ipv6_network_as_one_client() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") != network_of("2001:db8:0:1::1")
    assert (network_of("192.0.2.1"), network_of("::ffff:192.0.2.1"), network_of("")) == ("192.0.2.1", "192.0.2.1", "")


async def test_a_rate_is_that_of_an_ipv6_network() -> None:
    settings = Settings(rate_connections_per_second=1, rate_connections_burst=1)
    admission = Admission(settings, FixedOccupancy(), lambda _: "t", lambda *_: True)

    async def status(peer: str) -> int | None:
        try:
            await admission.admit(Caller(peer, lines_of({}), {"user": "ann"}), socket=True)
        except AdmissionRefused as refused:
            return refused.status
        return None

    peers = ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "::ffff:192.0.2.1", "192.0.2.1")
    assert [await status(peer) for peer in peers] == [None, 429, None, None, 429]


# -- origins ----------------------------------------------------------------------------------------------------------

OWN = "https://app.example"
SAME: list[tuple[str, Sent, bool]] = [
    (STRANGER, {"Origin": OWN, "Host": "app.example"}, True),
    (STRANGER, {"Origin": OWN, "Host": "APP.example:443"}, True),
    (STRANGER, {"Origin": f"{OWN}:443", "Host": "app.example"}, True),
    (STRANGER, {"Origin": "http://App.Example", "Host": "app.example:80"}, True),
    (STRANGER, {"Origin": "http://app.example:8000", "Host": "app.example:8000"}, True),
    (STRANGER, {"Origin": "http://[::1]:8000", "Host": "[0::1]:8000"}, True),
    (STRANGER, {"Origin": OWN, "Host": "app.example:80"}, False),
    (STRANGER, {"Origin": "http://app.example:8000", "Host": "app.example"}, False),
    (STRANGER, {"Origin": "https://evil.example", "Host": "app.example"}, False),
    (STRANGER, {"Origin": "https://app.example.evil.example", "Host": "app.example"}, False),
    (STRANGER, {"Origin": "null", "Host": "app.example"}, False),
    (STRANGER, {"Origin": "null", "Host": "null"}, False),
    (STRANGER, {"Origin": "app.example", "Host": "app.example"}, False),
    (STRANGER, {"Origin": "ftp://app.example", "Host": "app.example"}, False),
    (STRANGER, {"Origin": OWN, "Host": ""}, False),
    (PROXY, {"Origin": OWN, "Host": "10.1.1.1:8000", "X-Forwarded-Host": "app.example"}, True),
    (PROXY, {"Origin": OWN, "Host": "10.1.1.1:8000", "X-Forwarded-Host": "App.Example:443, b.internal"}, True),
    (PROXY, {"Origin": OWN, "Host": "b.internal", "Forwarded": 'host="app.example:443";proto=HTTPS'}, True),
    (PROXY, {"Origin": OWN, "Host": "app.example", "X-Forwarded-Proto": "HTTPS, http"}, True),
    (PROXY, {"Origin": OWN, "Host": "app.example", "X-Forwarded-Proto": "wss"}, True),
    (PROXY, {"Origin": "http://app.example", "Host": "app.example", "X-Forwarded-Proto": "https"}, False),
    (PROXY, {"Origin": OWN, "Host": "app.example", "X-Forwarded-Host": "other.example"}, False),
    (STRANGER, {"Origin": OWN, "Host": "10.1.1.1:8000", "X-Forwarded-Host": "app.example"}, False),
    (STRANGER, {"Origin": OWN, "Host": "b.internal", "Forwarded": "host=app.example"}, False),
]


@pytest.mark.parametrize(("peer", "sent", "same"), SAME)
async def test_pages_api_and_sockets_know_their_own_origin_by_the_same_rule(peer: str, sent: Sent, same: bool) -> None:
    assert same_origin(sent["Origin"], reach(peer, sent)) is same
    assert sent_by_foreign_page(connection_of(peer, sent), access()) is not same
    admission = Admission(Settings(trusted_proxies=PROXIES), FixedOccupancy(), lambda _: "t", lambda *_: True)
    caller = Caller(peer, lines_of(sent), {"user": "ann"})
    if same:
        assert (await admission.admit(caller, socket=True)).user_id == "ann"
    else:
        with pytest.raises(AdmissionRefused, match="origin"):
            await admission.admit(caller, socket=True)


@pytest.mark.parametrize(
    ("origins", "origin", "let_in"),
    [
        ("https://A.example", "https://a.example", True),
        ("https://a.example:443/", "https://a.example", True),
        ("https://a.example", "https://a.example:8443", False),
        ("capacitor://localhost", "capacitor://localhost", True),
        ("https://a.example", "null", False),
    ],
)
async def test_a_listed_origin_is_compared_as_one(origins: str, origin: str, let_in: bool) -> None:
    admission = Admission(Settings(origins=origins), FixedOccupancy(), lambda _: "t", lambda *_: True)
    caller = Caller(STRANGER, lines_of({"Origin": origin, "Host": "h"}), {"user": "ann"})
    try:
        await admission.admit(caller, socket=True)
    except AdmissionRefused as refused:
        assert (refused.status, let_in) == (403, False)
    else:
        assert let_in


@pytest.mark.parametrize(
    ("sent", "secure"),
    [
        ({}, False),
        ({"X-Forwarded-Proto": "https"}, True),
        ({"X-Forwarded-Proto": "HTTPS"}, True),
        ({"X-Forwarded-Proto": "https, http"}, True),
        ({"X-Forwarded-Proto": "http, https"}, False),
        ({"Forwarded": "for=1.2.3.4;proto=https"}, True),
        ({"Forwarded": "proto=http, proto=https"}, False),
    ],
)
def test_a_cookie_is_for_tls_only_where_the_browser_has_it(sent: Sent, secure: bool) -> None:
    assert is_https(connection_of(STRANGER, sent)) is secure


# -- any text ---------------------------------------------------------------------------------------------------------

PIECES = ["for=", "proto=", "host=", '"', "\\", ",", ";", "=", "[::1]", "10.0.0.1", ":80", "https", "unknown", " ", "%"]
ANY = st.text(st.characters(max_codepoint=255)) | st.lists(st.sampled_from(PIECES)).map("".join)
NAMES = ["host", "origin", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "sec-fetch-site"]


@given(st.sampled_from([PROXY, STRANGER, "", "unix", "::1%lo"]), st.lists(st.tuples(st.sampled_from(NAMES), ANY)), ANY)
def test_no_header_makes_anything_raise(peer: str, sent: list[tuple[str, str]], origin: str) -> None:
    here = reach(peer, sent)
    same_origin(origin, here)
    headers = lines_of(sent)
    says_secure(lambda name: headers.getall(name, []))
    sent_by_foreign_page(connection_of(peer, sent), access())
    network_of(here.address)
    if not within(peer, TRUSTED):
        assert here.address == (parse_address(peer) or peer), "a stranger is who they are"


@given(ANY, st.lists(ANY))
def test_no_hop_makes_an_address_of_what_is_none(peer: str, hops: list[str]) -> None:
    address = client_address(peer, hops, TRUSTED)
    assert address in {peer, *(parse_address(each) for each in (peer, *hops))}


@given(st.lists(st.dictionaries(st.sampled_from(["for", "by", "host", "proto"]), ANY, min_size=1), max_size=4))
def test_what_is_quoted_comes_back(elements: list[Sent]) -> None:
    def quoted(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    text = ", ".join("; ".join(f"{name}={quoted(value)}" for name, value in each.items()) for each in elements)
    assert parse_forwarded([text] if text else []) == elements


def access() -> Access:
    """Only its rules about proxies are asked."""
    return Access(cast("Any", None), "s" * 32, proxies=proxies_of(Settings(trusted_proxies=PROXIES)))


def connection_of(peer: str, sent: list[tuple[str, str]] | Sent) -> ASGIConnection[Any, Any, Any, Any]:
    pairs = sent.items() if isinstance(sent, dict) else sent
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1", "replace")) for name, value in pairs]
    scope = {
        "type": "http",
        "scheme": "http",
        "path": "/",
        "headers": headers,
        "client": (peer, 1),
        "query_string": b"",
    }
    return ASGIConnection(cast("Any", scope))
