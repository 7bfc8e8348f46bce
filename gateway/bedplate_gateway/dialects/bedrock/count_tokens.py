"""CountTokens: how long the input of a Converse or InvokeModel call would be.

Source: botocore 1.44.8's model of `bedrock-runtime` (2023-09-30, `CountTokensRequest`), compared November 2026.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from bedplate_core.errors import InvalidRequest
from bedplate_core.requests import EmbedRequest, Request
from bedplate_gateway.dialects.base import WireReply
from bedplate_gateway.dialects.bedrock.converse_request import decode_converse
from bedplate_gateway.dialects.bedrock.invoke_request import MAX_BODY_BYTES, decode_native
from bedplate_gateway.dialects.bedrock.model_ids import model_name
from bedplate_gateway.dialects.decoding import FieldRules, clip, decode_body, raw_fields

_NULL: Final = msgspec.Raw(b"null")


class InvokeModelTokensRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body that InvokeModel would have, as base64."""

    body: Annotated[bytes, Meta(max_length=MAX_BODY_BYTES)]


class CountTokensInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The wire's union: exactly one is set. `converse` is decoded as Converse's body is."""

    invokeModel: InvokeModelTokensRequest | None = None  # noqa: N815 # the wire's name
    converse: msgspec.Raw = msgspec.field(default_factory=lambda: _NULL)


class CountTokensRequest(msgspec.Struct, frozen=True):
    """The body."""

    input: CountTokensInput


class CountTokensResponse(msgspec.Struct, frozen=True, rename="camel"):
    """The body of the answer."""

    input_tokens: int


COUNT_TOKENS_FIELDS: Final = FieldRules(
    mapped=frozenset(CountTokensRequest.__struct_fields__), ignored=MappingProxyType({}), refused=MappingProxyType({})
)

CONVERSE_INPUT: Final = frozenset({"messages", "system", "toolConfig", "additionalModelRequestFields"})
"""The fields of `ConverseTokensRequest`."""

_DECODER: Final = msgspec.json.Decoder(CountTokensRequest)


class CountTokensExchange(msgspec.Struct, frozen=True, kw_only=True):
    """One request and its answer."""

    request: Request

    @classmethod
    def decode(cls, body: bytes, *, model_id: str) -> CountTokensExchange:
        """Decode a body; `model_id` is the path's. Raises `InvalidRequest` or `UnsupportedFeature`, nothing else."""
        sent, unknown = decode_body(_DECODER, body, COUNT_TOKENS_FIELDS)
        for name in unknown:
            shown = clip(name, 64)
            raise InvalidRequest(f"{shown}: unknown field", param=shown)
        invoke, converse = sent.input.invokeModel, bytes(sent.input.converse)
        if invoke is not None and converse == b"null":
            return cls(request=_invoke(invoke.body, model_id))
        if converse != b"null" and invoke is None:
            return cls(request=_converse(converse, model_name(model_id)))
        raise InvalidRequest("input: exactly one of invokeModel and converse must be set", param="input")

    def reply(self, input_tokens: int) -> WireReply:
        """The answer."""
        body = msgspec.json.encode(CountTokensResponse(input_tokens))
        return WireReply(status=200, body=body, headers={"content-type": "application/json"})


def _converse(body: bytes, model: str) -> Request:
    """The request of a Converse body, of which only what has a part in the input may be sent."""
    try:
        for name in raw_fields(body):
            if name not in CONVERSE_INPUT:
                raise InvalidRequest(f"{clip(name, 64)}: unknown field", param=clip(name, 64))
        return decode_converse(body, model=model, stream=False, continues=False).request
    except InvalidRequest as error:
        at = "input.converse"
        if error.param is None:
            raise type(error)(f"{at}: {error.message}", param=at) from None
        raise type(error)(f"{at}.{error.message}", param=f"{at}.{error.param}") from None


def _invoke(body: bytes, model_id: str) -> Request:
    """The request of any family; texts to embed are counted as raw prompts."""
    request = decode_native(body, model_id=model_id, stream=False).request
    if isinstance(request, EmbedRequest):
        return Request(model=request.model, prompts=request.inputs, extensions=request.extensions)
    return request


__all__ = ["COUNT_TOKENS_FIELDS", "CountTokensExchange", "CountTokensRequest", "CountTokensResponse"]
