"""What the detectors of personal information have in common, and how their patterns are written.

Two kinds of value are found. A value whose form says what it is (a card number with its check digit, an IBAN, an
access key) is found wherever it stands. A value that is only digits or a word is found beside a word that says what
it is ("CVV: 123", `"pin": "4821"`, "my routing number is 021000021"); then the word is part of the pattern, and the
match is the value alone, so that a mask leaves the word standing. Beside such a word a check digit is not asked for:
a value with a slip in it is as personal as one without.

Patterns are valid RE2 and valid Python alike. Every capturing group is a value; one of them takes part in a match.
"""

from __future__ import annotations

import re
from functools import cache
from typing import ClassVar

from bedplate_guardrails.automaton import MAX_GATE_BYTES
from bedplate_guardrails.detectors.pattern_detector import Compiled, Judged, PatternDetector
from bedplate_guardrails.document import PiiType

DASH = "[-\u2010-\u2015\u2212]"
"""A hyphen, a dash or a minus sign, whichever was typed."""

EDGE = r"(?:\b|_)"
"""Where a label begins: a word, or a part of `a_name_like_this`."""

_BETWEEN = r"[ \t\n:=#\"'`*|>(\[,~-]"
_SMALL = (
    r"(?i:is|was|are|be|as|to|for|of|on|with|from|the|this|that|my|your|his|her|our|their|a|an|it|which|card|bank"
    r"|account|debit|credit|no\.|no|nr\.|nr|num|numbers?|code|id|value|now|set|new|current|starts?)"
)
JOIN = rf"{_BETWEEN}{{1,6}}(?:{_SMALL}{_BETWEEN}{{1,3}}){{0,6}}"
"""What may stand between a label and its value: signs, and up to six small words."""


def labelled(labels: str, value: str, join: str = JOIN) -> str:
    """A pattern for `value` behind one of `labels`, an alternation in which case makes no difference."""
    return rf"{EDGE}(?i:{labels}){join}{value}"


def label_trigger(labels: str) -> str:
    """The trigger of `labelled(labels, ...)`."""
    return rf"{EDGE}(?i:{labels})[^0-9A-Za-z_]"


class PiiDetector(PatternDetector):
    """Finds one of Bedrock's types of personal information (`kind`), by `pattern`, as this module says.

    `trigger` is a pattern that matches at the start of every candidate and is shorter: the gate asks for it in place
    of the whole, which keeps the automaton of many types small.

    `tail` matches what may not follow a value, being more of the same; a candidate with one is none. `not_after` are
    the signs that may not stand directly before a value without a label.
    """

    kind: ClassVar[PiiType]
    pattern: ClassVar[str]
    trigger: ClassVar[str | None] = None
    tail: ClassVar[str] = ""
    not_after: ClassVar[str] = ""
    cost = "one linear pass over the text, and a look at each candidate"

    def __init__(self) -> None:
        pattern = f"(?:{self.pattern})(?:{self.tail})?" if self.tail else self.pattern
        gate = None if self.trigger is None else _compiled(self.trigger).gate
        super().__init__(_compiled(pattern), f"{{{self.kind.value}}}", gate)
        self._parts = re.compile(self.pattern, re.ASCII)

    def accepts(self, value: str, label: str) -> bool:
        """Whether a value of the right shape is one; `label` is what the pattern matched in front of it."""
        return True

    def end_of(self, value: str) -> int:
        """How much of a value belongs to it."""
        return len(value)

    def judge(self, text: str, start: int, end: int) -> Judged:
        """Accepts a value that stands apart from the letters and digits beside it and that `accepts` takes."""
        whole = self._parts.fullmatch(text, start, end)
        if whole is None:  # it has a tail
            return Judged(False, start + 1)
        number = next((number for number in range(1, self._parts.groups + 1) if whole.start(number) >= 0), 0)
        at, after = whole.span(number)
        after = at + self.end_of(text[at:after])
        if at == start and at and text[at - 1] in self.not_after:
            return Judged(False, start + 1)
        if at < after and _apart(text, at, after) and self.accepts(text[at:after], text[start:at]):
            return Judged(True, after, at)
        return Judged(False, start + 1)


@cache
def _compiled(pattern: str) -> Compiled:
    """The patterns are the same in every policy, and each is compiled once in a process."""
    return Compiled(pattern, MAX_GATE_BYTES)


def _apart(text: str, start: int, end: int) -> bool:
    before = text[start - 1] if start else " "
    after = text[end] if end < len(text) else " "
    return not (
        ((before.isalnum() or before == "_") and text[start].isalnum())
        or ((after.isalnum() or after == "_") and text[end - 1].isalnum())
    )


def digits_of(value: str) -> str:
    """The digits of a value, without what separates them."""
    return "".join(char for char in value if char.isdigit())


def letters_and_digits_of(value: str) -> str:
    """The letters and digits of a value in upper case, without what separates them."""
    return "".join(char for char in value if char.isalnum()).upper()


__all__ = [
    "DASH",
    "EDGE",
    "JOIN",
    "PiiDetector",
    "digits_of",
    "label_trigger",
    "labelled",
    "letters_and_digits_of",
]
