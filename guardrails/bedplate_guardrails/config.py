"""What every part of a policy document has in common."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, TypeAlias

import msgspec

from bedplate_core.verdicts import Side

Text100: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
Text500: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
Text1000: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]


class RuleAction(StrEnum):
    """What happens on a match. `NONE` is detected and reported but not enforced."""

    BLOCK = "BLOCK"
    ANONYMIZE = "ANONYMIZE"
    NONE = "NONE"


class Config(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """The base of every object in the document: camelCase on the wire, and no field that is not known."""


class SidedConfig(Config, frozen=True, kw_only=True):
    """What every rule says for the two sides. `*_enabled=False` means that the rule does not run on that side."""

    input_action: RuleAction | None = None
    output_action: RuleAction | None = None
    input_enabled: bool = True
    output_enabled: bool = True

    def on(self, side: Side, default: RuleAction) -> RuleAction | None:
        """What the rule does on `side`, `default` where it does not say; None when it does not run there."""
        if side is Side.INPUT:
            return (self.input_action or default) if self.input_enabled else None
        return (self.output_action or default) if self.output_enabled else None

    def refuse_anonymize(self, what: str) -> None:
        """Raise `ValueError` where a rule that cannot mask is told to."""
        for name, action in (("inputAction", self.input_action), ("outputAction", self.output_action)):
            if action is RuleAction.ANONYMIZE:
                raise ValueError(f"{name}: {what} can only BLOCK or NONE, not ANONYMIZE")


def refuse_twice(values: Sequence[str], field: str, what: str) -> None:
    """Raise `ValueError` when a value occurs twice."""
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{field}: the {what} {value!r} occurs twice")
        seen.add(value)


__all__ = ["Config", "RuleAction", "SidedConfig", "Text100", "Text500", "Text1000", "refuse_twice"]
