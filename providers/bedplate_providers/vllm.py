"""One vLLM server, spoken to over its OpenAI-compatible API.

Every generation is streamed from vLLM, whatever the client asked for, with the usage in every chunk, so that
there is one path and the cost of an answer is known while it is made. The gateway, never the client, sets
the request id and the cache salt.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping

import msgspec

from bedplate_core.embeddings import Embeddings
from bedplate_core.errors import GatewayError
from bedplate_core.jsonvalue import JSONObject
from bedplate_core.requests import Dispatch, EmbedRequest, Request
from bedplate_providers.base import Timeouts
from bedplate_providers.chat_embeddings import EMBEDDINGS_BODY_BYTES, read_embeddings
from bedplate_providers.credential import Credential
from bedplate_providers.sse import SseParser
from bedplate_providers.upstream import HttpUpstream
from bedplate_providers.upstream_errors import not_protocol
from bedplate_providers.upstream_stream import ERROR_BODY_BYTES, UpstreamStream, WireCall
from bedplate_providers.vllm_errors import from_status
from bedplate_providers.vllm_events import ChunkReader
from bedplate_providers.vllm_request import render_embedding, render_request
from bedplate_providers.vllm_wire import ModelCard, ModelList

_MODELS_BODY_BYTES = 1024 * 1024


class VllmServer:
    """A vLLM server at one origin. Belongs to one event loop; safe for concurrent use in it.

    `upstream` is the connection to it, for operations that are not here.
    """

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
        self.origin_name = origin_name
        self.upstream = HttpUpstream(
            url,
            refusal=_refusal,
            headers={} if credential is None else {"Authorization": f"Bearer {credential.reveal()}"},
            timeouts=timeouts,
            max_connections=max_connections,
            ssl_context=ssl_context,
        )
        self.pool = self.upstream.pool

    def generate(self, request: Request, dispatch: Dispatch) -> UpstreamStream[bytes]:
        """The answer as a stream; see `Provider.generate`."""

        def render() -> WireCall:
            path, body = render_request(request, dispatch, self.origin_name)
            return _call(path, body, dispatch)

        return self.upstream.stream(render, ChunkReader(request), SseParser())

    async def embed(self, request: EmbedRequest, dispatch: Dispatch) -> Embeddings:
        """See `Embeds.embed`. Asks for base64, a third of the size of decimal text."""
        body = render_embedding(request, dispatch)
        raw = await self.fetch("/v1/embeddings", body, dispatch, EMBEDDINGS_BODY_BYTES)
        return read_embeddings(raw, request)

    async def fetch(self, path: str, body: JSONObject, dispatch: Dispatch, limit_bytes: int) -> bytes:
        """The whole answer to a `POST` of JSON; see `HttpUpstream.fetch`."""
        return await self.upstream.fetch(_call(path, body, dispatch), limit_bytes)

    async def ping(self) -> None:
        """Return when the server says that it is well (`GET /health`), within 3 s. Raises `GatewayError`
        otherwise.
        """
        await self.upstream.probe("/health", ERROR_BODY_BYTES)

    async def models(self) -> tuple[ModelCard, ...]:
        """The models and LoRA adapters that the server serves. Raises `GatewayError`."""
        raw = await self.upstream.probe("/v1/models", _MODELS_BODY_BYTES)
        try:
            return tuple(msgspec.json.decode(raw, type=ModelList).data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise not_protocol() from error

    async def aclose(self) -> None:
        """Close every connection; calls under way fail."""
        await self.upstream.aclose()


def request_headers(dispatch: Dispatch, content_type: str = "application/json") -> dict[str, str]:
    """What goes with every call: vLLM answers and logs under the gateway's own id."""
    return {"Content-Type": content_type, "X-Request-Id": dispatch.call_id}


def _call(path: str, body: JSONObject, dispatch: Dispatch) -> WireCall:
    return WireCall(path=path, headers=request_headers(dispatch), body=msgspec.json.encode(body))


def _refusal(status: int, body: bytes, headers: Mapping[str, str]) -> GatewayError:
    return from_status(status, body, headers.get("retry-after"))


__all__ = ["VllmServer", "request_headers"]
