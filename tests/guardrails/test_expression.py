"""Expressions: the parsed form means what the pattern means, and its beginnings are all beginnings of its matches."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bedplate_core.assessment import PolicyKind
from bedplate_guardrails.automaton import Automaton, AutomatonGate
from bedplate_guardrails.detector import Rule
from bedplate_guardrails.detectors.regex_match import RegexMatch
from bedplate_guardrails.document import RuleAction
from bedplate_guardrails.expression import parse_expression
from bedplate_guardrails.lane import LanePlan
from bedplate_guardrails.run import TextRun
from bedplate_guardrails.views import View

ATOMS = ("a", "b", "1", ".", "[ab]", "[^a]", r"\d", r"\w", r"\s", "(?i:A)", r"\x{61}", r"[[:alpha:]1]", r"\Qa.\E", " ")
EDGES = (r"\b", r"\B", "^", "$", "(?m:^)", "(?m:$)", r"\A", r"\z")
QUANTIFIERS = ("*", "+", "?", "{2}", "{1,3}", "{2,}", "{0,2}", "*?", "+?")


def _nested(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.lists(inner, min_size=1, max_size=4).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda items: f"({'|'.join(items)})"),
        st.builds(lambda item, quantifier: f"(?:{item}){quantifier}", inner, st.sampled_from(QUANTIFIERS)),
        inner.map(lambda item: f"(?P<g>{item})" if "(?P<g>" not in item else item),
        inner.map(lambda item: f"(?i){item}"),
    )


patterns = st.recursive(st.sampled_from(ATOMS + EDGES), _nested, max_leaves=8)
texts = st.text(st.sampled_from("abA1 .\n"), max_size=14)


@settings(max_examples=600, deadline=None)
@given(pattern=patterns, text=texts)
def test_the_parsed_form_matches_the_same_and_every_beginning_is_one(pattern: str, text: str) -> None:
    try:
        original = Automaton(pattern)
    except ValueError:
        assume(False)
        return
    expression = parse_expression(pattern)
    beginnings = Automaton(rf"(?:{expression.prefixes})\z")
    for start in range(len(text) + 1):
        found = original.search(text, start)
        assert Automaton(expression.source).search(text, start) == found
        if found is not None:
            assert expression.min_chars <= found[1] - found[0]
            assert expression.max_chars is None or found[1] - found[0] <= expression.max_chars
            for end in range(found[0], found[1] + 1):
                assert beginnings.search(text[:end], found[0]) == (found[0], end)


@settings(max_examples=600, deadline=None)
@given(pattern=patterns, text=texts, places=st.lists(st.integers(0, 14), max_size=5), gated=st.booleans())
def test_any_pieces_give_the_matches_of_the_whole(pattern: str, text: str, places: list[int], gated: bool) -> None:
    try:
        detector = RegexMatch("x", pattern)
    except ValueError:
        assume(False)
        return
    rule = Rule(name="x", kind=PolicyKind.REGEX, label="x", detector=detector, action=RuleAction.ANONYMIZE, mask="#")
    gate = AutomatonGate([detector.gate]) if gated and detector.gate else None
    run: TextRun[None] = TextRun([LanePlan(View("plain"), [rule], gate)], lambda _, __: None)
    edges = [0, *sorted({place % (len(text) + 1) for place in places}), len(text)]
    out: list[str | None] = []
    for start, end in pairwise(edges):
        out += run.append(text[start:end])
    out += run.close()
    masked, cursor = "", 0
    for start, end in detector.find(text):
        masked += text[cursor:start] + "#"
        cursor = end
    assert "".join(piece or "" for piece in out) == masked + text[cursor:]


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (r"(?=a)b", "invalid perl operator"),
        (r"(?<!a)b", "invalid"),
        (r"(a)\1", "invalid escape"),
        (r"a*", "empty string"),
        (r"\b", "empty string"),
        (r"a|", "empty string"),
        (r"a{1001}", "repetition"),
        (r"a\C", "one byte"),
        ("[a", "missing"),
        ("(a", "missing"),
        ("\uff21", "U+FF21"),
        (r"a\x{200b}b", "U+200B"),
        (r"(((\pL{500}){2}\pL)\pL{900}){1}" * 12, "too large"),
    ],
)
def test_what_cannot_be_enforced_is_refused_with_its_reason(pattern: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        RegexMatch("x", pattern)
    assert reason in str(refused.value)
