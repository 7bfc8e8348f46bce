"""The headers that choose a guardrail: InvokeModel's, which AWS's OpenAI-compatible chat completions take as well."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from bedplate_core.errors import InvalidRequest
from bedplate_core.guardrail_choice import GuardrailChoice
from bedplate_gateway.dialects.bedrock.guardrails_ids import MAX_IDENTIFIER_CHARS
from bedplate_gateway.dialects.decoding import clip

IDENTIFIER_HEADER: Final = "x-amzn-bedrock-guardrailidentifier"
VERSION_HEADER: Final = "x-amzn-bedrock-guardrailversion"
TRACE_HEADER: Final = "x-amzn-bedrock-trace"
TRACES: Final = ("ENABLED", "DISABLED", "ENABLED_FULL")

_VERSION: Final = re.compile(r"DRAFT|[1-9][0-9]{0,7}")


def choice_of_headers(header: Callable[[str], str | None]) -> GuardrailChoice | None:
    """What the headers say; None when they say nothing. `header` gives a header's value by its lower-case name.

    Raises `InvalidRequest` naming the header for a value that the wire does not have.
    """
    identifier, version = header(IDENTIFIER_HEADER) or None, header(VERSION_HEADER) or None
    trace = header(TRACE_HEADER)
    if trace is not None and trace not in TRACES:
        raise InvalidRequest(
            f"{TRACE_HEADER}: expected one of {', '.join(TRACES)}, got {clip(trace, 64)!r}", param=TRACE_HEADER
        )
    if (identifier is None) != (version is None):
        missing = IDENTIFIER_HEADER if identifier is None else VERSION_HEADER
        raise InvalidRequest(f"{missing}: identifier and version of a guardrail are given together", param=missing)
    if identifier is not None and len(identifier) > MAX_IDENTIFIER_CHARS:
        raise InvalidRequest(
            f"{IDENTIFIER_HEADER}: is longer than {MAX_IDENTIFIER_CHARS} characters", param=IDENTIFIER_HEADER
        )
    check_version(version, VERSION_HEADER)
    asks = trace in ("ENABLED", "ENABLED_FULL")
    if identifier is None and not asks:
        return None
    return GuardrailChoice(
        identifier=identifier,
        version=version or "DRAFT",
        trace=asks,
        full=trace == "ENABLED_FULL",
        param=IDENTIFIER_HEADER,
    )


def check_version(version: str | None, param: str) -> None:
    """Raise `InvalidRequest` for what is no version."""
    if version is not None and _VERSION.fullmatch(version) is None:
        raise InvalidRequest(f"{param}: expected DRAFT or a version's number, got {clip(version, 64)!r}", param=param)


__all__ = ["IDENTIFIER_HEADER", "TRACES", "TRACE_HEADER", "VERSION_HEADER", "check_version", "choice_of_headers"]
