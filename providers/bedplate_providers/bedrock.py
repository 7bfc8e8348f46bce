"""Amazon Bedrock's runtime, or a server that speaks it: Converse over HTTP connections of our own.

Every generation is streamed, whatever the client asked for.
"""

from __future__ import annotations

import time

import msgspec

from bedplate_core.jsonvalue import JSONObject
from bedplate_core.requests import Dispatch, Request
from bedplate_providers.bedrock_errors import refusal
from bedplate_providers.bedrock_events import ConverseReader
from bedplate_providers.bedrock_request import model_path, render_count, render_request
from bedplate_providers.bedrock_wire import TokenCount
from bedplate_providers.endpoints import AwsKeyPair, BedrockEndpoint
from bedplate_providers.event_stream import Frame, FrameParser
from bedplate_providers.sigv4 import SigningScope, signing_headers
from bedplate_providers.single_upstream import SingleUpstream
from bedplate_providers.upstream import HttpUpstream, tls_context
from bedplate_providers.upstream_errors import not_protocol
from bedplate_providers.upstream_stream import UpstreamStream, WireCall

STREAM_MEDIA_TYPE = "application/vnd.amazon.eventstream"
MAX_EVENT_BYTES = 8 * 1024 * 1024
_CONTENT_TYPE = "application/json"
_COUNT_BODY_BYTES = 64 * 1024
_KEEP_ALIVE_S = 20.0


class BedrockProvider(SingleUpstream):
    """Bedrock in one region; see `Provider` and `CountsTokens`.

    Its `name` is the origin of the signatures it makes: reasoning goes back to a provider of that name only.
    """

    def __init__(self, name: str, endpoint: BedrockEndpoint) -> None:
        headers = {"User-Agent": "bedplate"}
        if endpoint.credential is not None:
            headers["Authorization"] = f"Bearer {endpoint.credential.reveal()}"
        url = endpoint.url
        upstream = HttpUpstream(
            url,
            refusal=refusal,
            headers=headers,
            timeouts=endpoint.timeouts,
            max_connections=endpoint.max_connections,
            ssl_context=tls_context(url, endpoint.ca_file),
            keep_alive_s=_KEEP_ALIVE_S,
        )
        super().__init__(name, upstream)
        self._region = endpoint.region
        self._pair = endpoint.key_pair
        self._extra_fields = endpoint.extra_fields

    def generate(self, request: Request, dispatch: Dispatch) -> UpstreamStream[Frame]:
        """See `Provider.generate`."""

        def render() -> WireCall:
            body = render_request(request, self.name, self._extra_fields)
            return self._call(model_path(request.model, "converse-stream"), body)

        return self.upstream.stream(
            render,
            ConverseReader(request.model, self.name, request.sampling.stop),
            FrameParser(MAX_EVENT_BYTES),
            content_type=STREAM_MEDIA_TYPE,
        )

    async def count_tokens(self, request: Request, dispatch: Dispatch) -> int:
        """See `CountsTokens.count_tokens`."""
        body = render_count(request, self.name, self._extra_fields)
        call = self._call(model_path(request.model, "count-tokens"), body)
        raw = await self.upstream.fetch(call, _COUNT_BODY_BYTES)
        try:
            return msgspec.json.decode(raw, type=TokenCount).input_tokens
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise not_protocol() from error

    def _call(self, path: str, body: JSONObject) -> WireCall:
        """The call as it is sent now; a signature is good for some minutes."""
        encoded = msgspec.json.encode(body)
        headers = {"Content-Type": _CONTENT_TYPE}
        if self._pair is not None:
            headers |= self._signature(self._pair, path, encoded)
        return WireCall(path=path, headers=headers, body=encoded)

    def _signature(self, pair: AwsKeyPair, path: str, body: bytes) -> dict[str, str]:
        """The headers that sign the call. What is signed is the path as it is on the request line, encoded."""
        origin = self.upstream.pool.origin
        timestamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        signed = signing_headers(
            access_key_id=pair.access_key_id,
            secret=pair.secret,
            session_token=pair.session_token,
            scope=SigningScope(date=timestamp[:8], region=self._region),
            timestamp=timestamp,
            method="POST",
            raw_path=f"{origin.prefix}{path}".encode("ascii"),
            raw_query=b"",
            headers=[(b"content-type", _CONTENT_TYPE.encode()), (b"host", origin.authority.encode("ascii"))],
            body=body,
        )
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in signed}


__all__ = ["MAX_EVENT_BYTES", "STREAM_MEDIA_TYPE", "BedrockProvider"]
