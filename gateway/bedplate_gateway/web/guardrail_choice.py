"""The header `x-bedplate-guardrail`: which guardrail a call chooses, in every dialect.

x-bedplate-guardrail: safe          the draft of the guardrail with that name or id
x-bedplate-guardrail: safe:3        its version 3
x-bedplate-guardrail: arn:aws:bedrock:...:guardrail/abc:3
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from bedplate_core.errors import InvalidRequest
from bedplate_core.guardrail_choice import GuardrailChoice
from bedplate_gateway.engine.call import Call
from bedplate_gateway.web.incoming import GUARDRAIL_HEADER

_CHOICE: Final = re.compile(r"(?P<identifier>[!-~](?:[ -~]{0,2046}[!-~])?)")
_VERSION: Final = re.compile(r"(?P<identifier>.+):(?P<version>DRAFT|[1-9][0-9]{0,7})")


def choice_of_header(value: str) -> GuardrailChoice:
    """What the header says. Raises `InvalidRequest` naming it."""
    given = value.strip()
    if _CHOICE.fullmatch(given) is None:
        raise InvalidRequest(
            f"{GUARDRAIL_HEADER}: expected a guardrail's name, id or ARN, with `:` and a version where not the draft "
            "is meant",
            param=GUARDRAIL_HEADER,
        )
    versioned = _VERSION.fullmatch(given)
    if versioned is None:
        return GuardrailChoice(identifier=given, param=GUARDRAIL_HEADER)
    return GuardrailChoice(identifier=versioned["identifier"], version=versioned["version"], param=GUARDRAIL_HEADER)


def with_guardrail(call: Call, choice: GuardrailChoice | None) -> Call:
    """The call with what its body says about guardrails. Raises `InvalidRequest` where header and body both choose."""
    if choice is None:
        return call
    if call.guardrail is not None and choice.identifier is not None:
        raise InvalidRequest(
            f"{choice.param}: the header {GUARDRAIL_HEADER} names the guardrail already", param=choice.param
        )
    if call.guardrail is not None:
        choice = msgspec.structs.replace(choice, identifier=call.guardrail.identifier, version=call.guardrail.version)
    return msgspec.structs.replace(call, guardrail=choice)


__all__ = ["choice_of_header", "with_guardrail"]
