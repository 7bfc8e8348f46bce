"""The response that serves a call: from the body to the last byte, with the client's presence watched throughout.

Everything happens inside the response, after the route was found, so that there is one place where a call begins,
fails and ends. The answer's events are pulled only as fast as the client reads. When the client leaves, the task
that serves it is cancelled at whatever it waits for; the answer's owner then releases the upstream and writes the
record.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import msgspec
import structlog
from litestar.types import Receive, Scope, Send

from bedplate_core.errors import GatewayError, PayloadTooLarge, UpstreamTimeout
from bedplate_core.events import Finish
from bedplate_gateway.dialects.base import ErrorRenderer, WireReply
from bedplate_gateway.engine.call import Call
from bedplate_gateway.records.record import CallRecord
from bedplate_gateway.web.disconnect_watch import DisconnectWatch
from bedplate_gateway.web.edge import call_id_of, principal_of, send_reply, started_s_of
from bedplate_gateway.web.guardrail_choice import choice_of_header
from bedplate_gateway.web.idempotency import (
    REPLAYED_HEADER,
    idempotency_key,
    key_name,
    may_have_key,
    request_hash,
)
from bedplate_gateway.web.incoming import Incoming
from bedplate_gateway.web.kept_answer import TOO_LONG
from bedplate_gateway.web.keyed_run import KeyedRun
from bedplate_gateway.web.outcome import Serve, Streamed, whole_or_streamed, with_headers
from bedplate_gateway.web.request_body import ClientLeft, read_body
from bedplate_gateway.web.running_reply import RunningReply
from bedplate_gateway.web.services import Services
from bedplate_providers.deadlines import Deadlines

_log = structlog.stdlib.get_logger("bedplate.web")

_FAILED = "the gateway failed to serve this request"
REPLAYED = "replayed"
"""The outcome on record of a request that was answered with what an earlier one with its key was answered."""


class CallResponse:
    """An ASGI application that serves one call."""

    def __init__(
        self,
        scope: Scope,
        services: Services,
        *,
        dialect: str,
        operation: str,
        serve: Serve,
        error_reply: ErrorRenderer,
        keyed: bool = False,
    ) -> None:
        """`keyed` says that a request with an idempotency key is answered once, and the same to whoever asks again."""
        self._services = services
        self._keyed = keyed
        self._serve = serve
        self._error_reply = error_reply
        self._call = Call(
            id=call_id_of(scope),
            principal=principal_of(scope),
            dialect=dialect,
            operation=operation,
            started_s=started_s_of(scope),
            timeout_s=services.settings.response_timeout_s,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the call. Returns when the last byte is sent or the client has left."""
        metrics = self._services.metrics
        metrics.in_flight.inc()
        try:
            body = await self._body(scope, receive, send)
            if body is not None:
                with Presence(receive, self._services.deadlines, self._call.left_s) as presence:
                    await self._respond(Incoming(scope, body), send, presence)
        finally:
            metrics.in_flight.dec()

    async def _body(self, scope: Scope, receive: Receive, send: Send) -> bytes | None:
        """The request's body; None when there is nothing more to do."""
        try:
            return await read_body(scope, receive, self._services.settings.max_body_bytes)
        except PayloadTooLarge as error:
            await self._services.engine.refuse(self._call, error)
            await send_reply(send, self._error_reply(error), self._call.id)
        except ClientLeft:
            _log.info("client_left_while_sending", call_id=self._call.id)
            await self._services.engine.refuse(self._call, asyncio.CancelledError())
        return None

    async def _respond(self, incoming: Incoming, send: Send, presence: Presence) -> None:
        try:
            if incoming.guardrail is not None:
                await self._choose_guardrail(incoming.guardrail)
            if self._keyed and may_have_key(incoming, self._call.dialect):
                outcome = await self._attached(incoming) or await self._serve(self._call, incoming)
            else:
                outcome = await self._serve(self._call, incoming)
        except asyncio.CancelledError:
            if not presence.excuse_timeout():
                raise
            outcome = self._error_reply(UpstreamTimeout(TOO_LONG))
        except GatewayError as error:
            outcome = self._error_reply(error)
        except Exception:
            _log.exception("call_crashed", call_id=self._call.id)
            outcome = self._error_reply(GatewayError(_FAILED))
        if isinstance(outcome, WireReply):
            presence.finishing()
            await send_reply(send, outcome, self._call.id)
            return
        if isinstance(outcome, RunningReply):
            await self._follow(outcome, send, presence)
            return
        try:
            await self._stream(outcome, send, presence)
        finally:
            await outcome.answer.aclose()

    async def _choose_guardrail(self, header: str) -> None:
        """Note on the call what its header says. Raises `InvalidRequest`, on record."""
        try:
            self._call = msgspec.structs.replace(self._call, guardrail=choice_of_header(header))
        except GatewayError as error:
            await self._services.engine.refuse(self._call, error)
            raise

    async def _attached(self, incoming: Incoming) -> RunningReply | None:
        """The reply to the request's idempotency key; None for a request without one.

        Raises `GatewayError`, on record, for a key that cannot be used.
        """
        services, call = self._services, self._call
        try:
            given = idempotency_key(incoming, call.dialect)
            if given is None:
                return None
            project = call.principal.project
            key, request = key_name(project, given), request_hash(incoming, call.operation)
            run = KeyedRun(
                services,
                call,
                incoming,
                key=key,
                request_hash=request,
                serve=self._serve,
                error_reply=self._error_reply,
            )
            return services.kept_calls.attach(project, key, request, call.id, run)
        except GatewayError as error:
            await services.engine.refuse(call, error)
            raise

    async def _follow(self, running: RunningReply, send: Send, presence: Presence) -> None:
        """Send what a kept call answers, from its first byte on. The call does not end with this client."""
        owed = running.call != self._call.id
        try:
            await running.beginning()
            if running.streams:
                await self._follow_stream(running, send, presence)
                return
            await running.ending()
            reply = self._reply_of(running)
            await self._note_replay(running)
        except asyncio.CancelledError as error:
            if not presence.excuse_timeout():
                if owed:
                    await self._services.engine.refuse(self._call, error)
                raise
            timeout = UpstreamTimeout(TOO_LONG)
            if owed:
                await self._services.engine.refuse(self._call, timeout)
            reply = self._error_reply(timeout)
        except GatewayError as error:
            reply = self._error_reply(error)
        presence.finishing()
        await send_reply(send, reply, self._call.id)

    def _reply_of(self, running: RunningReply) -> WireReply:
        if not running.begun:
            return self._error_reply(running.error or GatewayError(_FAILED))
        reply = WireReply(status=running.status, headers=running.headers, body=running.body)
        return reply if self._is_own(running) else with_headers(reply, {REPLAYED_HEADER: "true"})

    def _is_own(self, running: RunningReply) -> bool:
        """Whether this very request is the one that was run."""
        return running.call == self._call.id or running.error is not None

    async def _follow_stream(self, running: RunningReply, send: Send, presence: Presence) -> None:
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in running.headers.items()]
        if not self._is_own(running):
            headers.append((REPLAYED_HEADER.encode(), b"true"))
        await send({"type": "http.response.start", "status": running.status, "headers": headers})
        pulse = Pulse(running.keep_alive, self._services.settings.keep_alive_s, send)
        position = 0
        try:
            while True:
                data, position, last = await running.read(position)
                if last:
                    break
                pulse.sent()
                presence.sending = True
                await send({"type": "http.response.body", "body": data, "more_body": True})
                presence.sending = False
            await self._note_replay(running)
        finally:
            pulse.stop()
        presence.finishing()
        await send({"type": "http.response.body", "body": data, "more_body": False})

    async def _note_replay(self, running: RunningReply) -> None:
        """Put a request on record that another one's call answered: there is one record of every request."""
        call = self._call
        if running.call == call.id:
            return
        if running.error is not None:
            await self._services.engine.refuse(call, running.error)
            return
        total_s = time.perf_counter() - call.started_s
        await self._services.recorder.write(
            CallRecord(
                id=call.id,
                project_id=call.principal.project,
                key_id=call.principal.key_id,
                dialect=call.dialect,
                operation=call.operation,
                stream=running.streams,
                started_at=datetime.now(UTC),
                total_ms=total_s * 1000,
                outcome=REPLAYED,
                http_status=running.status,
            )
        )

    async def _stream(self, streamed: Streamed, send: Send, presence: Presence) -> None:
        encoder = streamed.encoder
        headers = streamed.sent_headers
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": encoded})
        settings = self._services.settings
        pulse = Pulse(encoder.keep_alive(), settings.keep_alive_s, send)
        try:
            async for batch in streamed.answer:
                data = encoder.encode(batch)
                if type(batch[-1]) is Finish:
                    pulse.stop()
                    presence.finishing()
                    await send({"type": "http.response.body", "body": data + encoder.end(), "more_body": False})
                    return
                if data:
                    pulse.sent()
                    presence.sending = True
                    await send({"type": "http.response.body", "body": data, "more_body": True})
                    presence.sending = False
            tail = encoder.error(GatewayError("the answer ended before it was complete"))
        except asyncio.CancelledError:
            if not presence.excuse_timeout():
                raise
            tail = encoder.error(UpstreamTimeout(TOO_LONG))
        except GatewayError as error:
            tail = encoder.error(error)
        except Exception:
            _log.exception("stream_crashed", call_id=self._call.id)
            tail = encoder.error(GatewayError(_FAILED))
        finally:
            pulse.stop()
        presence.finishing()
        await send({"type": "http.response.body", "body": tail, "more_body": False})


class Presence:
    """Watches whether the client is still there, and cancels the work for one that is not.

    A `DisconnectWatch` waits for the server's disconnect event. After `timeout_s` the work is cancelled as well: when
    it is `sending` then, the client reads too slowly and counts as gone; otherwise the work may tell the client.

    The work is the `with` block, in the task that enters it. It ends quietly when the client left and the work was
    cancelled for it.
    """

    __slots__ = (
        "_deadlines", "_finishing", "_gone", "_receive", "_task", "_timed_out", "_watch", "deadline_s", "sending",
    )  # fmt: skip

    def __init__(self, receive: Receive, deadlines: Deadlines, timeout_s: float) -> None:
        self._receive = receive
        self._deadlines = deadlines
        self.deadline_s = asyncio.get_running_loop().time() + timeout_s
        self.sending = False
        self._finishing = False
        self._gone = False
        self._timed_out = False

    def finishing(self) -> None:
        """The last bytes are about to be sent: from here on the server's disconnect means nothing."""
        self._finishing = True

    def excuse_timeout(self) -> bool:
        """Whether the cancellation just caught is the clock's; if so it is over, and the client can be told."""
        if not self._timed_out or self.sending or self._task.cancelling() > 1:
            return False
        self._task.uncancel()
        self._gone = self._timed_out = False
        return True

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a call is served inside a task")
        self._task = task
        self._watch = DisconnectWatch(self._receive, self._leave)
        self._deadlines.watch(self)
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> bool:
        self._deadlines.forget(self)
        self._watch.stop()
        del self._watch  # it refers to this object, and what refers to itself is left to the garbage collector
        return isinstance(error, asyncio.CancelledError) and self._gone and self._task.uncancel() == 0

    def late(self) -> None:
        """See `Watched.late`."""
        self._timed_out = not self._finishing and not self._gone
        self._leave()

    def _leave(self) -> None:
        if not self._finishing and not self._gone:
            self._gone = True
            self._task.cancel()


class Pulse:
    """Sends the wire's keep-alive frame whenever a stream has been silent for `interval_s`."""

    def __init__(self, frame: bytes, interval_s: float, send: Send) -> None:
        self._frame = frame
        self._interval_s = interval_s
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._last_s = self._loop.time()
        self._sending: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(interval_s, self._beat) if frame else None

    def sent(self) -> None:
        """A frame is being sent: the silence begins anew."""
        self._last_s = self._loop.time()

    def stop(self) -> None:
        """Send no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _beat(self) -> None:
        silent_s = self._loop.time() - self._last_s
        if silent_s >= self._interval_s and (self._sending is None or self._sending.done()):
            self._last_s = self._loop.time()
            silent_s = 0.0
            self._sending = self._loop.create_task(self._send_frame())
        self._timer = self._loop.call_later(max(self._interval_s - silent_s, 0.05), self._beat)

    async def _send_frame(self) -> None:
        if self._timer is not None:  # stopped meanwhile: the last frame may be out
            await self._send({"type": "http.response.body", "body": self._frame, "more_body": True})


__all__ = ["REPLAYED", "CallResponse", "Serve", "Streamed", "whole_or_streamed", "with_headers"]
