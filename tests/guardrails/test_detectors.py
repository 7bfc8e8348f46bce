"""Each detector by itself: what it finds, what it leaves alone."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bedplate_guardrails.detectors.card_number import CardNumber
from bedplate_guardrails.detectors.email_address import EmailAddress
from bedplate_guardrails.detectors.ip_address import IpAddress
from bedplate_guardrails.detectors.phone_number import PhoneNumber
from bedplate_guardrails.detectors.regex_match import RegexMatch
from bedplate_guardrails.detectors.text_detector import TextDetector
from bedplate_guardrails.detectors.words import Words
from bedplate_guardrails.views import View


def found(detector: TextDetector, text: str) -> list[str]:
    return [text[start:end] for start, end in detector.find(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to ann.lee+x@mail.example.co.uk.", ["ann.lee+x@mail.example.co.uk"]),
        ("(a@b.co),x@y.de", ["a@b.co", "x@y.de"]),
        ("a@b.co@c.de", ["a@b.co"]),
        ("not@an-address and @alone and a@b.c", []),
        ("иван@пример.рф", ["иван@пример.рф"]),
        ("a@xn--e1afmkfd.xn--p1ai", ["a@xn--e1afmkfd.xn--p1ai"]),
        ("a\u200bb＠c．de", ["a\u200bb＠c．de"]),
    ],
)
def test_email(text: str, expected: list[str]) -> None:
    assert found(EmailAddress(), text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4111111111111111", ["4111111111111111"]),
        ("no 12 4111 1111 1111 1111 12/25", ["4111 1111 1111 1111"]),
        ("3400-000000-00009, 4111–1111–1111–1111", ["3400-000000-00009", "4111–1111–1111–1111"]),
        ("4111\u200b1111\u00a01111 1111", ["4111\u200b1111\u00a01111 1111"]),
        ("٤١١١١١١١١١١١١١١١", ["٤١١١١١١١١١١١١١١١"]),
        ("4111111111111111 4111111111111111", ["4111111111111111", "4111111111111111"]),
        ("4111111111111112 411111111111111 41111111111111111", []),
        ("0000000000000000", []),
        ("1" * 400, []),
        ("94111111111111111119411111111111111111", []),
    ],
)
def test_card(text: str, expected: list[str]) -> None:
    assert found(CardNumber(), text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("call +44 20 7946 0958 now", ["+44 20 7946 0958"]),
        ("(555) 123-4567, 555.123.4567 x89", ["(555) 123-4567", "555.123.4567 x89"]),
        ("+41 (0)69 979 80 58", ["+41 (0)69 979 80 58"]),
        ("5551234567 0489 25 37 29", ["5551234567", "0489 25 37 29"]),
        ("on 2024-01-02 11:34:35, 3/5/2020, 2019-2020", []),
        ("123-45-6789 and 10.0.0.1 and 94105-1234", []),
        ("4111 1111 1111 1111", []),
        ("1732463062 or 3.14159265", []),
        ("ABC-555-123-4567", []),
    ],
)
def test_phone(text: str, expected: list[str]) -> None:
    assert found(PhoneNumber(), text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[10.0.0.1], 255.255.255.255/8", ["10.0.0.1", "255.255.255.255"]),
        ("256.1.1.1 1.2.3 1.2.3.4.5 v1.2.3.4x", []),
        ("at fe80::1, 2001:db8:0:0:0:0:0:1.", ["fe80::1", "2001:db8:0:0:0:0:0:1"]),
        ("::ffff:10.0.0.1 and dead:beef::cafe", ["::ffff:10.0.0.1", "dead:beef::cafe"]),
        ("std::string a::b 12:30:45 00:1B:44:11:3A:B7 ::", []),
        ("fe80::1:", ["fe80::1"]),
    ],
)
def test_ip_address(text: str, expected: list[str]) -> None:
    assert found(IpAddress(), text) == expected


@pytest.mark.parametrize(
    ("words", "text", "expected"),
    [
        (["bad"], "Bad, BAD! badly bad", ["Bad", "BAD", "bad"]),
        (["bad"], "b\u200bad ｂａｄ bаd bád b\u0336a\u0336d 𝐛𝐚𝐝 🅱🅰🅳 b\u00adad", [
            "b\u200bad", "ｂａｄ", "bаd", "bád", "b\u0336a\u0336d", "𝐛𝐚𝐝", "🅱🅰🅳", "b\u00adad",
        ]),
        (["red tulip"], "red \n\t tulip, red\u00a0tulip; redtulip red, tulip", ["red \n\t tulip", "red\u00a0tulip"]),
        (["red", "red tulip"], "red tulips red tulip", ["red", "red tulip"]),
        (["c++", "$$$"], "c++ c+++ ac++ x$$$y", ["c++", "c++", "$$$"]),
        (["炸弹"], "做炸弹吗", ["炸弹"]),
        (["bad"], "bad字 字bad жbad", ["bad", "bad"]),
        (["कम"], "कमी कम", ["कम"]),
        (["straße"], "STRASSE Strasse", ["STRASSE", "Strasse"]),
        (["a b"], "a  b", ["a  b"]),
    ],
)  # fmt: skip
def test_words(words: list[str], text: str, expected: list[str]) -> None:
    assert [piece.rstrip("\u0336") for piece in found(Words(words), text)] == [
        piece.rstrip("\u0336") for piece in expected
    ]


def test_a_word_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no visible character"):
        Words(["\u200b "])


def test_the_longest_match_wins_and_matches_do_not_overlap() -> None:
    assert found(RegexMatch("x", "ab|abab|c"), "ababababc") == ["abab", "abab", "c"]


_LETTERS = "ab é国"


@given(
    words=st.lists(st.text(_LETTERS, min_size=1, max_size=6).filter(str.strip), min_size=1, max_size=5),
    texts=st.lists(st.text(_LETTERS + ".", max_size=12), min_size=1, max_size=3),
)
@example(words=["a"], texts=["a b"])  # a word of one character, which nothing can follow
@example(words=["ab a"], texts=["b ab  a b"])
@example(words=["ababab"], texts=["abab"])
def test_the_gate_of_a_word_list_never_calls_a_text_quiet_that_holds_a_word(words: list[str], texts: list[str]) -> None:
    detector = Words(words)
    views = [View("folded").of(text)[0] for text in texts]
    held = [bool(detector.decide(view, 0, True).spans) for view in views]

    assert not (detector.is_free_of_matches(" ".join(views)) and any(held))
    for view, holds in zip(views, held, strict=True):
        assert not (detector.quiet_until(view, 0) == len(view) and holds)


def test_the_gate_of_a_word_list_calls_common_text_quiet() -> None:
    detector = Words(["forbidden", "for sale", "x"])
    texts = ["thank you for the parcel", "forb", "box for"]

    assert detector.is_free_of_matches("thank you for the parcel forb")
    assert [detector.quiet_until(text, 0) for text in texts] == [24, 0, 4]


def test_an_address_at_the_end_of_a_longer_word_is_none_and_one_in_other_letters_is() -> None:
    assert found(EmailAddress(), f"{'a' * 70}@b.co, école@exemple.fr, жук@пример.рф") == [
        "école@exemple.fr",
        "жук@пример.рф",
    ]


@pytest.mark.parametrize("detector", [EmailAddress(), CardNumber(), PhoneNumber(), IpAddress(), RegexMatch("x", "a+")])
def test_a_detector_says_what_it_needs(detector: TextDetector) -> None:
    assert detector.view == "plain"
    assert detector.cost
    assert detector.gate is not None
    assert (detector.max_match_chars is None) == isinstance(detector, RegexMatch)
