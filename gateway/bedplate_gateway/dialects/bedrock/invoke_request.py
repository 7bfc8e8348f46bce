"""From the bytes of an InvokeModel body to its family's exchange."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from bedplate_core.errors import InvalidRequest, PayloadTooLarge, UnsupportedFeature
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
from bedplate_gateway.dialects.decoding import clip, invalid, raw_fields

MAX_BODY_BYTES: Final = 25_000_000
"""As botocore's model has it."""

_OURS: Final = "amazon-bedrock-"
"""How the fields begin by which a body speaks to Bedrock and not to the model."""
GUARDRAIL_CONFIG: Final = "amazon-bedrock-guardrailConfig"


class GuardrailBodyConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a body says about the guardrail: how it marks content, and how a stream is processed."""

    tagSuffix: Annotated[str, Meta(pattern=r"^[0-9A-Za-z_\-]{1,20}$(?!\n)")] | None = None  # noqa: N815 # the wire's name
    streamProcessingMode: Literal["SYNCHRONOUS", "ASYNCHRONOUS"] | None = None  # noqa: N815 # the wire's name


_CONFIG: Final = msgspec.json.Decoder(GuardrailBodyConfig | None)


def split_guardrail(body: bytes) -> tuple[bytes, GuardrailBodyConfig | None]:
    """The body without what it says about the guardrail, and that. Raises `InvalidRequest`."""
    if GUARDRAIL_CONFIG.encode() not in body:
        return body, None
    fields = raw_fields(body)
    given = fields.pop(GUARDRAIL_CONFIG, None)
    if given is None:
        return body, None
    try:
        config = _CONFIG.decode(given)
    except msgspec.ValidationError as error:
        wrong = invalid(str(error))
        if wrong.param is None:
            raise InvalidRequest(f"{GUARDRAIL_CONFIG}: {wrong.message}", param=GUARDRAIL_CONFIG) from None
        param = f"{GUARDRAIL_CONFIG}.{wrong.param}"
        raise InvalidRequest(f"{GUARDRAIL_CONFIG}.{wrong.message}", param=param) from None
    except (msgspec.DecodeError, RecursionError, ValueError):
        raise InvalidRequest(f"{GUARDRAIL_CONFIG}: must be a JSON object", param=GUARDRAIL_CONFIG) from None
    return msgspec.json.encode(fields), config


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
                f"{shown}: is not supported, and not ignored either",
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


__all__ = ["GUARDRAIL_CONFIG", "MAX_BODY_BYTES", "GuardrailBodyConfig", "decode_native", "split_guardrail"]
