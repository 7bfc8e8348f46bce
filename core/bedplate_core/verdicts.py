"""What a policy decided, as the record and the dialects' assessments say it."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Action(StrEnum):
    """`ALLOW` is written only for content that was really scanned."""

    ALLOW = "allow"
    DETECT = "detect"
    """Found, and left as it is because the rule says so."""
    MASK = "mask"
    BLOCK = "block"
    SKIPPED = "skipped"
    FAILED_CLOSED = "failed_closed"
    FAILED_OPEN = "failed_open"


class Side(StrEnum):
    """Which way the content was going."""

    INPUT = "input"
    OUTPUT = "output"


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One decision of one rule of one policy version about one side of a call.

    `policy` is the guardrail's name and `guardrail` its id. `rule` names the rule (`word`, `regex:badge`, `EMAIL`,
    `content:HATE`), never the text it matched. `count` is how many matches were acted on; 0 for `ALLOW`, which speaks
    for the whole policy with `rule` set to `*`.
    """

    policy: str
    guardrail: str = ""
    version: str
    side: Side
    rule: str
    action: Action
    count: int = 0


__all__ = ["Action", "Side", "Verdict"]
