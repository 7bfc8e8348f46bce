"""What one guardrail did in one call, as the record keeps it: how much and how long, never what."""

from __future__ import annotations

import msgspec

from bedplate_core.assessment import GuardrailUnits


class GuardrailUse(msgspec.Struct, frozen=True, kw_only=True):
    """One guardrail on one side of a call.

    `units` are text units by kind of policy, `chars` the characters evaluated, `latency_ms` the time that took.
    `hold_back_bytes` is the most that the guardrail keeps back of a text of an answer; None where that is all of it,
    and for a request, which is always evaluated whole.
    """

    id: str
    name: str
    version: str
    origin: str
    side: str
    intervened: bool
    units: GuardrailUnits
    chars: int
    latency_ms: float
    hold_back_bytes: int | None = None


__all__ = ["GuardrailUse"]
