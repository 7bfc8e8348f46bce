"""How guardrails are named by Bedrock: ids of small letters and digits, ARNs, `DRAFT` and numbers.

Source: botocore 1.44.8's model of `bedrock` (2023-04-20; `GuardrailIdentifier`, `GuardrailVersion`,
`TaggableResourcesArn`), compared November 2026. Partition, region and account of an ARN that comes in are not looked
at.
"""

from __future__ import annotations

import re
from typing import Final

from bedplate_core.errors import InvalidRequest, NotFound
from bedplate_gateway.catalogue.guardrail_index import Version, identifier_of, is_version, version_of
from bedplate_gateway.dialects.bedrock.foundation_models import REGION
from bedplate_gateway.dialects.bedrock.sessions_ids import ACCOUNT
from bedplate_gateway.dialects.decoding import clip

ID_PATTERN: Final = r"[a-z0-9]+"
MAX_IDENTIFIER_CHARS: Final = 2048

_ID: Final = re.compile(ID_PATTERN)
_ARN: Final = re.compile(r"arn:[^:]+:[^:]+:[^:]*:[^:]*:.+", re.DOTALL)
_MAX_ARN_CHARS: Final = 1011


def guardrail_id(text: str, param: str = "guardrailIdentifier") -> str:
    """The id that an identifier names. Whether there is such a guardrail is not checked. Raises `InvalidRequest`."""
    name = identifier_of(text)
    if len(text) > MAX_IDENTIFIER_CHARS or _ID.fullmatch(name) is None:
        raise InvalidRequest(f"{param}: expected a guardrail's id or ARN, got {clip(text, 64)!r}", param=param)
    return name


def guardrail_version(text: str | None, param: str = "guardrailVersion") -> Version:
    """The version that a query names; no value is the draft. Raises `InvalidRequest`."""
    if text is None:
        return None
    if not is_version(text):
        raise InvalidRequest(f"{param}: expected DRAFT or a version's number, got {clip(text, 64)!r}", param=param)
    return version_of(text)


def numbered_version(text: str, param: str = "guardrailVersion") -> int:
    """The version that must be a number. Raises `InvalidRequest`."""
    version = guardrail_version(text, param)
    if version is None:
        raise InvalidRequest(f"{param}: expected a version's number, not DRAFT", param=param)
    return version


def tagged_guardrail(text: str) -> str:
    """The id that an ARN names. Raises `InvalidRequest` for what is no ARN, `NotFound` for another thing's."""
    if len(text) > _MAX_ARN_CHARS or _ARN.fullmatch(text) is None:
        raise InvalidRequest(f"resourceARN: {clip(text, 64)!r} is not an ARN", param="resourceARN")
    name = identifier_of(text)
    if name == text:
        raise NotFound("resourceARN: there is no resource with this ARN that has tags here", param="resourceARN")
    return name


def guardrail_arn(name: str) -> str:
    """The ARN of the guardrail with this id."""
    return f"arn:aws:bedrock:{REGION}:{ACCOUNT}:guardrail/{name}"


def profile_of(identifier: str) -> tuple[str, str]:
    """The id and the ARN of a guardrail profile that is named by either."""
    if identifier.startswith("arn:"):
        return identifier.rpartition("/")[2], identifier
    return identifier, f"arn:aws:bedrock:{REGION}:{ACCOUNT}:guardrail-profile/{identifier}"


__all__ = [
    "ID_PATTERN",
    "guardrail_arn",
    "guardrail_id",
    "guardrail_version",
    "numbered_version",
    "profile_of",
    "tagged_guardrail",
]
