"""InvokeModel and InvokeModelWithResponseStream: a family's exchange in AWS's envelope.

The envelope is headers and frames; every byte inside is the family's own. A policy that stopped an answer is said as
AWS says it, by `amazon-bedrock-guardrailAction`, because most families have no stop reason for it.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from bedplate_core.assessment import GuardrailTrace
from bedplate_core.embeddings import Embeddings
from bedplate_core.errors import GatewayError, InvalidRequest, UnsupportedFeature
from bedplate_core.events import Batch, Finish, StopReason
from bedplate_core.guardrail_choice import GuardrailChoice
from bedplate_core.requests import EmbedRequest, Request
from bedplate_core.response import Response
from bedplate_gateway.dialects.base import StreamEncoder, WireReply
from bedplate_gateway.dialects.bedrock.cohere_embed import CohereEmbedding
from bedplate_gateway.dialects.bedrock.converse_stream import KEEP_ALIVE, STREAM_MEDIA_TYPE, event_encoder
from bedplate_gateway.dialects.bedrock.errors import RESPONSE_STREAM_EXCEPTIONS, exception_frame
from bedplate_gateway.dialects.bedrock.guardrail_headers import IDENTIFIER_HEADER, TRACE_HEADER, choice_of_headers
from bedplate_gateway.dialects.bedrock.guardrail_trace import invoke_trace
from bedplate_gateway.dialects.bedrock.invoke_metrics import (
    GUARDRAIL_MEMBER,
    INTERVENED,
    METRICS_MEMBER,
    NOT_INTERVENED,
    TRACE_MEMBER,
    invocation_metrics,
    metrics_headers,
    with_member,
)
from bedplate_gateway.dialects.bedrock.invoke_native import Native, NativeEmbedding, NativeStream
from bedplate_gateway.dialects.bedrock.invoke_options import Header, invoke_options
from bedplate_gateway.dialects.bedrock.invoke_request import (
    GUARDRAIL_CONFIG,
    GuardrailBodyConfig,
    decode_native,
    split_guardrail,
)
from bedplate_gateway.dialects.bedrock.titan_embed import TitanEmbedding

STREAM_HEADERS: Final[Mapping[str, str]] = {"x-amzn-bedrock-content-type": "application/json"}
_JSON_HEADERS: Final[Mapping[str, str]] = {"content-type": "application/json"}

_CHUNK: Final = event_encoder("chunk")

Clock = Callable[[], float]


class InvokeExchange(msgspec.Struct, frozen=True, kw_only=True):
    """An `Exchange` of one of the two operations.

    `started_s` is when the request arrived, by `clock`. `echoed` are headers of the request that the answer repeats.
    """

    native: Native
    started_s: float
    echoed: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])
    guardrail: GuardrailChoice | None = None
    clock: Clock = time.perf_counter

    @property
    def request(self) -> Request:
        """The canonical request."""
        return self.native.request

    @property
    def stream_media_type(self) -> str:
        """AWS's event stream."""
        return STREAM_MEDIA_TYPE

    @property
    def stream_headers(self) -> Mapping[str, str]:
        """Headers of a streamed answer beside its content type."""
        return {**STREAM_HEADERS, **self.echoed}

    def reply(self, response: Response) -> WireReply:
        """The whole answer."""
        body = self.native.whole(response)
        blocked = any(choice.stop.reason is StopReason.GUARDRAIL for choice in response.choices)
        body = with_guardrail(body, self.guardrail, response.guardrail, blocked=blocked)
        latency_ms = _since_ms(self.clock, self.started_s)
        return WireReply(
            status=200,
            body=body,
            headers={**_JSON_HEADERS, **metrics_headers(response.usage, latency_ms=latency_ms), **self.echoed},
        )

    def stream(self) -> StreamEncoder:
        """A fresh encoder."""
        return InvokeStream(self.native.events(), self.started_s, self.clock, self.guardrail)


class InvokeEmbedding(msgspec.Struct, frozen=True, kw_only=True):
    """An InvokeModel call that embeds; see `InvokeExchange`.

    Its answer says nothing of guardrails: a text that one blocks is refused.
    """

    native: NativeEmbedding
    started_s: float
    echoed: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])
    guardrail: GuardrailChoice | None = None
    clock: Clock = time.perf_counter

    @property
    def request(self) -> EmbedRequest:
        """The canonical request."""
        return self.native.request

    def reply(self, embeddings: Embeddings) -> WireReply:
        """The answer. Raises `UpstreamProtocolError` for vectors that the body cannot say."""
        body = self.native.whole(embeddings)
        latency_ms = _since_ms(self.clock, self.started_s)
        return WireReply(
            status=200,
            body=body,
            headers={**_JSON_HEADERS, **metrics_headers(embeddings.usage, latency_ms=latency_ms), **self.echoed},
        )


def decode_invoke(
    body: bytes, /, *, model_id: str, header: Header, stream: bool, continues: bool, started_s: float
) -> InvokeExchange | InvokeEmbedding:
    """Decode a request: its body, the path's identifier and its headers.

    `continues` says that the call goes on from a stored conversation. Raises `InvalidRequest`, `UnsupportedFeature` or
    `PayloadTooLarge`, nothing else.
    """
    echoed = invoke_options(header, stream=stream)
    body, config = split_guardrail(body)
    choice = _choice(choice_of_headers(header), config, stream=stream)
    native = decode_native(body, model_id=model_id, stream=stream, continues=continues)
    if isinstance(native, TitanEmbedding | CohereEmbedding):
        if choice is not None and choice.trace:
            raise UnsupportedFeature(f"{TRACE_HEADER}: an embedding's answer has no trace", param=TRACE_HEADER)
        return InvokeEmbedding(native=native, started_s=started_s, echoed=echoed, guardrail=choice)
    return InvokeExchange(native=native, started_s=started_s, echoed=echoed, guardrail=choice)


def _choice(
    headers: GuardrailChoice | None, config: GuardrailBodyConfig | None, *, stream: bool
) -> GuardrailChoice | None:
    """What headers and body say together."""
    if config is None:
        return headers
    if config.streamProcessingMode is not None and not stream:
        param = f"{GUARDRAIL_CONFIG}.streamProcessingMode"
        raise InvalidRequest(f"{param}: belongs to InvokeModelWithResponseStream", param=param)
    return msgspec.structs.replace(
        headers or GuardrailChoice(param=IDENTIFIER_HEADER),
        tag_suffix=config.tagSuffix,
        releases_first=config.streamProcessingMode == "ASYNCHRONOUS",
    )


def with_guardrail(
    document: bytes, choice: GuardrailChoice | None, trace: GuardrailTrace | None, *, blocked: bool
) -> bytes:
    """The JSON object `document` with what guardrails did: whether they intervened, and the trace where it was asked.

    A request that names no guardrail and asks for no trace is told only when one intervened.
    """
    intervened = blocked or (trace is not None and trace.intervened)
    if intervened:
        document = with_member(document, GUARDRAIL_MEMBER, INTERVENED)
    elif trace is not None or (choice is not None and choice.identifier is not None):
        document = with_member(document, GUARDRAIL_MEMBER, NOT_INTERVENED)
    shown = invoke_trace(trace)
    return document if shown is None else with_member(document, TRACE_MEMBER, msgspec.json.encode(shown))


class InvokeStream:
    """A family's JSON documents as frames, the last with the metrics; see `StreamEncoder`."""

    __slots__ = ("_clock", "_first_byte_ms", "_guardrail", "_native", "_started_s")

    def __init__(
        self, native: NativeStream, started_s: float, clock: Clock, guardrail: GuardrailChoice | None = None
    ) -> None:
        self._native = native
        self._guardrail = guardrail
        self._started_s = started_s
        self._clock = clock
        self._first_byte_ms: int | None = None

    def encode(self, batch: Batch) -> bytes:
        """The chunks for one batch; see `StreamEncoder.encode`."""
        payloads = self._native.payloads(batch)
        if payloads and self._first_byte_ms is None:
            self._first_byte_ms = _since_ms(self._clock, self._started_s)
        last = batch[-1]
        if type(last) is Finish:
            payloads = [*payloads[:-1], self._with_metrics(payloads[-1] if payloads else b"{}", last)]
        return b"".join([chunk_frame(payload) for payload in payloads])

    def end(self) -> bytes:
        """Nothing: the stream's end says it, and the metrics went with the last chunk."""
        return b""

    def error(self, error: GatewayError) -> bytes:
        """An exception frame, after what closes that which is open.

        A stream that merely stopped would look complete to the SDKs.
        """
        closing = b"".join([chunk_frame(payload) for payload in self._native.close()])
        return closing + exception_frame(error, RESPONSE_STREAM_EXCEPTIONS)

    def keep_alive(self) -> bytes:
        """An event of a type that no SDK has, which they skip."""
        return KEEP_ALIVE

    def _with_metrics(self, payload: bytes, finish: Finish) -> bytes:
        latency_ms = _since_ms(self._clock, self._started_s)
        first_byte_ms = latency_ms if self._first_byte_ms is None else self._first_byte_ms
        blocked = any(stop.reason is StopReason.GUARDRAIL for stop in finish.stops)
        payload = with_guardrail(payload, self._guardrail, finish.guardrail, blocked=blocked)
        metrics = invocation_metrics(finish.usage, latency_ms=latency_ms, first_byte_ms=first_byte_ms)
        return with_member(payload, METRICS_MEMBER, msgspec.json.encode(metrics))


def chunk_frame(payload: bytes) -> bytes:
    """The frame of one JSON document."""
    return _CHUNK.encode(b'{"bytes":"%b"}' % base64.b64encode(payload))


def _since_ms(clock: Clock, started_s: float) -> int:
    return max(0, round((clock() - started_s) * 1000))


__all__ = [
    "STREAM_HEADERS",
    "InvokeEmbedding",
    "InvokeExchange",
    "InvokeStream",
    "chunk_frame",
    "decode_invoke",
    "with_guardrail",
]
