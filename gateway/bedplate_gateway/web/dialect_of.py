"""Which dialect a request speaks, for what is said before its route is known: refused keys, paths that are not there.

The SDKs choose their exception by the error's form and look for the request's id in their own header, so both follow
the path. The answer to a call is its route's business.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote

import msgspec
from litestar.types import Scope

from bedplate_gateway.dialects.anthropic.errors import error_reply as anthropic_error_reply
from bedplate_gateway.dialects.base import ErrorRenderer
from bedplate_gateway.dialects.bedrock.errors import error_reply as bedrock_error_reply
from bedplate_gateway.dialects.openai.errors import error_reply as openai_error_reply


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """How one family of SDKs is spoken to. `request_id_header` is sent beside `x-request-id`, which all get."""

    name: str
    error_reply: ErrorRenderer
    request_id_header: bytes | None = None


OPENAI: Final = Dialect(name="openai", error_reply=openai_error_reply)
ANTHROPIC: Final = Dialect(name="anthropic", error_reply=anthropic_error_reply, request_id_header=b"request-id")
BEDROCK: Final = Dialect(name="bedrock", error_reply=bedrock_error_reply, request_id_header=b"x-amzn-requestid")

_ANTHROPIC_PATH = "/v1/messages"
_ANTHROPIC_HEADER = b"anthropic-version"

BEDROCK_ROOTS: Final = frozenset(
    {
        "advanced-prompt-optimization-job",
        "advanced-prompt-optimization-jobs",
        "agenticRetrieveStream",
        "agents",
        "async-invoke",
        "automated-reasoning-policies",
        "create-foundation-model-agreement",
        "custom-models",
        "data-retention",
        "delete-foundation-model-agreement",
        "enforcedGuardrailsConfiguration",
        "evaluation-job",
        "evaluation-jobs",
        "flows",
        "foundation-model-availability",
        "foundation-models",
        "generateQuery",
        "guardrail",
        "guardrail-checks",
        "guardrails",
        "imported-models",
        "inference-profiles",
        "knowledgebases",
        "list-foundation-model-agreement-offers",
        "listTagsForResource",
        "logging",
        "marketplace-model",
        "model",
        "model-copy-jobs",
        "model-customization",
        "model-customization-jobs",
        "model-import-jobs",
        "model-invocation-job",
        "model-invocation-jobs",
        "optimize-prompt",
        "projects",
        "prompt-routers",
        "prompts",
        "provisioned-model-throughput",
        "provisioned-model-throughputs",
        "rerank",
        "resource-policy",
        "resourcepolicy",
        "retrievalinstructions",
        "retrieveAndGenerate",
        "retrieveAndGenerateStream",
        "sessions",
        "tagResource",
        "tags",
        "trusted-access-programs",
        "untagResource",
        "use-case-for-model-access",
    }
)
"""The first segments of the paths of Bedrock's four services (botocore 1.44.8), but for `v1`, which is others' here."""


def dialect_of(path: str, headers: Iterable[tuple[bytes, bytes]]) -> Dialect:
    """The dialect of a request by its decoded path; `/v1/...` is Anthropic's for who sends their version header."""
    path = "/" + path.lstrip("/")
    if path.startswith("/v1/"):
        if path.startswith(_ANTHROPIC_PATH) and path[len(_ANTHROPIC_PATH) :][:1] in ("", "/"):
            return ANTHROPIC
        return ANTHROPIC if any(name == _ANTHROPIC_HEADER for name, _ in headers) else OPENAI
    return BEDROCK if path[1:].partition("/")[0] in BEDROCK_ROOTS else OPENAI


def dialect_in(scope: Scope) -> Dialect:
    """The dialect of the request that `scope` begins."""
    return dialect_of(scope["path"], scope["headers"])


def path_by_segments(raw_path: bytes) -> str:
    """A raw path decoded segment by segment, in which a `/` inside a segment stays `%2F`.

    SDKs for AWS encode an identifier whole, and ARNs have slashes in them: decoded all at once, such a path has more
    segments than its route. Who needs the identifier itself reads the raw path (`Incoming.segment`).
    """
    segments = raw_path.decode("ascii", "replace").split("/")
    return "/".join(unquote(segment).replace("/", "%2F") for segment in segments)


__all__ = ["ANTHROPIC", "BEDROCK", "BEDROCK_ROOTS", "OPENAI", "Dialect", "dialect_in", "dialect_of", "path_by_segments"]
