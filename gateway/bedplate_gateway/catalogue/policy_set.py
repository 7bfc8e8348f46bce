"""The guardrails that hold for a call, in the order in which they are applied."""

from __future__ import annotations

import msgspec

from bedplate_core.assessment import Origin
from bedplate_guardrails.policy import Policy


class AppliedPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """One guardrail, why it holds, and for what.

    `selective` says that where a request marks content for guardrails (`guardContent`), only that is evaluated.
    `included` and `excluded` are the models it holds for; None: all, and none.
    """

    policy: Policy
    origin: Origin
    selective: bool = False
    included: frozenset[str] | None = None
    excluded: frozenset[str] = frozenset()

    def holds_for(self, model: str) -> bool:
        """Whether it holds for calls of the model with that name."""
        return (self.included is None or model in self.included) and model not in self.excluded


class PolicySet(msgspec.Struct, frozen=True, kw_only=True):
    """All guardrails of a call: the installation's, the project's, then the request's choice or the default."""

    applied: tuple[AppliedPolicy, ...] = ()

    def for_model(self, model: str) -> tuple[AppliedPolicy, ...]:
        """Those that hold for calls of one model."""
        return tuple(applied for applied in self.applied if applied.holds_for(model))


__all__ = ["AppliedPolicy", "PolicySet"]
