"""The API of a running service, as the commands use it: requests, and refusals as endings of the command."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar
from urllib.parse import quote

import msgspec

from app.api.headers import MISSING_CELLS
from app.cli.exits import CommandRefused, Misused, Unreachable
from app.cli.target import Target
from app.proxies import may_use_proxy, proxy_variables
from app.serve.local_socket import address_of
from rollout.views import RolloutView

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

CONNECT_S = 3.0
ANSWER_S = 15.0


class ProblemText(msgspec.Struct, frozen=True):
    """The part of a problem document that is shown to a person."""

    title: str = ""
    detail: str = ""


class ApiClient:
    """One service's API. Every method raises `CommandRefused` for a refusal, `Unreachable` if nothing answers."""

    def __init__(self, target: Target) -> None:
        import httpx  # takes 0.2 s, which `crossfade --help` need not spend

        self.target = target
        self.missing_cells: list[str] = []
        """Cells that are missing in the last answer, as its header says."""
        headers = {"Accept": "application/json, application/problem+json", "User-Agent": "crossfade-cli"}
        if target.token:
            headers["Authorization"] = f"Bearer {target.token}"
        self._transport_error = httpx.TransportError
        self._broken_off = (httpx.RemoteProtocolError, httpx.ReadError)
        self._open = ExitStack()
        try:
            base = httpx.URL("http://localhost" if target.socket else target.url)
        except (httpx.InvalidURL, UnicodeEncodeError) as error:
            raise Misused(f"{target.url}: {error}") from None
        remote = target.socket is None and may_use_proxy(target.url)
        self._proxies = proxy_variables() if remote else ""
        try:
            transport = None
            if target.socket is not None:
                transport = httpx.HTTPTransport(uds=self._open.enter_context(address_of(target.socket)))
            self._client = self._open.enter_context(
                httpx.Client(
                    base_url=base,
                    headers=headers,
                    timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
                    transport=transport,
                    trust_env=remote,
                    verify=httpx.create_ssl_context(),  # of the environment's authorities, also without its proxies
                )
            )
        except (httpx.InvalidURL, ValueError, ImportError) as error:
            raise Misused(f"{self._proxies} does not name a usable proxy: {error}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def read(self, path: str, params: Mapping[str, str | int] | None = None) -> bytes:
        """The body of a `GET`."""
        return self._request("GET", path, params=params).content

    def stream(self, path: str, params: Mapping[str, str | int], media_type: str) -> Iterator[bytes]:
        """The body of a `GET` in this format, in pieces as they arrive."""
        with self._reached(), self._client.stream("GET", path, params=params, headers={"Accept": media_type}) as answer:
            if not answer.is_success:
                answer.read()
                raise self._refusal(answer)
            yield from answer.iter_bytes()

    def change(self, method: str, path: str, body: object = None, revision: int | None = None) -> bytes:
        """Send a command; returns the body of the answer. `revision` is sent as `If-Match`."""
        headers = {"Content-Type": "application/json"}
        if revision is not None:
            headers["If-Match"] = f'"{revision}"'
        content = b"" if body is None else msgspec.json.encode(body)
        return self._request(method, path, content=content, headers=headers).content

    def rollout(self) -> RolloutView:
        """The rollout now, from `GET /api/rollout`."""
        return self.decode(self.read("/api/rollout"), RolloutView)

    def decode(self, body: bytes, kind: type[T]) -> T:
        """Decode an answer. Raises `Unreachable` if something other than this service has answered."""
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise Unreachable(
                f"{self.target.url} does not answer like Crossfade ({error}). Check that the URL is right and that the "
                "service has the same version as this command."
            ) from None

    def _request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        with self._reached():
            response = self._client.request(method, path, params=params, content=content, headers=headers)
        if response.is_success:
            missing = response.headers.get(MISSING_CELLS)
            self.missing_cells = missing.split(", ") if missing else []
            return response
        raise self._refusal(response)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except self._broken_off as error:
            raise Unreachable(
                f"{self.target.url} closed the connection before its answer was complete: {error}"
            ) from None
        except self._transport_error as error:
            if self._proxies:
                raise Unreachable(
                    f"cannot reach {self.target.url} through the proxy that {self._proxies} names: "
                    f"{error or type(error).__name__}"
                ) from None
            raise Unreachable(
                f"cannot reach {self.target.url}: {error or type(error).__name__}\n"
                "Start the service there with `make run` or `crossfade serve`, or name another service with --url or "
                "CROSSFADE_URL."
            ) from None

    def _refusal(self, response: httpx.Response) -> CommandRefused | Unreachable:
        status = response.status_code
        try:
            problem = msgspec.json.decode(response.content, type=ProblemText)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            problem = ProblemText()
        words = problem.detail or problem.title or response.reason_phrase or "no reason given"
        if status in (502, 504) and not problem.detail:
            return Unreachable(f"{self.target.url} answers {status}: the service behind it does not answer")
        if status == 401:
            return CommandRefused(f"refused: {words}\n{self._how_to_sign_in()}")
        if status == 412:
            return CommandRefused(
                f"refused, somebody was faster: {words}\nLook with `crossfade status`, then repeat the command."
            )
        return CommandRefused(f"refused: {words}")

    def _how_to_sign_in(self) -> str:
        if self.target.token:
            return f"The token from {self.target.token_from} is not (or no longer) valid at {self.target.url}."
        return (
            "Set CROSSFADE_TOKEN. `crossfade token --role oncall`, on the service's host and with its settings, makes "
            "one. In the folder in which `crossfade serve` runs, commands need none."
        )


def quoted(segment: str) -> str:
    """One segment of an address, such as a user id, with everything encoded that needs it."""
    return quote(segment, safe="")
