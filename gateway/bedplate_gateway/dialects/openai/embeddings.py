"""Embeddings: one request and its answer.

Source: openai-python 2.54 (`openai.types.embedding_create_params`, `CreateEmbeddingResponse`),
compared November 2026. The SDK asks for base64 unless told otherwise: the vector's little-endian 32-bit floats.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from bedplate_core.embeddings import Embeddings
from bedplate_core.errors import InvalidRequest, UpstreamProtocolError
from bedplate_core.requests import EmbedRequest
from bedplate_gateway.dialects.base import WireReply
from bedplate_gateway.dialects.decoding import FieldRules, decode_body
from bedplate_gateway.dialects.limits import MAX_INPUTS
from bedplate_gateway.dialects.openai.answer_wire import JSON_HEADERS
from bedplate_gateway.dialects.openai.chat_wire import ModelName
from bedplate_gateway.dialects.openai.prompts import WirePrompt, raw_prompts

EncodingFormat = Literal["float", "base64"]


class EmbeddingsRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that are mapped."""

    model: ModelName
    input: WirePrompt
    dimensions: Annotated[int, Meta(ge=1, le=65536)] | None = None
    encoding_format: EncodingFormat | None = None


IGNORED: Final[Mapping[str, str]] = MappingProxyType(
    {"user": "who calls is known from the credential, not from the body"}
)
"""Top-level fields that are accepted and change nothing."""

EMBEDDINGS_FIELDS: Final = FieldRules(
    mapped=frozenset(EmbeddingsRequest.__struct_fields__), ignored=IGNORED, refused={}
)


class Embedding(msgspec.Struct, frozen=True, kw_only=True):
    """One vector: numbers, or base64."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: tuple[float, ...] | str


class EmbeddingsUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Embeddings have no output tokens."""

    prompt_tokens: int
    total_tokens: int


class CreateEmbeddingResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The body of the answer."""

    object: Literal["list"] = "list"
    data: tuple[Embedding, ...]
    model: str
    usage: EmbeddingsUsage


_DECODER: Final = msgspec.json.Decoder(EmbeddingsRequest)


class EmbeddingsExchange(msgspec.Struct, frozen=True, kw_only=True):
    """One request of `POST /v1/embeddings` with the way its vectors are to be written."""

    request: EmbedRequest
    encoding_format: EncodingFormat = "float"

    @classmethod
    def decode(cls, body: bytes) -> EmbeddingsExchange:
        """Decode a request's body. Raises `InvalidRequest`, nothing else."""
        sent, extensions = decode_body(_DECODER, body, EMBEDDINGS_FIELDS)
        inputs = raw_prompts(sent.input, "input", MAX_INPUTS)
        if "" in inputs:
            raise InvalidRequest("input: holds an empty text", param="input")
        request = EmbedRequest(model=sent.model, inputs=inputs, dimensions=sent.dimensions, extensions=extensions)
        return cls(request=request, encoding_format=sent.encoding_format or "float")

    def reply(self, embeddings: Embeddings) -> WireReply:
        """The answer. Raises `UpstreamProtocolError` when a number does not fit into 32 bits."""
        body = CreateEmbeddingResponse(
            data=tuple(
                Embedding(index=index, embedding=_base64(vector) if self.encoding_format == "base64" else vector)
                for index, vector in enumerate(embeddings.vectors)
            ),
            model=self.request.model,
            usage=EmbeddingsUsage(
                prompt_tokens=embeddings.usage.input_tokens, total_tokens=embeddings.usage.total_tokens
            ),
        )
        return WireReply(status=200, body=msgspec.json.encode(body), headers=JSON_HEADERS)


def _base64(vector: Sequence[float]) -> str:
    try:
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
    except OverflowError:
        raise UpstreamProtocolError("The upstream's embedding holds a number beyond 32-bit floats") from None


__all__ = [
    "EMBEDDINGS_FIELDS",
    "IGNORED",
    "CreateEmbeddingResponse",
    "Embedding",
    "EmbeddingsExchange",
    "EmbeddingsRequest",
    "EmbeddingsUsage",
]
