"""JSON schemas of this dialect's bodies, for the OpenAPI document."""

from __future__ import annotations

import re
from typing import Any, Final, TypeAlias, cast

import msgspec

from bedplate_core.jsonvalue import JSON
from bedplate_gateway.dialects.anthropic import messages_stream as stream
from bedplate_gateway.dialects.anthropic.errors import ErrorBody
from bedplate_gateway.dialects.anthropic.messages import MessageTokensCount
from bedplate_gateway.dialects.anthropic.messages_reply import MessageReply
from bedplate_gateway.dialects.anthropic.messages_wire import CountTokensRequest, MessagesRequest
from bedplate_gateway.dialects.anthropic.models import ModelInfo, ModelPage

SCHEMA_PREFIX: Final = "Anthropic"

_Event: TypeAlias = stream.MessageStreamEvent
_BODIES: Final = (
    MessagesRequest,
    MessageReply,
    CountTokensRequest,
    MessageTokensCount,
    ModelInfo,
    ModelPage,
    ErrorBody,
    _Event,
)
_PYTHON_ONLY: Final = re.compile(r"\(\?!\\n\)$")


def openapi_schemas() -> dict[str, JSON]:
    """The schema of every request and reply struct, by name.

    Names begin with `SCHEMA_PREFIX` (`AnthropicMessagesRequest`); references name `#/components/schemas/`.
    `AnthropicMessageStreamEvent` is any event of a streamed message.
    """
    template = f"#/components/schemas/{SCHEMA_PREFIX}{{name}}"
    bodies, schemas = msgspec.json.schema_components(_BODIES, ref_template=template)
    named = {f"{SCHEMA_PREFIX}{name}": _portable(schema) for name, schema in schemas.items()}
    named[f"{SCHEMA_PREFIX}MessageStreamEvent"] = _portable(bodies[-1])
    return named


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
