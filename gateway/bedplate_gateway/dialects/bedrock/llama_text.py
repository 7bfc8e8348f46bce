"""Meta's Llama body of InvokeModel: raw text completion.

Source: the AWS user guide, "Meta Llama models" (`model-parameters-meta`), and the chunks of its streaming example,
compared November 2026.

AWS counts the prompt in the first chunk of a stream. Here a chunk has the counts that are known when it is written,
null before the upstream has counted, and the last has both.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

import msgspec

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
from bedplate_gateway.dialects.decoding import FieldRules, Refused, decode_body


class LlamaRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that are mapped. A temperature or top_p that is not sent is the model's own default."""

    prompt: Prompt
    max_gen_len: TokenLimit | None = None
    temperature: Fraction | None = None
    top_p: Fraction | None = None


LLAMA_FIELDS: Final = FieldRules(
    mapped=frozenset(LlamaRequest.__struct_fields__),
    ignored=MappingProxyType({}),
    refused=MappingProxyType(
        {
            "images": Refused("A raw prompt holds text only; send a chat (`messages`) with pictures in it.", ([],)),
            "max_tokens": Refused("The Llama body spells it `max_gen_len`; without that it is a Mistral body."),
        }
    ),
)


class LlamaAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a whole answer."""

    generation: str
    prompt_token_count: int
    generation_token_count: int
    stop_reason: TextStop


class LlamaChunk(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a streamed answer."""

    generation: str
    prompt_token_count: int | None
    generation_token_count: int | None
    stop_reason: TextStop | None


_DECODER: Final = msgspec.json.Decoder(LlamaRequest)


class LlamaText(msgspec.Struct, frozen=True, kw_only=True):
    """One Llama request and its answer; see `Native`."""

    request: Request

    @classmethod
    def decode(cls, body: bytes, *, model: str, stream: bool) -> LlamaText:
        """Decode a body. Raises `InvalidRequest` or `UnsupportedFeature`, nothing else."""
        sent, extensions = decode_body(_DECODER, body, LLAMA_FIELDS)
        sampling = Sampling(
            max_tokens=DEFAULT_MAX_TOKENS if sent.max_gen_len is None else sent.max_gen_len,
            temperature=sent.temperature,
            top_p=sent.top_p,
        )
        return cls(
            request=Request(
                model=model, prompts=(sent.prompt,), sampling=sampling, stream=stream, extensions=extensions
            )
        )

    def whole(self, response: Response) -> bytes:
        """See `Native.whole`."""
        text, stop = whole_text(response)
        return msgspec.json.encode(
            LlamaAnswer(
                generation=text,
                prompt_token_count=response.usage.input_tokens,
                generation_token_count=response.usage.output_tokens,
                stop_reason=stop,
            )
        )

    def events(self) -> NativeStream:
        """See `Native.events`."""
        return TextStream(_chunk)


def _chunk(text: str, usage: Usage | None, stop: TextStop | None) -> bytes:
    return msgspec.json.encode(
        LlamaChunk(
            generation=text,
            prompt_token_count=usage.input_tokens if usage else None,
            generation_token_count=usage.output_tokens if usage else None,
            stop_reason=stop,
        )
    )


__all__ = ["LLAMA_FIELDS", "LlamaAnswer", "LlamaChunk", "LlamaRequest", "LlamaText"]
