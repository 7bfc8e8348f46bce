"""From the bodies of Bedrock's guardrail operations to what the store takes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

import msgspec

from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_core.jsonvalue import JSON, JSONObject
from bedplate_gateway.catalogue.guardrail_rows import Change
from bedplate_gateway.catalogue.guardrail_store import Enforcement, Repeatable
from bedplate_gateway.dialects.bedrock import guardrails_wire as wire
from bedplate_gateway.dialects.bedrock.body_reader import BodyReader
from bedplate_gateway.dialects.bedrock.guardrails_ids import guardrail_id, numbered_version, tagged_guardrail
from bedplate_gateway.dialects.decoding import bounded_json, raw_fields

OWN_MEMBER: Final = "bedplateConfig"
DOCUMENT_MEMBERS: Final = (
    "blockedInputMessaging",
    "blockedOutputsMessaging",
    "topicPolicyConfig",
    "contentPolicyConfig",
    "wordPolicyConfig",
    "sensitiveInformationPolicyConfig",
    "contextualGroundingPolicyConfig",
    "crossRegionConfig",
    OWN_MEMBER,
)
"""The members of CreateGuardrail that are the draft; the others are about it."""

_CREATE: Final = BodyReader(wire.CreateGuardrailRequest)
_UPDATE: Final = BodyReader(wire.UpdateGuardrailRequest)
_FREEZE: Final = BodyReader(wire.CreateGuardrailVersionRequest)
_ENFORCE: Final = BodyReader(wire.PutEnforcedGuardrailConfigurationRequest)
_TAG: Final = BodyReader(wire.TagGuardrailRequest)
_UNTAG: Final = BodyReader(wire.UntagGuardrailRequest)
_LIST_TAGS: Final = BodyReader(wire.ListGuardrailTagsRequest)


class NewGuardrail(msgspec.Struct, frozen=True, kw_only=True):
    """What CreateGuardrail asks for."""

    change: Change
    tags: Mapping[str, str]
    repeatable: Repeatable | None


class NewVersion(msgspec.Struct, frozen=True, kw_only=True):
    """What CreateGuardrailVersion asks for."""

    description: str | None
    repeatable: Repeatable | None


class NewEnforcement(msgspec.Struct, frozen=True, kw_only=True):
    """What PutEnforcedGuardrailConfiguration asks for."""

    config_id: str | None
    enforcement: Enforcement


def new_guardrail(body: bytes) -> NewGuardrail:
    """What CreateGuardrail asks for. Raises `InvalidRequest`, like all of these."""
    asked = _CREATE(body)
    return NewGuardrail(
        change=_change(asked, body),
        tags=_tags(asked.tags or ()),
        repeatable=_repeatable("CreateGuardrail", "", asked.client_request_token, body),
    )


def new_draft(body: bytes) -> Change:
    """The draft that UpdateGuardrail gives."""
    return _change(_UPDATE(body), body)


def new_version(body: bytes, guardrail: str) -> NewVersion:
    """What CreateGuardrailVersion asks for of the guardrail with that id."""
    asked = _FREEZE(body)
    _require_storable(asked.description, "description")
    return NewVersion(
        description=asked.description,
        repeatable=_repeatable("CreateGuardrailVersion", guardrail, asked.client_request_token, body or b"{}"),
    )


def new_enforcement(body: bytes) -> NewEnforcement:
    """What PutEnforcedGuardrailConfiguration asks for. Whether there are such models is not checked."""
    asked = _ENFORCE(body)
    config = asked.guardrail_inference_config
    at = "guardrailInferenceConfig"
    guarding = config.selective_content_guarding
    if guarding is not None and guarding.system != guarding.messages:
        raise UnsupportedFeature(
            f"{at}.selectiveContentGuarding: system and messages must be the same here (what is left out is "
            "COMPREHENSIVE)",
            param=f"{at}.selectiveContentGuarding",
        )
    return NewEnforcement(
        config_id=asked.config_id,
        enforcement=Enforcement(
            id=guardrail_id(config.guardrail_identifier, f"{at}.guardrailIdentifier"),
            version=numbered_version(config.guardrail_version, f"{at}.guardrailVersion"),
            selective=_member(guarding),
            model_enforcement=_member(config.model_enforcement),
        ),
    )


def tags_to_add(body: bytes) -> tuple[str, str, Mapping[str, str]]:
    """The id and the ARN of the guardrail, and the tags in TagResource's body."""
    asked = _TAG(body)
    return tagged_guardrail(asked.resource_arn), asked.resource_arn, _tags(asked.tags)


def keys_to_remove(body: bytes) -> tuple[str, Sequence[str]]:
    """The guardrail's id and the keys in UntagResource's body."""
    asked = _UNTAG(body)
    return tagged_guardrail(asked.resource_arn), asked.tag_keys


def tagged(body: bytes) -> str:
    """The guardrail's id in ListTagsForResource's body."""
    return tagged_guardrail(_LIST_TAGS(body).resource_arn)


def require_query(names: Sequence[str], allowed: frozenset[str]) -> None:
    """Raise `InvalidRequest` for a parameter that an operation does not have."""
    for name in names:
        if name not in allowed:
            raise InvalidRequest(f"{name[:64]}: is not a parameter of this operation", param=name[:64])


def _change(asked: wire.UpdateGuardrailRequest, body: bytes) -> Change:
    if asked.kms_key_id is not None:
        raise UnsupportedFeature(
            "kmsKeyId: guardrails are not encrypted with a key of their own here", param="kmsKeyId"
        )
    if asked.automated_reasoning_policy_config is not None:
        raise UnsupportedFeature(
            "automatedReasoningPolicyConfig: automated reasoning is not enforced here",
            param="automatedReasoningPolicyConfig",
        )
    _require_storable(asked.description, "description")
    raw = raw_fields(body)
    document: JSONObject = {}
    for member in DOCUMENT_MEMBERS:
        value = cast("JSON", msgspec.json.decode(raw[member])) if member in raw else None
        if value is not None:
            bounded_json(value, member)
            _require_storable(value, member)
            # In our own member there are JSON schemas, in which null is a value.
            document[member] = value if member == OWN_MEMBER else _without_nulls(value)
    return Change(name=asked.name, description=asked.description, document=document)


def _repeatable(operation: str, of: str, token: str | None, body: bytes) -> Repeatable | None:
    if token is None:
        return None
    fields = cast("dict[str, Any]", msgspec.json.decode(body))
    fields.pop("clientRequestToken", None)
    said = msgspec.json.encode([operation, of, fields], order="deterministic")
    return Repeatable(token=token, operation=operation, request_hash=hashlib.sha256(said).digest())


def _tags(given: Sequence[wire.GuardrailTag]) -> Mapping[str, str]:
    tags: dict[str, str] = {}
    for number, tag in enumerate(given):
        if tag.key in tags:
            raise InvalidRequest(f"tags[{number}].key: {tag.key!r} occurs twice", param=f"tags[{number}].key")
        tags[tag.key] = tag.value
    return tags


def _member(given: msgspec.Struct | None) -> JSONObject | None:
    if given is None:
        return None
    said = {
        field.encode_name: msgspec.to_builtins(getattr(given, field.name)) for field in msgspec.structs.fields(given)
    }
    for value in said.values():
        _require_storable(value, "guardrailInferenceConfig")
    return said


def _without_nulls(value: JSON) -> JSON:
    """`value` without members that are null, which say nothing."""
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_nulls(inner) for inner in value]
    return value


def _require_storable(value: JSON, param: str) -> None:
    if any("\0" in text for text in _texts(value)):  # Postgres has no text with this character in it
        raise InvalidRequest(f"{param}: cannot hold the character U+0000", param=param)


def _texts(value: JSON) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


__all__ = [
    "DOCUMENT_MEMBERS",
    "NewEnforcement",
    "NewGuardrail",
    "NewVersion",
    "keys_to_remove",
    "new_draft",
    "new_enforcement",
    "new_guardrail",
    "new_version",
    "require_query",
    "tagged",
    "tags_to_add",
]
