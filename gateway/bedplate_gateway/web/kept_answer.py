"""An answer whose bytes become durable with it: they are made before its end is committed, and sent afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from bedplate_core.errors import GatewayError, UpstreamTimeout
from bedplate_core.events import Finish
from bedplate_core.ids import SessionId
from bedplate_core.response import Response, collect
from bedplate_gateway.dialects.base import Exchange, WireReply
from bedplate_gateway.engine.answer import Answer
from bedplate_gateway.engine.call import Call
from bedplate_gateway.engine.memory import Memory, Remembering
from bedplate_gateway.web.outcome import Streamed, with_headers
from bedplate_gateway.web.running_reply import RunningReply
from bedplate_sessions.durable import Write
from bedplate_sessions.stored_replies import Claim, StoredReplies, StoredReply

TOO_LONG = "the answer took longer than this gateway allows"
STOPPED = "the gateway stopped while it answered"


class Keep(Protocol):
    """Makes what keeps a reply; `session` is the session that the call was a turn of."""

    def __call__(self, reply: StoredReply, session: SessionId | None, /) -> Sequence[Write]: ...


class KeptCall(Call, frozen=True, kw_only=True):
    """A call whose answer is kept: `keep` makes the writes for it.

    `claim` is there where the call has a key and may begin a session.
    """

    keep: Keep
    replies: StoredReplies
    claim: Claim | None = None

    def remembering(self, memory: Memory) -> Memory:
        """`memory`, whose session whoever takes over the key will find."""
        return memory if self.claim is None else _NotingMemory(memory, self.claim, self.replies)


class _NotingMemory:
    """A `Memory` that writes down which session a call has begun, before it is there."""

    def __init__(self, memory: Memory, claim: Claim, replies: StoredReplies) -> None:
        self._memory = memory
        self._claim = claim
        self._replies = replies

    async def open(self, call: Call) -> Remembering:
        """See `Memory.open`."""
        turn = await self._memory.open(call)
        if turn.session_id is not None and turn.session_id != self._claim.session:
            try:
                await self._replies.note_session(self._claim, turn.session_id)
            except BaseException:
                await turn.aclose()
                raise
        return turn


async def kept_whole(call: KeptCall, answer: Answer, exchange: Exchange) -> WireReply:
    """The whole reply for an answer, kept with it. Raising, it has closed the answer."""
    made: list[WireReply] = []

    def ending(_: Finish, response: Response) -> Sequence[Write]:
        reply = with_headers(exchange.reply(response), answer.headers)
        made.append(reply)
        stored = StoredReply(status=reply.status, headers=reply.headers, body=reply.body)
        return call.keep(stored, answer.session_id)

    answer.before_end(ending)
    try:
        await collect(answer)
    except BaseException as error:
        await answer.fail(error)
        raise
    return made[0]


async def keep_stream(keep: Keep, streamed: Streamed, running: RunningReply) -> None:
    """Stream an answer into `running`, and keep it.

    A failure ends the stream in this wire's way and is noted in `running`; only a cancellation is raised. The answer is
    closed afterwards.
    """
    answer, encoder = streamed.answer, streamed.encoder
    headers = {name: value for name, value in streamed.sent_headers.items() if name != "x-request-id"}
    tail = b""

    def ending(finish: Finish, _: Response) -> Sequence[Write]:
        nonlocal tail
        tail = encoder.encode([finish]) + encoder.end()
        stored = StoredReply(status=200, headers=headers, body=running.body + tail)
        return keep(stored, answer.session_id)

    try:
        answer.before_end(ending)
        running.begin(200, headers, keep_alive=encoder.keep_alive())
        async for batch in answer:
            if type(batch[-1]) is Finish:  # it is alone, and was encoded before it was committed
                running.add(tail)
                return
            running.add(encoder.encode(batch))
        running.error = GatewayError("the answer ended before it was complete")
    except GatewayError as error:
        running.error = error
    except asyncio.CancelledError:
        if answer.call.overdue:
            running.error = UpstreamTimeout(TOO_LONG)
        else:
            running.error = running.error or GatewayError(STOPPED)
        raise
    finally:
        if running.error is not None:
            running.add(encoder.error(running.error))
        running.end()
        await answer.aclose()


__all__ = ["STOPPED", "TOO_LONG", "Keep", "KeptCall", "keep_stream", "kept_whole"]
