"""From the bytes of an InvokeModel body to its family's exchange."""

from __future__ import annotations

from typing import Final

from bedplate_core.errors import PayloadTooLarge, UnsupportedFeature
from bedplate_gateway.dialects.bedrock.cohere_embed import CohereEmbedding
from bedplate_gateway.dialects.bedrock.families import Family, family_of
from bedplate_gateway.dialects.bedrock.family_agreement import check_agreement
from bedplate_gateway.dialects.bedrock.family_chat import decode_chat_native
from bedplate_gateway.dialects.bedrock.family_messages import MessagesNative
from bedplate_gateway.dialects.bedrock.invoke_native import Native
from bedplate_gateway.dialects.bedrock.llama_text import LlamaText
from bedplate_gateway.dialects.bedrock.mistral_text import MistralText
from bedplate_gateway.dialects.bedrock.model_ids import model_name
from bedplate_gateway.dialects.bedrock.titan_embed import TitanEmbedding
from bedplate_gateway.dialects.decoding import clip, raw_fields

MAX_BODY_BYTES: Final = 25_000_000
"""As botocore's model has it."""

_OURS: Final = "amazon-bedrock-"
"""How the fields begin by which a body speaks to Bedrock and not to the model, such as `guardrailConfig`."""


def decode_native(
    body: bytes, *, model_id: str, stream: bool, continues: bool = False
) -> Native | TitanEmbedding | CohereEmbedding:
    """The exchange of a body, whose family the body decides (`families`).

    `model_id` is the path's identifier; `continues` says that the call goes on from a stored conversation. Raises
    `InvalidRequest`, `UnsupportedFeature` or `PayloadTooLarge`, nothing else.
    """
    model = model_name(model_id)
    if len(body) > MAX_BODY_BYTES:
        raise PayloadTooLarge(f"body: is larger than {MAX_BODY_BYTES} bytes", param="body")
    fields = raw_fields(body)
    for name in fields:
        if name.startswith(_OURS):
            shown = clip(name, 64)
            raise UnsupportedFeature(
                f"{shown}: is not supported, and not ignored either; the project's own guardrail holds for every call",
                param=shown,
            )
    family = family_of(fields)
    match family:
        case Family.TITAN_EMBEDDING | Family.COHERE_EMBEDDING if stream:
            raise UnsupportedFeature("body: embeddings are not streamed; call InvokeModel", param="body")
        case Family.TITAN_EMBEDDING:
            return TitanEmbedding.decode(body, model=model)
        case Family.COHERE_EMBEDDING:
            return CohereEmbedding.decode(body, model=model)
        case Family.LLAMA:
            return LlamaText.decode(body, model=model, stream=stream)
        case Family.MISTRAL:
            return MistralText.decode(body, model=model, stream=stream)
        case Family.OPENAI:
            check_agreement(fields, names=(model_id, model), stream=stream)
            return decode_chat_native(fields, model=model, stream=stream, continues=continues)
        case Family.ANTHROPIC:
            check_agreement(fields, names=(model_id, model), stream=stream)
            return MessagesNative.decode(body, fields, model=model, stream=stream, continues=continues)


__all__ = ["MAX_BODY_BYTES", "decode_native"]
