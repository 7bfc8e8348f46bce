"""How much of an answer a guardrail keeps back, and for how long, declared before the first call."""

from __future__ import annotations

import msgspec


class HoldBack(msgspec.Struct, frozen=True, kw_only=True):
    """The most that is held back of one text of an answer.

    `chars` counts characters, `bytes` their UTF-8 form at its longest; both are None where the whole text is held to
    its end (grounding, answer schemas, validators). Invisible characters and combining marks are held with what they
    stand in and come on top, up to `MAX_HOLD_CHARS` of the scanner for patterns. `evaluation_ms` bounds the time that
    evaluating what is held may take once it is there; patterns take microseconds. How long the model takes to write on
    is not in it: text that could still become a match waits for the character that decides.
    """

    chars: int | None
    evaluation_ms: int

    @property
    def bytes(self) -> int | None:
        """`chars` in UTF-8, at most."""
        return None if self.chars is None else self.chars * 4


__all__ = ["HoldBack"]
