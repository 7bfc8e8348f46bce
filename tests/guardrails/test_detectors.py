"""Each detector by itself: what it finds, what it leaves alone, and as a guardrails-ai validator."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import guardrails
import pytest
from guardrails import AsyncGuard, Guard

from bedplate_guardrails.validators.card_number import CardNumber
from bedplate_guardrails.validators.email_address import EmailAddress
from bedplate_guardrails.validators.frame import FailResult, OnFailAction, PassResult
from bedplate_guardrails.validators.ip_address import IpAddress
from bedplate_guardrails.validators.phone_number import PhoneNumber
from bedplate_guardrails.validators.regex_match import RegexMatch
from bedplate_guardrails.validators.text_detector import TextDetector
from bedplate_guardrails.validators.words import Words


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


SOURCES = os.pathsep.join(path for path in sys.path if path)
NETWORK = """
import asyncio, socket
attempts = []
def refuse(*address, **_):
    attempts.append(address)
    raise OSError("no network in this test")
socket.getaddrinfo = refuse
socket.socket.connect = refuse

from bedplate_guardrails.validators.email_address import EmailAddress
from bedplate_guardrails.validators.frame import OnFailAction
from bedplate_guardrails.validators.words import Words
from guardrails import AsyncGuard, Guard
from guardrails.utils.hub_telemetry_utils import HubTelemetry

guard = Guard().use(EmailAddress(on_fail=OnFailAction.FIX))
assert guard.validate("write to a@b.co now").validated_output == "write to {EMAIL} now"
assert asyncio.run(AsyncGuard().use(Words(["tulip"], on_fail=OnFailAction.NOOP)).validate("a rose")).validation_passed
HubTelemetry()._tracer_provider.force_flush(3000)
assert not attempts, attempts
"""


def test_guardrails_is_the_installed_package() -> None:
    assert "site-packages" in (guardrails.__file__ or "")


def test_in_a_guard_of_guardrails_ai() -> None:
    guard = Guard().use(EmailAddress(on_fail=OnFailAction.FIX))
    assert guard.validate("write to a@b.co now").validated_output == "write to {EMAIL} now"
    assert guard.validate("nothing here").validated_output == "nothing here"
    checked = asyncio.run(AsyncGuard().use(Words(["tulip"], on_fail=OnFailAction.NOOP)).validate("a tulip"))
    assert checked.validation_passed is False


def test_guardrails_ai_looks_nothing_up_and_sends_nothing(tmp_path: Path) -> None:
    """In a process of its own, without a file in the home directory that would switch its telemetry off."""
    done = subprocess.run([sys.executable, "-c", NETWORK], env={"HOME": str(tmp_path), "PYTHONPATH": SOURCES})
    assert done.returncode == 0


def test_as_a_validator_it_gives_places_and_a_fix() -> None:
    result = RegexMatch("badge", r"B-\d+").validate("Ｂ-12 and B-3", {})
    assert isinstance(result, FailResult)
    assert result.fix_value == "{badge} and {badge}"
    assert [(span.start, span.end) for span in result.error_spans or []] == [(0, 4), (9, 12)]
    assert isinstance(EmailAddress().validate("none", {}), PassResult)
    assert isinstance(EmailAddress().validate(12, {}), PassResult)


@pytest.mark.parametrize("detector", [EmailAddress(), CardNumber(), PhoneNumber(), IpAddress(), RegexMatch("x", "a+")])
def test_a_detector_says_what_it_needs(detector: TextDetector) -> None:
    assert detector.view == "plain"
    assert detector.cost
    assert detector.gate is not None
    assert (detector.max_match_chars is None) == isinstance(detector, RegexMatch)
