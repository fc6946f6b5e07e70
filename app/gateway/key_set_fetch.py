"""Fetches the key set that an issuer publishes, with a limit on everything: time, bytes, addresses.

Redirects are not followed: the address in the settings is the one that is trusted. Names are looked up in a thread of
their own, because a name server that does not answer would fill the threads of others.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx

from app.daemon_thread import DaemonThread
from app.errors import CrossfadeError
from app.settings import is_loopback

MOST_BYTES = 1 << 20
MOST_ADDRESSES = 4
"""Of one name that are tried, one after the other."""
CONNECT_S = 2.0
"""For one of them."""
_lookups = DaemonThread("name-lookup")
SocketOption = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]


class FetchFailed(CrossfadeError):
    """The key set cannot be had now; the text says why, for the log."""


class KeySetFetch:
    """Fetches from one address. Each fetch has a connection of its own, so that none is kept half dead."""

    def __init__(self, url: str) -> None:
        """Raises nothing for an address that `verification_keys.why_not_address` lets pass."""
        read = httpx.URL(url)
        self._url = httpcore.URL(scheme=read.raw_scheme, host=read.raw_host, port=read.port, target=read.raw_path)
        self._proxy = proxy_for(read.scheme, read.host)
        self._tls = httpx.create_ssl_context() if "https" in (read.scheme, urlsplit(self._proxy).scheme) else None
        self._headers: list[tuple[bytes | str, bytes | str]] = [
            ("host", read.netloc),
            ("accept", "application/jwk-set+json, application/json"),
            ("accept-encoding", "identity"),  # what is compressed may be any size
            ("user-agent", "crossfade"),
        ]

    async def __call__(self, limit_s: float) -> bytes:
        """The body of the answer. Raises `FetchFailed`, after `limit_s` seconds at the latest."""
        network = _Network()
        try:
            async with asyncio.timeout(limit_s):
                return await self._fetch(network)
        except TimeoutError:
            raise FetchFailed(f"no answer within {limit_s:g} s") from None
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, httpcore.ProxyError) as error:
            raise FetchFailed(str(error) or type(error).__name__) from None
        except (httpcore.UnsupportedProtocol, OSError, ValueError, RuntimeError) as error:
            raise FetchFailed(f"{type(error).__name__}: {error}") from None
        finally:
            await network.close()

    async def _fetch(self, network: _Network) -> bytes:
        proxy = _proxy(self._proxy) if self._proxy else None
        timeouts = {"connect": CONNECT_S}
        async with (
            httpcore.AsyncConnectionPool(ssl_context=self._tls, proxy=proxy, network_backend=network) as pool,
            pool.stream("GET", self._url, headers=self._headers, extensions={"timeout": timeouts}) as response,
        ):
            if response.status in range(300, 400):
                raise FetchFailed(f"status {response.status}; redirects are not followed")
            if response.status != 200:
                raise FetchFailed(f"status {response.status}")
            body = bytearray()
            async for chunk in response.aiter_stream():
                body += chunk
                if len(body) > MOST_BYTES:
                    raise FetchFailed(f"the answer is longer than {MOST_BYTES} bytes")
            return bytes(body)


def proxy_for(scheme: str, host: str) -> str:
    """The proxy that the environment names for this host; empty: none. Loopback is never reached through one."""
    if is_loopback(host) or proxy_bypass(host):
        return ""
    proxies = getproxies()
    named = proxies.get(scheme) or proxies.get("all") or ""
    return named if not named or "://" in named else f"http://{named}"


def _proxy(url: str) -> httpcore.Proxy:
    """Raises `ValueError` for one that is unusable."""
    read = httpx.Proxy(url)
    target = httpcore.URL(
        scheme=read.url.raw_scheme, host=read.url.raw_host, port=read.url.port, target=read.url.raw_path
    )
    return httpcore.Proxy(target, auth=read.raw_auth)


class _Network(httpcore.AsyncNetworkBackend):
    """`httpcore`'s, but for the lookup of names. It closes what `httpcore` leaves open when TLS is broken off."""

    def __init__(self) -> None:
        self._sockets = httpcore.AnyIOBackend()
        self._opened: list[httpcore.AsyncNetworkStream] = []

    async def close(self) -> None:
        """Close all connections that are still open."""
        for stream in self._opened:
            await stream.aclose()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        for address in await _lookup(host, port):
            with contextlib.suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                stream = await self._sockets.connect_tcp(address, port, timeout, local_address, socket_options)
                self._opened.append(stream)
                return stream
        raise httpcore.ConnectError(f"{host} cannot be reached at port {port}")

    async def sleep(self, seconds: float) -> None:
        await self._sockets.sleep(seconds)


async def _lookup(host: str, port: int) -> list[str]:
    """Addresses of a host, a few at most. Raises `httpcore.ConnectError`."""
    try:
        found = await _lookups.submit(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except OSError as error:
        raise httpcore.ConnectError(f"{host}: {error.strerror or error}") from None
    return list(dict.fromkeys(str(address[0]) for *_, address in found))[:MOST_ADDRESSES]
