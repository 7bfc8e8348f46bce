"""RE2 automata over growing text: linear in the text whatever the pattern.

Offsets are in characters. RE2 works on UTF-8; where the text is ASCII, which is the common case, its offsets are
the text's own and the conversion is spared.
"""

from __future__ import annotations

from collections.abc import Sequence

import re2

MAX_PATTERN_BYTES = 4 << 20
MAX_GATE_BYTES = 32 << 20


class Automaton:
    """A compiled pattern. Finds the leftmost match and, of those that start there, the longest.

    Raises `ValueError` with RE2's reason when the pattern does not compile or needs more than `max_bytes`.
    """

    __slots__ = ("_regexp",)

    def __init__(self, pattern: str, max_bytes: int = MAX_PATTERN_BYTES) -> None:
        options = re2.Options()
        options.longest_match = True
        options.log_errors = False
        options.never_capture = True
        options.max_mem = max_bytes
        try:
            self._regexp = re2.compile(pattern, options)
        except re2.error as error:
            raise ValueError(_reason(error)) from error

    def search(self, text: str, start: int) -> tuple[int, int] | None:
        """The leftmost-longest match at or after `start`. What is before `start` counts as its context."""
        found = self._regexp.search(text.encode() if text.isascii() else text, start)
        return None if found is None else found.span()

    def occurs(self, text: str) -> bool:
        """Whether there is a match anywhere."""
        return self._regexp.search(text.encode()) is not None


class AutomatonGate:
    """One search over all patterns of a lane: does `text` hold a match, else what tail might begin one?"""

    __slots__ = ("_automaton",)

    joinable = False
    """A pattern may ask for a text's edges."""

    def __init__(self, gates: Sequence[tuple[str, str]], max_bytes: int = MAX_GATE_BYTES) -> None:
        matches = "|".join(f"(?:{match})" for match, _ in gates)
        beginnings = "|".join(f"(?:{beginning})" for _, beginning in gates)
        self._automaton = Automaton(rf"(?:{matches})|(?:{beginnings})\z", max_bytes)

    def quiet_until(self, text: str, start: int) -> int | None:
        """The earliest place a match may be under way at the end; None when a match may lie before the end."""
        start, end = self.next_candidate(text, start)
        return start if end == len(text) else None

    def next_candidate(self, text: str, start: int) -> tuple[int, int]:
        """The first match at or after `start`, or the tail from where one may be under way; empty when neither is."""
        found = self._automaton.search(text, start)
        if found is None:
            raise ValueError("the beginnings of a match include the empty one")
        return found

    def is_free_of_matches(self, text: str) -> bool:
        """As `bedplate_guardrails.lane.Gate` says."""
        return self.quiet_until(text, 0) == len(text)


def _reason(error: Exception) -> str:
    reason = error.args[0] if error.args else error
    return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)


__all__ = ["Automaton", "AutomatonGate"]
