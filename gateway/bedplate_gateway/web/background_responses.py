"""What can be done with a response in the background: look at it, follow it, cancel it, delete it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from typing import Final

from bedplate_core.errors import Conflict, GatewayError, InvalidRequest, NotFound
from bedplate_core.ids import ProjectId
from bedplate_gateway.dialects.openai.answer_wire import JSON_HEADERS, KEEP_ALIVE, STREAM_MEDIA_TYPE
from bedplate_gateway.dialects.openai.responses_background import (
    EventsAfter,
    cancelled_response,
    failed_response,
    response_in,
)
from bedplate_gateway.engine.call import Call
from bedplate_gateway.engine.memory import Memory, Remembering
from bedplate_gateway.web.background_run import CANCELLED, FAILED, background_key
from bedplate_gateway.web.running_reply import RunningReply
from bedplate_gateway.web.services import Services
from bedplate_sessions.stored_replies import Standing, StoredReply

_ID: Final = re.compile(r"resp_[0-9a-f]{32}")
_LOOK_AGAIN_S: Final = 0.25
_DIED: Final = GatewayError("The gateway process that made this response has died; send the request again.")
_CANCELLED: Final = "The response was cancelled."


class BackgroundResponses:
    """The responses in the background of one project.

    All raise `NotFound` for one that is not there, or whose answer is kept no longer, `StoreUnavailable` and
    `ContentUnreadable`.
    """

    def __init__(self, services: Services, project: ProjectId) -> None:
        self._services = services
        self._project = project

    async def read(self, response_id: str) -> bytes:
        """The response as it is now, in JSON."""
        return _response(await self._standing(response_id))

    async def is_running(self, response_id: str) -> bool:
        """Whether the response is there and not at its end."""
        try:
            return (await self._standing(response_id)).running
        except NotFound:
            return False

    async def cancel(self, response_id: str) -> bytes:
        """The response, which is cancelled now unless it was at its end already."""
        standing = await self._standing(response_id)
        if not standing.running:
            return _response(standing)
        key, body = background_key(response_id), cancelled_response(standing.reply.body)
        cancelled = StoredReply(status=CANCELLED, headers=JSON_HEADERS, body=body)
        if not await self._services.stored_replies.settle(self._project, key, cancelled):
            return _response(await self._standing(response_id))
        self._services.kept_calls.cancel(self._project, key, Conflict(_CANCELLED))
        return body

    async def delete(self, response_id: str) -> bool:
        """Remove what there is of it, and stop it if it runs; whether there was anything."""
        if _ID.fullmatch(response_id) is None:
            return False
        key = background_key(response_id)
        replies = self._services.stored_replies
        if await replies.standing(self._project, key) is None:
            return False
        self._services.kept_calls.cancel(self._project, key, NotFound("The response was deleted."))
        await self._services.sessions.durable.commit(
            self._project, (replies.deletion(self._project, key),), what="the deletion"
        )
        return True

    async def events(self, response_id: str, after: int | None) -> AsyncGenerator[bytes, None]:
        """The events of the response behind the sequence number `after`, from the first on for None.

        Live while it runs in this process. While it runs in another they come when it has ended, with keep-alive
        frames until then. Raises `InvalidRequest`, before it returns, for a response without events.
        """
        running = self._services.kept_calls.find(self._project, background_key(response_id))
        if running is not None and not running.ended:
            await running.beginning()
            if running.streams:
                return self._live(running, EventsAfter(after))
        standing = await self._standing(response_id)
        if not standing.running:
            return _stored(standing, EventsAfter(after))
        return self._later(response_id, EventsAfter(after))

    async def _live(self, running: RunningReply, after: EventsAfter) -> AsyncGenerator[bytes, None]:
        position, last = 0, False
        while not last:
            try:
                async with asyncio.timeout(self._services.settings.keep_alive_s):
                    events, position, last = await running.read(position)
            except TimeoutError:
                yield KEEP_ALIVE
                continue
            wanted = after(events)
            if wanted:
                yield wanted

    async def _later(self, response_id: str, after: EventsAfter) -> AsyncGenerator[bytes, None]:
        clock = asyncio.get_running_loop().time
        said_s = clock()
        while (standing := await self._standing(response_id)).running:
            await asyncio.sleep(_LOOK_AGAIN_S)
            if clock() - said_s > self._services.settings.keep_alive_s:
                said_s = clock()
                yield KEEP_ALIVE
        async for events in _stored(standing, after):
            yield events

    async def _standing(self, response_id: str) -> Standing:
        """What there is of the response. One whose process died counts as failed, from now on for everybody."""
        key, standing = background_key(response_id), None
        if _ID.fullmatch(response_id) is not None:  # not everything that a client sends is a text for Postgres
            standing = await self._services.stored_replies.standing(self._project, key)
        if standing is None:
            raise NotFound("There is no response with this id in your project.")
        if not standing.running or self._services.kept_calls.find(self._project, key) is not None:
            return standing
        try:
            lock = await self._services.locks.acquire(("idempotency", self._project, key), wait_s=0)
        except Conflict:
            return standing
        try:
            failed = StoredReply(status=FAILED, headers=JSON_HEADERS, body=failed_response(standing.reply.body, _DIED))
            if await self._services.stored_replies.settle(self._project, key, failed):
                return Standing(running=False, reply=failed)
        finally:
            await lock.release()
        return await self._standing(response_id)


class NotWhileRunning:
    """A `Memory` that builds on the response `previous`, which a running one cannot be."""

    def __init__(self, memory: Memory, services: Services, previous: str) -> None:
        self._memory = memory
        self._services = services
        self._previous = previous

    async def open(self, call: Call) -> Remembering:
        """See `Memory.open`; raises `InvalidRequest` for a response that is still being made."""
        try:
            return await self._memory.open(call)
        except NotFound:
            background = BackgroundResponses(self._services, call.principal.project)
            if await background.is_running(self._previous):
                raise InvalidRequest(
                    "previous_response_id: this response is still being made; wait until its status says that it is "
                    "completed",
                    param="previous_response_id",
                ) from None
            raise


def _response(standing: Standing) -> bytes:
    reply = standing.reply
    return response_in(reply.body) if reply.headers["content-type"].startswith(STREAM_MEDIA_TYPE) else reply.body


def _stored(standing: Standing, after: EventsAfter) -> AsyncGenerator[bytes, None]:
    if not standing.reply.headers["content-type"].startswith(STREAM_MEDIA_TYPE):
        raise InvalidRequest(
            "stream: only the events of a response that was made with stream=true, and ended well, can be had again",
            param="stream",
        )
    return _once(after(standing.reply.body))


async def _once(events: bytes) -> AsyncGenerator[bytes, None]:
    if events:
        yield events


__all__ = ["BackgroundResponses", "NotWhileRunning"]
