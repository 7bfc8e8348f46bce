"""The OpenAI wire, case by case: fixtures in `tests/wire/openai`, read strictly by the official SDK's own types.

`requests/<case>.json` decodes to `<case>.canonical.json`. `responses/<case>.events.json` encodes to
`<case>.reply.json` and `<case>.stream.sse`. Set `REGENERATE_WIRE=1` to write the outputs anew, then read the diff.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from bedplate_core import errors
from bedplate_core.embeddings import Embeddings
from bedplate_core.events import Event
from bedplate_core.order import EventOrder
from bedplate_core.requests import Request
from bedplate_core.response import Fold
from bedplate_core.usage import Usage
from bedplate_gateway.dialects.openai import ChatExchange, CompletionExchange, EmbeddingsExchange, error_reply
from bedplate_gateway.dialects.openai.chat_stream import ChatCompletionChunk as OurChunk

WIRE = Path(__file__).parent.parent / "wire" / "openai"
REGENERATE = os.environ.get("REGENERATE_WIRE") == "1"
REQUEST_CASES = sorted(path.stem for path in (WIRE / "requests").glob("*.json") if not path.stem.endswith(".canonical"))
RESPONSE_CASES = sorted(path.name.split(".")[0] for path in (WIRE / "responses").glob("*.events.json"))
CHAT_CASES = [case for case in RESPONSE_CASES if not case.startswith("completion_")]
WHOLE_CHAT_CASES = [case for case in CHAT_CASES if not case.startswith("error_")]


class Scripted(msgspec.Struct, forbid_unknown_fields=True):
    """A `.events.json` file."""

    include_usage: bool
    events: list[Event]
    error: dict[str, Any] | None


def expect(path: Path, actual: bytes) -> None:
    if REGENERATE:
        path.write_bytes(actual)
    assert actual.decode() == path.read_text(encoding="utf-8")


def pretty(value: Any) -> bytes:
    return (json.dumps(msgspec.to_builtins(value), indent=2, ensure_ascii=False) + "\n").encode()


def load(case: str) -> Scripted:
    return msgspec.json.decode((WIRE / "responses" / f"{case}.events.json").read_bytes(), type=Scripted)


def exchange_of(case: str, script: Scripted) -> ChatExchange | CompletionExchange:
    kind = CompletionExchange if case.startswith("completion_") else ChatExchange
    return kind(request=Request(model="support-chat"), include_usage=script.include_usage)


def error_of(script: Scripted) -> errors.GatewayError:
    assert script.error is not None
    arguments = dict(script.error)
    return getattr(errors, arguments.pop("type"))(**arguments)


def whole(case: str, script: Scripted) -> bytes:
    if script.error is not None:
        return error_reply(error_of(script)).body
    fold = Fold()
    for event in script.events:
        fold.add(event)
    return exchange_of(case, script).reply(fold.response()).body


def streamed(case: str, script: Scripted) -> bytes:
    encoder = exchange_of(case, script).stream()
    body = b"".join(encoder.encode([event]) for event in script.events)
    return body + (encoder.end() if script.error is None else encoder.error(error_of(script)))


def chunks(sse: bytes) -> list[dict[str, Any]]:
    frames = sse.decode().removesuffix("\n\n").split("\n\n")
    assert all(frame.startswith("data: ") and "\n" not in frame for frame in frames)
    assert frames.pop() == "data: [DONE]"
    return [json.loads(frame.removeprefix("data: ")) for frame in frames]


@pytest.mark.parametrize("case", REQUEST_CASES)
def test_request_decodes_to_its_canonical_form(case: str) -> None:
    body = (WIRE / "requests" / f"{case}.json").read_bytes()
    kind = case.split("_")[0]
    decode = {"completion": CompletionExchange.decode, "embeddings": EmbeddingsExchange.decode}.get(
        kind, ChatExchange.decode
    )
    expect(WIRE / "requests" / f"{case}.canonical.json", pretty(decode(body)))


@pytest.mark.parametrize("case", RESPONSE_CASES)
def test_scripts_keep_the_order_of_events(case: str) -> None:
    script = load(case)
    order = EventOrder()
    for event in script.events:
        order.add(event)
    if script.error is None:
        order.end()


@pytest.mark.parametrize("case", RESPONSE_CASES)
def test_whole_answer(case: str) -> None:
    body = whole(case, load(case))
    expect(WIRE / "responses" / f"{case}.reply.json", pretty(msgspec.json.decode(body)))


@pytest.mark.parametrize("case", RESPONSE_CASES)
def test_streamed_answer(case: str) -> None:
    expect(WIRE / "responses" / f"{case}.stream.sse", streamed(case, load(case)))


@pytest.mark.parametrize("case", WHOLE_CHAT_CASES)
def test_the_sdk_accepts_the_whole_answer_strictly(case: str) -> None:
    body = whole(case, load(case))
    parsed = ChatCompletion.model_validate_json(body, strict=True)
    assert parsed.model == "support-chat"
    assert json.loads(parsed.model_dump_json(exclude_unset=True)) == json.loads(body)


@pytest.mark.parametrize("case", WHOLE_CHAT_CASES)
def test_the_sdk_assembles_the_stream_to_the_whole_answer(case: str) -> None:
    script = msgspec.structs.replace(load(case), include_usage=True)
    state = ChatCompletionStreamState()
    for chunk in chunks(streamed(case, script)):
        state.handle_chunk(ChatCompletionChunk.model_validate(chunk, strict=True))
    assembled = state.current_completion_snapshot.model_dump(exclude_none=True)
    expected = ChatCompletion.model_validate_json(whole(case, script)).model_dump(exclude_none=True)
    assert without_stream_marks(assembled) == without_stream_marks(expected)


def without_stream_marks(completion: dict[str, Any]) -> dict[str, Any]:
    """What the SDK adds while it assembles: the calls' index, its own parse, and content of no text as ''."""
    for choice in completion["choices"]:
        for call in choice["message"].get("tool_calls", ()):
            call.pop("index", None)
            call["function"].pop("parsed_arguments", None)
    return completion


@pytest.mark.parametrize("case", WHOLE_CHAT_CASES)
def test_frames_have_the_documented_shape(case: str) -> None:
    script = load(case)
    for number, chunk in enumerate(chunks(streamed(case, script))):
        msgspec.convert(chunk, OurChunk, strict=True)
        assert ("usage" in chunk) is script.include_usage
        if number == 0:
            assert chunk["choices"][0]["delta"]["role"] == "assistant"


@pytest.mark.parametrize("case", [case for case in RESPONSE_CASES if "error_midstream" in case])
def test_a_stream_that_fails_ends_with_the_error_and_without_the_end_mark(case: str) -> None:
    sse = streamed(case, load(case))
    assert b"[DONE]" not in sse
    last = sse.decode().removesuffix("\n\n").split("\n\n")[-1]
    assert json.loads(last.removeprefix("data: "))["error"]["type"] == "server_error"
    assert b'"finish_reason":"' not in sse


@pytest.mark.parametrize("case", [case for case in RESPONSE_CASES if case.startswith("completion_")])
def test_the_sdk_accepts_raw_completions_strictly(case: str) -> None:
    script = load(case)
    if script.error is not None:
        return
    body = whole(case, script)
    parsed = Completion.model_validate_json(body, strict=True)
    texts: dict[int, str] = {}
    tokens: dict[int, list[str]] = {}
    offsets: dict[int, list[int]] = {}
    reasons: dict[int, str] = {}
    for chunk in chunks(streamed(case, script)):
        for choice in chunk["choices"]:
            index = choice["index"]
            texts[index] = texts.get(index, "") + choice["text"]
            if choice["logprobs"] is not None:
                tokens.setdefault(index, []).extend(choice["logprobs"]["tokens"])
                offsets.setdefault(index, []).extend(choice["logprobs"]["text_offset"])
            if choice["finish_reason"] is not None:
                reasons[index] = choice["finish_reason"]
    for choice in parsed.choices:
        assert choice.text == texts[choice.index]
        assert choice.finish_reason == reasons[choice.index]
        if choice.logprobs is not None:
            assert choice.logprobs.tokens == tokens[choice.index]
            assert choice.logprobs.text_offset == offsets[choice.index]


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_the_sdk_reads_embeddings(encoding: str) -> None:
    sent = {"model": "embed", "input": ["a", "b"], "encoding_format": encoding}
    exchange = EmbeddingsExchange.decode(json.dumps(sent).encode())
    vectors = Embeddings(model="x", vectors=((0.5, -1.0), (2.0, 0.25)), usage=Usage(input_tokens=2))
    body = json.loads(exchange.reply(vectors).body)
    if encoding == "base64":
        assert body["data"][0]["embedding"] == "AAAAPwAAgL8="
        return
    parsed = CreateEmbeddingResponse.model_validate(body, strict=True)
    assert [item.embedding for item in parsed.data] == [[0.5, -1.0], [2.0, 0.25]]
    assert [item.index for item in parsed.data] == [0, 1]
    assert (parsed.model, parsed.usage.prompt_tokens, parsed.usage.total_tokens) == ("embed", 2, 2)
