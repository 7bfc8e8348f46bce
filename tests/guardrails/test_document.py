"""The policy document: Bedrock's names and limits, and a refusal for whatever is not enforced."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bedplate_core.verdicts import Side
from bedplate_guardrails.document import (
    ENFORCED_PII,
    GuardrailDocument,
    InvalidPolicy,
    PiiType,
    RuleAction,
    WordConfig,
    WordPolicyConfig,
    convert_document,
    decode_document,
)
from bedplate_guardrails.policy import compile_policy

MESSAGES = {"blockedInputMessaging": "no", "blockedOutputsMessaging": "no"}
WORDS = {"wordPolicyConfig": {"wordsConfig": [{"text": "tulip"}]}}


def with_pii(**fields: Any) -> dict[str, Any]:
    return {**MESSAGES, "sensitiveInformationPolicyConfig": {"piiEntitiesConfig": [fields]}}


def with_regexes(*regexes: dict[str, Any]) -> dict[str, Any]:
    return {**MESSAGES, "sensitiveInformationPolicyConfig": {"regexesConfig": list(regexes)}}


def test_bedrocks_own_spelling() -> None:
    document = decode_document(
        b"""{"blockedInputMessaging": "no", "blockedOutputsMessaging": "no",
        "wordPolicyConfig": {"wordsConfig": [{"text": "tulip", "inputAction": "BLOCK", "outputEnabled": false}]},
        "sensitiveInformationPolicyConfig": {
          "piiEntitiesConfig": [{"type": "EMAIL", "action": "ANONYMIZE", "outputAction": "BLOCK"}],
          "regexesConfig": [{"name": "badge", "description": "of staff", "pattern": "B-1", "action": "NONE"}]}}"""
    )
    word, entity, regex = document.words[0], document.pii_entities[0], document.regexes[0]
    assert (word.action_on(Side.INPUT), word.action_on(Side.OUTPUT)) == (RuleAction.BLOCK, None)
    assert (entity.action_on(Side.INPUT), entity.action_on(Side.OUTPUT)) == (RuleAction.ANONYMIZE, RuleAction.BLOCK)
    assert regex.action_on(Side.OUTPUT) is RuleAction.NONE


@pytest.mark.parametrize(
    ("field", "what"),
    [
        ("contentPolicyConfig", "content filters"),
        ("topicPolicyConfig", "denied topics"),
        ("contextualGroundingPolicyConfig", "contextual grounding"),
        ("automatedReasoningPolicyConfig", "automated reasoning"),
        ("crossRegionConfig", "cross-region"),
    ],
)
def test_what_is_not_enforced_is_refused_by_name(field: str, what: str) -> None:
    with pytest.raises(InvalidPolicy, match=rf"{field}: this version does not enforce {what}"):
        convert_document({**MESSAGES, **WORDS, field: {"filtersConfig": []}})


def test_managed_lists_are_refused_by_name() -> None:
    words = {"wordPolicyConfig": {"managedWordListsConfig": [{"type": "PROFANITY"}]}}
    with pytest.raises(InvalidPolicy, match="managedWordListsConfig: this version does not enforce"):
        convert_document({**MESSAGES, **words})


@pytest.mark.parametrize("kind", sorted(PiiType))
def test_a_pii_type_is_enforced_or_refused(kind: PiiType) -> None:
    if kind in ENFORCED_PII:
        compile_policy("g", "1", convert_document(with_pii(type=kind, action="BLOCK")))
    else:
        with pytest.raises(InvalidPolicy, match=f"does not enforce the type {kind};"):
            convert_document(with_pii(type=kind, action="BLOCK"))


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ({**MESSAGES}, "at least one word"),
        ({**WORDS, "blockedInputMessaging": "", "blockedOutputsMessaging": "x"}, "blockedInputMessaging"),
        ({**WORDS, "blockedInputMessaging": "x", "blockedOutputsMessaging": "x" * 501}, "blockedOutputsMessaging"),
        ({**WORDS, "blockedInputMessaging": "x"}, "blockedOutputsMessaging"),
        ({**MESSAGES, **WORDS, "surprise": 1}, "surprise"),
        ({**MESSAGES, "wordPolicyConfig": {"wordsConfig": []}}, "wordsConfig"),
        ({**MESSAGES, "wordPolicyConfig": {"wordsConfig": [{"text": "x" * 101}]}}, "wordsConfig[0].text"),
        ({**MESSAGES, "wordPolicyConfig": {"wordsConfig": [{"text": "x"}] * 10_001}}, "wordsConfig"),
        ({**MESSAGES, "wordPolicyConfig": {"wordsConfig": [{"text": "x", "inputAction": "ANONYMIZE"}]}}, "ANONYMIZE"),
        (with_pii(type="EMAIL"), "action"),
        (with_pii(type="EMAIL", action="HIDE"), "HIDE"),
        (with_pii(type="SHOE_SIZE", action="BLOCK"), "SHOE_SIZE"),
        (with_regexes({"name": "", "pattern": "a", "action": "BLOCK"}), "regexesConfig[0].name"),
        (with_regexes({"name": "a", "pattern": "a" * 501, "action": "BLOCK"}), "regexesConfig[0].pattern"),
        (with_regexes({"name": "a", "pattern": "a", "description": "", "action": "BLOCK"}), "description"),
        (with_regexes(*[{"name": f"{n}", "pattern": "a", "action": "BLOCK"} for n in range(31)]), "regexesConfig"),
        (with_regexes(*[{"name": "a", "pattern": "a", "action": "BLOCK"}] * 2), "'a' occurs twice"),
    ],
)
def test_a_limit_names_its_place(document: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidPolicy) as refused:
        convert_document(document)
    assert place in str(refused.value)
    with pytest.raises(InvalidPolicy):
        decode_document(msgspec.json.encode(document))


@pytest.mark.parametrize(("pattern", "reason"), [("(?=a)b", "perl"), (r"(a)\1", "escape"), ("a*", "empty string")])
def test_a_pattern_that_cannot_run_names_its_place_when_it_is_compiled(pattern: str, reason: str) -> None:
    document = convert_document(with_regexes({"name": "a", "pattern": pattern, "action": "BLOCK"}))
    with pytest.raises(InvalidPolicy) as refused:
        compile_policy("g", "1", document)
    assert "sensitiveInformationPolicyConfig.regexesConfig[0].pattern: " in str(refused.value)
    assert reason in str(refused.value)


def test_a_pattern_on_no_side_is_checked_all_the_same() -> None:
    regex = {"name": "a", "pattern": "(", "action": "BLOCK", "inputEnabled": False, "outputEnabled": False}
    with pytest.raises(InvalidPolicy):
        compile_policy("g", "1", convert_document(with_regexes(regex)))


def test_limits_hold_for_a_document_built_in_code() -> None:
    document = GuardrailDocument(
        blocked_input_messaging="",
        blocked_outputs_messaging="x",
        word_policy_config=WordPolicyConfig(words_config=(WordConfig(text="tulip"),)),
    )
    with pytest.raises(InvalidPolicy, match="blockedInputMessaging"):
        compile_policy("g", "1", document)


def test_a_word_without_visible_characters_names_its_place() -> None:
    document = convert_document({**MESSAGES, "wordPolicyConfig": {"wordsConfig": [{"text": "a"}, {"text": "\u200b"}]}})
    with pytest.raises(InvalidPolicy, match=r"wordsConfig\[1\]"):
        compile_policy("g", "1", document)
