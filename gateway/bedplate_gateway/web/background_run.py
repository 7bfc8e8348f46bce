"""A response that is made while nobody waits for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import structlog

from bedplate_core.errors import Conflict, GatewayError, UnsupportedFeature, UpstreamTimeout
from bedplate_core.ids import SessionId
from bedplate_gateway.dialects.base import WireReply
from bedplate_gateway.dialects.openai.errors import error_reply
from bedplate_gateway.dialects.openai.responses_background import failed_response
from bedplate_gateway.dialects.openai.responses_exchange import ResponsesExchange
from bedplate_gateway.engine.call import Call
from bedplate_gateway.engine.memory import Memory, Remembering
from bedplate_gateway.web.kept_answer import STOPPED, TOO_LONG, KeptCall, keep_stream, kept_whole
from bedplate_gateway.web.outcome import Streamed
from bedplate_gateway.web.running_reply import RunningReply
from bedplate_gateway.web.services import Services
from bedplate_sessions.durable import Write
from bedplate_sessions.face_ids import session_of
from bedplate_sessions.stored_replies import Claim, StoredReply

_log = structlog.stdlib.get_logger("bedplate.web")

FAILED = 500
CANCELLED = 499
LOOK_S = 2.0
"""How often a running response looks whether another process has cancelled it."""


def background_key(response_id: str) -> str:
    """What a response in the background is called where it is stored and locked."""
    return f"response:{response_id}"


async def begun_in_background(
    services: Services, call: Call, exchange: ResponsesExchange, memory: Memory
) -> WireReply | RunningReply:
    """Begin to make the response: what there is of it now, or its stream where that was asked for.

    Returns when its being is durable. Raises `GatewayError`, on record, for what can be known before a model is asked.
    """
    try:
        if exchange.request.stream and isinstance(call, KeptCall):
            raise UnsupportedFeature(
                "Idempotency-Key: a streamed response in the background is had again by its id; leave the header out",
                param="Idempotency-Key",
            )
        services.catalogue.snapshot.route(exchange.request.model)
        if exchange.conversation is None:  # what it builds on holds nothing that others wait for
            memory = _Opened(await memory.open(call))
        run = BackgroundRun(services, call, exchange, memory)
        key = background_key(exchange.response_id)
        running = services.kept_calls.attach(call.principal.project, key, b"", call.id, run)
    except BaseException as error:
        await services.engine.refuse(call, error)
        raise
    try:
        await run.durable()
    except GatewayError as error:
        await services.engine.refuse(call, error)
        raise
    return running if exchange.request.stream else run.shown


class _Opened:
    """A `Memory` whose turn is open already."""

    def __init__(self, turn: Remembering) -> None:
        self._turn = turn

    async def open(self, call: Call) -> Remembering:
        """See `Memory.open`."""
        return self._turn


class BackgroundRun:
    """A `Run` of one response. `shown` is what there is to see of it until it has ended.

    Its lock is held while it runs: a response that is not at its end and has no lock belongs to a process that died.
    """

    def __init__(self, services: Services, call: Call, exchange: ResponsesExchange, memory: Memory) -> None:
        self.shown = exchange.in_progress(int(time.time()))
        self._services = services
        self._call = call
        self._exchange = exchange
        self._memory = memory
        self._project = call.principal.project
        self._key = background_key(exchange.response_id)
        self._durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._durable.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may wait any more

    async def durable(self) -> None:
        """Return when others can find the response. Raises `GatewayError` when it will not be made."""
        await asyncio.shield(self._durable)

    async def __call__(self, running: RunningReply) -> None:
        """See `Run`."""
        try:
            async with asyncio.timeout(self._call.left_s):
                lock = await self._services.locks.acquire(("idempotency", self._project, self._key), wait_s=1.0)
                try:
                    claim = await self._begin()
                    self._durable.set_result(None)
                    await self._run(running, claim)
                finally:
                    await lock.release()
        except BaseException as error:
            if not self._durable.done():
                self._durable.set_exception(error if isinstance(error, GatewayError) else GatewayError(STOPPED))
            if not isinstance(error, (GatewayError, TimeoutError)):
                raise

    async def _begin(self) -> Claim:
        """Make the response something that others find, together with the reply to the key under which it was sent."""
        call, conversation = self._call, self._exchange.conversation
        session = None if conversation is None else session_of(conversation)
        shown = StoredReply(status=200, headers=self.shown.headers, body=self.shown.body)
        claim, begin = await self._services.stored_replies.begin(self._project, self._key, call.id, shown, session)
        replied: Sequence[Write] = call.keep(shown, session) if isinstance(call, KeptCall) else ()
        await self._services.sessions.durable.commit(self._project, (begin, *replied), what="this response")
        return claim

    async def _run(self, running: RunningReply, claim: Claim) -> None:
        current = asyncio.current_task()
        watch = asyncio.create_task(self._cancel_when_settled(running, current))
        try:
            await self._answer(running, claim)
        except GatewayError as error:
            running.error = error
        except asyncio.CancelledError:
            timed_out = self._call.overdue
            running.error = running.error or (UpstreamTimeout(TOO_LONG) if timed_out else GatewayError(STOPPED))
            raise
        except Exception:
            _log.exception("background_call_crashed", call_id=self._call.id)
            running.error = GatewayError("the gateway failed to serve this request")
        finally:
            watch.cancel()
            if running.error is not None:
                await self._failed(running, running.error)

    async def _answer(self, running: RunningReply, claim: Claim) -> None:
        services, exchange, call = self._services, self._exchange, self._call

        def keep(reply: StoredReply, session: SessionId | None) -> Sequence[Write]:
            return (services.stored_replies.ending(claim, reply, session),)

        kept = KeptCall(
            id=call.id,
            principal=call.principal,
            dialect=call.dialect,
            operation=call.operation,
            started_s=call.started_s,
            timeout_s=call.timeout_s,
            turn=call.turn,
            session=call.session,
            guardrail=call.guardrail,
            keep=keep,
            replies=services.stored_replies,
        )
        answer = await services.engine.generate(kept, exchange.request, self._memory)
        if exchange.request.stream:
            await keep_stream(keep, Streamed(answer, exchange.stream(), exchange.stream_media_type), running)
        else:
            running.whole(await kept_whole(kept, answer, exchange))

    async def _failed(self, running: RunningReply, error: GatewayError) -> None:
        """Say so to those who follow, and to those who ask later, unless it was cancelled meanwhile."""
        if not running.begun:
            running.whole(error_reply(error))
        reply = StoredReply(status=FAILED, headers=self.shown.headers, body=failed_response(self.shown.body, error))
        try:
            await self._services.stored_replies.settle(self._project, self._key, reply)
        except GatewayError as lost:  # it is found to have failed by whoever asks for it
            _log.warning("failure_not_stored", call_id=self._call.id, code=lost.code)

    async def _cancel_when_settled(self, running: RunningReply, task: asyncio.Task[None] | None) -> None:
        """Cancel the call when another process has put an end to its response."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                standing = await self._services.stored_replies.standing(self._project, self._key)
            except GatewayError:
                continue  # Postgres is away; the end will tell
            if (standing is None or standing.reply.status == CANCELLED) and task is not None:
                running.error = running.error or Conflict("The response was cancelled.")
                task.cancel()
                return


__all__ = ["CANCELLED", "FAILED", "LOOK_S", "BackgroundRun", "background_key", "begun_in_background"]
