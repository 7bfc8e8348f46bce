"""One vLLM server, spoken to over its OpenAI-compatible API.

Every generation is streamed from vLLM, whatever the client asked for, with the usage in every chunk, so that
there is one path and the cost of an answer is known while it is made. The gateway, never the client, sets
the request id and the cache salt.
"""

from __future__ import annotations

import base64
import binascii
import ssl
import struct

import msgspec

from bedplate_core.embeddings import Embeddings
from bedplate_core.errors import GatewayError, UpstreamProtocolError
from bedplate_core.events import Batch
from bedplate_core.requests import Dispatch, EmbedRequest, Request
from bedplate_core.usage import Usage
from bedplate_providers.base import Timeouts
from bedplate_providers.credential import Credential
from bedplate_providers.http import HttpPool
from bedplate_providers.http_connection import HttpError, HttpExchange
from bedplate_providers.sse import EventTooLarge, SseParser
from bedplate_providers.vllm_errors import from_http, from_status
from bedplate_providers.vllm_events import ChunkReader
from bedplate_providers.vllm_request import render_embedding, render_request
from bedplate_providers.vllm_wire import EmbeddingBody, ModelCard, ModelList

_ERROR_BODY_BYTES = 64 * 1024
_MODELS_BODY_BYTES = 1024 * 1024
_EMBEDDINGS_BODY_BYTES = 256 * 1024 * 1024
_PROBE_S = 3.0
_JSON = {"Content-Type": "application/json"}


class VllmServer:
    """A vLLM server at one origin. Belongs to one event loop; safe for concurrent use in it."""

    def __init__(
        self,
        url: str,
        *,
        origin_name: str = "vllm",
        credential: Credential | None = None,
        timeouts: Timeouts | None = None,
        max_connections: int = 1024,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.url = url
        self._origin_name = origin_name
        self._timeouts = timeouts or Timeouts()
        headers = {} if credential is None else {"Authorization": f"Bearer {credential.reveal()}"}
        self.pool = HttpPool(
            url,
            limit=max_connections,
            connect_s=self._timeouts.connect_s,
            headers=headers,
            ssl_context=ssl_context,
        )

    def generate(self, request: Request, dispatch: Dispatch) -> VllmStream:
        """The answer as a stream; see `Provider.generate`."""
        return VllmStream(self.pool, self._timeouts, request, dispatch, self._origin_name)

    async def embed(self, request: EmbedRequest, dispatch: Dispatch) -> Embeddings:
        """See `Embeds.embed`. Asks for base64, a third of the size of decimal text."""
        body = msgspec.json.encode(render_embedding(request, dispatch))
        raw = await self._fetch("POST", "/v1/embeddings", body, _EMBEDDINGS_BODY_BYTES, dispatch)
        try:
            answer = msgspec.json.decode(raw, type=EmbeddingBody)
            items = sorted(answer.data, key=lambda item: item.index)
            vectors = tuple(_floats(item.embedding) for item in items)
        except (msgspec.MsgspecError, UnicodeDecodeError, binascii.Error, struct.error) as error:
            raise UpstreamProtocolError("The model's upstream sent something that is not its protocol.") from error
        if [item.index for item in items] != list(range(len(request.inputs))):
            raise UpstreamProtocolError("The model's upstream did not give one vector for each input.")
        return Embeddings(model=request.model, vectors=vectors, usage=Usage(input_tokens=answer.usage.prompt_tokens))

    async def ping(self) -> None:
        """Return when the server says that it is well (`GET /health`), within 3 s. Raises `GatewayError`
        otherwise.
        """
        await self._fetch("GET", "/health", b"", _ERROR_BODY_BYTES, None)

    async def models(self) -> tuple[ModelCard, ...]:
        """The models and LoRA adapters that the server serves. Raises `GatewayError`."""
        raw = await self._fetch("GET", "/v1/models", b"", _MODELS_BODY_BYTES, None)
        try:
            return tuple(msgspec.json.decode(raw, type=ModelList).data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise UpstreamProtocolError("The model's upstream sent something that is not its protocol.") from error

    async def aclose(self) -> None:
        """Close every connection; calls under way fail."""
        await self.pool.aclose()

    async def _fetch(self, method: str, path: str, body: bytes, limit_bytes: int, dispatch: Dispatch | None) -> bytes:
        """The whole body of a 200 answer."""
        headers = _headers(dispatch) if dispatch is not None else None
        response_s = self._timeouts.first_event_s if dispatch is not None else _PROBE_S
        exchange = self.pool.exchange(method, path, headers, body)
        try:
            await exchange.start(self._timeouts.connect_s, response_s)
            if exchange.status != 200:
                raise await _refusal(exchange)
            exchange.renew_deadline(self._timeouts.idle_s if dispatch is not None else _PROBE_S)
            return await exchange.read(limit_bytes)
        except HttpError as error:
            raise from_http(error, started=False) from error
        finally:
            exchange.abort()


class VllmStream:
    """One generation; see `EventStream`.

    Phases and what bounds them: connecting (`connect_s`), waiting for the first event (`first_event_s` from
    the request sent), between events (`idle_s`; comments that keep the connection alive do not count), and
    the whole (`total_s`). Nothing is sent before the first `__anext__`.
    """

    __slots__ = (
        "_closed", "_dispatch", "_exchange", "_origin_name", "_pool", "_reader", "_request", "_sse",
        "_timeouts", "_total_s",
    )  # fmt: skip

    def __init__(
        self, pool: HttpPool, timeouts: Timeouts, request: Request, dispatch: Dispatch, origin_name: str
    ) -> None:
        self._pool = pool
        self._timeouts = timeouts
        self._request = request
        self._dispatch = dispatch
        self._origin_name = origin_name
        self._exchange: HttpExchange | None = None
        self._reader = ChunkReader(request)
        self._sse = SseParser()
        self._total_s = 0.0
        self._closed = False

    def __aiter__(self) -> VllmStream:
        return self

    async def __anext__(self) -> Batch:
        if self._closed:
            raise StopAsyncIteration
        try:
            return await self._next()
        except HttpError as error:
            if self._closed:
                raise StopAsyncIteration from None
            self._release()
            raise from_http(error, started=self._reader.started) from error
        except BaseException:
            self._release()
            raise

    async def aclose(self) -> None:
        """Close the upstream's socket unless the answer came whole; see `EventStream.aclose`."""
        self._release()

    def _release(self) -> None:
        self._closed = True
        if self._exchange is not None:
            self._exchange.abort()

    async def _next(self) -> Batch:
        exchange = self._exchange
        if exchange is None:
            exchange = await self._begin()
        else:
            exchange.deadline_s = min(exchange.now_s() + self._timeouts.idle_s, self._total_s)
        while True:
            if self._reader.failure is not None:
                raise self._reader.failure
            piece = await exchange.chunk() if not self._sse.too_large else b""
            try:
                payloads = self._sse.feed(piece)
            except EventTooLarge as error:
                raise UpstreamProtocolError("The model's upstream sent an event that is too large.") from error
            if not piece:
                raise self._reader.end()
            batch = self._reader.read(payloads)
            if self._reader.done:
                self._closed = True
                self._exchange = None
                exchange.detach()
            elif self._reader.failure is not None or self._sse.too_large:
                exchange.abort()  # what is wrong is known; nothing further is wanted
            if batch:
                return batch

    async def _begin(self) -> HttpExchange:
        """Send the request; return once a stream has begun to come."""
        path, body = render_request(self._request, self._dispatch, self._origin_name)
        exchange = self._pool.exchange("POST", path, _headers(self._dispatch), msgspec.json.encode(body))
        self._exchange = exchange
        self._total_s = exchange.now_s() + self._timeouts.total_s
        await exchange.start(self._timeouts.connect_s, min(self._timeouts.first_event_s, self._timeouts.total_s))
        if exchange.status != 200:
            raise await _refusal(exchange)
        if not exchange.headers.get("content-type", "").startswith("text/event-stream"):
            raise UpstreamProtocolError("The model's upstream did not stream its answer.")
        return exchange


async def _refusal(exchange: HttpExchange) -> GatewayError:
    """The error that an answer with another status than 200 is."""
    exchange.renew_deadline(_PROBE_S)
    try:
        body = await exchange.read(_ERROR_BODY_BYTES)
    except HttpError:
        body = b""
    return from_status(exchange.status, body, exchange.headers.get("retry-after"))


def _headers(dispatch: Dispatch) -> dict[str, str]:
    return {**_JSON, "X-Request-Id": dispatch.call_id}


def _floats(text: str) -> tuple[float, ...]:
    """Little-endian 32-bit floats from base64."""
    raw = base64.b64decode(text, validate=True)
    return struct.unpack(f"<{len(raw) // 4}f", raw)


__all__ = ["VllmServer", "VllmStream"]
