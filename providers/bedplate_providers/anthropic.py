"""Anthropic's API, or a server that speaks it.

Every generation is streamed, whatever the client asked for.
"""

from __future__ import annotations

import msgspec

from bedplate_core.jsonvalue import JSONObject
from bedplate_core.requests import Dispatch, Request
from bedplate_providers.anthropic_errors import refusal
from bedplate_providers.anthropic_events import MessageReader
from bedplate_providers.anthropic_request import render_prompt, render_request
from bedplate_providers.anthropic_wire import TokenCount
from bedplate_providers.endpoints import AnthropicEndpoint
from bedplate_providers.single_upstream import SingleUpstream
from bedplate_providers.sse import SseParser
from bedplate_providers.upstream import HttpUpstream, tls_context
from bedplate_providers.upstream_errors import not_protocol
from bedplate_providers.upstream_stream import UpstreamStream, WireCall

API_VERSION = "2023-06-01"
_COUNT_BODY_BYTES = 64 * 1024
_KEEP_ALIVE_S = 30.0


class AnthropicProvider(SingleUpstream):
    """One server that speaks the Messages API; see `Provider` and `CountsTokens`.

    Its `name` is the origin of the signatures it makes: reasoning goes back to a provider of that name only.
    """

    def __init__(self, name: str, endpoint: AnthropicEndpoint) -> None:
        headers = {"anthropic-version": API_VERSION, "User-Agent": "bedplate"}
        if endpoint.credential is not None:
            headers["x-api-key"] = endpoint.credential.reveal()
        upstream = HttpUpstream(
            endpoint.base_url,
            refusal=refusal,
            headers=headers,
            timeouts=endpoint.timeouts,
            max_connections=endpoint.max_connections,
            ssl_context=tls_context(endpoint.base_url, endpoint.ca_file),
            keep_alive_s=_KEEP_ALIVE_S,
        )
        super().__init__(name, upstream)
        self._max_output_tokens = endpoint.max_output_tokens

    def generate(self, request: Request, dispatch: Dispatch) -> UpstreamStream[bytes]:
        """See `Provider.generate`."""

        def render() -> WireCall:
            return _call("/v1/messages", render_request(request, self.name, self._max_output_tokens))

        return self.upstream.stream(render, MessageReader(request.model, self.name), SseParser())

    async def count_tokens(self, request: Request, dispatch: Dispatch) -> int:
        """See `CountsTokens.count_tokens`."""
        call = _call("/v1/messages/count_tokens", render_prompt(request, self.name))
        raw = await self.upstream.fetch(call, _COUNT_BODY_BYTES)
        try:
            return msgspec.json.decode(raw, type=TokenCount).input_tokens
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise not_protocol() from error


def _call(path: str, body: JSONObject) -> WireCall:
    return WireCall(path=path, headers={"Content-Type": "application/json"}, body=msgspec.json.encode(body))


__all__ = ["API_VERSION", "AnthropicProvider"]
