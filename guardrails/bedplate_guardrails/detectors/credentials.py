"""Secrets and names to log in with."""

from __future__ import annotations

import re
from string import ascii_letters, digits

from bedplate_guardrails.detectors.pii_detector import (
    EDGE,
    JOIN,
    PiiDetector,
    digits_of,
    label_trigger,
    labelled,
)
from bedplate_guardrails.document import PiiType

_TOKEN = r"[^\s\"'`<>|]"  # noqa: S105 - a pattern, not a secret
_PASSWORDS = "pass ?words?|passwd|pass ?phrase|pass ?code|pwd|passwort|kennwort|mot de passe|contrase\u00f1a|pass|pw"
_ASSIGN = r"[\"'`*)\]]{0,3} ?[:=]{1,2}>?[ \t\n\"'`*(\[]{0,4}"
_SAY = (
    r"(?: (?i:for|of|on|to) [^\s,.:;]{1,40}(?: [^\s,.:;]{1,24}){0,2})? "
    r"(?i:is|was|to|as|now|will be)(?: (?i:now|still|set to|currently))?:? ?[\"'`*]{0,3}"
)
_NO_SECRETS = frozenset(
    re.findall(
        "[a-z]+",
        "required optional none null nil true false string str text hidden incorrect invalid wrong changed "
        "reset forgotten protected password passwords username user name email undefined empty missing secret "
        "value field input type label placeholder here this that your the must should can may will not a an "
        "is and or in on for expired encrypted hashed confirm new old current enter change update forgot "
        "minimum length default",
    )
)
_NO_NAMES = _NO_SECRETS | frozenset(
    re.findall(
        "[a-z]+",
        "already also always available taken unknown unique used case correct allowed public private visible "
        "displayed shown stored set sent too very so just only still now same different blank valid being "
        "been it they you we he she what which where when if then than unavailable supported important "
        "inactive active disabled enabled locked broken down working failed successful failing anonymous part "
        "one all any no yes to from with by at as of",
    )
)


class AwsAccessKey(PiiDetector):
    """Access key ids: a known prefix and sixteen letters or digits (AWS IAM, "Understanding unique ID prefixes")."""

    kind = PiiType.AWS_ACCESS_KEY
    pattern = r"((?:AKIA|ASIA|AROA|AIDA|AGPA|AIPA|ANPA|ANVA|ABIA|ACCA|APKA|ASCA)[A-Z0-9]{16})"


class AwsSecretKey(PiiDetector):
    """Secret access keys: forty characters of base64, behind a label or mixed as random ones are."""

    _KEYS = r"secret[ _-]?(?:access[ _-]?)?key|aws[ _-]?secret"
    kind = PiiType.AWS_SECRET_KEY
    pattern = rf"{EDGE}(?i:{_KEYS}){JOIN}([A-Za-z0-9/+]{{40}})|((?:\b[A-Za-z0-9]|[/+])[A-Za-z0-9/+]{{39}})"
    trigger = rf"{label_trigger(_KEYS)}|(?:\b[A-Za-z0-9]|[/+])[A-Za-z0-9/+]{{39}}"
    tail = r"[/+=]"
    not_after = "/+=" + ascii_letters + digits

    def judge_bare(self, value: str) -> bool:
        """Whether forty characters look random: not hexadecimal, not words, not a path."""
        upper = sum(char.isupper() for char in value)
        lower = sum(char.islower() for char in value)
        digits = sum(char.isdigit() for char in value)
        return upper >= 8 and lower >= 8 and digits >= 1 and len(set(value)) >= 20

    def accepts(self, value: str, label: str) -> bool:
        """Whether a value without a label looks random."""
        return bool(label) or self.judge_bare(value)


class Password(PiiDetector):
    """What is assigned to a password ("password: x", `pwd=x`), or what someone says it is.

    Said ("the password is x"), it must look like one: a letter with a digit, a sign, or capitals inside; or stand in
    quotes. Words that say something about a password and placeholders are none.
    """

    kind = PiiType.PASSWORD
    pattern = rf"{EDGE}(?i:{_PASSWORDS})(?:{_ASSIGN}|{_SAY})({_TOKEN}{{4,64}})"
    trigger = label_trigger(_PASSWORDS)

    def end_of(self, value: str) -> int:
        """Leaves out the punctuation that follows."""
        return len(value.rstrip(".,;:?)]}*"))

    def accepts(self, value: str, label: str) -> bool:
        """Whether the value may be a secret."""
        if len(value) < 4 or value.lower().strip("!-_") in _NO_SECRETS or _is_placeholder(value):
            return False
        sure = label.lower().lstrip("_")[:5] not in ("pass:", "pass ", "pw:", "pw ")
        assigned = sure and any(sign in label for sign in ":=")
        quoted = label[-1:] in ("'", '"', "`")
        return assigned or quoted or _looks_secret(value)


class Pin(PiiDetector):
    """Personal identification numbers of four to eight digits, behind a label."""

    _LABELS = r"pin(?:[ -]?(?:code|number|no\.?))?|personal identification number|atm code"
    kind = PiiType.PIN
    pattern = labelled(_LABELS, r"([0-9]{4,8})")
    trigger = label_trigger(_LABELS)
    tail = r"[-.,:/][0-9]"


class Username(PiiDetector):
    """Names to log in with, behind a label; handles with their `@`.

    Words that say something about a user name ("the username is required") are none.
    """

    _CERTAIN = r"user[ _-]?name|user[ _-]?id|screen[ _-]?name|login[ _-]?(?:id|name)"
    _VAGUE = r"log[ -]?in|nick[ _-]?name|handle|account name"
    kind = PiiType.USERNAME
    pattern = (
        rf"{EDGE}(?i:{_CERTAIN}|{_VAGUE})(?:{_ASSIGN}|{_SAY}| (?i:as) ?[\"'`*]{{0,3}}| [\"'`@]|[ ]?\()"
        r"(@?[A-Za-z0-9][A-Za-z0-9._+@-]{1,62})"
        r"|\b(?i:(?:user|uid)[\"']?=[\"']?)([A-Za-z0-9][A-Za-z0-9._+@-]{1,62})"
    )
    trigger = rf"{label_trigger(f'{_CERTAIN}|{_VAGUE}')}|\b(?i:(?:user|uid))[\"'=]"

    def end_of(self, value: str) -> int:
        """Leaves out the punctuation that follows."""
        return len(value.rstrip("._-+@"))

    def accepts(self, value: str, label: str) -> bool:
        """Whether the value may be a name."""
        if len(value) < 2 or value.lower() in _NO_NAMES:
            return False
        written = label.lower()
        certain = any(sign in written for sign in ":=@") or written[-1:] in ("'", '"', "`", "(")
        special = any(not char.isalpha() for char in value)
        return certain or special or "name" in written or "id" in written


def _is_placeholder(value: str) -> bool:
    return bool(
        re.match(r"[{$%<\[(]|process\.env|os\.environ|\*+$|x+$|\.+$|_+$", value, re.IGNORECASE)
        or re.match(r"[A-Za-z_.]+\(", value)
    )


def _looks_secret(value: str) -> bool:
    core = value.strip("!?")
    has_letter, has_digit = any(char.isalpha() for char in core), bool(digits_of(core))
    signs = any(not char.isalnum() and char not in "-'\u2019._/," for char in core)
    inner_capital = any(char.isupper() for char in core[1:]) and not core.isupper()
    return (has_letter and has_digit) or signs or inner_capital or (has_digit and len(core) >= 6)


__all__ = ["AwsAccessKey", "AwsSecretKey", "Password", "Pin", "Username"]
