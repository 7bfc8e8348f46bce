"""Members of CreateGuardrail and UpdateGuardrail that are refused, each with what the error names."""

from __future__ import annotations

from typing import Any, Final

MESSAGES: Final[dict[str, Any]] = {"blockedInputMessaging": "No.", "blockedOutputsMessaging": "Nothing."}
WORDS: Final[dict[str, Any]] = {**MESSAGES, "wordPolicyConfig": {"wordsConfig": [{"text": "tulip"}]}}


def content(**more: Any) -> dict[str, Any]:
    one = {"type": "HATE", "inputStrength": "HIGH", "outputStrength": "HIGH", **more}
    return {"contentPolicyConfig": {"filtersConfig": [one]}}


def regex(pattern: str) -> dict[str, Any]:
    return {"regexesConfig": [{"name": "r", "pattern": pattern, "action": "BLOCK"}]}


REFUSED: Final[list[tuple[dict[str, Any], str]]] = [
    ({"name": ""}, "name"),
    ({"name": "a b"}, "name"),
    ({"name": "a" * 51}, "name"),
    ({"name": "a\n"}, "name"),
    ({"description": ""}, "description"),
    ({"description": "a" * 201}, "description"),
    ({"description": "a\0"}, "description"),
    ({"blockedInputMessaging": ""}, "blockedInputMessaging"),
    ({"blockedOutputsMessaging": "a" * 501}, "blockedOutputsMessaging"),
    ({"blockedOutputsMessaging": "a\0"}, "blockedOutputsMessaging"),
    ({"kmsKeyId": "alias/mine"}, "kmsKeyId"),
    ({"automatedReasoningPolicyConfig": {"policies": ["x"]}}, "automatedReasoningPolicyConfig"),
    ({"wordPolicyConfig": {"wordsConfig": []}}, "wordPolicyConfig.wordsConfig"),
    ({"wordPolicyConfig": {"wordsConfig": [{"text": "a" * 101}]}}, "wordPolicyConfig.wordsConfig[0].text"),
    ({"wordPolicyConfig": {"wordsConfig": [{"text": "a", "inputAction": "ANONYMIZE"}]}}, "inputAction"),
    ({"wordPolicyConfig": {"managedWordListsConfig": [{"type": "SLANG"}]}}, "managedWordListsConfig"),
    ({"wordPolicyConfig": None}, "at least one policy"),
    ({"sensitiveInformationPolicyConfig": {"piiEntitiesConfig": [{"type": "SHOE", "action": "BLOCK"}]}}, "SHOE"),
    ({"sensitiveInformationPolicyConfig": regex("(?=x)")}, "regexesConfig"),
    ({"sensitiveInformationPolicyConfig": regex("(")}, "regexesConfig"),
    (content(inputModalities=["IMAGE"]), "inputModalities"),
    (content(type="PROMPT_ATTACK"), "outputStrength"),
    ({"contentPolicyConfig": {**content()["contentPolicyConfig"], "tierConfig": {"tierName": "STANDARD"}}}, "tierName"),
    ({"crossRegionConfig": {"guardrailProfileIdentifier": "short"}}, "guardrailProfileIdentifier"),
]
ONLY_CREATE: Final[list[tuple[dict[str, Any], str]]] = [
    ({"tags": [{"key": "a!", "value": ""}]}, "tags[0].key"),
    ({"tags": [{"key": "a", "value": "é"}]}, "tags[0].value"),
    ({"tags": [{"key": "a", "value": ""}] * 2}, "tags[1].key"),
    ({"clientRequestToken": ""}, "clientRequestToken"),
    ({"clientRequestToken": "a-"}, "clientRequestToken"),
    ({"clientRequestToken": "a" * 257}, "clientRequestToken"),
]

RAW: Final[list[tuple[str, Any, str]]] = [
    ("POST /guardrails", {"name": "x", **WORDS, "colour": 1}, "colour"),
    ("POST /guardrails", {"name": "x", **MESSAGES, "wordPolicyConfig": {"colour": 1}}, "colour"),
    ("POST /guardrails", {"name": "x", **MESSAGES, "bedplateConfig": {"colour": 1}}, "bedplateConfig.colour"),
    (
        "POST /guardrails",
        {"name": "x", **MESSAGES, "bedplateConfig": {"validatorsConfig": [{"name": "none"}]}},
        "validatorsConfig",
    ),
    ("POST /guardrails", {"name": "x", **WORDS, "tags": {"a": "b"}}, "tags"),
    ("POST /guardrails", [], "object"),
    ("POST /guardrails", b"{", "JSON"),
    ("POST /guardrails", b"", "name"),
    ("PUT /guardrails/{id}", {"name": "x", **WORDS, "tags": []}, "tags"),
    ("POST /guardrails/{id}", {"name": "x"}, "name"),
    ("GET /guardrails?colour=1", None, "colour"),
    ("GET /guardrails/{id}?version=1", None, "version"),
    ("DELETE /guardrails/{id}?force=1", None, "force"),
    ("GET /enforcedGuardrailsConfiguration?maxResults=1", None, "maxResults"),
]
"""Requests that boto3 would not send; `{id}` is a guardrail."""
