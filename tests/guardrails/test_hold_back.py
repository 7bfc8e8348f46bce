"""No more is held back than was declared, at any place of any text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from bedplate_core.verdicts import Side
from bedplate_guardrails.document import PiiType
from bedplate_guardrails.policy import Policy
from bedplate_guardrails.scanner import MAX_HOLD_CHARS, Scanner
from bedplate_guardrails.side_rules import SideRules
from bedplate_guardrails.views import folded_char
from tests.guardrails.guarded import make_policy
from tests.guardrails.test_twin import BLOCKING, texts

PATTERNS = [kind.value for kind in PiiType if kind not in (PiiType.NAME, PiiType.ADDRESS)]
PERSONAL = make_policy(pii=dict.fromkeys(PATTERNS, "ANONYMIZE"))
SHORT = make_policy(
    words=["tulip", "tul", "c++", "straße", "炸弹"],
    regexes={"badge": (r"\bB-\d{3,9}\b", "BLOCK"), "greedy": (r"aa|aab{1,4}c", "ANONYMIZE")},
)


@pytest.mark.parametrize(("policy", "most_chars"), [(SHORT, 11), (PERSONAL, 600), (BLOCKING, MAX_HOLD_CHARS)])
@settings(max_examples=250, deadline=None)
@given(text=texts)
def test_patterns_hold_what_they_declare(policy: Policy, most_chars: int, text: str) -> None:
    """Characters without a form of their own come on top, up to the bound of all patterns."""
    declared = policy.hold_back.chars
    assert declared is not None
    assert declared <= most_chars
    scanner = Scanner(SideRules(policy.document, Side.OUTPUT).lanes)
    for char in text:
        scanner.append(char)
        scanner.settle()
        held = text[scanner.horizon : scanner.end]
        assert len(held) <= MAX_HOLD_CHARS
        assert len([char for char in held if folded_char(char)]) <= declared
