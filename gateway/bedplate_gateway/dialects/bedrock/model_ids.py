"""The model that a Bedrock model identifier names.

The kinds of identifier are those of botocore 1.44.8's `ConversationalModelId` and `InvokeModelIdentifier`, compared
November 2026. Their patterns are not applied: the catalogue says which names exist, and names of open models
(`Qwen/Qwen3-8B`) fit none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_gateway.dialects.decoding import clip

MAX_MODEL_ID_CHARS: Final = 2048

MODEL_RESOURCES: Final = frozenset(
    {
        "application-inference-profile",
        "custom-model",
        "custom-model-deployment",
        "foundation-model",
        "imported-model",
        "inference-profile",
        "provisioned-model",
    }
)
"""Resource types whose name is looked up in the catalogue, where every one of them is a route."""

_REFUSED_RESOURCES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "prompt": "stored prompts cannot be run here; send messages",
        "prompt-router": "prompt routers are not served; name a model",
        "default-prompt-router": "prompt routers are not served; name a model",
    }
)


def model_name(identifier: str) -> str:
    """The catalogue's name for `identifier`, which is decoded from the path.

    A plain name, with or without slashes, is itself. Of an ARN it is all that follows the resource type; partition,
    region and account say where AWS would keep the model and are not looked at. Raises `InvalidRequest` for what is
    neither and `UnsupportedFeature` for ARNs of things that are not served. Whether the name exists is not checked.
    """
    if not 1 <= len(identifier) <= MAX_MODEL_ID_CHARS:
        raise _invalid(f"must have 1 to {MAX_MODEL_ID_CHARS} characters")
    if not identifier.startswith("arn:"):
        return identifier
    fields = identifier.split(":", 5)
    if len(fields) < 6:
        raise _invalid(f"{clip(identifier, 128)!r} is not an ARN")
    kind, _, name = fields[5].partition("/")
    if fields[2] != "bedrock":
        raise UnsupportedFeature(f"modelId: ARNs of {clip(fields[2], 64)!r} are not served", param="modelId")
    if kind in _REFUSED_RESOURCES:
        raise UnsupportedFeature(f"modelId: {_REFUSED_RESOURCES[kind]}", param="modelId")
    if kind not in MODEL_RESOURCES or not name:
        raise _invalid(f"{clip(identifier, 128)!r} does not name a model")
    return name


def _invalid(reason: str) -> InvalidRequest:
    return InvalidRequest(f"modelId: {reason}", param="modelId")


__all__ = ["MAX_MODEL_ID_CHARS", "MODEL_RESOURCES", "model_name"]
