"""Converse and ConverseStream as boto3 sees them, on a running gateway with the scripted provider."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3
import botocore
import pytest
from botocore.awsrequest import AWSPreparedRequest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

from bedplate_gateway.access.principal import Role
from bedplate_providers.event_stream import FrameParser
from tests.fixtures.asgi import Exchange, Message, in_process
from tests.fixtures.gateway import RunningGateway
from tests.fixtures.postgres import PostgresServer
from tests.gateway.support import eventually, http, own_gateway, record_of
from tests.scenario.case import PNG

POLICY = """
kind: Guardrail
name: words
project: guarded
spec:
  blockedInputMessaging: Not asked.
  blockedOutputsMessaging: Not answered.
  wordPolicyConfig: {wordsConfig: [{text: pineapple}]}
---
kind: Project
name: guarded
spec: {guardrail: words}
"""
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = {"tools": [{"toolSpec": {"name": name, "inputSchema": {"json": CITY}}} for name in ("weather", "news")]}
PICTURE = {"image": {"format": "png", "source": {"bytes": PNG}}}


def runtime(gateway: RunningGateway, key: str | None = None, *, session: str | None = None, attempts: int = 1) -> Any:
    """boto3's client with the key as a bearer token, which works without TLS, and `attempts` tries a call."""
    config = Config(
        signature_version=botocore.UNSIGNED,
        retries={"mode": "standard", "total_max_attempts": attempts},
        read_timeout=30,
    )
    client = boto3.client("bedrock-runtime", region_name="eu-west-1", endpoint_url=gateway.base_url, config=config)

    def authorize(request: AWSPreparedRequest, **_: Any) -> None:
        request.headers["authorization"] = f"Bearer {key or gateway.key}"
        if session is not None:
            request.headers["x-bedplate-session"] = session

    client.meta.events.register("before-send.bedrock-runtime.*", authorize)
    return client


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": [{"text": block} if isinstance(block, str) else block for block in blocks]}


def converse(client: Any, model: str, text: str = "one two three", **fields: Any) -> Any:
    return client.converse(modelId=model, **{"messages": [user(text)], **fields})


def streamed(client: Any, model: str, text: str = "one two three", **fields: Any) -> list[dict[str, Any]]:
    return list(client.converse_stream(modelId=model, **{"messages": [user(text)], **fields})["stream"])


def text_of(events: list[dict[str, Any]]) -> str:
    return "".join(event.get("contentBlockDelta", {}).get("delta", {}).get("text", "") for event in events)


def names_of(gateway: RunningGateway) -> set[str]:
    """The models that are in force."""
    with http(gateway, gateway.key) as client:
        return {model["id"] for model in client.get("/v1/models").json()["data"]}


def header(reply: Any, name: str) -> str:
    return reply["ResponseMetadata"]["HTTPHeaders"][name]


def test_text_whole_and_streamed(gateway: RunningGateway) -> None:
    client = runtime(gateway)
    reply = converse(client, "fake/echo", system=[{"text": "Be brief."}], serviceTier={"type": "default"})
    assert reply["output"] == {"message": {"role": "assistant", "content": [{"text": "one two three"}]}}
    assert (reply["stopReason"], reply["usage"]["outputTokens"]) == ("end_turn", 3)
    assert reply["usage"]["totalTokens"] == reply["usage"]["inputTokens"] + 3
    assert (reply["metrics"]["latencyMs"] >= 0, reply["serviceTier"]) == (True, {"type": "default"})
    events = streamed(client, "fake/echo", system=[{"text": "Be brief."}])
    assert [next(iter(event)) for event in events] == [
        "messageStart",
        *["contentBlockDelta"] * 3,
        "contentBlockStop",
        "messageStop",
        "metadata",
    ]
    assert text_of(events) == "one two three"
    assert events[-1]["metadata"]["usage"] == reply["usage"]


def test_a_call_is_on_record_under_the_answers_request_id(gateway: RunningGateway) -> None:
    reply = converse(runtime(gateway), "fake/echo")
    record = record_of(gateway, reply["ResponseMetadata"]["RequestId"])
    assert (record["dialect"], record["operation"], record["outcome"]) == ("bedrock", "converse", "completed")
    assert (record["model"], record["stream"]) == ("fake/echo", False)
    started = runtime(gateway).converse_stream(modelId="fake/echo", messages=[user("a")])
    list(started["stream"])
    record = record_of(gateway, started["ResponseMetadata"]["RequestId"])
    assert (record["operation"], record["outcome"], record["stream"]) == ("converse_stream", "completed", True)


def test_several_turns(gateway: RunningGateway) -> None:
    messages = [user("one"), {"role": "assistant", "content": [{"text": "two"}]}, user("three", " four")]
    reply = runtime(gateway).converse(modelId="fake/echo", messages=messages)
    assert reply["output"]["message"]["content"] == [{"text": "three four"}]


def test_pictures_reach_a_model_that_sees_and_no_other(gateway: RunningGateway) -> None:
    declared = "kind: Model\nname: {}\nspec: {{provider: fake, upstream_model: fake/echo, profile: {{vision: {}}}}}\n"
    gateway.apply_text(declared.format("seeing", "true") + "---\n" + declared.format("blind", "false"))
    client = runtime(gateway)
    eventually(lambda: {"seeing", "blind"} <= names_of(gateway), within_s=10)
    reply = client.converse(modelId="seeing", messages=[user("what is it?", PICTURE)])
    assert reply["usage"]["inputTokens"] == 4  # the scripted model counts a picture as one
    assert client.converse(modelId="seeing", messages=[user("what is it?")])["usage"]["inputTokens"] == 3
    with pytest.raises(client.exceptions.ValidationException, match="does not support pictures"):
        client.converse(modelId="blind", messages=[user("what is it?", PICTURE)])


@pytest.mark.parametrize(
    "model_id",
    [
        "fake/echo",
        "arn:aws:bedrock:eu-west-1::foundation-model/fake/echo",
        "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/fake/echo",
    ],
)
def test_model_identifiers_with_slashes_and_colons(gateway: RunningGateway, model_id: str) -> None:
    client = runtime(gateway)
    assert converse(client, model_id)["output"]["message"]["content"] == [{"text": "one two three"}]
    assert text_of(streamed(client, model_id)) == "one two three"


@pytest.mark.parametrize("model", ["fake/split-tool-call", "fake/parallel-tools"])
def test_tools_whole_and_streamed(gateway: RunningGateway, model: str) -> None:
    client = runtime(gateway)
    reply = converse(client, model, toolConfig=TOOLS)
    calls = [block["toolUse"] for block in reply["output"]["message"]["content"]]
    names = ["weather"] if "split" in model else ["weather", "news"]
    assert [(call["name"], set(call["input"])) for call in calls] == [(name, {"city"}) for name in names]
    assert reply["stopReason"] == "tool_use"
    events = streamed(client, model, toolConfig=TOOLS)
    starts = [event["contentBlockStart"] for event in events if "contentBlockStart" in event]
    assert [start["start"]["toolUse"]["name"] for start in starts] == names
    for number, call in enumerate(calls):
        deltas = [event["contentBlockDelta"] for event in events if "contentBlockDelta" in event]
        pieces = [delta["delta"]["toolUse"]["input"] for delta in deltas if delta["contentBlockIndex"] == number]
        assert json.loads("".join(pieces)) == call["input"]
        assert len(pieces) > 1 or "parallel" in model
    assert {"messageStop": {"stopReason": "tool_use"}} in events


def test_tool_choice_and_what_the_tools_answered(gateway: RunningGateway) -> None:
    client = runtime(gateway)
    asked = user("Weather and news?")
    forced = {**TOOLS, "toolChoice": {"tool": {"name": "news"}}}
    reply = client.converse(modelId="fake/echo", messages=[asked], toolConfig=forced)
    (block,) = reply["output"]["message"]["content"]
    assert block["toolUse"]["name"] == "news"
    call_id = block["toolUse"]["toolUseId"]
    for content, status, heard in (
        ([{"json": {"celsius": 7}}], "success", '{"celsius":7}'),
        ([{"text": "no such city"}], "error", "no such city"),
    ):
        result = {"toolResult": {"toolUseId": call_id, "content": content, "status": status}}
        messages = [asked, reply["output"]["message"], user(result)]
        said = client.converse(modelId="fake/echo", messages=messages, toolConfig=TOOLS)
        assert said["output"]["message"]["content"] == [{"text": heard}]


def test_arguments_that_are_no_json_stay_visible(gateway: RunningGateway) -> None:
    client = runtime(gateway)
    reply = converse(client, "fake/bad-tool-arguments", toolConfig=TOOLS)
    assert reply["stopReason"] == "malformed_tool_use"
    assert reply["output"]["message"]["content"][0]["toolUse"]["input"] == '{"city": "Par'
    events = streamed(client, "fake/bad-tool-arguments", toolConfig=TOOLS)
    assert {"messageStop": {"stopReason": "malformed_tool_use"}} in events


def test_reasoning_goes_back_as_it_came(gateway: RunningGateway) -> None:
    client = runtime(gateway)
    reply = converse(client, "fake/reasoning")
    thought, said = reply["output"]["message"]["content"]
    assert thought["reasoningContent"]["reasoningText"]["signature"]
    assert said == {"text": "one two three"}
    again = client.converse(
        modelId="fake/echo", messages=[user("one two three"), reply["output"]["message"], user("more")]
    )
    assert again["output"]["message"]["content"] == [{"text": "more"}]
    deltas = [
        event["contentBlockDelta"]["delta"]
        for event in streamed(client, "fake/reasoning")
        if "contentBlockDelta" in event
    ]
    thoughts = [delta["reasoningContent"] for delta in deltas if "reasoningContent" in delta]
    assert "".join(piece.get("text", "") for piece in thoughts) == thought["reasoningContent"]["reasoningText"]["text"]
    assert thoughts[-1]["signature"] == thought["reasoningContent"]["reasoningText"]["signature"]


def test_how_answers_end(gateway: RunningGateway) -> None:
    client = runtime(gateway)
    assert converse(client, "fake/echo", inferenceConfig={"maxTokens": 1})["stopReason"] == "max_tokens"
    stopped = converse(client, "fake/echo", inferenceConfig={"stopSequences": [" three"]})
    assert stopped["stopReason"] == "stop_sequence"
    assert stopped["output"]["message"]["content"] == [{"text": "one two"}]
    refused = converse(client, "fake/refusal")
    assert (refused["stopReason"], refused["output"]["message"]["content"]) == (
        "content_filtered",
        [{"text": "I cannot help with that."}],
    )
    assert converse(client, "fake/empty")["output"]["message"]["content"] == []


def test_structured_output(gateway: RunningGateway) -> None:
    structure = {"jsonSchema": {"schema": json.dumps(CITY)}}
    config = {"textFormat": {"type": "json_schema", "structure": structure}}
    reply = converse(runtime(gateway), "fake/echo", outputConfig=config)
    assert set(json.loads(reply["output"]["message"]["content"][0]["text"])) == {"city"}


def test_a_conversation_that_the_gateway_keeps(gateway: RunningGateway) -> None:
    first = converse(runtime(gateway, session="auto"), "fake/echo", "my name is Ada")
    session = header(first, "x-bedplate-session")
    again = runtime(gateway, session=session)
    streamed(again, "fake/echo", "and more")
    third = converse(again, "fake/echo", "third")
    assert third["usage"]["inputTokens"] > converse(runtime(gateway), "fake/echo", "third")["usage"]["inputTokens"]


def test_errors_before_the_answer_are_typed(gateway: RunningGateway) -> None:
    client = runtime(gateway)
    for model, name, status in (
        ("no/such-model", "ResourceNotFoundException", 404),
        ("fake/context-length", "ValidationException", 400),
        ("fake/rate-limited", "ThrottlingException", 429),
        ("fake/error", "ServiceUnavailableException", 503),
        ("arn:aws:bedrock:r:123456789012:prompt/ABCDEFGHIJ", "ValidationException", 400),
    ):
        for call in (converse, streamed):
            with pytest.raises(getattr(client.exceptions, name)) as caught:
                call(client, model)
            response = caught.value.response
            assert (response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]) == (name, status)
            assert response["Error"]["Message"]
            assert response["ResponseMetadata"]["RequestId"].startswith("req_")


def test_a_rate_limit_is_tried_again_after_the_time_it_names(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(botocore.endpoint.time, "sleep", waits.append)
    client = runtime(gateway, attempts=3)
    with pytest.raises(client.exceptions.ThrottlingException) as caught:
        converse(client, "fake/rate-limited")
    assert caught.value.response["ResponseMetadata"]["RetryAttempts"] == 2
    assert len(waits) == 2
    assert all(wait >= 2 for wait in waits)


def test_a_key_that_is_not_valid(gateway: RunningGateway) -> None:
    with pytest.raises(ClientError) as caught:
        converse(runtime(gateway, key="bp-nothing"), "fake/echo")
    assert caught.value.response["Error"]["Code"] == "UnrecognizedClientException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"inferenceConfig": {"temperature": 1.5}}, "inferenceConfig.temperature"),
        ({"inferenceConfig": {"topP": 7.0}}, "inferenceConfig.topP"),
        ({"requestMetadata": {"bad!": "x"}}, "requestMetadata"),
        ({"additionalModelResponseFieldPaths": ["nope"]}, "additionalModelResponseFieldPaths[0]"),
        ({"guardrailConfig": {"guardrailIdentifier": "abc"}}, "guardrailConfig.guardrailVersion"),
        ({"additionalModelRequestFields": {"cache_salt": "x"}}, "cache_salt"),
        ({"messages": [user({"searchResult": {"source": "a", "title": "b", "content": []}})]}, "searchResult"),
    ],
)
def test_what_boto3_lets_through_is_refused_by_path(gateway: RunningGateway, fields: Any, said: str) -> None:
    client = runtime(gateway)
    for call in (converse, streamed):
        with pytest.raises(client.exceptions.ValidationException) as caught:
            call(client, "fake/echo", **fields)
        assert said in caught.value.response["Error"]["Message"]


def test_a_body_that_is_no_json(gateway: RunningGateway) -> None:
    with http(gateway, gateway.key) as client:
        for path in ("converse", "converse-stream"):
            reply = client.post(f"/model/fake%2Fecho/{path}", content=b"{")
            assert (reply.status_code, reply.headers["x-amzn-errortype"]) == (400, "ValidationException")
            assert "not valid JSON" in reply.json()["message"]


@pytest.mark.parametrize("model", ["fake/error-midstream", "fake/cut"])
def test_an_error_in_the_middle_never_looks_like_an_end(gateway: RunningGateway, model: str) -> None:
    answer = runtime(gateway).converse_stream(modelId=model, messages=[user("one two three four five six")])
    events: list[dict[str, Any]] = []
    with pytest.raises(EventStreamError) as caught:
        events.extend(answer["stream"])
    code = caught.value.response["Error"]["Code"]
    assert code == ("serviceUnavailableException" if model == "fake/error-midstream" else "modelStreamErrorException")
    record = record_of(gateway, answer["ResponseMetadata"]["RequestId"])
    assert record["outcome"] == ("upstream_unavailable" if model == "fake/error-midstream" else "upstream_protocol")


def test_a_client_that_leaves_cancels_the_call(gateway: RunningGateway) -> None:
    answer = runtime(gateway).converse_stream(modelId="fake/slow", messages=[user("word " * 200)])
    next(iter(answer["stream"]))
    answer["stream"].close()
    request_id = answer["ResponseMetadata"]["RequestId"]
    eventually(lambda: bool(gateway.query("select 1 from invocation where id = $1", request_id)), within_s=5)
    assert record_of(gateway, request_id)["outcome"] == "cancelled"


def guarded(gateway: RunningGateway, policy: str) -> Any:
    """A client of the project that the policy holds for, once the gateway knows both."""
    gateway.apply_text(policy)
    client = runtime(gateway, gateway.create_key("guarded", Role.SERVICE))

    def known() -> bool:
        try:
            return bool(converse(client, "fake/echo"))
        except ClientError as error:
            if error.response["Error"]["Code"] != "UnrecognizedClientException":
                raise
            return False

    eventually(known, within_s=10)
    return client


def test_a_question_that_a_guardrail_stops(gateway: RunningGateway) -> None:
    client = guarded(gateway, POLICY)
    reply = converse(client, "fake/echo", "a pineapple")
    assert (reply["stopReason"], reply["output"]["message"]["content"]) == (
        "guardrail_intervened",
        [{"text": "Not asked."}],
    )
    events = streamed(client, "fake/echo", "a pineapple")
    assert (text_of(events), events[-2]) == ("Not asked.", {"messageStop": {"stopReason": "guardrail_intervened"}})


def test_an_answer_that_a_guardrail_stops_in_the_middle(postgres_server: PostgresServer) -> None:
    with own_gateway(postgres_server) as gateway:
        client = guarded(gateway, POLICY.replace("{text: pineapple}", "{text: pineapple, inputEnabled: false}"))
        text = "say: " + "harmless words, many of them. " * 20 + "pineapple and more"
        events = streamed(client, "fake/script", text)
        said = text_of(events)
        assert said.startswith("harmless words")
        assert "pineapple" not in said
        assert said.endswith("Not answered.")
        assert events[-2] == {"messageStop": {"stopReason": "guardrail_intervened"}}
        assert "metadata" in events[-1]
        assert converse(client, "fake/script", text)["stopReason"] == "guardrail_intervened"


def test_a_silent_model_is_bridged_with_frames_that_boto3_drops(postgres_server: PostgresServer) -> None:
    with own_gateway(postgres_server, BEDPLATE_KEEP_ALIVE_S="0.05") as gateway:
        gateway.apply_text("kind: Provider\nname: fake\nspec: {kind: fake, delay_s: 0.3}\n")
        events = streamed(runtime(gateway), "fake/slow", "a b c")
        assert text_of(events) == "a b c"
        with http(gateway, gateway.key) as client:
            body = {"messages": [user("a b c")]}
            reply = client.post("/model/fake%2Fslow/converse-stream", json=body)
        assert reply.headers["content-type"] == "application/vnd.amazon.eventstream"
        kinds = [frame.header(":event-type") for frame in FrameParser().feed(reply.content)]
        assert kinds.count("keepAlive") >= 2
        assert kinds[-1] == "metadata"


@pytest.mark.anyio
@pytest.mark.parametrize("nth", [0, 1, 3])
async def test_no_upstream_is_left_open_when_the_client_leaves(tmp_path: Path, database_url: str, nth: int) -> None:
    async with in_process(tmp_path, database_url) as gateway:
        exchange = Exchange()
        sent = 0

        async def receive() -> Message:
            if not exchange.sent and not exchange.disconnected.is_set() and not asked:
                asked.append(True)
                body = json.dumps({"messages": [user("one two three four five")]}).encode()
                return {"type": "http.request", "body": body, "more_body": False}
            await exchange.disconnected.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            nonlocal sent
            if sent == nth:
                exchange.disconnected.set()
            sent += 1
            exchange.sent.append(message)

        asked: list[bool] = []
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "path": "/model/fake/slow/converse-stream",
            "raw_path": b"/model/fake%2Fslow/converse-stream",
            "query_string": b"",
            "headers": [(b"authorization", f"Bearer {gateway.key}".encode())],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "scheme": "http",
            "root_path": "",
            "state": {},
        }
        await gateway.application.asgi(scope, receive, send)  # type: ignore[arg-type]
        rows = await gateway.settled(1)
        assert [row["outcome"] for row in rows] == ["cancelled"]
        frames = FrameParser().feed(exchange.body)
        assert not any(frame.header(":event-type") == "messageStop" for frame in frames)


def test_the_openapi_document_describes_both(gateway: RunningGateway) -> None:
    with http(gateway, gateway.key) as client:
        document = client.get("/openapi.json").json()
    whole = document["paths"]["/model/{model_id}/converse"]["post"]
    stream = document["paths"]["/model/{model_id}/converse-stream"]["post"]
    assert whole["parameters"][0]["name"] == stream["parameters"][0]["name"] == "model_id"
    assert "application/vnd.amazon.eventstream" in stream["responses"]["200"]["content"]
    assert {"403", "408", "424", "429", "503"} <= set(whole["responses"])
    schemas = document["components"]["schemas"]
    for name in ("BedrockConverseRequest", "BedrockConverseResponse", "BedrockConverseStreamEvent"):
        assert schemas[name]["type"] == "object"
