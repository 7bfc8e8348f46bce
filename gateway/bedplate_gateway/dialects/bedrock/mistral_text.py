"""Mistral's text completion body of InvokeModel.

Source: the AWS user guide, "Mistral AI text completion" (`model-parameters-mistral-text-completion`), compared
November 2026. Mistral's chat completion body is OpenAI's and decoded as such.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from bedplate_core.requests import Request, Sampling
from bedplate_core.response import Response
from bedplate_core.usage import Usage
from bedplate_gateway.dialects.bedrock.family_text import (
    DEFAULT_MAX_TOKENS,
    Fraction,
    Prompt,
    TextStop,
    TextStream,
    TokenLimit,
    whole_text,
)
from bedplate_gateway.dialects.bedrock.invoke_native import NativeStream
from bedplate_gateway.dialects.decoding import FieldRules, decode_body
from bedplate_gateway.dialects.limits import MAX_TOKENS

MAX_STOPS: Final = 10
"""As AWS documents it."""


class MistralRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that are mapped. `top_k` 0 switches it off, which is the canonical None."""

    prompt: Prompt
    max_tokens: TokenLimit | None = None
    stop: Annotated[list[Annotated[str, Meta(min_length=1)]], Meta(max_length=MAX_STOPS)] | None = None
    temperature: Fraction | None = None
    top_p: Fraction | None = None
    top_k: Annotated[int, Meta(ge=0, le=MAX_TOKENS)] | None = None


MISTRAL_FIELDS: Final = FieldRules(
    mapped=frozenset(MistralRequest.__struct_fields__), ignored=MappingProxyType({}), refused=MappingProxyType({})
)


class MistralOutput(msgspec.Struct, frozen=True, kw_only=True):
    """One answer, or its next piece; `stop_reason` is null until the last."""

    text: str
    stop_reason: TextStop | None


class MistralAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The body of an answer, and of each event of a streamed one."""

    outputs: tuple[MistralOutput, ...]


_DECODER: Final = msgspec.json.Decoder(MistralRequest)


class MistralText(msgspec.Struct, frozen=True, kw_only=True):
    """One Mistral request and its answer; see `Native`."""

    request: Request

    @classmethod
    def decode(cls, body: bytes, *, model: str, stream: bool) -> MistralText:
        """Decode a body. Raises `InvalidRequest` or `UnsupportedFeature`, nothing else."""
        sent, extensions = decode_body(_DECODER, body, MISTRAL_FIELDS)
        sampling = Sampling(
            max_tokens=DEFAULT_MAX_TOKENS if sent.max_tokens is None else sent.max_tokens,
            temperature=sent.temperature,
            top_p=sent.top_p,
            top_k=sent.top_k or None,
            stop=tuple(sent.stop or ()),
        )
        return cls(
            request=Request(
                model=model, prompts=(sent.prompt,), sampling=sampling, stream=stream, extensions=extensions
            )
        )

    def whole(self, response: Response) -> bytes:
        """See `Native.whole`."""
        return _answer(*whole_text(response))

    def events(self) -> NativeStream:
        """See `Native.events`."""
        return TextStream(_chunk)


def _chunk(text: str, _: Usage | None, stop: TextStop | None) -> bytes:
    return _answer(text, stop)


def _answer(text: str, stop: TextStop | None) -> bytes:
    return msgspec.json.encode(MistralAnswer(outputs=(MistralOutput(text=text, stop_reason=stop),)))


__all__ = ["MAX_STOPS", "MISTRAL_FIELDS", "MistralAnswer", "MistralOutput", "MistralRequest", "MistralText"]
