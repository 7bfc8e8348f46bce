"""The schemas of InvokeModel's bodies, of CountTokens and of the models, for the OpenAPI document."""

from __future__ import annotations

from typing import Final

from bedplate_core.jsonvalue import JSON, JSONObject
from bedplate_gateway.dialects.bedrock.cohere_embed import CohereEmbedAnswer, CohereEmbedRequest
from bedplate_gateway.dialects.bedrock.count_tokens import CountTokensRequest, CountTokensResponse
from bedplate_gateway.dialects.bedrock.foundation_models import (
    GetFoundationModelResponse,
    ListFoundationModelsResponse,
)
from bedplate_gateway.dialects.bedrock.llama_text import LlamaAnswer, LlamaChunk, LlamaRequest
from bedplate_gateway.dialects.bedrock.mistral_text import MistralAnswer, MistralRequest
from bedplate_gateway.dialects.bedrock.titan_embed import TitanEmbedAnswer, TitanEmbedRequest

INVOKE_BODIES: Final = (
    LlamaRequest,
    LlamaAnswer,
    LlamaChunk,
    MistralRequest,
    MistralAnswer,
    TitanEmbedRequest,
    TitanEmbedAnswer,
    CohereEmbedRequest,
    CohereEmbedAnswer,
    CountTokensRequest,
    CountTokensResponse,
    ListFoundationModelsResponse,
    GetFoundationModelResponse,
)

_ANY_OF: Final = {
    "InvokeModelBody": (
        "AnthropicMessagesRequest",
        "OpenAIChatCompletionRequest",
        "BedrockLlamaRequest",
        "BedrockMistralRequest",
        "BedrockTitanEmbedRequest",
        "BedrockCohereEmbedRequest",
    ),
    "InvokeModelAnswer": (
        "AnthropicMessageReply",
        "OpenAIChatCompletion",
        "BedrockLlamaAnswer",
        "BedrockMistralAnswer",
        "BedrockTitanEmbedAnswer",
        "BedrockCohereEmbedAnswer",
    ),
    "InvokeModelChunk": (
        "AnthropicMessageStreamEvent",
        "OpenAIChatCompletionChunk",
        "BedrockLlamaChunk",
        "BedrockMistralAnswer",
    ),
}


def invoke_unions(prefix: str) -> dict[str, JSON]:
    """The bodies that are one of several, by `prefix` and name; they refer to the other dialects' schemas as well."""
    return {f"{prefix}{name}": _any_of(schemas) for name, schemas in _ANY_OF.items()}


def _any_of(schemas: tuple[str, ...]) -> JSONObject:
    return {"anyOf": [{"$ref": f"#/components/schemas/{schema}"} for schema in schemas]}


__all__ = ["INVOKE_BODIES", "invoke_unions"]
