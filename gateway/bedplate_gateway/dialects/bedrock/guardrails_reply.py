"""Guardrails as Bedrock's operations answer them.

Documents are kept under the names of requests (`topicPolicyConfig.topicsConfig`) and shown under those of answers
(`topicPolicy.topics`). A tier that was not given is shown as the one that is in force.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final, cast

import msgspec

from bedplate_core.ids import ProjectId
from bedplate_core.jsonvalue import JSON, JSONObject
from bedplate_gateway.catalogue.guardrail_index import DRAFT
from bedplate_gateway.catalogue.guardrail_rows import EnforcedRow, GuardrailRow, VersionRow
from bedplate_gateway.catalogue.guardrail_store import EnforcedList, Frozen, Made
from bedplate_gateway.catalogue.holds import is_selective
from bedplate_gateway.dialects.bedrock import guardrails_wire as wire
from bedplate_gateway.dialects.bedrock.guardrails_ids import guardrail_arn, profile_of
from bedplate_gateway.dialects.decoding import clip
from bedplate_guardrails.holdback import HoldBack

DECLARED: Final = "declared"
"""The `configId` of what the installation's files make mandatory in a project."""

_MAX_REASON_CHARS: Final = 200
_CLASSIC: Final[JSONObject] = {"tierName": "CLASSIC"}
_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "topicsConfig": "topics",
        "filtersConfig": "filters",
        "wordsConfig": "words",
        "managedWordListsConfig": "managedWordLists",
        "piiEntitiesConfig": "piiEntities",
        "regexesConfig": "regexes",
        "tierConfig": "tier",
    }
)
_TIERED: Final = frozenset({"topicPolicyConfig", "contentPolicyConfig", "contextualGroundingPolicyConfig"})


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where the next page of guardrails begins: after the one with this time and id."""

    created_at: datetime
    id: str


def created(made: Made) -> bytes:
    """The body of CreateGuardrail's answer."""
    return msgspec.json.encode(
        wire.CreateGuardrailResponse(
            guardrail_id=made.id, guardrail_arn=guardrail_arn(made.id), version=DRAFT, created_at=made.created_at
        )
    )


def updated(name: str, at: datetime) -> bytes:
    """The body of UpdateGuardrail's answer."""
    return msgspec.json.encode(
        wire.UpdateGuardrailResponse(guardrail_id=name, guardrail_arn=guardrail_arn(name), version=DRAFT, updated_at=at)
    )


def frozen(made: Frozen) -> bytes:
    """The body of CreateGuardrailVersion's answer."""
    return msgspec.json.encode(wire.CreateGuardrailVersionResponse(guardrail_id=made.id, version=str(made.version)))


def whole(
    row: GuardrailRow, version: VersionRow | None, *, problem: str | None = None, hold_back: HoldBack | None = None
) -> bytes:
    """The body of GetGuardrail's answer, for a version or with None for the draft.

    `problem` says why it cannot be enforced as it stands, and `hold_back` what it declares when it can.
    """
    document = row.document if version is None else version.document
    return msgspec.json.encode(
        wire.GetGuardrailResponse(
            name=row.name if version is None else version.name,
            guardrail_id=row.id,
            guardrail_arn=guardrail_arn(row.id),
            version=DRAFT if version is None else str(version.version),
            status="READY" if problem is None else "FAILED",
            created_at=row.created_at if version is None else version.created_at,
            updated_at=row.updated_at if version is None else version.created_at,
            blocked_input_messaging=str(document.get("blockedInputMessaging", "")),
            blocked_outputs_messaging=str(document.get("blockedOutputsMessaging", "")),
            description=row.description if version is None else version.description,
            topic_policy=_policy(document, "topicPolicyConfig"),
            content_policy=_policy(document, "contentPolicyConfig"),
            word_policy=_policy(document, "wordPolicyConfig"),
            sensitive_information_policy=_policy(document, "sensitiveInformationPolicyConfig"),
            contextual_grounding_policy=_policy(document, "contextualGroundingPolicyConfig"),
            cross_region_details=_cross_region(document),
            status_reasons=() if problem is None else (clip(problem, _MAX_REASON_CHARS),),
            failure_recommendations=() if problem is None else ("Change the guardrail, or what is installed here.",),
            bedplate_config=cast("JSONObject | None", document.get("bedplateConfig")),
            bedplate_hold_back=None if hold_back is None else _hold_back(hold_back),
        )
    )


def _hold_back(hold_back: HoldBack) -> wire.HoldBackDetails:
    return wire.HoldBackDetails(bytes=hold_back.bytes, evaluation_ms=hold_back.evaluation_ms)


def drafts(rows: Sequence[GuardrailRow], token: str | None) -> bytes:
    """The body of ListGuardrails' answer, for all guardrails."""
    return _list([_summary(row, None) for row in rows], token)


def versions(row: GuardrailRow, shown: Sequence[VersionRow | None], token: str | None) -> bytes:
    """The body of ListGuardrails' answer, for one guardrail. None is its draft."""
    return _list([_summary(row, version) for version in shown], token)


def put_enforced(row: EnforcedRow) -> bytes:
    """The body of PutEnforcedGuardrailConfiguration's answer."""
    return msgspec.json.encode(
        wire.PutEnforcedGuardrailConfigurationResponse(
            config_id=row.config_id, updated_at=row.updated_at, updated_by=row.updated_by
        )
    )


def enforced(found: EnforcedList, project: ProjectId) -> bytes:
    """The body of ListEnforcedGuardrailsConfiguration's answer: what the files declare, then what the API made."""
    entries = [_enforced(row) for row in found.rows if row.project_id == project]
    if found.declared is not None:
        entry, version = found.declared
        entries.insert(
            0,
            wire.EnforcedGuardrail(
                config_id=DECLARED,
                guardrail_arn=guardrail_arn(entry.id),
                guardrail_id=entry.id,
                guardrail_version=None if version is None else str(version),
                input_tags="IGNORE",
                owner="ACCOUNT",
            ),
        )
    return msgspec.json.encode(wire.ListEnforcedGuardrailsConfigurationResponse(guardrails_config=tuple(entries)))


def tags(given: Mapping[str, str]) -> bytes:
    """The body of ListTagsForResource's answer."""
    listed = tuple(wire.GuardrailTag(key=key, value=given[key]) for key in sorted(given))
    return msgspec.json.encode(wire.GuardrailTagsResponse(tags=listed))


def _list(summaries: Sequence[wire.GuardrailSummary], token: str | None) -> bytes:
    return msgspec.json.encode(wire.ListGuardrailsResponse(guardrails=tuple(summaries), next_token=token))


def _summary(row: GuardrailRow, version: VersionRow | None) -> wire.GuardrailSummary:
    return wire.GuardrailSummary(
        id=row.id,
        arn=guardrail_arn(row.id),
        status="READY",
        name=row.name if version is None else version.name,
        version=DRAFT if version is None else str(version.version),
        created_at=row.created_at if version is None else version.created_at,
        updated_at=row.updated_at if version is None else version.created_at,
        description=row.description if version is None else version.description,
        cross_region_details=_cross_region(row.document if version is None else version.document),
    )


def _enforced(row: EnforcedRow) -> wire.EnforcedGuardrail:
    return wire.EnforcedGuardrail(
        config_id=row.config_id,
        guardrail_arn=guardrail_arn(row.guardrail_id),
        guardrail_id=row.guardrail_id,
        guardrail_version=str(row.version),
        input_tags="HONOR" if is_selective(row.selective) else "IGNORE",
        owner="ACCOUNT",
        selective_content_guarding=row.selective,
        created_at=row.created_at,
        created_by=row.created_by,
        updated_at=row.updated_at,
        updated_by=row.updated_by,
        model_enforcement=row.model_enforcement,
    )


def _policy(document: JSONObject, member: str) -> JSONObject | None:
    given = document.get(member)
    if not isinstance(given, dict):
        return None
    shown: JSONObject = {_NAMES.get(name, name): value for name, value in given.items()}
    if member in _TIERED:
        shown.setdefault("tier", _CLASSIC)
    return shown


def _cross_region(document: JSONObject) -> wire.CrossRegionDetails | None:
    given: JSON = document.get("crossRegionConfig")
    identifier = given.get("guardrailProfileIdentifier") if isinstance(given, dict) else None
    if not isinstance(identifier, str):
        return None
    name, arn = profile_of(identifier)
    return wire.CrossRegionDetails(guardrail_profile_id=name, guardrail_profile_arn=arn)


__all__ = [
    "DECLARED",
    "Place",
    "created",
    "drafts",
    "enforced",
    "frozen",
    "put_enforced",
    "tags",
    "updated",
    "versions",
    "whole",
]
