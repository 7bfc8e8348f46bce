"""What an application does with boto3, on a real or the scripted model: signed with a key pair of the gateway's."""

from __future__ import annotations

import json
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError
from steps import FAKE, PERSON, PNG, URL, WEATHER, check, model, within

ONCE = Config(retries={"total_max_attempts": 1})
client = boto3.client("bedrock-runtime", endpoint_url=URL, region_name="eu-central-1", config=ONCE)
control = boto3.client("bedrock", endpoint_url=URL, region_name="eu-central-1", config=ONCE)
TOOL: dict[str, Any] = {"toolSpec": {"name": "get_weather", "inputSchema": {"json": WEATHER}}}
CLOCK: dict[str, Any] = {"toolSpec": {"name": "clock", "inputSchema": {"json": {"type": "object"}}}}
ASK: list[Any] = [{"role": "user", "content": [{"text": "Count to three, please."}]}]


def fails(code: str, step: str, work: Any) -> ClientError:
    """The error with this code that `work` raises."""
    try:
        work()
    except ClientError as error:
        check(error.response["Error"]["Code"] == code, step, error)
        return error
    check(False, step, "no error")
    raise SystemExit(1)


def texts() -> None:
    answer = client.converse(
        modelId=model(),
        system=[{"text": "Be brief."}],
        messages=[*ASK, {"role": "assistant", "content": [{"text": "one"}]}, *ASK],
        inferenceConfig={"maxTokens": 12, "temperature": 0, "topP": 0.9},
    )
    check(answer["output"]["message"]["content"][0]["text"], "system and turns", answer["output"])
    check(answer["usage"]["totalTokens"] > 0 and answer["metrics"]["latencyMs"] >= 0, "usage", answer["usage"])
    check(answer["ResponseMetadata"]["RequestId"], "request id", answer["ResponseMetadata"]["RequestId"])
    events = list(client.converse_stream(modelId=model(), messages=ASK, inferenceConfig={"maxTokens": 12})["stream"])
    names = [next(iter(event)) for event in events]
    check(names[0] == "messageStart" and names[-2:] == ["messageStop", "metadata"], "streamed", names[-3:])
    answer = client.converse(modelId=model("fake/long"), messages=ASK, inferenceConfig={"maxTokens": 3})
    check(answer["stopReason"] == "max_tokens" and answer["usage"]["outputTokens"] == 3, "max tokens")
    extra: dict[str, Any] = {} if FAKE else {"structured_outputs": {"regex": "one two three"}}
    answer = client.converse(
        modelId=model(),
        messages=[{"role": "user", "content": [{"text": "one two three"}]}],
        inferenceConfig={"stopSequences": [" three"], "maxTokens": 20},
        additionalModelRequestFields=extra,
    )
    check(answer["stopReason"] == "stop_sequence", "stop", answer["stopReason"])
    arn = f"arn:aws:bedrock:eu-central-1::foundation-model/{model()}"
    answer = client.converse(modelId=arn, messages=ASK, inferenceConfig={"maxTokens": 3})
    check(answer["output"], "a model's ARN", arn)


def tools() -> None:
    config: Any = {"tools": [TOOL, CLOCK], "toolChoice": {"tool": {"name": "get_weather"}}}
    answer = client.converse(modelId=model(), messages=ASK, toolConfig=config, inferenceConfig={"maxTokens": 60})
    said = answer["output"]["message"]
    call = said["content"][-1]["toolUse"]
    check(set(call["input"]) == {"city", "unit"} and answer["stopReason"] == "tool_use", "named tool", call)
    result = {"toolUseId": call["toolUseId"], "content": [{"json": {"error": "No such city."}}], "status": "error"}
    history = [*ASK, said, {"role": "user", "content": [{"toolResult": result}]}]
    answer = client.converse(
        modelId=model(), messages=history, toolConfig={"tools": [TOOL]}, inferenceConfig={"maxTokens": 20}
    )
    check(answer["output"]["message"]["content"], "tool result", answer["output"])
    config = {"tools": [TOOL], "toolChoice": {"any": {}}}
    stream = client.converse_stream(
        modelId=model("fake/split-tool-call"), messages=ASK, toolConfig=config, inferenceConfig={"maxTokens": 60}
    )["stream"]
    pieces = [
        event["contentBlockDelta"]["delta"]["toolUse"]["input"]
        for event in stream
        if "toolUse" in event.get("contentBlockDelta", {}).get("delta", {})
    ]
    check(set(json.loads("".join(pieces))) == {"city", "unit"}, "streamed tool", len(pieces))
    if FAKE:
        config = {"tools": [TOOL, CLOCK]}
        answer = client.converse(modelId="fake/parallel-tools", messages=ASK, toolConfig=config)
        names = [block["toolUse"]["name"] for block in answer["output"]["message"]["content"]]
        check(names == ["get_weather", "clock"], "parallel tools", names)


def schemas() -> None:
    schema = {"schema": json.dumps(PERSON), "name": "person"}
    wanted: Any = {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": schema}}}
    answer = client.converse(modelId=model(), messages=ASK, outputConfig=wanted, inferenceConfig={"maxTokens": 60})
    text = answer["output"]["message"]["content"][0]["text"]
    check(set(json.loads(text)) == {"name", "age"}, "JSON schema", text)


def invokes() -> None:
    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 8, "messages": [{"role": "user", "content": "hi"}]}
    answer = client.invoke_model(modelId=model(), body=json.dumps(body))
    said = json.loads(answer["body"].read())
    check(said["content"][0]["text"] and said["type"] == "message", "invoke, Anthropic's body", said)
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    check(int(headers["x-amzn-bedrock-output-token-count"]) > 0, "token counts in headers")
    stream = client.invoke_model_with_response_stream(modelId=model(), body=json.dumps(body))["body"]
    events = [json.loads(event["chunk"]["bytes"]) for event in stream]
    check(events[-1]["amazon-bedrock-invocationMetrics"]["outputTokenCount"] > 0, "invoked stream", events[-1])
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 8}
    said = json.loads(client.invoke_model(modelId=model(), body=json.dumps(body))["body"].read())
    check(said["choices"][0]["message"]["content"], "invoke, OpenAI's body", said)
    body = {"prompt": "Once upon a time", "max_gen_len": 8}
    said = json.loads(client.invoke_model(modelId=model(), body=json.dumps(body))["body"].read())
    check(said["generation"] and said["stop_reason"] in ("stop", "length"), "invoke, Llama's body", said)
    body = {"prompt": "Once upon a time", "max_tokens": 8}
    said = json.loads(client.invoke_model(modelId=model(), body=json.dumps(body))["body"].read())
    check(said["outputs"][0]["text"], "invoke, Mistral's body", said)
    if FAKE:
        said = json.loads(
            client.invoke_model(modelId="fake/embed", body=json.dumps({"inputText": "one"}))["body"].read()
        )
        check(said["embedding"] and said["inputTextTokenCount"], "Titan's embedding", len(said["embedding"]))


def counts() -> None:
    counted = client.count_tokens(modelId=model(), input={"converse": {"messages": ASK}})
    check(counted["inputTokens"] >= 3, "count tokens", counted["inputTokens"])
    models = control.list_foundation_models()["modelSummaries"]
    check(any(entry["modelId"] == model() for entry in models), "models", len(models))
    details = control.get_foundation_model(modelIdentifier=model())["modelDetails"]
    check(details["modelId"] == model(), "one model", details["modelArn"])


def scripted() -> None:
    picture: Any = {"image": {"format": "png", "source": {"bytes": PNG}}}
    asked = [{"role": "user", "content": [{"text": "what is it"}, picture]}]
    answer = client.converse(modelId="fake/echo", messages=asked)
    check(answer["output"]["message"]["content"][0]["text"] == "what is it", "image")
    answer = client.converse(modelId="fake/reasoning", messages=ASK)
    said = answer["output"]["message"]
    check(said["content"][0]["reasoningContent"]["reasoningText"]["signature"], "reasoning", said["content"][0])
    answer = client.converse(modelId="fake/echo", messages=[*ASK, said, *ASK])
    check(answer["output"]["message"]["content"], "reasoning sent back")


def cancels() -> None:
    def leave() -> None:
        stream = client.converse_stream(modelId=model("fake/slow"), messages=ASK, inferenceConfig={"maxTokens": 200})[
            "stream"
        ]
        next(iter(stream))
        stream.close()

    within(10, "cancelled", leave)


def errors() -> None:
    def ask(name: str, **more: Any) -> Any:
        return lambda: client.converse(modelId=name, messages=ASK, **more)

    fails("ResourceNotFoundException", "unknown model", ask("no/such-model"))
    error = fails("ValidationException", "out of range", ask(model(), inferenceConfig={"temperature": 1.5}))
    check("inferenceConfig.temperature" in str(error), "its path")
    guarded: Any = {"guardrailIdentifier": "abc123", "guardrailVersion": "1"}
    fails("ResourceNotFoundException", "unknown guardrail", ask(model(), guardrailConfig=guarded))
    fails("ValidationException", "unsupported feature", ask(model(), promptVariables={"a": {"text": "b"}}))
    stranger = boto3.client(
        "bedrock-runtime",
        endpoint_url=URL,
        region_name="eu-central-1",
        config=ONCE,
        aws_access_key_id="BPAKNOBODYNOBODYNOBO",
        aws_secret_access_key="nothing",
    )
    fails("UnrecognizedClientException", "unknown key", lambda: stranger.converse(modelId=model(), messages=ASK))
    if not FAKE:
        return
    fails("ValidationException", "too long", ask("fake/context-length"))
    error = fails("ThrottlingException", "rate limited", ask("fake/rate-limited"))
    headers = error.response["ResponseMetadata"]["HTTPHeaders"]
    check(headers["x-amz-retry-after"] == "2000", "retry-after", headers["x-amz-retry-after"])
    fails("ServiceUnavailableException", "upstream away", ask("fake/error"))
    stream = client.converse_stream(modelId="fake/error-midstream", messages=ASK)["stream"]
    try:
        list(stream)
        check(False, "failure in a stream", "no error")
    except EventStreamError as error:
        check(error.response["Error"]["Code"], "failure in a stream", error)


for job in (texts, tools, schemas, invokes, counts, cancels, errors):
    job()
if FAKE:
    scripted()
print("bedrock job: passed")
