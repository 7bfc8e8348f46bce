"""Converse's wire, case by case: fixtures in `tests/wire/bedrock`, read by botocore and judged by its model.

`requests/converse_<case>.json` decodes to `<case>.canonical.json`. `responses/converse_<case>.events.json` encodes to
`.reply.json` and to the frames of `.stream.json`. Set `REGENERATE_WIRE=1` to write the outputs anew; read the diff.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from botocore.exceptions import EventStreamError

from bedplate_core import errors
from bedplate_core.events import Event
from bedplate_core.order import EventOrder
from bedplate_core.requests import Request
from bedplate_core.response import Fold
from bedplate_gateway.dialects.bedrock.converse import ConverseExchange
from bedplate_gateway.dialects.bedrock.converse_wire import PerformanceConfiguration, ServiceTier
from bedplate_gateway.dialects.bedrock.errors import error_reply
from bedplate_providers.event_stream import FrameParser
from tests.dialects.bedrock_sdk import judge, operation, read_reply, read_stream

WIRE = Path(__file__).parent.parent / "wire" / "bedrock"
REGENERATE = os.environ.get("REGENERATE_WIRE") == "1"
REQUESTS = WIRE / "requests"
RESPONSES = WIRE / "responses"
REQUEST_CASES = sorted(path.stem for path in REQUESTS.glob("converse_*.json") if not path.stem.endswith(".canonical"))
RESPONSE_CASES = sorted(path.name.split(".")[0] for path in RESPONSES.glob("converse_*.events.json"))
WHOLE_CASES = [case for case in RESPONSE_CASES if not case.startswith("converse_error_")]
ERROR_CASES = [case for case in RESPONSE_CASES if case.startswith("converse_error_")]
EXCHANGE = ConverseExchange(
    request=Request(model="support-chat"),
    started_s=10.0,
    clock=lambda: 10.25,
    performance=PerformanceConfiguration(latency="standard"),
    tier=ServiceTier(type="default"),
)


class Scripted(msgspec.Struct, forbid_unknown_fields=True):
    """An `.events.json` file."""

    events: list[Event]
    error: dict[str, Any] | None


def expect(path: Path, value: Any) -> None:
    actual = json.dumps(msgspec.to_builtins(value), indent=2, ensure_ascii=False) + "\n"
    if REGENERATE:
        path.write_text(actual, encoding="utf-8")
    assert actual == path.read_text(encoding="utf-8")


def load(case: str) -> Scripted:
    return msgspec.json.decode((RESPONSES / f"{case}.events.json").read_bytes(), type=Scripted)


def error_of(script: Scripted) -> errors.GatewayError:
    assert script.error is not None
    arguments = dict(script.error)
    return getattr(errors, arguments.pop("type"))(**arguments)


def whole(script: Scripted) -> bytes:
    fold = Fold()
    for event in script.events:
        fold.add(event)
    return EXCHANGE.reply(fold.response()).body


def streamed(script: Scripted) -> bytes:
    encoder = EXCHANGE.stream()
    body = b"".join(encoder.encode([event]) for event in script.events)
    return body + (encoder.end() if script.error is None else encoder.error(error_of(script)))


def assembled(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The whole answer out of a stream's events, as clients of Bedrock put it together."""
    message: dict[str, Any] = {}
    blocks: dict[int, dict[str, Any]] = {}
    reply: dict[str, Any] = {"output": {"message": message}}
    for event in events:
        ((kind, said),) = event.items()
        if kind == "messageStart":
            message["role"] = said["role"]
        elif kind == "contentBlockStart":
            blocks[said["contentBlockIndex"]] = {"toolUse": {**said["start"]["toolUse"], "input": ""}}
        elif kind == "contentBlockDelta":
            add_delta(blocks.setdefault(said["contentBlockIndex"], {}), said["delta"])
        elif kind == "messageStop":
            reply["stopReason"] = said["stopReason"]
        elif kind == "metadata":
            reply |= said
    assert list(blocks) == list(range(len(blocks)))
    for block in blocks.values():
        if "toolUse" in block:
            with contextlib.suppress(ValueError):  # what does not parse is the same text in the whole answer
                parsed = json.loads(block["toolUse"]["input"])
                block["toolUse"]["input"] = {} if parsed is None else parsed
    message["content"] = list(blocks.values())
    return reply


def add_delta(block: dict[str, Any], delta: dict[str, Any]) -> None:
    if "text" in delta:
        block["text"] = block.get("text", "") + delta["text"]
    elif "toolUse" in delta:
        block["toolUse"]["input"] += delta["toolUse"]["input"]
    elif "redactedContent" in delta["reasoningContent"]:
        block["reasoningContent"] = delta["reasoningContent"]
    else:
        thought = block.setdefault("reasoningContent", {}).setdefault("reasoningText", {"text": ""})
        thought["text"] += delta["reasoningContent"].get("text", "")
        if "signature" in delta["reasoningContent"]:
            thought["signature"] = delta["reasoningContent"]["signature"]


@pytest.mark.parametrize("case", REQUEST_CASES)
def test_request_decodes_to_its_canonical_form(case: str) -> None:
    body = (REQUESTS / f"{case}.json").read_bytes()
    exchange = ConverseExchange.decode(body, model="support-chat", stream=False, started_s=0)
    known: dict[str, Any] = {
        "request": exchange.request,
        "performance": exchange.performance,
        "tier": exchange.tier,
    }
    if exchange.guardrail is not None:
        known["guardrail"] = exchange.guardrail
    expect(REQUESTS / f"{case}.canonical.json", known)


@pytest.mark.parametrize("case", RESPONSE_CASES)
def test_scripts_keep_the_order_of_events(case: str) -> None:
    script = load(case)
    order = EventOrder()
    for event in script.events:
        order.add(event)
    if script.error is None:
        order.end()


@pytest.mark.parametrize("case", WHOLE_CASES)
def test_whole_answer(case: str) -> None:
    expect(RESPONSES / f"{case}.reply.json", msgspec.json.decode(whole(load(case))))


@pytest.mark.parametrize("case", RESPONSE_CASES)
def test_streamed_answer(case: str) -> None:
    frames = FrameParser().feed(streamed(load(case)))
    said = [{"headers": dict(frame.headers), "payload": msgspec.json.decode(frame.payload)} for frame in frames]
    expect(RESPONSES / f"{case}.stream.json", said)


@pytest.mark.parametrize("case", WHOLE_CASES)
def test_botocore_reads_the_whole_answer_and_its_model_allows_it(case: str) -> None:
    reply = read_reply("Converse", 200, {"content-type": "application/json"}, whole(load(case)))
    judge(reply, operation("Converse").output_shape)
    assert reply["metrics"] == {"latencyMs": 250}
    assert (reply["performanceConfig"], reply["serviceTier"]) == ({"latency": "standard"}, {"type": "default"})


@pytest.mark.parametrize("case", WHOLE_CASES)
def test_botocore_assembles_the_stream_to_the_whole_answer(case: str) -> None:
    script = load(case)
    events = list(read_stream("ConverseStream", streamed(script)))
    members = operation("ConverseStream").output_shape.members["stream"].members
    for event in events:
        ((kind, said),) = event.items()
        judge(said, members[kind])
    kinds = [next(iter(event)) for event in events]
    assert (kinds[0], kinds[-2:]) == ("messageStart", ["messageStop", "metadata"])
    assert assembled(events) == read_reply("Converse", 200, {}, whole(script))


@pytest.mark.parametrize("case", ERROR_CASES)
def test_a_stream_that_fails_never_ends_cleanly(case: str) -> None:
    script = load(case)
    events: list[dict[str, Any]] = []
    with pytest.raises(EventStreamError) as caught:
        events.extend(read_stream("ConverseStream", streamed(script)))
    assert caught.value.response["Error"]["Code"].endswith("Exception")
    assert error_of(script).message in str(caught.value)
    assert not any("messageStop" in event for event in events)


@pytest.mark.parametrize("case", ERROR_CASES)
def test_an_error_before_the_answer(case: str) -> None:
    reply = error_reply(error_of(load(case)))
    said = {"status": reply.status, "headers": dict(reply.headers), "body": msgspec.json.decode(reply.body)}
    expect(RESPONSES / f"{case}.reply.json", said)
