"""What Converse refuses, with the path, and what boto3 itself would let through."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_core.messages import RedactedReasoning, Role, Signature, Text, ToolResult
from bedplate_core.requests import ReasoningControl
from bedplate_gateway.dialects.bedrock.converse import ConverseExchange
from bedplate_gateway.dialects.bedrock.model_ids import model_name
from bedplate_gateway.dialects.signatures import (
    FOREIGN_ORIGIN,
    redacted_from_wire,
    signature_from_wire,
    wire_redacted,
    wire_signature,
)

HI: dict[str, Any] = {"text": "hi"}
BASE: dict[str, Any] = {"messages": [{"role": "user", "content": [HI]}]}
PICTURE: dict[str, Any] = {"format": "png", "source": {"bytes": "AAAA"}}
POINT: dict[str, Any] = {"cachePoint": {"type": "default"}}
LONG_POINT: dict[str, Any] = {"cachePoint": {"type": "default", "ttl": "1h"}}


def tool(name: str = "f", **more: Any) -> dict[str, Any]:
    return {"toolSpec": {"name": name, "inputSchema": {"json": {"type": "object"}}, **more}}


def use(call_id: str, **more: Any) -> dict[str, Any]:
    return {"toolUse": {"toolUseId": call_id, "name": "f", "input": {}, **more}}


def result(call_id: str, **more: Any) -> dict[str, Any]:
    return {"toolResult": {"toolUseId": call_id, "content": [HI], **more}}


def decode(body: Any, *, continues: bool = False) -> ConverseExchange:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ConverseExchange.decode(raw, model="m", stream=True, started_s=0.0, continues=continues)


def said(*roles: tuple[str, list[dict[str, Any]]]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in roles]}


def user(*blocks: dict[str, Any]) -> dict[str, Any]:
    return said(("user", list(blocks)))


def document(**more: Any) -> dict[str, Any]:
    return user({"document": {"format": "txt", "name": "a", "source": {"text": "x"}, **more}}, HI)


def extra(**fields: Any) -> dict[str, Any]:
    return {**BASE, "additionalModelRequestFields": fields}


def inference(**fields: Any) -> dict[str, Any]:
    return {**BASE, "inferenceConfig": fields}


def tools(*given: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**BASE, "toolConfig": {"tools": list(given), **more}}


def schema(text: str) -> dict[str, Any]:
    structure = {"jsonSchema": {"schema": text}}
    return {**BASE, "outputConfig": {"textFormat": {"type": "json_schema", "structure": structure}}}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "messages"),
        ({"messages": []}, "messages"),
        (said(("user", [])), "messages[0].content"),
        (said(("tool", [HI])), "messages[0].role"),
        ({**BASE, "system": [{"text": ""}]}, "system[0].text"),
        ({**BASE, "system": [{}]}, "system[0]"),
        (user({}), "messages[0].content[0]"),
        (user(HI, {**HI, "image": PICTURE}), "messages[0].content[1]"),
        (user({"sound": {}}), "messages[0].content[0].sound"),
        (user({"text": 3}), "messages[0].content[0].text"),
        (user({"image": {**PICTURE, "format": "bmp"}}), "messages[0].content[0].image.format"),
        (user({"image": {**PICTURE, "source": {}}}), "messages[0].content[0].image.source"),
        (user({"image": {**PICTURE, "source": {"bytes": ""}}}), "messages[0].content[0].image.source.bytes"),
        (user({"image": {**PICTURE, "source": {"bytes": "?"}}}), "messages[0].content[0].image.source.bytes"),
        (
            user({"image": {**PICTURE, "source": {"s3Location": {"uri": "https://x"}}}}),
            "messages[0].content[0].image.source.s3Location.uri",
        ),
        (user({"video": {"format": "avi", "source": {"bytes": "AAAA"}}}), "messages[0].content[0].video.format"),
        (user({"audio": {"format": "mid", "source": {"bytes": "AAAA"}}}), "messages[0].content[0].audio.format"),
        (document(name="a  b"), "messages[0].content[0].document.name"),
        (document(name="a.pdf"), "messages[0].content[0].document.name"),
        (document(name="a_b"), "messages[0].content[0].document.name"),
        (document(name=""), "messages[0].content[0].document.name"),
        (document(name="a" * 201), "messages[0].content[0].document.name"),
        (document(format="pdf"), "messages[0].content[0].document.format"),
        (document(format="rtf"), "messages[0].content[0].document.format"),
        (document(format=None, source={"bytes": "AAAA"}), "messages[0].content[0].document.format"),
        (document(source={"content": [{}]}), "messages[0].content[0].document.source.content[0]"),
        (user({"document": {"name": "a", "source": {"text": "x"}}}), "messages[0].content"),
        (user({"guardContent": {}}), "messages[0].content[0].guardContent"),
        (
            user({"guardContent": {"text": {"text": "x", "qualifiers": ["other"]}}}),
            "messages[0].content[0].guardContent.text.qualifiers[0]",
        ),
        (user(use("c")), "messages[0].content[0].toolUse"),
        (said(("user", [HI]), ("assistant", [{"image": PICTURE}])), "messages[1].content[0].image"),
        (said(("system", [{"image": PICTURE}])), "messages[0].content[0].image"),
        (user({"reasoningContent": {"redactedContent": "AAAA"}}), "messages[0].content[0].reasoningContent"),
        (said(("user", [HI]), ("assistant", [use("no spaces")])), "messages[1].content[0].toolUse.toolUseId"),
        (said(("user", [HI]), ("assistant", [use("c" * 65)])), "messages[1].content[0].toolUse.toolUseId"),
        (said(("user", [HI]), ("assistant", [use("c\n")])), "messages[1].content[0].toolUse.toolUseId"),
        (said(("user", [HI]), ("assistant", [use("c", name="f.g")])), "messages[1].content[0].toolUse.name"),
        (
            said(("user", [HI]), ("assistant", [use("c")]), ("user", [result("c", status="maybe")])),
            "messages[2].content[0].toolResult.status",
        ),
        (
            said(("user", [HI]), ("assistant", [use("c")]), ("user", [result("c", content=[{}])])),
            "messages[2].content[0].toolResult.content[0]",
        ),
        (said(("user", [HI]), ("assistant", [use("c")])), "messages[1].content"),
        (said(("user", [HI]), ("assistant", [use("c")]), ("user", [HI])), "messages[2].content"),
        (said(("user", [HI]), ("assistant", [use("c"), use("d")]), ("user", [result("d")])), "messages[2].content"),
        (
            said(("user", [HI]), ("assistant", [use("c")]), ("user", [result("c"), result("c")])),
            "messages[2].content[1].toolResult.toolUseId",
        ),
        (user(result("c")), "messages[0].content[0].toolResult.toolUseId"),
        (inference(temperature=1.01), "inferenceConfig.temperature"),
        (inference(temperature=-0.1), "inferenceConfig.temperature"),
        (inference(topP=2), "inferenceConfig.topP"),
        (inference(maxTokens=0), "inferenceConfig.maxTokens"),
        (inference(maxTokens=1.5), "inferenceConfig.maxTokens"),
        (inference(stopSequences=[""]), "inferenceConfig.stopSequences[0]"),
        (inference(stopSequences=["x"] * 2501), "inferenceConfig.stopSequences"),
        (inference(topK=3), "inferenceConfig.topK"),
        (tools(), "toolConfig.tools"),
        (tools(*(tool(f"f{number}") for number in range(129))), "toolConfig.tools"),
        (tools({}), "toolConfig.tools[0]"),
        (tools(tool("a b")), "toolConfig.tools[0].toolSpec.name"),
        (tools(tool("f\n")), "toolConfig.tools[0].toolSpec.name"),
        (tools(tool(description="")), "toolConfig.tools[0].toolSpec.description"),
        (tools(tool(), tool()), "toolConfig.tools[1].toolSpec.name"),
        (tools(tool(inputSchema={})), "toolConfig.tools[0].toolSpec.inputSchema"),
        (tools(tool(inputSchema={"json": "x"})), "toolConfig.tools[0].toolSpec.inputSchema.json"),
        (tools(tool(inputSchema={"json": {"x": "y" * 70_000}})), "toolConfig.tools[0].toolSpec.inputSchema.json"),
        (tools(tool(), toolChoice={}), "toolConfig.toolChoice"),
        (tools(tool(), toolChoice={"auto": {}, "any": {}}), "toolConfig.toolChoice"),
        (tools(tool(), toolChoice={"auto": {"x": 1}}), "toolConfig.toolChoice.auto.x"),
        (tools(tool(), toolChoice={"tool": {"name": "g"}}), "toolConfig.toolChoice.tool.name"),
        (tools(POINT, toolChoice={"any": {}}), "toolConfig.toolChoice"),
        (user(HI, POINT, POINT, POINT, POINT, POINT), "messages[0].content[5].cachePoint"),
        ({**tools(tool(), POINT), **user(HI, LONG_POINT)}, "messages[0].content[1].cachePoint.ttl"),
        (user(HI, {"cachePoint": {"type": "default", "ttl": "2h"}}), "messages[0].content[1].cachePoint.ttl"),
        (schema("no json"), "outputConfig.textFormat.structure.jsonSchema.schema"),
        (schema("[1]"), "outputConfig.textFormat.structure.jsonSchema.schema"),
        (schema("[" * 5000), "outputConfig.textFormat.structure.jsonSchema.schema"),
        ({**BASE, "outputConfig": {"effort": "a bit"}}, "outputConfig.effort"),
        ({**BASE, "requestMetadata": {}}, "requestMetadata"),
        ({**BASE, "requestMetadata": {f"k{number}": "v" for number in range(17)}}, "requestMetadata"),
        ({**BASE, "requestMetadata": {"k!": "v"}}, "requestMetadata"),
        ({**BASE, "requestMetadata": {"k": "v" * 257}}, "requestMetadata[...]"),
        ({**BASE, "additionalModelResponseFieldPaths": ["stop"]}, "additionalModelResponseFieldPaths[0]"),
        ({**BASE, "additionalModelResponseFieldPaths": ["/a~2"]}, "additionalModelResponseFieldPaths[0]"),
        ({**BASE, "additionalModelResponseFieldPaths": ["/a"] * 11}, "additionalModelResponseFieldPaths"),
        ({**BASE, "performanceConfig": {"latency": "warp"}}, "performanceConfig.latency"),
        ({**BASE, "serviceTier": {"type": "gold"}}, "serviceTier.type"),
        ({**BASE, "inferenceconfig": {}}, "inferenceconfig"),
        ({**BASE, "additionalModelRequestFields": "x"}, "additionalModelRequestFields"),
        (extra(top_k=0), "additionalModelRequestFields.top_k"),
        (extra(temperature=2.5), "additionalModelRequestFields.temperature"),
        (
            extra(thinking={"type": "enabled", "budget_tokens": 0}),
            "additionalModelRequestFields.thinking.budget_tokens",
        ),
        (extra(thinking={"type": "disabled"}, reasoning_effort="low"), "additionalModelRequestFields.thinking.type"),
        (extra(thinking={"type": "enabled"}, reasoning_effort="none"), "additionalModelRequestFields.thinking.type"),
        ({**inference(temperature=1), **extra(temperature=1.5)}, "additionalModelRequestFields.temperature"),
        (extra(deep=json.loads("[" * 40 + "]" * 40)), "additionalModelRequestFields.deep"),
    ],
)
def test_what_is_wrong_is_said_with_its_path(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode(body)
    assert caught.value.param == param
    assert caught.value.message.startswith(f"{param}: ")
    assert len(caught.value.message) < 500


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff", b"null", b'{"messages": 1e999999}'])
def test_what_is_no_body_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        decode(body)


def test_the_bounds_themselves_are_allowed() -> None:
    decode(inference(temperature=1, topP=0, maxTokens=1, stopSequences=["x"] * 2500))
    decode(document(name="Ä-1 (b) [c]"))
    decode({**BASE, "requestMetadata": {"k" * 256: "v" * 256}})
    decode({**tools(tool(), LONG_POINT), "system": [{"text": "x"}, LONG_POINT], **user(HI, POINT, POINT)})
    decode(tools(tool("f" * 64)))
    assert decode(extra(temperature=2)).request.sampling.temperature == 2


def test_results_of_stored_calls_may_come_first_in_a_conversation_that_goes_on() -> None:
    request = decode(user(result("c"), HI), continues=True).request
    assert [message.role for message in request.messages] == [Role.TOOL, Role.USER]
    with pytest.raises(InvalidRequest):
        decode(said(("user", [HI]), ("assistant", [HI]), ("user", [result("c")])), continues=True)


def test_results_come_before_what_the_user_says_beside_them() -> None:
    body = said(("user", [HI]), ("assistant", [use("c")]), ("user", [HI, result("c", content=[{"json": [1, None]}])]))
    messages = decode(body).request.messages
    assert [message.role for message in messages[2:]] == [Role.TOOL, Role.USER]
    assert messages[2].parts == (ToolResult(call_id="c", parts=(Text(text="[1,null]"),)),)


@pytest.mark.parametrize(
    ("body", "control"),
    [
        (BASE, None),
        ({**BASE, "outputConfig": {"effort": ""}}, None),
        ({**BASE, "outputConfig": {"effort": "max"}}, ReasoningControl(effort="max")),
        (extra(reasoning_effort="none"), ReasoningControl(effort="none", enabled=False)),
        (extra(thinking={"type": "disabled"}), ReasoningControl(enabled=False)),
        (extra(thinking={"type": "adaptive"}), ReasoningControl(enabled=True)),
        (
            extra(reasoning_config={"type": "enabled", "budget_tokens": 5}),
            ReasoningControl(budget_tokens=5, enabled=True),
        ),
    ],
)
def test_reasoning_control(body: dict[str, Any], control: ReasoningControl | None) -> None:
    assert decode(body).request.reasoning == control


@pytest.mark.parametrize(
    ("identifier", "name"),
    [
        ("fake/echo", "fake/echo"),
        ("anthropic.claude-3-haiku-20240307-v1:0", "anthropic.claude-3-haiku-20240307-v1:0"),
        ("arn:aws:bedrock:eu-west-1::foundation-model/meta.llama3-8b-v1:0", "meta.llama3-8b-v1:0"),
        ("arn:aws:bedrock:eu-west-1::foundation-model/Qwen/Qwen3-8B", "Qwen/Qwen3-8B"),
        ("arn:aws-us-gov:bedrock:r:123456789012:inference-profile/us.x:0", "us.x:0"),
        ("arn:aws:bedrock:r:123456789012:application-inference-profile/ab12", "ab12"),
        ("arn:aws:bedrock:r:123456789012:imported-model/ab12", "ab12"),
        ("arn:aws:bedrock:r:123456789012:custom-model/a.b/ab12", "a.b/ab12"),
        ("arn:aws:bedrock:r:123456789012:custom-model-deployment/ab12", "ab12"),
        ("arn:aws:bedrock:r:123456789012:provisioned-model/ab12", "ab12"),
    ],
)
def test_model_identifiers(identifier: str, name: str) -> None:
    assert model_name(identifier) == name


@pytest.mark.parametrize(
    ("identifier", "error"),
    [
        ("", InvalidRequest),
        ("a" * 2049, InvalidRequest),
        ("arn:aws:bedrock", InvalidRequest),
        ("arn:aws:bedrock:r:1:foundation-model/", InvalidRequest),
        ("arn:aws:bedrock:r:1:guardrail/x", InvalidRequest),
        ("arn:aws:bedrock:r:1:prompt/ABCDEFGHIJ:1", UnsupportedFeature),
        ("arn:aws:bedrock:r:1:prompt-router/x", UnsupportedFeature),
        ("arn:aws:bedrock:r:1:default-prompt-router/x", UnsupportedFeature),
        ("arn:aws:sagemaker:r:1:endpoint/x", UnsupportedFeature),
    ],
)
def test_identifiers_that_name_no_model_here(identifier: str, error: type[InvalidRequest]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        model_name(identifier)
    assert type(caught.value) is error
    assert caught.value.param == "modelId"


@pytest.mark.parametrize("origin", ["fleet", "", "bedplate.1.", "ü. :/", "a" * 300])
@pytest.mark.parametrize("value", ["", "c2lnbmVk==", "a.b", "bedplate.1.x.y", "é"])
def test_a_signature_survives_the_wire_with_its_origin(origin: str, value: str) -> None:
    signature = Signature(origin=origin, value=value)
    assert signature_from_wire(wire_signature(signature)) == signature
    part = RedactedReasoning(data=b"\xff" + value.encode(), origin=origin)
    assert redacted_from_wire(wire_redacted(part)) == part


@pytest.mark.parametrize("value", ["", "Eo8BCkYICxgC", "bedplate.1.", "bedplate.1.Zmxl!ZXQ.x", "bedplate.1.ZmxlZXQ"])
def test_a_foreign_signature_belongs_to_no_provider_and_stays_as_it_is(value: str) -> None:
    signature = signature_from_wire(value)
    assert signature == Signature(origin=FOREIGN_ORIGIN, value=value)
    assert signature_from_wire(wire_signature(signature)) == signature
    assert redacted_from_wire(value.encode()) == RedactedReasoning(data=value.encode(), origin=FOREIGN_ORIGIN)
