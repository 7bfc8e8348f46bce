"""Cohere's embedding body of InvokeModel.

Source: the AWS user guide, "Cohere Embed v3" and "Cohere Embed v4" (`model-parameters-embed-v3`, `-v4`), compared
November 2026.
"""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import Annotated, Final, Literal
from uuid import uuid4

import msgspec
from msgspec import Meta

from bedplate_core.embeddings import Embeddings
from bedplate_core.errors import UnsupportedFeature, UpstreamProtocolError
from bedplate_core.requests import EmbedRequest
from bedplate_gateway.dialects.decoding import FieldRules, Refused, decode_body

MAX_TEXTS: Final = 96
"""Texts in one call, as AWS documents it."""


class CohereEmbedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that are mapped or checked by value."""

    texts: Annotated[list[Annotated[str, Meta(min_length=1)]], Meta(min_length=1, max_length=MAX_TEXTS)]
    embedding_types: (
        Annotated[list[Literal["float", "int8", "uint8", "binary", "ubinary"]], Meta(min_length=1, max_length=5)] | None
    ) = None
    output_dimension: Annotated[int, Meta(ge=1, le=65536)] | None = None


INPUT_TYPES: Final = ("search_document", "search_query", "classification", "clustering")

COHERE_FIELDS: Final = FieldRules(
    mapped=frozenset(CohereEmbedRequest.__struct_fields__),
    ignored=MappingProxyType({}),
    refused=MappingProxyType(
        {
            "input_type": Refused(
                f"One of {', '.join(INPUT_TYPES)} is accepted; it changes nothing, because the fleet's models embed "
                "a text in the same way whatever it is for.",
                INPUT_TYPES,
            ),
            "truncate": Refused("A text that is too long is an error, which is NONE.", ("NONE",)),
            "max_tokens": Refused("A text is embedded whole or not at all."),
            "images": Refused("Texts are embedded here; pictures are not.", ([],)),
            "inputs": Refused("Send `texts`; mixed content is not embedded here.", ([],)),
        }
    ),
)


class CohereFloats(msgspec.Struct, frozen=True, kw_only=True):
    """The vectors of one type: the only one that is served."""

    floats: tuple[tuple[float, ...], ...] = msgspec.field(name="float")


class CohereEmbedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The body of the answer: bare vectors unless types were asked for. In the order of `texts`."""

    id: str
    response_type: Literal["embeddings_floats", "embeddings_by_type"]
    embeddings: tuple[tuple[float, ...], ...] | CohereFloats
    texts: tuple[str, ...]


_DECODER: Final = msgspec.json.Decoder(CohereEmbedRequest)


class CohereEmbedding(msgspec.Struct, frozen=True, kw_only=True):
    """One Cohere request and its answer; see `NativeEmbedding`."""

    request: EmbedRequest
    texts: tuple[str, ...]
    by_type: bool

    @classmethod
    def decode(cls, body: bytes, *, model: str) -> CohereEmbedding:
        """Decode a body. Raises `InvalidRequest` or `UnsupportedFeature`, nothing else."""
        sent, extensions = decode_body(_DECODER, body, COHERE_FIELDS)
        for kind in sent.embedding_types or ():
            if kind != "float":
                raise UnsupportedFeature(f"embedding_types: {kind} is not supported; float is", param="embedding_types")
        texts = tuple(sent.texts)
        request = EmbedRequest(model=model, inputs=texts, dimensions=sent.output_dimension, extensions=extensions)
        return cls(request=request, texts=texts, by_type=sent.embedding_types is not None)

    def whole(self, embeddings: Embeddings) -> bytes:
        """See `NativeEmbedding.whole`."""
        vectors = embeddings.vectors
        if not all(math.isfinite(number) for vector in vectors for number in vector):
            raise UpstreamProtocolError("The upstream's embedding holds something that is no number")
        return msgspec.json.encode(
            CohereEmbedAnswer(
                id=str(uuid4()),
                response_type="embeddings_by_type" if self.by_type else "embeddings_floats",
                embeddings=CohereFloats(floats=vectors) if self.by_type else vectors,
                texts=self.texts,
            )
        )


__all__ = ["COHERE_FIELDS", "INPUT_TYPES", "MAX_TEXTS", "CohereEmbedAnswer", "CohereEmbedRequest", "CohereEmbedding"]
