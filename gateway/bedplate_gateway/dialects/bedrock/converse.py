"""Converse and ConverseStream: one request and its answer, whole or streamed."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from bedplate_core.guardrail_choice import GuardrailChoice
from bedplate_core.requests import Request
from bedplate_core.response import Response
from bedplate_gateway.dialects.base import StreamEncoder, WireReply
from bedplate_gateway.dialects.bedrock.converse_reply import converse_response
from bedplate_gateway.dialects.bedrock.converse_request import decode_converse
from bedplate_gateway.dialects.bedrock.converse_stream import STREAM_MEDIA_TYPE, ConverseStream
from bedplate_gateway.dialects.bedrock.converse_wire import PerformanceConfiguration, ServiceTier


class ConverseExchange(msgspec.Struct, frozen=True, kw_only=True):
    """An `Exchange` of `POST /model/{modelId}/converse` or `.../converse-stream`.

    `started_s` is when the call began by `clock`; the answer says how long it took.
    """

    request: Request
    started_s: float
    clock: Callable[[], float] = time.perf_counter
    performance: PerformanceConfiguration | None = None
    tier: ServiceTier | None = None
    guardrail: GuardrailChoice | None = None

    @classmethod
    def decode(
        cls, body: bytes, *, model: str, stream: bool, started_s: float, continues: bool = False
    ) -> ConverseExchange:
        """Decode a request's body, sent for the catalogue's `model`.

        `started_s` is of `time.perf_counter`. `continues` says that the messages go on from a stored conversation,
        so that they may begin with the results of tool calls stored there. Raises `InvalidRequest` or
        `UnsupportedFeature`, nothing else.
        """
        decoded = decode_converse(body, model=model, stream=stream, continues=continues)
        return cls(
            request=decoded.request,
            started_s=started_s,
            performance=decoded.performance,
            tier=decoded.tier,
            guardrail=decoded.guardrail,
        )

    @property
    def stream_media_type(self) -> str:
        """AWS's binary event stream."""
        return STREAM_MEDIA_TYPE

    def reply(self, response: Response) -> WireReply:
        """The whole answer."""
        said = converse_response(response, self.latency_ms(), performance=self.performance, tier=self.tier)
        return WireReply(status=200, body=msgspec.json.encode(said), headers={"content-type": "application/json"})

    def stream(self) -> StreamEncoder:
        """A fresh encoder."""
        return ConverseStream(self.latency_ms, performance=self.performance, tier=self.tier)

    def latency_ms(self) -> int:
        """Milliseconds since the call began."""
        return int((self.clock() - self.started_s) * 1000)


__all__ = ["ConverseExchange"]
