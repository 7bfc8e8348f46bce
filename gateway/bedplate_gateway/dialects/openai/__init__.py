"""The OpenAI dialect: chat completions, completions, embeddings, models and errors."""

from bedplate_gateway.dialects.openai.chat import ChatExchange
from bedplate_gateway.dialects.openai.completion import CompletionExchange
from bedplate_gateway.dialects.openai.embeddings import EmbeddingsExchange
from bedplate_gateway.dialects.openai.errors import error_reply
from bedplate_gateway.dialects.openai.models import ModelEntry, model_body, model_list
from bedplate_gateway.dialects.openai.openapi import openapi_schemas

__all__ = [
    "ChatExchange",
    "CompletionExchange",
    "EmbeddingsExchange",
    "ModelEntry",
    "error_reply",
    "model_body",
    "model_list",
    "openapi_schemas",
]
