"""What one request may ask of an engine, in every dialect: how much, of what, and from where. Refused before a provider
is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bedplate_gateway.dialects.decoding import GATEWAY_ONLY
from bedplate_gateway.settings import Settings
from tests.fixtures.operations import GENERATING, Operation
from tests.fixtures.postgres import PostgresServer
from tests.fixtures.served import Served, serve

MODEL = "seeing"
RESOURCES = (
    f"kind: Model\nname: {MODEL}\nspec: {{provider: fake, upstream_model: fake/echo, profile: {{vision: true}}}}\n"
)
OPERATIONS = {operation.name: operation for operation in GENERATING}
EVERY = pytest.mark.parametrize("operation", GENERATING, ids=OPERATIONS)
URL = "https://pictures.example/secret-path.png"


@pytest.fixture(scope="module")
def served(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(postgres_server, tmp_path_factory.mktemp("served"), resources=RESOURCES) as running:
        yield running


def send(served: Served, operation: Operation, fields: dict[str, Any]) -> httpx.Response:
    served.forget()
    return httpx.post(
        served.base_url + operation.path_of(MODEL),
        json={**operation.body(MODEL), **fields},
        headers={"authorization": f"Bearer {served.key}"},
        timeout=20,
        trust_env=False,
    )


def assert_refused(served: Served, answer: httpx.Response, named: str) -> None:
    assert answer.status_code == 400, answer.text
    assert named in answer.text
    assert served.upstream_calls == 0
    (record,) = served.take_records()
    assert record["http_status"] == 400


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


def user(*content: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(content)}]


_ANTHROPIC_IMAGE = {"type": "image", "source": {"type": "url", "url": URL}}
_MESSAGES_MEDIA = {
    "image": {"messages": user(_ANTHROPIC_IMAGE)},
    "document": {"messages": user({"type": "document", "source": {"type": "url", "url": URL}})},
    "tool result": {
        "messages": [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
            *user({"type": "tool_result", "tool_use_id": "t", "content": [_ANTHROPIC_IMAGE]}),
        ],
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
    },
}
_S3 = {"s3Location": {"uri": "s3://bucket/key"}}
_CONVERSE_MEDIA = {
    "image": {"messages": user({"image": {"format": "png", "source": _S3}})},
    "video": {"messages": user({"video": {"format": "mp4", "source": _S3}})},
    "document": {"messages": user({"text": "x"}, {"document": {"format": "pdf", "name": "d", "source": _S3}})},
}
ADDRESSES: dict[str, dict[str, dict[str, Any]]] = {
    "chat": {
        "image": {"messages": user({"type": "image_url", "image_url": {"url": URL}})},
        "s3": {"messages": user({"type": "image_url", "image_url": {"url": "s3://bucket/key"}})},
        "video": {"messages": user({"type": "video_url", "video_url": {"url": URL}})},
        "audio": {"messages": user({"type": "audio_url", "audio_url": {"url": URL}})},
    },
    "responses": {
        "image": {"input": user({"type": "input_image", "image_url": URL, "detail": "auto"})},
        "file": {"input": user({"type": "input_file", "file_url": URL})},
    },
    "messages": _MESSAGES_MEDIA,
    "converse": _CONVERSE_MEDIA,
    "converse_stream": _CONVERSE_MEDIA,
    "invoke_model": _MESSAGES_MEDIA,
    "invoke_model_stream": _MESSAGES_MEDIA,
}
"""Every place of an address, by the operation's name on record."""


@pytest.mark.parametrize(
    ("name", "holder"), [(o.name, holder) for o in GENERATING for holder in ADDRESSES.get(o.recorded, ())]
)
def test_an_address_is_refused_by_name_unless_fetching_is_on(served: Served, name: str, holder: str) -> None:
    operation = OPERATIONS[name]
    answer = send(served, operation, ADDRESSES[operation.recorded][holder])
    assert_refused(served, answer, "media must be given as data, not as an address")
    assert "messages[" in answer.text
    assert "secret-path" not in answer.text


def test_fetching_is_off_by_default() -> None:
    assert Settings(home=Path(), cache=Path()).media_fetch is False


_STOPS = [str(number) for number in range(65)]
_DEEP = nested(40)
_MESSAGES_BOUNDS: dict[str, tuple[dict[str, Any], str]] = {
    "stop count": ({"stop_sequences": _STOPS}, "stop_sequences"),
    "tools": ({"tools": [{"name": f"f{n}", "input_schema": {"type": "object"}} for n in range(129)]}, "tools"),
    "tool schema": ({"tools": [{"name": "f", "input_schema": _DEEP}]}, "input_schema"),
    "max tokens": ({"max_tokens": 2**31}, "max_tokens"),
    "format schema": ({"output_config": {"format": {"type": "json_schema", "schema": _DEEP}}}, "schema"),
    "deep extension": ({"structured_outputs": _DEEP}, "structured_outputs"),
    "large extension": ({"structured_outputs": {"regex": "a" * 70_000}}, "structured_outputs"),
}
_CONVERSE_BOUNDS: dict[str, tuple[dict[str, Any], str]] = {
    "stop count": ({"inferenceConfig": {"stopSequences": [str(n) for n in range(2501)]}}, "stopSequences"),
    "tool schema": (
        {"toolConfig": {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": _DEEP}}}]}},
        "inputSchema",
    ),
    "max tokens": ({"inferenceConfig": {"maxTokens": 2**31}}, "maxTokens"),
    "n": ({"additionalModelRequestFields": {"n": 2}}, "additionalModelRequestFields.n"),
    "best_of": ({"additionalModelRequestFields": {"best_of": 2}}, "best_of"),
    "logprobs": ({"additionalModelRequestFields": {"logprobs": 5}}, "additionalModelRequestFields.logprobs"),
    "deep extension": (
        {"additionalModelRequestFields": {"structured_outputs": _DEEP}},
        "additionalModelRequestFields.structured_outputs",
    ),
}
BOUNDS: dict[str, dict[str, tuple[dict[str, Any], str]]] = {
    "chat": {
        "n": ({"n": 17}, "n"),
        "best_of": ({"best_of": 2}, "best_of"),
        "logprobs": ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        "prompt_logprobs": ({"prompt_logprobs": 5}, "prompt_logprobs"),
        "stop count": ({"stop": _STOPS[:5]}, "stop"),
        "max tokens": ({"max_tokens": 2**31}, "max_tokens"),
        "tool schema": (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": _DEEP}}]},
            "parameters",
        ),
        "format schema": (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": _DEEP}}},
            "schema",
        ),
        "large schema": (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"x": "y" * 70_000}}}},
            "schema",
        ),
        "deep extension": ({"structured_outputs": _DEEP}, "structured_outputs"),
        "large extension": ({"structured_outputs": {"grammar": "a" * 70_000}}, "structured_outputs"),
        "long list": ({"bad_words": ["x"] * 257}, "bad_words"),
        "large integer": ({"min_tokens": 2**40}, "min_tokens"),
    },
    "completion": {
        "n": ({"n": 17}, "n"),
        "best_of": ({"n": 2, "best_of": 17}, "best_of"),
        "n times prompts": ({"n": 16, "prompt": ["x"] * 17}, "n"),
        "prompts": ({"prompt": ["x"] * 129}, "prompt"),
        "logprobs": ({"logprobs": 21}, "logprobs"),
        "prompt_logprobs": ({"prompt_logprobs": 5}, "prompt_logprobs"),
        "stop count": ({"stop": _STOPS[:5]}, "stop"),
        "deep extension": ({"structured_outputs": _DEEP}, "structured_outputs"),
    },
    "responses": {
        "n": ({"n": 2}, "n"),
        "best_of": ({"best_of": 2}, "best_of"),
        "logprobs": ({"top_logprobs": 21}, "top_logprobs"),
        "stop": ({"stop": ["x"]}, "stop"),
        "max tokens": ({"max_output_tokens": 2**31}, "max_output_tokens"),
        "tool schema": (
            {"tools": [{"type": "function", "name": "f", "parameters": _DEEP, "strict": True}]},
            "parameters",
        ),
        "format schema": ({"text": {"format": {"type": "json_schema", "name": "s", "schema": _DEEP}}}, "schema"),
        "deep extension": ({"structured_outputs": _DEEP}, "structured_outputs"),
    },
    "messages": {
        **_MESSAGES_BOUNDS,
        "n": ({"n": 2}, "n"),
        "best_of": ({"best_of": 2}, "best_of"),
        "logprobs": ({"logprobs": True}, "logprobs"),
    },
    "converse": _CONVERSE_BOUNDS,
    "converse_stream": _CONVERSE_BOUNDS,
    "invoke_model": _MESSAGES_BOUNDS,
    "invoke_model_stream": _MESSAGES_BOUNDS,
}


@pytest.mark.parametrize(("name", "bound"), [(o.name, bound) for o in GENERATING for bound in BOUNDS[o.recorded]])
def test_what_one_request_asks_for_is_bounded(served: Served, name: str, bound: str) -> None:
    operation = OPERATIONS[name]
    fields, named = BOUNDS[operation.recorded][bound]
    answer = send(served, operation, fields)
    assert answer.status_code == 400, answer.text
    assert named in answer.text


INTERNAL = (*sorted(GATEWAY_ONLY), "cacheSalt", "CACHE_SALT", "kvTransferParams", "base_url", "extra_headers", "apiKey")


@EVERY
@pytest.mark.parametrize("name", INTERNAL)
def test_what_only_the_gateway_says_to_an_engine_is_refused(served: Served, operation: Operation, name: str) -> None:
    answer = send(served, operation, {name: 1})
    assert_refused(served, answer, name)


@pytest.mark.parametrize("operation", ["converse", "converse-stream"])
@pytest.mark.parametrize("name", INTERNAL)
def test_neither_among_the_fields_of_the_models_own(served: Served, operation: str, name: str) -> None:
    answer = send(served, OPERATIONS[operation], {"additionalModelRequestFields": {name: 1}})
    assert_refused(served, answer, f"additionalModelRequestFields.{name}")


def test_a_body_is_bounded_by_the_setting() -> None:
    assert Settings(home=Path(), cache=Path()).max_body_bytes == 26_214_400 > 25_000_000
