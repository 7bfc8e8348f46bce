"""JSON schemas of this dialect's bodies, for the OpenAPI document."""

from __future__ import annotations

import re
from typing import Any, Final, cast

import msgspec

from bedplate_core.jsonvalue import JSON
from bedplate_gateway.dialects.openai.chat_reply import ChatCompletion
from bedplate_gateway.dialects.openai.chat_stream import ChatCompletionChunk
from bedplate_gateway.dialects.openai.chat_wire import ChatCompletionRequest
from bedplate_gateway.dialects.openai.completion_wire import Completion, CompletionRequest
from bedplate_gateway.dialects.openai.conversations_wire import (
    ConversationCreate,
    ConversationObject,
    ConversationUpdate,
    DeletedConversation,
    ItemsCreate,
)
from bedplate_gateway.dialects.openai.embeddings import CreateEmbeddingResponse, EmbeddingsRequest
from bedplate_gateway.dialects.openai.errors import ErrorBody
from bedplate_gateway.dialects.openai.models import Model, ModelList
from bedplate_gateway.dialects.openai.moderation import Moderation, ModerationRequest
from bedplate_gateway.dialects.openai.ranking import RerankBody, RerankReply, ScoreBody, ScoreReply
from bedplate_gateway.dialects.openai.responses_events import ResponseCompleted
from bedplate_gateway.dialects.openai.responses_reply import ResponseObject
from bedplate_gateway.dialects.openai.responses_stored import DeletedResponse, ResponseItemList
from bedplate_gateway.dialects.openai.responses_wire import ResponsesRequest
from bedplate_gateway.dialects.openai.tokens import DetokenizeBody, DetokenizeReply, TokenizeBody, TokenizeReply
from bedplate_gateway.dialects.openai.transcription import (
    Transcription,
    TranscriptionForm,
    TranscriptionVerbose,
    TranslationForm,
)

SCHEMA_PREFIX: Final = "OpenAI"

_BODIES: Final = (
    ChatCompletionRequest,
    ChatCompletion,
    ChatCompletionChunk,
    CompletionRequest,
    Completion,
    EmbeddingsRequest,
    CreateEmbeddingResponse,
    ModerationRequest,
    Moderation,
    Model,
    ModelList,
    TokenizeBody,
    TokenizeReply,
    DetokenizeBody,
    DetokenizeReply,
    RerankBody,
    RerankReply,
    ScoreBody,
    ScoreReply,
    TranscriptionForm,
    TranslationForm,
    Transcription,
    TranscriptionVerbose,
    ErrorBody,
    ResponsesRequest,
    ResponseObject,
    ResponseCompleted,
    ResponseItemList,
    DeletedResponse,
    ConversationCreate,
    ConversationUpdate,
    ItemsCreate,
    ConversationObject,
    DeletedConversation,
)
_PYTHON_ONLY: Final = re.compile(r"\(\?!\\n\)$")


def openapi_schemas() -> dict[str, JSON]:
    """The schema of every request and reply struct, by name.

    Names begin with `SCHEMA_PREFIX` (`OpenAIChatCompletionRequest`); references name `#/components/schemas/`.
    """
    _, schemas = msgspec.json.schema_components(_BODIES, ref_template=f"#/components/schemas/{SCHEMA_PREFIX}{{name}}")
    return {f"{SCHEMA_PREFIX}{name}": _portable(schema) for name, schema in schemas.items()}


def _portable(schema: Any) -> JSON:
    """`schema` with patterns as JSON schema's dialect writes them, where `$` is the very end."""
    if isinstance(schema, dict):
        items = cast("dict[str, Any]", schema).items()
        return {
            key: _PYTHON_ONLY.sub("", value) if key == "pattern" and isinstance(value, str) else _portable(value)
            for key, value in items
        }
    if isinstance(schema, list):
        return [_portable(item) for item in cast("list[Any]", schema)]
    return cast("JSON", schema)


__all__ = ["SCHEMA_PREFIX", "openapi_schemas"]
