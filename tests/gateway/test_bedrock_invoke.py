"""InvokeModel, InvokeModelWithResponseStream and CountTokens as boto3 sees them, on the scripted provider."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

from bedplate_gateway.access.principal import Role
from bedplate_providers.fake import EMBEDDING_MODEL
from tests.fixtures.asgi import Exchange, InProcess, Message, in_process
from tests.fixtures.gateway import RunningGateway
from tests.fixtures.postgres import PostgresServer
from tests.gateway.support import eventually, http, record_of

MESSAGES = [{"role": "user", "content": "one two three"}]
BODIES: dict[str, dict[str, Any]] = {
    "llama": {"prompt": "one two three", "max_gen_len": 50},
    "mistral": {"prompt": "one two three", "max_tokens": 50},
    "openai": {"messages": MESSAGES},
    "anthropic": {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 50, "messages": MESSAGES},
}
METRICS = "amazon-bedrock-invocationMetrics"
POLICY = """
kind: Guardrail
name: words
project: guarded
spec:
  blockedInputMessaging: Not asked here.
  blockedOutputsMessaging: Not answered here.
  wordPolicyConfig: {wordsConfig: [{text: pineapple}]}
---
kind: Project
name: guarded
spec: {guardrail: words}
"""


def runtime(gateway: RunningGateway, key: str | None = None, **headers: str) -> Any:
    """boto3's client with a bearer key, without retries. (Its own bearer scheme insists on TLS.)"""
    client = boto3.client(
        "bedrock-runtime",
        endpoint_url=gateway.base_url,
        region_name="local",
        config=Config(signature_version=botocore.UNSIGNED, retries={"total_max_attempts": 1}, read_timeout=20),
    )

    def authorize(request: Any, **_: Any) -> None:
        request.headers["authorization"] = f"Bearer {key or gateway.key}"
        for name, value in headers.items():
            request.headers[name] = value

    client.meta.events.register("before-send.bedrock-runtime", authorize)
    return client


@pytest.fixture
def client(gateway: RunningGateway) -> Iterator[Any]:
    client = runtime(gateway)
    yield client
    client.close()


def invoke(client: Any, body: dict[str, Any], model: str = "fake/echo", **arguments: Any) -> tuple[dict[str, Any], Any]:
    """The answer's JSON and the response."""
    response = client.invoke_model(modelId=model, body=json.dumps(body), **arguments)
    return json.loads(response["body"].read()), response


def stream(client: Any, body: dict[str, Any], model: str = "fake/echo", **arguments: Any) -> tuple[list[Any], Any]:
    """The JSON of every chunk and the response; raises what the stream raises."""
    response = client.invoke_model_with_response_stream(modelId=model, body=json.dumps(body), **arguments)
    return [json.loads(event["chunk"]["bytes"]) for event in response["body"] if "chunk" in event], response


def text_of(family: str, *documents: dict[str, Any]) -> str:
    """The text of an answer or of all chunks of one."""
    said = ""
    for document in documents:
        match family:
            case "llama":
                said += document["generation"]
            case "mistral":
                said += "".join(output["text"] for output in document["outputs"])
            case "openai":
                for choice in document["choices"]:
                    said += (choice.get("message") or choice["delta"]).get("content") or ""
            case _:
                said += "".join(block["text"] for block in document.get("content", []))
                said += document.get("delta", {}).get("text", "")
    return said


def code_of(error: ClientError) -> tuple[int, str]:
    return error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]


def headers_of(response: Any) -> dict[str, str]:
    return response["ResponseMetadata"]["HTTPHeaders"]


@pytest.mark.parametrize("family", sorted(BODIES))
def test_a_stream_equals_its_whole_twin_and_both_are_on_record(
    gateway: RunningGateway, client: Any, family: str
) -> None:
    whole, response = invoke(client, BODIES[family])
    chunks, streamed = stream(client, BODIES[family])
    assert text_of(family, whole) == text_of(family, *chunks) == "one two three"
    assert response["contentType"] == streamed["contentType"] == "application/json"
    sent = headers_of(response)
    assert sent["x-amzn-bedrock-input-token-count"] == sent["x-amzn-bedrock-output-token-count"] == "3"
    assert int(sent["x-amzn-bedrock-invocation-latency"]) >= 0
    assert [METRICS in chunk for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    metrics = chunks[-1][METRICS]
    assert (metrics["inputTokenCount"], metrics["outputTokenCount"]) == (3, 3)
    assert 0 <= metrics["firstByteLatency"] <= metrics["invocationLatency"]
    for answer, streaming in ((response, False), (streamed, True)):
        record = record_of(gateway, answer["ResponseMetadata"]["RequestId"])
        assert (record["outcome"], record["stream"], record["dialect"]) == ("completed", streaming, "bedrock")
        assert record["operation"] == ("invoke_model_stream" if streaming else "invoke_model")
        assert (record["model"], record["input_tokens"], record["output_tokens"]) == ("fake/echo", 3, 3)


def test_the_shapes_of_each_family(client: Any) -> None:
    llama, _ = invoke(client, BODIES["llama"])
    assert llama == {
        "generation": "one two three",
        "prompt_token_count": 3,
        "generation_token_count": 3,
        "stop_reason": "stop",
    }
    mistral, _ = invoke(client, BODIES["mistral"])
    assert mistral == {"outputs": [{"text": "one two three", "stop_reason": "stop"}]}
    openai, _ = invoke(client, BODIES["openai"])
    assert openai["object"] == "chat.completion"
    assert openai["model"] == "fake/echo"
    anthropic, _ = invoke(client, BODIES["anthropic"])
    assert (anthropic["type"], anthropic["stop_reason"], anthropic["usage"]["input_tokens"]) == (
        "message",
        "end_turn",
        3,
    )
    events, _ = stream(client, BODIES["anthropic"])
    kinds = [event["type"] for event in events]
    assert (kinds[0], kinds[1], *kinds[-3:]) == (
        "message_start",
        "content_block_start",
        "content_block_stop",
        "message_delta",
        "message_stop",
    )
    limited, _ = invoke(client, {"prompt": "x", "max_gen_len": 3}, "fake/long")
    assert limited["generation_token_count"] == 3


def test_a_model_may_be_named_by_its_arn(client: Any) -> None:
    whole, _ = invoke(client, BODIES["openai"], "arn:aws:bedrock:local::foundation-model/fake/echo")
    assert whole["model"] == "fake/echo"


def test_tools_go_through_the_messages_bodies(client: Any) -> None:
    tool = {"name": "look_up", "input_schema": {"type": "object", "properties": {"q": {"type": "string"}}}}
    whole, _ = invoke(client, {**BODIES["anthropic"], "tools": [tool]}, "fake/split-tool-call")
    assert whole["stop_reason"] == "tool_use"
    call = next(block for block in whole["content"] if block["type"] == "tool_use")
    events, _ = stream(client, {**BODIES["anthropic"], "tools": [tool]}, "fake/split-tool-call")
    pieces = [event["delta"].get("partial_json", "") for event in events if event["type"] == "content_block_delta"]
    assert json.loads("".join(pieces)) == call["input"]


def test_embeddings_of_titan_and_cohere(gateway: RunningGateway, client: Any) -> None:
    titan, response = invoke(client, {"inputText": "one two", "dimensions": 16}, EMBEDDING_MODEL)
    assert len(titan["embedding"]) == 16
    assert titan["inputTextTokenCount"] == 2
    assert headers_of(response)["x-amzn-bedrock-input-token-count"] == "2"
    cohere, _ = invoke(client, {"texts": ["one two", "three"], "input_type": "search_query"}, EMBEDDING_MODEL)
    assert (cohere["response_type"], cohere["texts"]) == ("embeddings_floats", ["one two", "three"])
    again, _ = invoke(client, {"inputText": "one two"}, EMBEDDING_MODEL)
    assert cohere["embeddings"][0] == pytest.approx(again["embedding"])
    record = record_of(gateway, response["ResponseMetadata"]["RequestId"])
    assert (record["outcome"], record["input_tokens"]) == ("completed", 2)


def test_headers_are_echoed_after_they_were_checked(client: Any) -> None:
    asked = {"performanceConfigLatency": "optimized", "serviceTier": "flex", "requestMetadata": '{"team": "a"}'}
    for call in (invoke, stream):
        _, response = call(client, BODIES["llama"], accept="application/json", contentType="application/json", **asked)
        assert (response["performanceConfigLatency"], response["serviceTier"]) == ("optimized", "flex")
    for wrong in ({"serviceTier": "fast"}, {"requestMetadata": "x"}, {"contentType": "text/plain"}):
        with pytest.raises(client.exceptions.ValidationException):
            invoke(client, BODIES["llama"], **wrong)


@pytest.mark.parametrize("call", [invoke, stream])
def test_errors_before_the_first_byte_are_typed(client: Any, call: Any) -> None:
    for model, body, status, code in (
        ("none/such", BODIES["llama"], 404, "ResourceNotFoundException"),
        ("fake/error", BODIES["openai"], 503, "ServiceUnavailableException"),
        ("fake/rate-limited", BODIES["anthropic"], 429, "ThrottlingException"),
        ("fake/context-length", BODIES["mistral"], 400, "ValidationException"),
        ("fake/echo", {"query": "q", "documents": []}, 400, "ValidationException"),
        ("fake/echo", {"nothing": 1}, 400, "ValidationException"),
        ("arn:aws:bedrock:local:123456789012:prompt/ABCDEFGHIJ", BODIES["llama"], 400, "ValidationException"),
    ):
        with pytest.raises(ClientError) as caught:
            call(client, body, model)
        assert code_of(caught.value) == (status, code)
        assert caught.value.response["Error"]["Message"]


@pytest.mark.parametrize("family", sorted(BODIES))
@pytest.mark.parametrize("model", ["fake/error-midstream", "fake/cut"])
def test_a_stream_that_breaks_off_raises_in_the_client(
    gateway: RunningGateway, client: Any, family: str, model: str
) -> None:
    response = client.invoke_model_with_response_stream(modelId=model, body=json.dumps(BODIES[family]))
    chunks: list[Any] = []
    with pytest.raises(EventStreamError) as caught:
        chunks.extend(json.loads(event["chunk"]["bytes"]) for event in response["body"])
    assert caught.value.response["Error"]["Code"] in ("serviceUnavailableException", "modelStreamErrorException")
    assert caught.value.response["Error"]["Message"]
    assert not any(METRICS in chunk for chunk in chunks)
    assert record_of(gateway, response["ResponseMetadata"]["RequestId"])["outcome"] != "completed"


def test_a_key_that_is_not_known_is_refused_in_bedrocks_words(gateway: RunningGateway) -> None:
    client = runtime(gateway, "bp_wrong")
    with pytest.raises(ClientError) as caught:
        invoke(client, BODIES["llama"])
    assert code_of(caught.value) == (403, "UnrecognizedClientException")


@pytest.mark.parametrize("family", ["openai", "anthropic"])
def test_a_conversation_is_kept_by_the_session_header(gateway: RunningGateway, family: str) -> None:
    first, response = invoke(runtime(gateway, **{"x-bedplate-session": "auto"}), BODIES[family])
    session = headers_of(response)["x-bedplate-session"]
    assert text_of(family, first) == "one two three"
    client = runtime(gateway, **{"x-bedplate-session": session})
    chunks, response = stream(client, {**BODIES[family], "messages": [{"role": "user", "content": "four"}]})
    assert text_of(family, *chunks) == "four"
    assert headers_of(response)["x-bedplate-session"] == session
    assert chunks[-1][METRICS]["inputTokenCount"] == 7  # both turns and the new words
    with pytest.raises(client.exceptions.ValidationException, match="prompt"):
        invoke(client, BODIES["llama"])


@pytest.mark.parametrize("family", sorted(BODIES))
def test_the_projects_guardrail_holds_and_is_said(gateway: RunningGateway, family: str) -> None:
    gateway.apply_text(POLICY)
    key = gateway.create_key("guarded", Role.SERVICE)
    client = runtime(gateway, key)
    body = json.loads(json.dumps(BODIES[family]).replace("one two three", "a pineapple"))

    def known() -> bool:
        try:
            return bool(invoke(client, BODIES[family]))
        except ClientError:
            return False

    eventually(known, within_s=5)
    whole, _ = invoke(client, body)
    chunks, _ = stream(client, body)
    assert text_of(family, whole) == text_of(family, *chunks) == "Not asked here."
    action = "amazon-bedrock-guardrailAction"
    assert whole[action] == chunks[-1][action] == "INTERVENED"
    answered, _ = invoke(client, BODIES[family])
    assert action not in answered


def test_tokens_are_counted_for_every_body(client: Any) -> None:
    for body in (*BODIES.values(), {"inputText": "one two three"}, {"texts": ["one two", "three"]}):
        counted = client.count_tokens(modelId="fake/echo", input={"invokeModel": {"body": json.dumps(body).encode()}})
        assert counted["inputTokens"] == 3, body
    converse = {
        "messages": [{"role": "user", "content": [{"text": "one two three"}]}],
        "system": [{"text": "be brief"}],
    }
    counted = client.count_tokens(modelId="fake/echo", input={"converse": converse})
    assert counted["inputTokens"] == 5


def test_wrong_token_counts_name_what_is_wrong(gateway: RunningGateway, client: Any) -> None:
    wrong = [
        ({}, "input"),
        ({"input": {}}, "exactly one"),
        ({"input": {"invokeModel": {"body": "!"}}}, "input.invokeModel.body"),
        ({"input": {"invokeModel": {"body": "e30="}, "converse": {"messages": []}}}, "exactly one"),
        ({"input": {"converse": {"messages": []}}}, "input.converse.messages"),
        ({"input": {"converse": {"inferenceConfig": {}}}}, "input.converse.inferenceConfig"),
        ({"input": {"invokeModel": {"body": "e30="}}, "more": 1}, "more"),
    ]
    with http(gateway, gateway.key) as plain:
        for body, named in wrong:
            answer = plain.post("/model/fake%2Fecho/count-tokens", json=body)
            assert answer.status_code == 400
            assert answer.headers["x-amzn-errortype"] == "ValidationException"
            assert named in answer.json()["message"]
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.count_tokens(modelId="none", input={"invokeModel": {"body": b'{"prompt":"x"}'}})


async def post(running: InProcess, path: str, body: dict[str, Any], *, leave_after: int | None = None) -> Exchange:
    """POST inside this event loop; the client leaves after that many pieces of the answer."""
    exchange = Exchange()
    data: list[Message] = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def receive() -> Message:
        if data:
            return data.pop()
        await exchange.disconnected.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        exchange.sent.append(message)
        if leave_after is not None and len(exchange.sent) > leave_after:
            exchange.disconnected.set()
            await asyncio.sleep(0.05)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": path.replace("%2F", "/"),
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {running.key}".encode())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "scheme": "http",
        "root_path": "",
        "state": {},
    }
    await running.application.asgi(scope, receive, send)  # type: ignore[arg-type]  # a scope written by hand
    return exchange


@pytest.mark.anyio
@pytest.mark.parametrize("family", sorted(BODIES))
async def test_a_client_that_leaves_frees_the_upstream(
    postgres_server: PostgresServer, tmp_path: Path, family: str
) -> None:
    name = postgres_server.create_database()
    try:
        async with in_process(tmp_path, postgres_server.url(name)) as running:
            await post(running, "/model/fake%2Fslow/invoke-with-response-stream", BODIES[family], leave_after=2)
            rows = await running.settled(1)
            assert [row["outcome"] for row in rows] == ["cancelled"]
    finally:
        postgres_server.drop_database(name)


CANNOT_COUNT = """
kind: Provider
name: elsewhere
spec: {kind: openai, base_url: "http://127.0.0.1:9/v1"}
---
kind: Model
name: uncounted
spec: {provider: elsewhere}
"""


@pytest.mark.anyio
async def test_a_provider_that_cannot_count_is_named(postgres_server: PostgresServer, tmp_path: Path) -> None:
    name = postgres_server.create_database()
    try:
        async with in_process(tmp_path, postgres_server.url(name), resources=CANNOT_COUNT) as running:
            body = {"input": {"invokeModel": {"body": "eyJwcm9tcHQiOiAieCJ9"}}}
            exchange = await post(running, "/model/uncounted/count-tokens", body)
            assert exchange.status == 400
            assert "uncounted" in json.loads(exchange.body)["message"]
            assert "token counting" in json.loads(exchange.body)["message"]
    finally:
        postgres_server.drop_database(name)
