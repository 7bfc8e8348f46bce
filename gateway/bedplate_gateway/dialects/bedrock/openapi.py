"""JSON schemas of this dialect's bodies, for the OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, cast

import msgspec

from bedplate_core.jsonvalue import JSON
from bedplate_gateway.dialects.bedrock.apply_guardrail import ApplyGuardrailRequest, ApplyGuardrailResponse
from bedplate_gateway.dialects.bedrock.converse_reply import ConverseResponse
from bedplate_gateway.dialects.bedrock.converse_stream import ConverseStreamEvent
from bedplate_gateway.dialects.bedrock.converse_wire import ConverseRequest
from bedplate_gateway.dialects.bedrock.errors import ExceptionBody
from bedplate_gateway.dialects.bedrock.guardrails_wire import GUARDRAIL_BODIES
from bedplate_gateway.dialects.bedrock.invoke_openapi import INVOKE_BODIES, invoke_unions
from bedplate_gateway.dialects.bedrock.sessions_wire import SESSION_BODIES

SCHEMA_PREFIX: Final = "Bedrock"

ERROR_STATUSES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "400": (
            "The request is wrong, at odds with another turn or with the request that had its idempotency key, or over "
            "a budget; `x-amzn-errortype` says which"
        ),
        "403": "The credential is missing, not valid, or does not permit this",
        "404": "There is no such model or session",
        "408": "The model was too slow",
        "424": "The model failed in a way that trying again does not mend",
        "429": "Too many requests; `x-amz-retry-after` says when to try again, in milliseconds",
        "500": "The gateway failed",
        "503": "A model or the database is away",
    }
)
"""What the statuses of this wire mean."""

_BODIES: Final = (
    ConverseRequest,
    ConverseResponse,
    ConverseStreamEvent,
    ExceptionBody,
    *INVOKE_BODIES,
    *SESSION_BODIES,
    *GUARDRAIL_BODIES,
    ApplyGuardrailRequest,
    ApplyGuardrailResponse,
)
_PYTHON_ONLY: Final = re.compile(r"\(\?!\\n\)$")


def openapi_schemas() -> dict[str, JSON]:
    """The schema of every request and reply struct, by name.

    Names begin with `SCHEMA_PREFIX` (`BedrockConverseRequest`); references name `#/components/schemas/`. A
    `ConverseStreamEvent` is one frame of a stream, its event type as the member's name.
    """
    _, schemas = msgspec.json.schema_components(_BODIES, ref_template=f"#/components/schemas/{SCHEMA_PREFIX}{{name}}")
    named = {f"{SCHEMA_PREFIX}{name}": _portable(schema) for name, schema in schemas.items()}
    return named | invoke_unions(SCHEMA_PREFIX)


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


__all__ = ["ERROR_STATUSES", "SCHEMA_PREFIX", "openapi_schemas"]
