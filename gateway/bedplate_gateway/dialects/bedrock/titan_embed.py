"""Amazon Titan's text embedding body of InvokeModel.

Source: the AWS user guide, "Amazon Titan Embeddings G1 - Text" (`model-parameters-titan-embed-text`), compared
November 2026. `embeddingsByType` is always there, as the guide says of V2; of one text in G1's answer it is the only
field that G1 does not have.

A binary embedding is the sign of each number (1 above 0, else 0), one integer each, as Titan writes it.
"""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from bedplate_core.embeddings import Embeddings
from bedplate_core.errors import UpstreamProtocolError
from bedplate_core.requests import EmbedRequest
from bedplate_gateway.dialects.decoding import FieldRules, Refused, decode_body

_IMAGES: Final = "Texts are embedded here; pictures are not."


class TitanEmbedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that are mapped. `dimensions` may be what the model of the fleet allows, not only Titan's three."""

    inputText: Annotated[str, Meta(min_length=1)]  # noqa: N815  # the wire's name
    dimensions: Annotated[int, Meta(ge=1, le=65536)] | None = None
    normalize: bool | None = None
    embeddingTypes: (  # noqa: N815  # the wire's name
        Annotated[list[Literal["float", "binary"]], Meta(min_length=1, max_length=2)] | None
    ) = None


TITAN_FIELDS: Final = FieldRules(
    mapped=frozenset(TitanEmbedRequest.__struct_fields__),
    ignored=MappingProxyType({}),
    refused=MappingProxyType(
        {
            "inputImage": Refused(_IMAGES),
            "embeddingConfig": Refused("It belongs to Titan's multimodal embeddings; send `dimensions`."),
            "textGenerationConfig": Refused("Titan's text generation is not served; send `messages` or a `prompt`."),
        }
    ),
)


class TitanByType(msgspec.Struct, frozen=True, kw_only=True):
    """The vector in each form that was asked for."""

    binary: tuple[int, ...] | UnsetType = UNSET
    floats: tuple[float, ...] | UnsetType = msgspec.field(name="float", default=UNSET)


class TitanEmbedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The body of the answer. `embedding` is always numbers."""

    embedding: tuple[float, ...]
    inputTextTokenCount: int  # noqa: N815  # the wire's name
    embeddingsByType: TitanByType  # noqa: N815  # the wire's name


_DECODER: Final = msgspec.json.Decoder(TitanEmbedRequest)


class TitanEmbedding(msgspec.Struct, frozen=True, kw_only=True):
    """One Titan request and its answer; see `NativeEmbedding`.

    `normalize` brings the vector to length 1, as Titan does unless told not to; without it the vector is the model's
    own, which many models have at length 1 already.
    """

    request: EmbedRequest
    normalize: bool
    types: tuple[str, ...]

    @classmethod
    def decode(cls, body: bytes, *, model: str) -> TitanEmbedding:
        """Decode a body. Raises `InvalidRequest` or `UnsupportedFeature`, nothing else."""
        sent, extensions = decode_body(_DECODER, body, TITAN_FIELDS)
        request = EmbedRequest(model=model, inputs=(sent.inputText,), dimensions=sent.dimensions, extensions=extensions)
        types = tuple(sent.embeddingTypes) if sent.embeddingTypes is not None else ("float",)
        return cls(request=request, normalize=sent.normalize is not False, types=types)

    def whole(self, embeddings: Embeddings) -> bytes:
        """See `NativeEmbedding.whole`."""
        vector = embeddings.vectors[0]
        if not all(map(math.isfinite, vector)):
            raise UpstreamProtocolError("The upstream's embedding holds something that is no number")
        if self.normalize:
            vector = _unit(vector)
        return msgspec.json.encode(
            TitanEmbedAnswer(
                embedding=vector,
                inputTextTokenCount=embeddings.usage.input_tokens,
                embeddingsByType=TitanByType(
                    binary=tuple(int(number > 0) for number in vector) if "binary" in self.types else UNSET,
                    floats=vector if "float" in self.types else UNSET,
                ),
            )
        )


def _unit(vector: tuple[float, ...]) -> tuple[float, ...]:
    """The vector at length 1; one of length 0 has no direction and stays as it is."""
    length = math.hypot(*vector)
    return vector if length in (0.0, 1.0) else tuple(number / length for number in vector)


__all__ = ["TITAN_FIELDS", "TitanByType", "TitanEmbedAnswer", "TitanEmbedRequest", "TitanEmbedding"]
