"""From a request to its principal, whatever the credential.

An API key is one look-up and needs no waiting. A signature covers the body, so the body of a signed request is read
here, before the application runs, and handed on. That happens only for a request whose headers name a live key and a
fresh date, and `UnverifiedBodies` bounds what all such requests together may hold: knowing a key's id, which is no
secret, is not enough to fill the gateway's memory.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Protocol, cast

import structlog
from litestar.types import HTTPReceiveMessage, HTTPRequestEvent, Receive, Scope, WebSocketReceiveMessage

from bedplate_core.errors import GatewayError, InvalidRequest, RateLimited, StoreUnavailable
from bedplate_gateway.access.credentials import KeyPair, Signed, presented_credential, principal_of_token
from bedplate_gateway.access.keyring import Keyring
from bedplate_gateway.access.principal import Principal
from bedplate_gateway.access.short_term_key import PREFIX, read_short_term_key
from bedplate_gateway.access.signature import SignatureHeader, read_signature
from bedplate_gateway.catalogue.catalogue import Catalogue
from bedplate_gateway.web.headers import header_of
from bedplate_gateway.web.request_body import read_body
from bedplate_providers.sigv4 import UNSIGNED_PAYLOAD, body_hash

UNVERIFIED_BODIES = 8
"""How many bodies of the largest size may be held at once for requests whose signature is not checked yet."""

BODY_TIMEOUT_S = 60.0
"""How long the body of a request may take whose signature is not checked yet."""

REFUSALS_PER_S = 20.0
"""How many refused signatures a second are put on record, so that nobody can fill the table with them."""

_HASH_INLINE_BYTES = 1 << 18
"""A body up to this size is hashed on the event loop, in well under a millisecond; a larger one in a thread."""

_log = structlog.stdlib.get_logger("bedplate.access")


class Refuse(Protocol):
    """Puts on record that a caller who is known by name was refused."""

    async def __call__(self, scope: Scope, principal: Principal, error: GatewayError, /) -> None: ...


class Authentication:
    """Finds the principals of requests. One per process."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        keyring: Keyring,
        max_body_bytes: int,
        refuse: Refuse,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._catalogue = catalogue
        self._keyring = keyring
        self._max_body_bytes = max_body_bytes
        self._refuse = refuse
        self._clock = clock
        self._bodies = UnverifiedBodies(UNVERIFIED_BODIES * max_body_bytes)
        self._refusals = Allowance(REFUSALS_PER_S)

    def credential(self, scope: Scope) -> Principal | Signed | str:
        """The principal, if the request carries a key of ours; else what `verified` has to look into.

        Raises `Unauthenticated`, and `StoreUnavailable` before the keys are known.
        """
        if not self._catalogue.loaded:
            raise StoreUnavailable("the gateway is starting and cannot check keys yet", retry_after_s=1)
        found = presented_credential(scope["headers"])
        if isinstance(found, Signed) or (found is not None and found.startswith(PREFIX)):
            return found
        return principal_of_token(found, self._catalogue.snapshot.keys, self._keyring)

    async def verified(self, scope: Scope, receive: Receive, credential: Signed | str) -> tuple[Principal, Receive]:
        """The principal of a request that proves a key pair, and what the application is to receive from.

        Raises `GatewayError`; when the request names a pair that is known, the refusal is on record by then. Raises
        `ClientLeft` when the client does not wait. Cancelled, it holds nothing.
        """
        if isinstance(credential, str):
            token = read_short_term_key(credential)
            pair = self._pair(token.access_key_id)
            try:
                return token.verify(pair, self._clock()).principal, receive
            except GatewayError as error:
                await self._refused(scope, pair, error)
                raise
        headers = list(scope["headers"])
        signature = read_signature(credential.value, headers, secure=scope["scheme"] == "https")
        pair = self._pair(signature.access_key_id)
        try:
            live = signature.check(pair, headers, self._clock())
            if signature.payload == UNSIGNED_PAYLOAD:
                _verify(signature, live, scope, UNSIGNED_PAYLOAD)
                return live.principal, receive
            with self._bodies.hold(_announced_bytes(scope, self._max_body_bytes)):
                body = await self._body(scope, receive)
                _verify(signature, live, scope, await _hash_of(body))
            return live.principal, _replayed(body, receive)
        except GatewayError as error:
            await self._refused(scope, pair, error)
            raise

    def _pair(self, access_key_id: str) -> KeyPair | None:
        return self._catalogue.snapshot.key_pairs.get(access_key_id)

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                return await read_body(scope, receive, self._max_body_bytes)
        except TimeoutError:
            raise InvalidRequest(f"the request's body did not come within {BODY_TIMEOUT_S:.0f} s") from None

    async def _refused(self, scope: Scope, pair: KeyPair | None, error: GatewayError) -> None:
        if pair is None:
            _log.warning("unknown_access_key")
        elif not isinstance(error, RateLimited) and self._refusals.take():
            await self._refuse(scope, pair.principal, error)


class UnverifiedBodies:
    """Bounds the memory for bodies of requests whose signature is not checked yet."""

    def __init__(self, capacity_bytes: int) -> None:
        self._free_bytes = capacity_bytes

    @contextmanager
    def hold(self, size_bytes: int) -> Generator[None]:
        """Hold that much until the block ends. Raises `RateLimited` when there is not so much left."""
        if size_bytes > self._free_bytes:
            raise RateLimited("too many signed requests are sending their bodies at once", retry_after_s=1)
        self._free_bytes -= size_bytes
        try:
            yield
        finally:
            self._free_bytes += size_bytes


class Allowance:
    """So many a second, at most a second's worth at once."""

    def __init__(self, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._clock = clock
        self._left = per_s
        self._then_s = clock()

    def take(self) -> bool:
        """Take one; false when there is none."""
        now_s = self._clock()
        self._left = min(self._per_s, self._left + (now_s - self._then_s) * self._per_s)
        self._then_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True


def _announced_bytes(scope: Scope, limit_bytes: int) -> int:
    """How much memory the body may take: what its header says, the limit when it says nothing."""
    announced = header_of(scope, "content-length")
    if announced is None or not announced.isdigit():
        return 0 if header_of(scope, "transfer-encoding") is None else limit_bytes
    return min(int(announced), limit_bytes)


def _verify(signature: SignatureHeader, pair: KeyPair, scope: Scope, payload: str) -> None:
    signature.verify(
        pair,
        method=cast("str", scope["method"]),  # type: ignore[typeddict-item]  # the edge lets no websocket come here
        raw_path=scope["raw_path"],
        raw_query=scope["query_string"],
        headers=list(scope["headers"]),
        body_hash=payload,
    )


async def _hash_of(body: bytes) -> str:
    if len(body) <= _HASH_INLINE_BYTES:
        return body_hash(body)
    return await asyncio.to_thread(body_hash, body)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body first, then what the connection gives: the news that the client has left."""
    pending: list[HTTPRequestEvent] = [HTTPRequestEvent(type="http.request", body=body, more_body=False)]

    async def replay() -> HTTPReceiveMessage | WebSocketReceiveMessage:
        return pending.pop() if pending else await receive()

    return replay


__all__ = ["Allowance", "Authentication", "Refuse", "UnverifiedBodies"]
