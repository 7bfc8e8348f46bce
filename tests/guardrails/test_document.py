"""The policy document: Bedrock's names and limits, and a refusal for whatever is not enforced."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bedplate_core.verdicts import Side
from bedplate_guardrails.document import (
    FilterType,
    GuardrailDocument,
    InvalidPolicy,
    PiiType,
    RuleAction,
    WordConfig,
    WordPolicyConfig,
    convert_document,
    decode_document,
)
from bedplate_guardrails.evaluation import Capabilities
from bedplate_guardrails.policy import compile_policy
from tests.guardrails.guarded import ABLE, REF

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


def with_filter(**fields: Any) -> dict[str, Any]:
    given = {"type": "HATE", "inputStrength": "HIGH", "outputStrength": "LOW", **fields}
    return {**MESSAGES, "contentPolicyConfig": {"filtersConfig": [given]}}


def with_topic(tier: str = "CLASSIC", **fields: Any) -> dict[str, Any]:
    given = {"name": "Stocks", "definition": "Advice on what to buy.", "type": "DENY", **fields}
    return {**MESSAGES, "topicPolicyConfig": {"topicsConfig": [given], "tierConfig": {"tierName": tier}}}


def with_grounding(**fields: Any) -> dict[str, Any]:
    given = {"type": "GROUNDING", "threshold": 0.7, **fields}
    return {**MESSAGES, "contextualGroundingPolicyConfig": {"filtersConfig": [given]}}


def with_own(**fields: Any) -> dict[str, Any]:
    return {**MESSAGES, "bedplateConfig": fields}


def test_the_whole_of_bedrocks_schema() -> None:
    document = convert_document(
        {
            **MESSAGES,
            "contentPolicyConfig": {
                "filtersConfig": [
                    {
                        "type": kind,
                        "inputStrength": "HIGH",
                        "outputStrength": "NONE" if kind == "PROMPT_ATTACK" else "MEDIUM",
                        "inputModalities": ["TEXT"],
                        "outputModalities": ["TEXT"],
                        "inputAction": "BLOCK",
                        "outputAction": "NONE",
                        "inputEnabled": True,
                        "outputEnabled": True,
                    }
                    for kind in FilterType
                ],
                "tierConfig": {"tierName": "STANDARD"},
            },
            "topicPolicyConfig": {
                "topicsConfig": [
                    {
                        "name": "Tax advice?",
                        "definition": "d" * 200,
                        "examples": ["How do I pay less tax?"] * 5,
                        "type": "DENY",
                        "outputEnabled": False,
                    }
                ]
            },
            "wordPolicyConfig": {
                "wordsConfig": [{"text": "tulip"}],
                "managedWordListsConfig": [{"type": "PROFANITY", "inputAction": "NONE"}],
            },
            "sensitiveInformationPolicyConfig": {
                "piiEntitiesConfig": [{"type": kind, "action": "ANONYMIZE"} for kind in PiiType],
                "regexesConfig": [{"name": "badge", "pattern": "B-1", "action": "BLOCK"}],
            },
            "contextualGroundingPolicyConfig": {
                "filtersConfig": [
                    {"type": "GROUNDING", "threshold": 0.99},
                    {"type": "RELEVANCE", "threshold": 0, "action": "NONE", "enabled": False},
                ]
            },
            "crossRegionConfig": {"guardrailProfileIdentifier": "us.guardrail.v1:0"},
        }
    )
    assert len(document.pii_entities) == 31
    assert [one.action_on(Side.OUTPUT) for one in document.filters] == [RuleAction.NONE] * 5 + [None]
    assert [one.type for one in document.grounding] == ["GROUNDING"]
    assert document.topics[0].action_on(Side.OUTPUT) is None
    compile_policy(REF, document, ABLE)


def test_automated_reasoning_is_refused_by_name() -> None:
    with pytest.raises(InvalidPolicy, match="automatedReasoningPolicyConfig: this version does not enforce"):
        convert_document({**MESSAGES, **WORDS, "automatedReasoningPolicyConfig": {"policies": []}})


@pytest.mark.parametrize("kind", sorted(PiiType))
@pytest.mark.parametrize("action", ["BLOCK", "ANONYMIZE", "NONE"])
def test_every_pii_type_compiles(kind: PiiType, action: str) -> None:
    policy = compile_policy(REF, convert_document(with_pii(type=kind, action=action)), ABLE)
    assert policy.guards_input
    assert policy.guards_output


@pytest.mark.parametrize(
    ("document", "place"),
    [
        (with_filter(), "contentPolicyConfig"),
        (with_topic(), "topicPolicyConfig"),
        (with_grounding(), "contextualGroundingPolicyConfig"),
        (with_pii(type="NAME", action="BLOCK"), "sensitiveInformationPolicyConfig.piiEntitiesConfig[0].type"),
        (with_own(validatorsConfig=[{"name": "mine"}]), "bedplateConfig.validatorsConfig[0].name"),
        (with_topic(tier="STANDARD"), "topicPolicyConfig.tierConfig.tierName"),
    ],
)
def test_what_nothing_here_could_evaluate_is_refused_when_it_is_compiled(document: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidPolicy) as refused:
        compile_policy(REF, convert_document(document), Capabilities())
    assert str(refused.value).startswith(f"{place}: ")


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ({**MESSAGES}, "at least one policy"),
        (with_own(leetspeak=True), "at least one policy"),
        (with_filter(type="RUDENESS"), "RUDENESS"),
        (with_filter(inputStrength="EXTREME"), "EXTREME"),
        (with_filter(inputAction="ANONYMIZE"), "inputAction"),
        (with_filter(outputModalities=["TEXT", "IMAGE"]), "outputModalities"),
        (with_filter(type="PROMPT_ATTACK"), "outputStrength"),
        ({**MESSAGES, "contentPolicyConfig": {"filtersConfig": []}}, "filtersConfig"),
        (
            {
                **MESSAGES,
                "contentPolicyConfig": {"filtersConfig": with_filter()["contentPolicyConfig"]["filtersConfig"] * 2},
            },
            "'HATE' occurs twice",
        ),
        (with_topic(name=""), "topicsConfig[0].name"),
        (with_topic(name="a/b"), "topicsConfig[0].name"),
        (with_topic(definition="d" * 201), "topicsConfig[0].definition"),
        (with_topic(tier="STANDARD", definition="d" * 1001), "topicsConfig[0].definition"),
        (with_topic(examples=["e"] * 6), "topicsConfig[0].examples"),
        (with_topic(examples=["e" * 101]), "topicsConfig[0].examples[0]"),
        (with_topic(type="ALLOW"), "topicsConfig[0].type"),
        (with_topic(outputAction="ANONYMIZE"), "outputAction"),
        (with_grounding(threshold=1.0), "filtersConfig[0].threshold"),
        (with_grounding(threshold=-0.1), "filtersConfig[0].threshold"),
        (with_grounding(action="ANONYMIZE"), "action"),
        (
            {**MESSAGES, "wordPolicyConfig": {"managedWordListsConfig": [{"type": "SLANG"}]}},
            "managedWordListsConfig[0].type",
        ),
        (with_own(validatorsConfig=[{"name": "a"}, {"name": "a"}]), "'a' occurs twice"),
        (with_own(toolPolicyConfig={}), "allowedTools or argumentSchemas"),
        (with_own(sizePolicyConfig={"maxInputCharacters": 0}), "maxInputCharacters"),
        (with_own(failureMode="MAYBE"), "failureMode"),
        ({**with_pii(type="NAME", action="ANONYMIZE"), "bedplateConfig": {"asyncStreaming": True}}, "asyncStreaming"),
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
        compile_policy(REF, document, ABLE)
    assert "sensitiveInformationPolicyConfig.regexesConfig[0].pattern: " in str(refused.value)
    assert reason in str(refused.value)


def test_a_pattern_on_no_side_is_checked_all_the_same() -> None:
    regex = {"name": "a", "pattern": "(", "action": "BLOCK", "inputEnabled": False, "outputEnabled": False}
    with pytest.raises(InvalidPolicy):
        compile_policy(REF, convert_document(with_regexes(regex)), ABLE)


def test_limits_hold_for_a_document_built_in_code() -> None:
    document = GuardrailDocument(
        blocked_input_messaging="",
        blocked_outputs_messaging="x",
        word_policy_config=WordPolicyConfig(words_config=(WordConfig(text="tulip"),)),
    )
    with pytest.raises(InvalidPolicy, match="blockedInputMessaging"):
        compile_policy(REF, document, ABLE)


def test_a_word_without_visible_characters_names_its_place() -> None:
    document = convert_document({**MESSAGES, "wordPolicyConfig": {"wordsConfig": [{"text": "a"}, {"text": "\u200b"}]}})
    with pytest.raises(InvalidPolicy, match=r"wordsConfig\[1\]"):
        compile_policy(REF, document, ABLE)
