"""The Anthropic wire, case by case: fixtures in `tests/wire/anthropic`, read strictly by the official SDK's own types.

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
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from pydantic import TypeAdapter

from bedplate_core import errors
from bedplate_core.events import Event
from bedplate_core.order import EventOrder
from bedplate_core.requests import Request
from bedplate_core.response import Fold
from bedplate_gateway.dialects.anthropic import CountTokensExchange, MessagesExchange, error_reply
from bedplate_gateway.dialects.anthropic.messages_stream import MessageStreamEvent

WIRE = Path(__file__).parent.parent / "wire" / "anthropic"
REGENERATE = os.environ.get("REGENERATE_WIRE") == "1"
REQUEST_CASES = sorted(path.stem for path in (WIRE / "requests").glob("*.json") if not path.stem.endswith(".canonical"))
RESPONSE_CASES = sorted(path.name.split(".")[0] for path in (WIRE / "responses").glob("*.events.json"))
WHOLE_CASES = [case for case in RESPONSE_CASES if not case.startswith("error_")]
# Inputs that are no JSON object: a stream passes the model's text on, a whole answer shows it under a key.
NOT_AN_OBJECT = {"bad_tool_arguments", "tool_input_is_a_list"}
SDK_EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)


class Scripted(msgspec.Struct, forbid_unknown_fields=True):
    """A `.events.json` file."""

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


def exchange() -> MessagesExchange:
    return MessagesExchange(request=Request(model="support-chat"))


def error_of(script: Scripted) -> errors.GatewayError:
    assert script.error is not None
    arguments = dict(script.error)
    return getattr(errors, arguments.pop("type"))(**arguments)


def whole(script: Scripted) -> bytes:
    if script.error is not None:
        return error_reply(error_of(script)).body
    fold = Fold()
    for event in script.events:
        fold.add(event)
    return exchange().reply(fold.response()).body


def streamed(script: Scripted, *, batched: bool = False) -> bytes:
    encoder = exchange().stream()
    batches = [script.events] if batched else [[event] for event in script.events]
    body = b"".join(encoder.encode(batch) for batch in batches if batch)
    return body + (encoder.end() if script.error is None else encoder.error(error_of(script)))


def events_in(sse: bytes) -> list[dict[str, Any]]:
    """The frames' JSON; each frame's name is its object's type."""
    found: list[dict[str, Any]] = []
    for frame in sse.decode().removesuffix("\n\n").split("\n\n"):
        name, data = frame.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        found.append(event)
    return found


def assembled(sse: bytes) -> Message:
    """The SDK's own reading of a stream."""
    message: Any = None
    buffers: dict[int, bytes] = {}
    for event in events_in(sse):
        parsed = SDK_EVENT.validate_json(json.dumps(event), strict=True)
        message = accumulate_event(event=parsed, current_snapshot=message, json_bufs=buffers)
    return message


@pytest.mark.parametrize("case", REQUEST_CASES)
def test_request_decodes_to_its_canonical_form(case: str) -> None:
    body = (WIRE / "requests" / f"{case}.json").read_bytes()
    decode = CountTokensExchange.decode if case.startswith("count_") else MessagesExchange.decode
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
    expect(WIRE / "responses" / f"{case}.reply.json", pretty(json.loads(whole(load(case)))))


@pytest.mark.parametrize("case", RESPONSE_CASES)
def test_streamed_answer(case: str) -> None:
    script = load(case)
    expect(WIRE / "responses" / f"{case}.stream.sse", streamed(script))
    assert streamed(script, batched=True) == streamed(script)


@pytest.mark.parametrize("case", WHOLE_CASES)
def test_the_sdk_accepts_the_whole_answer_strictly(case: str) -> None:
    body = whole(load(case))
    parsed = Message.model_validate_json(body, strict=True)
    assert parsed.model == "support-chat"
    assert json.loads(parsed.model_dump_json(exclude_unset=True)) == json.loads(body)


@pytest.mark.parametrize("case", [case for case in WHOLE_CASES if case not in NOT_AN_OBJECT])
def test_the_sdk_assembles_the_stream_to_the_whole_answer(case: str) -> None:
    script = load(case)
    expected = Message.model_validate_json(whole(script)).model_dump(exclude_none=True)
    found = assembled(streamed(script)).model_dump(exclude_none=True)
    for block in found["content"]:
        block.pop("parsed_output", None)
    assert found == expected


@pytest.mark.parametrize("case", sorted(NOT_AN_OBJECT))
def test_a_tool_input_that_is_no_object_is_shown_in_both_forms(case: str) -> None:
    script = load(case)
    fold = Fold()
    for event in script.events:
        fold.add(event)
    (call,) = fold.response().choices[0].parts
    (block,) = json.loads(whole(script))["content"]
    assert block["input"] == {"INVALID_JSON": call.arguments}  # type: ignore[union-attr]
    deltas = [event for event in events_in(streamed(script)) if event["type"] == "content_block_delta"]
    assert "".join(event["delta"]["partial_json"] for event in deltas) == call.arguments  # type: ignore[union-attr]


@pytest.mark.parametrize("case", RESPONSE_CASES)
def test_frames_have_the_documented_shape_and_order(case: str) -> None:
    script = load(case)
    events = events_in(streamed(script))
    opened: list[int] = []
    for event in events:
        if event["type"] != "error":
            msgspec.json.decode(json.dumps(event), type=MessageStreamEvent, strict=True)
        if event["type"] == "content_block_start":
            assert opened == []
            opened.append(event["index"])
        elif event["type"] == "content_block_delta":
            assert opened == [event["index"]]
        elif event["type"] == "content_block_stop":
            assert opened.pop() == event["index"]
    assert opened == []
    starts = [event["index"] for event in events if event["type"] == "content_block_start"]
    assert starts == list(range(len(starts)))
    kinds = [event["type"] for event in events]
    if script.error is None:
        assert kinds[0] == "message_start"
        assert kinds[-2:] == ["message_delta", "message_stop"]
    else:
        assert kinds[-1] == "error"
        assert "message_stop" not in kinds
        assert "message_delta" not in kinds
        assert events[-1] == json.loads(whole(script))


def test_cached_input_is_counted_apart_at_the_start_and_at_the_end() -> None:
    script = load("usage_known_at_the_start")
    events = events_in(streamed(script))
    expected = {"input_tokens": 6, "cache_read_input_tokens": 20, "cache_creation_input_tokens": 4}
    first, last = events[0]["message"]["usage"], events[-2]["usage"]
    assert expected.items() <= first.items()
    assert first["output_tokens"] == 0
    assert expected.items() <= last.items()
    assert last["output_tokens"] == 1
    assert expected.items() <= json.loads(whole(script))["usage"].items()


def test_thoughts_may_be_left_out_whole_and_streamed_alike() -> None:
    script = load("thinking_then_tool")
    hiding = MessagesExchange(request=Request(model="support-chat"), omit_thinking=True)
    fold = Fold()
    for event in script.events:
        fold.add(event)
    reply = Message.model_validate_json(hiding.reply(fold.response()).body)
    assert reply.content[0].type == "thinking"
    assert (reply.content[0].thinking, bool(reply.content[0].signature)) == ("", True)
    shown = assembled(hiding.stream().encode(script.events)).model_dump(exclude_none=True)
    for block in shown["content"]:
        block.pop("parsed_output", None)
    assert shown == reply.model_dump(exclude_none=True)
