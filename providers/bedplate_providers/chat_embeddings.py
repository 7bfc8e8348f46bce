"""The answer of `/embeddings` as OpenAI spells it, which vLLM and every compatible server share."""

from __future__ import annotations

import base64
import binascii
import struct

import msgspec

from bedplate_core.embeddings import Embeddings
from bedplate_core.errors import UpstreamProtocolError
from bedplate_core.requests import EmbedRequest
from bedplate_core.usage import Usage
from bedplate_providers.upstream_errors import not_protocol
from bedplate_providers.vllm_wire import EmbeddingBody

EMBEDDINGS_BODY_BYTES = 256 * 1024 * 1024


def read_embeddings(raw: bytes, request: EmbedRequest) -> Embeddings:
    """The vectors in the order of the inputs. Raises `UpstreamProtocolError` for anything else than one each."""
    try:
        answer = msgspec.json.decode(raw, type=EmbeddingBody)
        items = sorted(answer.data, key=lambda item: item.index)
        vectors = tuple(_floats(item.embedding) for item in items)
    except (msgspec.MsgspecError, UnicodeDecodeError, binascii.Error, struct.error) as error:
        raise not_protocol() from error
    if [item.index for item in items] != list(range(len(request.inputs))):
        raise UpstreamProtocolError("The model's upstream did not give one vector for each input.")
    return Embeddings(model=request.model, vectors=vectors, usage=Usage(input_tokens=answer.usage.prompt_tokens))


def _floats(embedding: str | list[float]) -> tuple[float, ...]:
    """A list as it is; base64 as little-endian 32-bit floats."""
    if not isinstance(embedding, str):
        return tuple(embedding)
    raw = base64.b64decode(embedding, validate=True)
    return struct.unpack(f"<{len(raw) // 4}f", raw)


__all__ = ["EMBEDDINGS_BODY_BYTES", "read_embeddings"]
