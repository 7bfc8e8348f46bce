"""Any server that speaks OpenAI's API: OpenAI itself, another vendor, a router, an engine.

Every generation is streamed, whatever the client asked for.
"""

from __future__ import annotations

import msgspec

from bedplate_core.embeddings import Embeddings
from bedplate_core.jsonvalue import JSONObject
from bedplate_core.requests import Dispatch, EmbedRequest, Request
from bedplate_providers.chat_embeddings import EMBEDDINGS_BODY_BYTES, read_embeddings
from bedplate_providers.endpoints import OpenAIEndpoint
from bedplate_providers.openai_errors import refusal
from bedplate_providers.openai_events import OpenAIChunkReader
from bedplate_providers.openai_request import render_embedding, render_request
from bedplate_providers.single_upstream import SingleUpstream
from bedplate_providers.sse import SseParser
from bedplate_providers.upstream import HttpUpstream, tls_context
from bedplate_providers.upstream_stream import UpstreamStream, WireCall


class OpenAIProvider(SingleUpstream):
    """One OpenAI-compatible server; see `Provider`."""

    def __init__(self, name: str, endpoint: OpenAIEndpoint) -> None:
        headers = {"User-Agent": "bedplate"}
        if endpoint.credential is not None:
            headers["Authorization"] = f"Bearer {endpoint.credential.reveal()}"
        upstream = HttpUpstream(
            endpoint.base_url,
            refusal=refusal,
            headers=headers,
            timeouts=endpoint.timeouts,
            max_connections=endpoint.max_connections,
            ssl_context=tls_context(endpoint.base_url, endpoint.ca_file),
        )
        super().__init__(name, upstream)
        self._endpoint = endpoint

    def generate(self, request: Request, dispatch: Dispatch) -> UpstreamStream[bytes]:
        """See `Provider.generate`."""
        reader = OpenAIChunkReader(request, require_usage=self._endpoint.require_usage)
        return self.upstream.stream(lambda: _call(*render_request(request, self._endpoint)), reader, SseParser())


class OpenAIEmbedder(OpenAIProvider):
    """An OpenAI-compatible server that embeds as well; see `Embeds`."""

    async def embed(self, request: EmbedRequest, dispatch: Dispatch) -> Embeddings:
        """See `Embeds.embed`."""
        raw = await self.upstream.fetch(_call("/embeddings", render_embedding(request)), EMBEDDINGS_BODY_BYTES)
        return read_embeddings(raw, request)


def _call(path: str, body: JSONObject) -> WireCall:
    return WireCall(path=path, headers={"Content-Type": "application/json"}, body=msgspec.json.encode(body))


__all__ = ["OpenAIEmbedder", "OpenAIProvider"]
