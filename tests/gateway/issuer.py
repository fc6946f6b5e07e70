"""An issuer for tests: real keys, the tokens signed with them, and a real server that publishes a key set."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from jwt.algorithms import ECAlgorithm

LATER = 4_102_444_800
"""The year 2100, in Unix seconds."""


class Signer:
    """A key pair, and the name under which its public half is published; None: without one."""

    def __init__(self, name: str | None = "k1") -> None:
        self.name = name
        self._key: EllipticCurvePrivateKey = generate_private_key(SECP256R1())

    def published(self) -> dict[str, Any]:
        key = ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return key | ({} if self.name is None else {"kid": self.name})

    def token(self, kid: str | None = "", **claims: Any) -> str:
        """`kid`: another name in the header than the key's; None: no name."""
        name = self.name if kid == "" else kid
        headers = None if name is None else {"kid": name}
        return jwt.encode({"sub": "ann", "exp": LATER} | claims, self._key, "ES256", headers)


def key_set(*signers: Signer) -> bytes:
    return json.dumps({"keys": [signer.published() for signer in signers]}).encode()


Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Issuer:
    """A server whose answer can be changed while it runs."""

    def __init__(self) -> None:
        self.port = 0
        self.requests: list[bytes] = []
        self.asked = asyncio.Event()
        """A request has come; a test may clear it."""
        self.answer: Answer = answer_of(200, b"")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/keys?v=1"

    def publish(self, *signers: Signer) -> None:
        self.answer = answer_of(200, key_set(*signers))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            self.asked.set()
            await self.answer(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the other side gave up
        finally:
            writer.close()


def answer_of(status: int, body: bytes, *headers: str) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers, "", ""]
        writer.write("\r\n".join(lines).encode() + body)
        await writer.drain()

    return answer


def silent_until(released: asyncio.Event, then: Answer) -> Answer:
    """Accepts, and does not answer until it is released."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        await released.wait()
        await then(writer)

    return answer


@asynccontextmanager
async def issuer() -> AsyncIterator[Issuer]:
    """Its connections end with the block, whatever they wait for."""
    made = Issuer()
    connections = set[asyncio.Task[None]]()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.create_task(made.serve(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
