"""ApplyGuardrail's wire: what is asked, what is answered, read by botocore and judged by its model."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from bedplate_core.assessment import (
    Assessment,
    Confidence,
    Detection,
    GuardrailRef,
    GuardrailUnits,
    Origin,
    PolicyKind,
)
from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_core.guardrail_choice import GuardrailChoice
from bedplate_core.messages import GuardQualifier
from bedplate_core.verdicts import Action, Side
from bedplate_gateway.dialects.bedrock.apply_guardrail import AppliedText, ApplyGuardrailExchange, ApplyGuardrailRequest
from tests.dialects.bedrock_sdk import judge, operation, read_reply

ARN = "arn:aws:bedrock:eu-central-1:123456789012:guardrail/abc123def456"
MAIL = Detection(kind=PolicyKind.PII, name="EMAIL", action=Action.MASK, match="a@example.org")
HATE = Detection(
    kind=PolicyKind.CONTENT,
    name="HATE",
    action=Action.BLOCK,
    confidence=Confidence.HIGH,
    strength=Confidence.LOW,
)
INSULTS = Detection(
    kind=PolicyKind.CONTENT,
    name="INSULTS",
    action=Action.ALLOW,
    confidence=Confidence.NONE,
    strength=Confidence.LOW,
)
WORD = Detection(kind=PolicyKind.WORD, name="{WORD}", action=Action.DETECT, match="tulip")


def body(**fields: Any) -> dict[str, Any]:
    return {"source": "INPUT", "content": [{"text": {"text": "hi"}}], **fields}


def decode(sent: Any, *, identifier: str = "abc123def456", version: str = "DRAFT") -> ApplyGuardrailExchange:
    data = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    return ApplyGuardrailExchange.decode(data, identifier=identifier, version=version)


def assessed(*detections: Detection, side: Side = Side.INPUT) -> Assessment:
    return Assessment(
        guardrail=GuardrailRef(id="abc123def456", name="g", version="DRAFT", revision=3),
        origin=Origin.REQUEST,
        side=side,
        detections=detections,
        units=GuardrailUnits(content=2, word=2, pii=2, regex=2),
        guarded_chars=1100,
        total_chars=1200,
        latency_ms=1.6,
    )


def answer(exchange: ApplyGuardrailExchange, blocked: str | None, texts: tuple[str, ...], found: Assessment) -> Any:
    """The reply as boto3 returns it, judged by botocore's model."""
    reply = exchange.reply(blocked, texts, found)
    assert (reply.status, reply.headers) == (200, {"content-type": "application/json"})
    read = read_reply("ApplyGuardrail", reply.status, dict(reply.headers), reply.body)
    judge(read, operation("ApplyGuardrail").output_shape)
    assert read == json.loads(reply.body)
    return read


def test_the_whole_of_a_request() -> None:
    content = [
        {"text": {"text": "The source.", "qualifiers": ["grounding_source"]}},
        {"text": {"text": "The question?", "qualifiers": ["query", "guard_content"]}},
        {"text": {"text": "The answer."}},
    ]
    exchange = decode({"source": "OUTPUT", "content": content, "outputScope": "FULL"}, identifier=ARN, version="7")
    assert exchange == ApplyGuardrailExchange(
        choice=GuardrailChoice(identifier=ARN, version="7", param="guardrailIdentifier"),
        side=Side.OUTPUT,
        texts=(
            AppliedText(text="The source.", qualifiers=(GuardQualifier.GROUNDING_SOURCE,)),
            AppliedText(text="The question?", qualifiers=(GuardQualifier.QUERY, GuardQualifier.GUARD_CONTENT)),
            AppliedText(text="The answer."),
        ),
        full=True,
    )


def test_what_is_left_out() -> None:
    for sent in (body(), body(outputScope="INTERVENTIONS")):
        exchange = decode(sent)
        assert (exchange.side, exchange.full, exchange.texts) == (Side.INPUT, False, (AppliedText(text="hi"),))
        assert exchange.choice.version == "DRAFT"


def test_every_member_of_the_model_is_known() -> None:
    shape = operation("ApplyGuardrail").input_shape
    inside = {name for name, member in shape.members.items() if "location" not in member.serialization}
    assert inside == set(ApplyGuardrailRequest.__struct_fields__)
    _, schemas = msgspec.json.schema_components((ApplyGuardrailRequest,))
    assert set(schemas["ApplyGuardrailRequest"]["properties"]) == inside


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        (body(source="input"), "source"),
        ({"content": []}, "source"),
        ({"source": "INPUT"}, "content"),
        (body(content=[]), "content"),
        (body(content=[{"text": {"text": "x"}}] * 1001), "content"),
        (body(content=[{}]), "content[0]"),
        (body(content=["x"]), "content[0]"),
        (body(content=[{"text": "x"}]), "content[0].text"),
        (body(content=[{"text": {}}]), "content[0].text.text"),
        (body(content=[{"text": {"text": None}}]), "content[0].text.text"),
        (body(content=[{"text": {"text": "x", "qualifiers": ["other"]}}]), "content[0].text.qualifiers[0]"),
        (body(content=[{"text": {"text": "x", "colour": 1}}]), "content[0].text.colour"),
        (body(content=[{"colour": 1}]), "content[0].colour"),
        (body(outputScope="ALL"), "outputScope"),
        (body(colour=1), "colour"),
        (b"[]", None),
        (b"{", None),
        (b"", None),
        (b'{"source": "INPUT", "content": [{"image": ' + b"9" * 5000 + b"}]}", None),
        (b"[" * 100_000, None),
        (b'{"source": "\xff"}', None),
    ],
)
def test_what_is_wrong_is_named(sent: Any, param: str | None) -> None:
    with pytest.raises((InvalidRequest, UnsupportedFeature)) as caught:
        decode(sent)
    if param is not None:
        assert caught.value.param == param
        assert param in caught.value.message


def test_a_picture_is_refused_by_name() -> None:
    picture = {"image": {"format": "png", "source": {"bytes": "AAAA"}}}
    for block in (picture, {**picture, "text": {"text": "x"}}):
        with pytest.raises(UnsupportedFeature) as caught:
            decode(body(content=[{"text": {"text": "hi"}}, block]))
        assert caught.value.param == "content[1].image"


@pytest.mark.parametrize(
    ("identifier", "version", "param"),
    [
        ("A", "DRAFT", "guardrailIdentifier"),
        ("a b", "DRAFT", "guardrailIdentifier"),
        ("a" * 2049, "DRAFT", "guardrailIdentifier"),
        ("arn:aws:bedrock:eu-central-1:123456789012:agent/x", "DRAFT", "guardrailIdentifier"),
        ("abc", "draft", "guardrailVersion"),
        ("abc", "0", "guardrailVersion"),
        ("abc", "01", "guardrailVersion"),
        ("abc", "1\n", "guardrailVersion"),
    ],
)
def test_what_the_path_cannot_name(identifier: str, version: str, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode(body(), identifier=identifier, version=version)
    assert caught.value.param == param


def test_nothing_was_found() -> None:
    read = answer(decode(body()), None, ("hi",), assessed(INSULTS))
    assert (read["action"], read["actionReason"], read["outputs"]) == ("NONE", "No action.", [])
    (assessment,) = read["assessments"]
    assert set(assessment) == {"invocationMetrics", "appliedGuardrailDetails"}
    assert (
        read["usage"]
        == assessment["invocationMetrics"]["usage"]
        == {
            "topicPolicyUnits": 0,
            "contentPolicyUnits": 2,
            "wordPolicyUnits": 2,
            "sensitiveInformationPolicyUnits": 2,
            "sensitiveInformationPolicyFreeUnits": 2,
            "contextualGroundingPolicyUnits": 0,
        }
    )
    coverage = {"textCharacters": {"guarded": 1100, "total": 1200}}
    assert read["guardrailCoverage"] == assessment["invocationMetrics"]["guardrailCoverage"] == coverage
    assert assessment["invocationMetrics"]["guardrailProcessingLatency"] == 2
    details = assessment["appliedGuardrailDetails"]
    assert details["guardrailArn"].endswith(":guardrail/abc123def456")
    assert (details["guardrailOrigin"], details["guardrailOwnership"]) == (["REQUEST"], "SELF")


def test_what_was_found_and_left_is_said_and_is_no_intervention() -> None:
    read = answer(decode(body()), None, ("a tulip",), assessed(WORD))
    assert (read["action"], read["outputs"]) == ("NONE", [])
    assert read["assessments"][0]["wordPolicy"]["customWords"] == [
        {"match": "tulip", "action": "NONE", "detected": True}
    ]


@pytest.mark.parametrize("side", [Side.INPUT, Side.OUTPUT])
def test_masks_give_every_text_back(side: Side) -> None:
    exchange = decode(body(source=side.value.upper()))
    read = answer(exchange, None, ("mail {EMAIL}", "and"), assessed(MAIL, side=side))
    assert (read["action"], read["actionReason"]) == ("GUARDRAIL_INTERVENED", "Guardrail masked.")
    assert read["outputs"] == [{"text": "mail {EMAIL}"}, {"text": "and"}]
    assert read["assessments"][0]["sensitiveInformationPolicy"]["piiEntities"] == [
        {"match": "a@example.org", "type": "EMAIL", "action": "ANONYMIZED", "detected": True}
    ]


def test_a_block_gives_one_message_for_all() -> None:
    read = answer(decode(body()), "No.", (), assessed(MAIL, HATE, INSULTS))
    assert (read["action"], read["actionReason"]) == ("GUARDRAIL_INTERVENED", "Guardrail blocked.")
    assert read["outputs"] == [{"text": "No."}]
    assert [found["type"] for found in read["assessments"][0]["contentPolicy"]["filters"]] == ["HATE"]


def test_the_full_scope_shows_what_ran_and_found_nothing() -> None:
    read = answer(decode(body(outputScope="FULL")), None, ("hi",), assessed(INSULTS))
    assert (read["action"], read["outputs"]) == ("NONE", [])
    assert read["assessments"][0]["contentPolicy"]["filters"] == [
        {"type": "INSULTS", "confidence": "NONE", "filterStrength": "LOW", "action": "NONE", "detected": False}
    ]


def test_rules_that_bedrock_does_not_know_stand_beside_its_own_and_its_sdks_skip_them() -> None:
    found = Detection(kind=PolicyKind.VALIDATOR, name="two-words", action=Action.BLOCK, reason="two words, please")
    exchange = decode(body())
    reply = exchange.reply("No.", (), assessed(found))
    said = json.loads(reply.body)["assessments"][0]["bedplatePolicy"]
    assert said == {
        "findings": [
            {
                "kind": "validator",
                "name": "two-words",
                "action": "BLOCKED",
                "detected": True,
                "reason": "two words, please",
            }
        ]
    }
    read = read_reply("ApplyGuardrail", 200, dict(reply.headers), reply.body)
    judge(read, operation("ApplyGuardrail").output_shape)
    assert "bedplatePolicy" not in read["assessments"][0]
