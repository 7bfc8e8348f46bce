"""The detectors as guardrails-ai validators, and that nothing of guardrails-ai is loaded for a policy."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import guardrails
import pytest
from guardrails import AsyncGuard, Guard
from guardrails.validator_base import validators_registry

from bedplate_guardrails.detectors import regex_match, words
from bedplate_guardrails.detectors.pii import PII_DETECTORS
from bedplate_guardrails.detectors.profanity import Profanity as ProfanityDetector
from bedplate_guardrails.detectors.text_detector import TextDetector
from bedplate_guardrails.document import PiiType
from bedplate_guardrails.validators.frame import FailResult, OnFailAction, PassResult
from bedplate_guardrails.validators.pii import PII_VALIDATORS, EmailAddress
from bedplate_guardrails.validators.regex_match import RegexMatch
from bedplate_guardrails.validators.text_validator import TextValidator
from bedplate_guardrails.validators.words import Profanity, Words

PERSONAL = (
    "45 years old, AKIAIOSFODNN7EXAMPLE, wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY, OHIP 1234567890, SIN 130 692 544, "
    "cvv 123, exp 04/27, 4111111111111111, driver's license D1234567, a@b.co, DE89370400440532013000, 10.0.0.1, "
    "plate ABC-1234, 00:1B:44:11:3A:B7, password: hunter2, +44 20 7946 0958, pin 4821, BIC DEUTDEFF, NHS 9434765919, "
    "AB123456C, UTR 1234567890, https://example.com, username: jdoe9, acct 12345678, routing 021000021, 912-70-1234, "
    "passport C01234567, 123-45-6789, 1HGCM82633A004352"
)
SOURCES = os.pathsep.join(path for path in sys.path if path)
NETWORK = """
import asyncio, socket
attempts = []
def refuse(*address, **_):
    attempts.append(address)
    raise OSError("no network in this test")
socket.getaddrinfo = refuse
socket.socket.connect = refuse

from bedplate_guardrails.validators.pii import EmailAddress
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


@pytest.mark.parametrize(
    ("name", "validator", "detector"),
    [
        *(
            (f"bedplate/{kind.value.lower().replace('_', '-')}", PII_VALIDATORS[kind](), detector())
            for kind, detector in PII_DETECTORS.items()
        ),
        ("bedplate/profanity", Profanity(), ProfanityDetector()),
        ("bedplate/profanity", Profanity(leetspeak=True), ProfanityDetector(leetspeak=True)),
        ("bedplate/regex", RegexMatch("x", "c+"), regex_match.RegexMatch("x", "c+")),
        ("bedplate/words", Words(["tulip"]), words.Words(["tulip"])),
    ],
)
def test_a_validator_is_registered_and_is_its_detector(
    name: str, validator: TextValidator, detector: TextDetector
) -> None:
    text = f"tulip ccc shit {PERSONAL}"

    assert validators_registry[name] is type(validator)
    assert isinstance(validator, type(detector))
    assert validator.find(text) == detector.find(text) != ()
    assert (validator.mask, validator.view, validator.gate) == (detector.mask, detector.view, detector.gate)
    assert (validator.cost, validator.max_match_chars) == (detector.cost, detector.max_match_chars)
    assert validator.cost
    result = validator.validate(text, {})
    assert isinstance(result, FailResult)
    assert [(span.start, span.end) for span in result.error_spans or []] == list(detector.find(text))


@pytest.mark.parametrize("action", [OnFailAction.FIX, OnFailAction.NOOP, None])
def test_what_to_do_on_failure_is_kept(action: OnFailAction | None) -> None:
    kept = action or OnFailAction.EXCEPTION
    assert Words(["tulip"], action).on_fail_descriptor is kept
    assert EmailAddress(on_fail=action).on_fail_descriptor is kept


POLICY = """
import sys
sys.modules.update(dict.fromkeys(("guardrails", "litellm", "regex")))  # as if they were not installed

from bedplate_guardrails.document import convert_document
from bedplate_core.assessment import GuardrailRef
from bedplate_guardrails.evaluation import Capabilities
from bedplate_guardrails.policy import compile_policy

document = convert_document({
    "blockedInputMessaging": "no",
    "blockedOutputsMessaging": "no",
    "wordPolicyConfig": {"wordsConfig": [{"text": "tulip"}]},
    "sensitiveInformationPolicyConfig": {
        "piiEntitiesConfig": [
            {"type": type_, "action": "ANONYMIZE"}
            for type_ in ("EMAIL", "PHONE", "CREDIT_DEBIT_CARD_NUMBER", "IP_ADDRESS")
        ],
        "regexesConfig": [{"name": "badge", "pattern": "B-[0-9]+", "action": "BLOCK"}],
    },
})
ref = GuardrailRef(id="h", name="house", version="1")
assert compile_policy(ref, document, Capabilities()).guards_output
"""
LOADED = """
heavy = ("guardrails", "langchain_core", "langsmith", "faker", "litellm", "openai", "opentelemetry", "tiktoken")
loaded = [name for name in heavy if sys.modules.get(name)]
assert not loaded, loaded
"""


@pytest.mark.parametrize("installed", [True, False])
def test_a_policy_loads_nothing_of_guardrails_ai_and_needs_it_not(installed: bool) -> None:
    lines = POLICY.splitlines()
    code = "\n".join(line for line in lines if not (installed and "as if" in line)) + LOADED
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": SOURCES})


def test_without_guardrails_ai_a_validator_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['guardrails'] = None\n"
        "try:\n    import bedplate_guardrails.validators.words\n"
        "except ImportError as error:\n    sys.exit(str(error))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={"PYTHONPATH": SOURCES}
    )
    assert "pip install 'bedplate[guardrails]'" in ran.stderr
    assert ran.returncode == 1


def test_every_type_of_personal_information_has_a_validator_that_a_guard_can_use() -> None:
    assert set(PII_VALIDATORS) == set(PII_DETECTORS)
    guard = Guard().use(*(validator(on_fail=OnFailAction.FIX) for validator in list(PII_VALIDATORS.values())[:3]))
    assert guard.validate("nothing here").validated_output == "nothing here"
    for kind, validator in PII_VALIDATORS.items():
        assert f"{{{kind.value}}}" in validator(on_fail=OnFailAction.FIX).validate(PERSONAL, {}).fix_value


def test_a_mask_leaves_the_label_standing() -> None:
    pin = PII_VALIDATORS[PiiType.PIN](on_fail=OnFailAction.FIX)
    assert Guard().use(pin).validate("my PIN is 4821.").validated_output == "my PIN is {PIN}."
