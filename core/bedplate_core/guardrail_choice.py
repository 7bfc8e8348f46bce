"""The guardrail that a request asks for, beside those that hold whether it asks or not."""

from __future__ import annotations

import msgspec


class GuardrailChoice(msgspec.Struct, frozen=True, kw_only=True):
    """What a request says about guardrails, whichever dialect it is in.

    `identifier` is a guardrail's id, name or ARN; None leaves the choice to the project's default. `version` is a
    number or `DRAFT`. `trace` asks for the assessments with the answer, `full` for those of what passed as well.
    `releases_first` asks that text leaves before models judged it (Bedrock's asynchronous mode); a policy that does not
    allow it refuses. `tag_suffix` marks, by Bedrock's input tags in InvokeModel's texts, what is to be evaluated.
    `params` are the names, as the client spelt them, of the fields that an error should name.
    """

    identifier: str | None = None
    version: str = "DRAFT"
    trace: bool = False
    full: bool = False
    releases_first: bool = False
    tag_suffix: str | None = None
    param: str = "guardrailIdentifier"


__all__ = ["GuardrailChoice"]
