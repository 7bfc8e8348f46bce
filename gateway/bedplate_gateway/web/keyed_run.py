"""One request with an idempotency key, from the claim of the key to the last byte."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from bedplate_core.errors import Conflict, GatewayError, UpstreamTimeout
from bedplate_core.ids import SessionId
from bedplate_gateway.dialects.base import ErrorRenderer, WireReply
from bedplate_gateway.engine.call import Call
from bedplate_gateway.web.idempotency import may_begin_session
from bedplate_gateway.web.incoming import Incoming
from bedplate_gateway.web.kept_answer import TOO_LONG, KeptCall, keep_stream
from bedplate_gateway.web.outcome import Serve, Streamed
from bedplate_gateway.web.running_reply import RunningReply
from bedplate_gateway.web.services import Services
from bedplate_sessions.durable import Write
from bedplate_sessions.stored_replies import Claim, StoredReply
from bedplate_store.locks import HeldLock

_log = structlog.stdlib.get_logger("bedplate.web")


class KeyedRun:
    """A `Run` of one call under a key: it answers, or gives again what an earlier call with the key was answered.

    The key's lock is held while the call runs, so that there is one at a time among all gateway processes; another
    process waits for it, up to the call's own time. An error gives the key up.
    """

    def __init__(
        self,
        services: Services,
        call: Call,
        incoming: Incoming,
        *,
        key: str,
        request_hash: bytes,
        serve: Serve,
        error_reply: ErrorRenderer,
    ) -> None:
        self._services = services
        self._call = call
        self._incoming = incoming
        self._key = key
        self._request_hash = request_hash
        self._serve = serve
        self._error_reply = error_reply

    async def __call__(self, running: RunningReply) -> None:
        """See `Run`."""
        try:
            async with asyncio.timeout(self._call.left_s):
                await self._answer(running)
            return
        except TimeoutError:
            error: GatewayError = UpstreamTimeout(TOO_LONG)
        except GatewayError as raised:
            error = raised
        except Exception:
            _log.exception("call_crashed", call_id=self._call.id)
            error = GatewayError("the gateway failed to serve this request")
        if not running.begun:
            running.error = error
            running.whole(self._error_reply(error))

    async def _answer(self, running: RunningReply) -> None:
        try:
            lock, found = await self._claimed()
        except BaseException as error:
            await self._services.engine.refuse(self._call, error)
            raise
        if isinstance(found, StoredReply):
            running.call = None
            running.whole(WireReply(status=found.status, headers=found.headers, body=found.body))
            return
        try:
            await self._run(running, found)
        finally:
            if lock is not None:
                await lock.release()

    async def _claimed(self) -> tuple[HeldLock | None, Claim | StoredReply]:
        """The key with its lock, or the reply that there is. Raises `GatewayError`; then no lock is held."""
        call, replies = self._call, self._services.stored_replies
        project = call.principal.project
        place = ("idempotency", project, self._key)
        try:
            lock = await self._services.locks.acquire(place, wait_s=0)
        except Conflict:
            found = await replies.read(project, self._key, self._request_hash)
            if found is not None:
                return None, found
            lock = await self._waited(place)
        try:
            claim = await replies.claim(project, self._key, self._request_hash, call.id)
        except BaseException:
            await lock.release()
            raise
        if isinstance(claim, StoredReply):
            await lock.release()
            return None, claim
        return lock, claim

    async def _waited(self, place: tuple[str, ...]) -> HeldLock:
        try:
            return await self._services.locks.acquire(place, wait_s=max(self._call.left_s, 0))
        except Conflict:
            raise Conflict(
                "The first request with this idempotency key is still running; try again.", retry_after_s=1.0
            ) from None

    async def _run(self, running: RunningReply, claim: Claim) -> None:
        call, replies = self._call, self._services.stored_replies

        def keep(reply: StoredReply, session: SessionId | None) -> Sequence[Write]:
            return (replies.ending(claim, reply, session),)

        kept = KeptCall(
            id=call.id,
            principal=call.principal,
            dialect=call.dialect,
            operation=call.operation,
            started_s=call.started_s,
            timeout_s=call.timeout_s,
            turn=claim.turn,
            session=claim.session,
            guardrail=call.guardrail,
            keep=keep,
            replies=replies,
            claim=claim if may_begin_session(self._incoming) else None,
        )
        outcome = await self._serve(kept, self._incoming)
        if isinstance(outcome, Streamed):
            await keep_stream(keep, outcome, running)
        elif isinstance(outcome, WireReply):
            running.whole(outcome)
        else:
            raise RuntimeError("what runs by itself has a key of its own")


__all__ = ["KeyedRun"]
