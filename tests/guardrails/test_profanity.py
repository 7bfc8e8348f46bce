"""The managed list, and words written with digits and signs for letters."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bedplate_core.assessment import PolicyKind
from bedplate_guardrails.automaton import AutomatonGate
from bedplate_guardrails.config import RuleAction
from bedplate_guardrails.detector import Rule
from bedplate_guardrails.detectors.profanity import LANGUAGES, Profanity, profane_words
from bedplate_guardrails.detectors.words import Words
from bedplate_guardrails.lane import LanePlan
from bedplate_guardrails.scanner import Scanner
from bedplate_guardrails.views import View

HARMLESS = (
    "Please assess the classic cocktail, pass it on and assist the Scunthorpe team in Essex.",
    "She bought a shitake mushroom, a dictionary and a cockatoo; the analyst sits in this hit musical.",
    "Room 455, flight 8008, 5417 units at 1337 Main St., version 3.14, U.S.A., e.g. a b c.",
    "Die Hure von Babylon? Nein: der Uhrmacher, der Wichtel und das Schloss. Une chatte blanche, un bateau.",
)
BAD = ("motherfucker", "You FUCKING idiot", "asshole!", "Arschloch", "enculé", "hijo de puta", "ｆｕｃｋ", "f\u200buck")


def found(detector: Words, text: str) -> list[str]:
    return [text[start:end] for start, end in detector.find(text)]


@pytest.mark.parametrize("leetspeak", [False, True])
def test_the_managed_list_finds_profanity_and_leaves_the_rest(leetspeak: bool) -> None:
    detector = Profanity(leetspeak=leetspeak)
    for text in BAD:
        assert found(detector, f"well, {text} so"), text
    assert found(detector, "You are a complete motherfucker and you know it.") == ["motherfucker"]
    for text in HARMLESS:
        assert found(detector, text) == [], text


def test_the_lists_are_what_they_say() -> None:
    words = profane_words()

    assert len(LANGUAGES) == 4
    assert len(words) > 1000
    assert all(word == word.strip() and word and not word.startswith("#") for word in words)


def test_a_list_is_compiled_once() -> None:
    assert Profanity()._list is Profanity()._list
    assert Profanity()._list is not Profanity(leetspeak=True)._list


@pytest.mark.parametrize(
    ("words", "text", "expected"),
    [
        (["shell"], "5h3ll $he!! she11 SHE|| sheii", ["5h3ll", "$he!!", "she11", "SHE||", "sheii"]),
        (["bad"], "b4d 8ad b@d baaad bbadd ba d bd", ["b4d", "8ad", "b@d", "baaad", "bbadd"]),
        (["bass"], "bass ba55 ba$$ basss bas", ["bass", "ba55", "ba$$", "basss"]),
        (["ass"], "455 4s5 a55 a5s @ss assess", ["a5s", "@ss"]),
        (["test"], "t.e.s.t, t-3-s-7! t e s t s; t.e-s.t te.st +es+", ["t.e.s.t", "t-3-s-7", "t e s t", "+es+"]),
        (["bad"], "b.a.d", []),
        (["test"], "at.e.s.t t.e.s.ty b+est testy", []),
        (["c++", "2g1c"], "c++ ctt 2g1c 2gic", ["c++", "2g1c"]),
        (["red tulip"], "r3d  tu11p, red\u00a0TULIP", ["r3d  tu11p", "red\u00a0TULIP"]),
        (["炸弹"], "做炸弹吗", ["炸弹"]),
        (["tool", "to"], "t00l too to tol", ["t00l", "too", "to"]),
    ],
)
def test_leetspeak(words: list[str], text: str, expected: list[str]) -> None:
    assert found(Words(words, leetspeak=True), text) == expected


def test_without_leetspeak_digits_and_signs_are_what_they_are() -> None:
    assert found(Words(["bad"]), "b4d b@d baad bad") == ["bad"]


LETTERS = "aab4@d. -\u00e0"
word_lists = st.lists(st.text("abd", min_size=1, max_size=5), min_size=1, max_size=4)
texts = st.text(LETTERS, max_size=24)
cuts = st.lists(st.integers(0, 40), max_size=8)


def pieces_of(text: str, places: Sequence[int]) -> list[str]:
    edges = [0, *sorted({place % (len(text) + 1) for place in places}), len(text)]
    return [text[start:end] for start, end in pairwise(edges)]


def scanned(detector: Words, pieces: Sequence[str], *, by_itself: bool) -> list[tuple[int, int]]:
    gate = detector if by_itself else AutomatonGate([detector.gate or ("", "")])
    rule = Rule(name="w", kind=PolicyKind.WORD, label="w", detector=detector, action=RuleAction.BLOCK, mask="")
    scanner = Scanner([LanePlan(View("folded"), [rule], gate)])
    findings = [finding for piece in pieces for finding in scanner.append(piece)]
    findings += [*scanner.settle(), *scanner.ended()]
    return sorted((finding.start, finding.end) for finding in findings)


@settings(max_examples=300, deadline=None)
@given(words=word_lists, text=texts, places=cuts, leetspeak=st.booleans(), by_itself=st.booleans())
@example(words=["ad"], text="aadd", places=[1, 2], leetspeak=True, by_itself=True)
@example(words=["abda"], text="a.b.d.a", places=[1, 2, 3, 6], leetspeak=True, by_itself=False)
def test_any_pieces_find_what_the_whole_text_holds(
    words: list[str], text: str, places: list[int], leetspeak: bool, by_itself: bool
) -> None:
    detector = Words(words, leetspeak=leetspeak)
    assert scanned(detector, pieces_of(text, places), by_itself=by_itself) == list(detector.find(text))


@settings(max_examples=300, deadline=None)
@given(words=word_lists, text=texts, leetspeak=st.booleans())
def test_no_decision_is_taken_back(words: list[str], text: str, leetspeak: bool) -> None:
    detector = Words(words, leetspeak=leetspeak)
    view = View("folded").of(text)[0]
    final = detector.decide(view, 0, True).spans
    for end in range(len(view) + 1):
        spans, horizon = detector.decide(view[:end], 0, False)
        assert final[: len(spans)] == spans
        assert all(start >= horizon for start, _ in final[len(spans) :])


@settings(max_examples=200, deadline=None)
@given(words=word_lists, text=texts)
def test_leetspeak_finds_all_that_is_found_without_it(words: list[str], text: str) -> None:
    """Whatever holds a word as it is written holds one with leetspeak too."""
    assert not (Words(words).find(text) and not Words(words, leetspeak=True).find(text))


def test_a_list_too_large_for_one_expression_is_still_found() -> None:
    words = [f"w{number:x}rd {number}" * 3 for number in range(10_000)]
    detector = Words(words)
    assert detector.gate is None
    assert found(detector, f"so {words[77]} then") == [words[77]]


def test_a_word_list_says_how_long_its_matches_are() -> None:
    assert Words(["tulip", "rose"]).max_match_chars == 5
    assert Words(["red tulip"]).max_match_chars is None
    assert Words(["tulip"], leetspeak=True).max_match_chars is None
