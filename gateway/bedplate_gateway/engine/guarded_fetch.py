"""GET of an address that a client named, which may not be used to reach anything but the public internet.

Each hop: the URL is read once, its host resolved once, every address checked, and the connection made to a checked
address itself, so that a name server which answers differently the second time is never asked a second time. TLS is
verified against the name. httpcore speaks HTTP: below httpx, so that there are no redirects, proxies, cookies or
decodings to switch off.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeAlias
from urllib.parse import urljoin

import httpcore
import msgspec

from bedplate_gateway.engine.address_guard import HTTPS_PORT, RefusedAddress, Target, is_public, parse_target

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host name, as text. May raise `OSError`."""

_MAX_REDIRECTS: Final = 3
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MAX_ADDRESSES: Final = 4
"""Tried one after the other."""
_PHASE_TIMEOUT_S: Final = 5.0
"""Of connecting, and of silence."""
_MAX_CONCURRENT: Final = 16
_RESOLVER_THREADS: Final = 4
"""Their own: a name server that does not answer must not keep the threads that guardrails run in."""


class NotFetched(Exception):
    """There is no answer to be had there. The reason is not told: it would map the network for the client."""


class TooLarge(Exception):
    """The answer is over the limit."""


class ByteBudget:
    """Bytes that several fetches may take together."""

    __slots__ = ("_left",)

    def __init__(self, limit_bytes: int) -> None:
        self._left = limit_bytes

    def take(self, count: int) -> None:
        """Raises `TooLarge` when they are not there."""
        self._left -= count
        if self._left < 0:
            raise TooLarge


class Fetched(msgspec.Struct, frozen=True):
    """A body, and the type that the server declared, without parameters; empty when it declared none."""

    data: bytes
    declared_type: str


class GuardedFetch:
    """Fetches. One per process; at most 16 at a time, each on a connection of its own.

    `resolve`, `is_allowed`, `ports` and `ssl_context` are for tests, whose server is on this machine.
    """

    def __init__(
        self,
        *,
        resolve: Resolve | None = None,
        is_allowed: Callable[[str], bool] = is_public,
        ports: frozenset[int] = frozenset({HTTPS_PORT}),
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._threads = ThreadPoolExecutor(_RESOLVER_THREADS, thread_name_prefix="media-resolver")
        self._resolve = resolve or self._system_addresses
        self._is_allowed = is_allowed
        self._ports = ports
        self._ssl = ssl_context or ssl.create_default_context()
        self._slots = asyncio.Semaphore(_MAX_CONCURRENT)

    def target(self, url: str) -> Target:
        """What `url` names. Raises `RefusedAddress` for its form; nothing is resolved."""
        return parse_target(url, self._ports)

    async def fetch(self, url: str, *, accept: str, limit_bytes: int, budget: ByteBudget) -> Fetched:
        """The body at `url`: at most `limit_bytes`, taken from `budget` as they arrive.

        At most three redirects are followed, each checked as the first. Only a 200 without content coding counts.
        Raises `RefusedAddress` for the form of `url`, `TooLarge`, and `NotFetched` for all else: an address that is
        not public, a server that does not answer, any other status. Cancelled, it closes the connection.
        """
        target = self.target(url)
        async with self._slots:
            for _ in range(_MAX_REDIRECTS + 1):
                answer = await self._get(target, accept, limit_bytes, budget)
                if isinstance(answer, Fetched):
                    return answer
                try:
                    url = urljoin(url, answer)
                    target = self.target(url)
                except (RefusedAddress, ValueError):
                    raise NotFetched from None
        raise NotFetched

    def close(self) -> None:
        """Let go of the resolver's threads; one that waits for a name server ends when that has answered."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _get(self, target: Target, accept: str, limit_bytes: int, budget: ByteBudget) -> Fetched | str:
        """The body, or where a redirect points."""
        try:
            failure: Exception = NotFetched()
            for address in await self._checked_addresses(target):
                try:
                    return await self._get_from(address, target, accept, limit_bytes, budget)
                except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                    failure = error
            raise failure
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError, ValueError):
            raise NotFetched from None

    async def _get_from(
        self, address: str, target: Target, accept: str, limit_bytes: int, budget: ByteBudget
    ) -> Fetched | str:
        """From the server at `address`, which has to prove that it is `target.host`."""
        url = httpcore.URL(scheme=b"https", host=address, port=target.port, target=target.path)
        headers = [
            ("host", target.authority),
            ("accept", accept),
            ("accept-encoding", "identity"),
            ("user-agent", "bedplate"),
        ]
        phases = dict.fromkeys(("connect", "read", "write", "pool"), _PHASE_TIMEOUT_S)
        extensions = {"timeout": phases, "sni_hostname": target.host}
        async with (
            httpcore.AsyncConnectionPool(self._ssl, max_connections=1) as pool,
            pool.stream("GET", url, headers=headers, extensions=extensions) as response,
        ):
            return await _read(response, limit_bytes, budget)

    async def _checked_addresses(self, target: Target) -> Sequence[str]:
        """The addresses to connect to: all that the name has, or none of them when one is refused."""
        addresses = await self._resolve(target.host, target.port)
        if not addresses or not all(self._is_allowed(address) for address in addresses):
            raise NotFetched
        return addresses[:_MAX_ADDRESSES]

    async def _system_addresses(self, host: str, port: int) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, _addresses, host, port)
        return list(dict.fromkeys(found))


async def _read(response: httpcore.Response, limit_bytes: int, budget: ByteBudget) -> Fetched | str:
    headers = {name.lower(): value.decode("latin-1") for name, value in response.headers}
    if response.status in _REDIRECTS:
        return headers.get(b"location") or _nothing()
    if response.status != 200 or headers.get(b"content-encoding", "identity").lower() != "identity":
        raise NotFetched
    announced = headers.get(b"content-length", "")
    if announced.isdecimal() and int(announced[:20]) > limit_bytes:
        raise TooLarge
    body = bytearray()
    async for piece in response.aiter_stream():
        if len(body) + len(piece) > limit_bytes:
            raise TooLarge
        budget.take(len(piece))
        body += piece
    return Fetched(bytes(body), headers.get(b"content-type", "").partition(";")[0].strip().lower())


def _nothing() -> str:
    raise NotFetched


def _addresses(host: str, port: int) -> list[str]:
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


__all__ = ["ByteBudget", "Fetched", "GuardedFetch", "NotFetched", "Resolve", "TooLarge"]
