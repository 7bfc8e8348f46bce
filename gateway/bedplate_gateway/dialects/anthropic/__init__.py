"""The Anthropic dialect: messages, token counts, models and errors."""

from bedplate_gateway.dialects.anthropic.errors import error_reply
from bedplate_gateway.dialects.anthropic.messages import CountTokensExchange, MessagesExchange
from bedplate_gateway.dialects.anthropic.models import ModelEntry, PageQuery, model_body, model_page
from bedplate_gateway.dialects.anthropic.openapi import openapi_schemas

__all__ = [
    "CountTokensExchange",
    "MessagesExchange",
    "ModelEntry",
    "PageQuery",
    "error_reply",
    "model_body",
    "model_page",
    "openapi_schemas",
]
