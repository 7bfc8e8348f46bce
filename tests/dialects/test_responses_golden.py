"""The wire of OpenAI's responses, case by case, read strictly by the official SDK's own types.

`tests/wire/openai_responses/requests/<case>.json` decodes to `<case>.canonical.json`. The scripts of events are those
of `tests/wire/openai`: they encode to `<case>.reply.json` and `<case>.stream.sse` here. Set `REGENERATE_WIRE=1` to
write the outputs anew, then read the diff.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseItemList, ResponseStreamEvent
from pydantic import TypeAdapter

from bedplate_core import errors
from bedplate_core.events import Delta, Event, Finish, PartEnd, PartStart, Start, Stop, StopReason
from bedplate_core.messages import (
    Audio,
    CachePoint,
    Document,
    Image,
    MediaBytes,
    MediaUrl,
    Message,
    Reasoning,
    RedactedReasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from bedplate_core.requests import Request
from bedplate_core.response import Fold
from bedplate_core.usage import Usage
from bedplate_gateway.dialects.openai import error_reply
from bedplate_gateway.dialects.openai.responses_events import ResponsesEvent
from bedplate_gateway.dialects.openai.responses_exchange import ResponsesExchange
from bedplate_gateway.dialects.openai.responses_stored import input_items, stored_response
from bedplate_sessions.response_rows import StoredResponse
from tests.dialects.test_openai_golden import CHAT_CASES, Scripted, error_of, expect, load, pretty

WIRE = Path(__file__).parent.parent / "wire" / "openai_responses"
RESPONSE_ID = f"resp_{'0' * 31}1"
EVENT: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)
REQUEST_CASES = sorted(path.stem for path in (WIRE / "requests").glob("*.json") if not path.stem.endswith(".canonical"))
CASES = [case for case in CHAT_CASES if case != "n2"]  # a response has one choice
WHOLE_CASES = [case for case in CASES if not case.startswith("error_")]
EXCHANGE = ResponsesExchange(request=Request(model="support-chat"), response_id=RESPONSE_ID, store=True)


def whole(script: Scripted) -> bytes:
    if script.error is not None:
        return error_reply(error_of(script)).body
    return reply(script.events)


def reply(events: list[Event]) -> bytes:
    fold = Fold()
    for event in events:
        fold.add(event)
    return EXCHANGE.reply(fold.response()).body


def streamed(events: list[Event], error: errors.GatewayError | None = None) -> bytes:
    encoder = EXCHANGE.stream()
    body = b"".join(encoder.encode([event]) for event in events)
    return body + (encoder.end() if error is None else encoder.error(error))


def streamed_case(script: Scripted) -> bytes:
    return streamed(script.events, None if script.error is None else error_of(script))


def frames(sse: bytes) -> list[dict[str, Any]]:
    """The events' data; each is named by its type."""
    found: list[dict[str, Any]] = []
    for frame in sse.decode().removesuffix("\n\n").split("\n\n"):
        name, data = frame.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


@pytest.mark.parametrize("case", REQUEST_CASES)
def test_request_decodes_to_its_canonical_form(case: str) -> None:
    body = (WIRE / "requests" / f"{case}.json").read_bytes()
    expect(
        WIRE / "requests" / f"{case}.canonical.json", pretty(ResponsesExchange.decode(body, response_id=RESPONSE_ID))
    )


@pytest.mark.parametrize("case", CASES)
def test_whole_answer(case: str) -> None:
    expect(WIRE / "responses" / f"{case}.reply.json", pretty(msgspec.json.decode(whole(load(case)))))


@pytest.mark.parametrize("case", CASES)
def test_streamed_answer(case: str) -> None:
    expect(WIRE / "responses" / f"{case}.stream.sse", streamed_case(load(case)))


@pytest.mark.parametrize("case", WHOLE_CASES)
def test_the_sdk_accepts_the_whole_answer_strictly(case: str) -> None:
    body = whole(load(case))
    parsed = Response.model_validate_json(body, strict=True)
    assert (parsed.id, parsed.model) == (RESPONSE_ID, "support-chat")
    assert json.loads(parsed.model_dump_json(exclude_unset=True, by_alias=True)) == json.loads(body)


@pytest.mark.parametrize("case", WHOLE_CASES)
def test_the_stream_tells_the_whole_answer(case: str) -> None:
    sent = frames(streamed_case(load(case)))
    assert [event["sequence_number"] for event in sent] == list(range(len(sent)))
    for event in sent:
        EVENT.validate_python(event, strict=True)
        msgspec.convert(event, ResponsesEvent, strict=True)
    expected = json.loads(whole(load(case)))
    assert sent[-1]["response"] == expected
    assert sent[-1]["type"] == f"response.{expected['status']}"
    assert [event["item"] for event in sent if event["type"] == "response.output_item.done"] == expected["output"]
    assert assembled(sent) == said(expected["output"])


def assembled(sent: list[dict[str, Any]]) -> list[list[str]]:
    """What the deltas add up to, part by part of each item."""
    texts: dict[int, dict[int, str]] = {}
    for event in sent:
        if event["type"] == "response.output_item.added":
            texts[event["output_index"]] = {0: ""} if event["item"]["type"] == "function_call" else {}
        elif event["type"] == "response.content_part.added":
            texts[event["output_index"]][event["content_index"]] = ""
        elif event["type"].endswith(".delta"):
            texts[event["output_index"]][event.get("content_index", 0)] += event["delta"]
    return [[parts[index] for index in sorted(parts)] for _, parts in sorted(texts.items())]


def said(output: list[dict[str, Any]]) -> list[list[str]]:
    return [
        [item["arguments"]]
        if item["type"] == "function_call"
        else [part.get("text", part.get("refusal")) for part in item["content"]]
        for item in output
    ]


@pytest.mark.parametrize("case", WHOLE_CASES)
def test_the_sdk_accumulates_the_stream(case: str) -> None:
    state: Any = ResponseStreamState(input_tools=[], text_format=omit)
    for event in frames(streamed_case(load(case))):
        state.handle_event(EVENT.validate_python(event))
    done = state._completed_response
    status = json.loads(whole(load(case)))["status"]
    assert (done is not None) == (status == "completed")


@pytest.mark.parametrize("case", WHOLE_CASES)
def test_bytes_do_not_depend_on_batches(case: str) -> None:
    script, encoder = load(case), EXCHANGE.stream()
    assert encoder.encode(script.events) + encoder.end() == streamed_case(script)


@pytest.mark.parametrize("case", [case for case in CASES if case.startswith("error_")])
def test_a_stream_that_fails_never_looks_finished(case: str) -> None:
    sent = frames(streamed_case(load(case)))
    assert sent[-1]["type"] == "error"
    assert sent[-1]["error"]["message"] == sent[-1]["message"]
    EVENT.validate_python(sent[-1], strict=True)
    assert [event["sequence_number"] for event in sent] == list(range(len(sent)))
    kinds = {event["type"] for event in sent}
    assert not kinds & {"response.completed", "response.incomplete"}
    if len(sent) > 1:
        failed = sent[-2]
        EVENT.validate_python(failed, strict=True)
        assert (failed["type"], failed["response"]["status"], failed["response"]["output"]) == (
            "response.failed",
            "failed",
            [],
        )


@pytest.mark.parametrize("reason", list(StopReason))
def test_every_stop_reason_has_a_status(reason: StopReason) -> None:
    events: list[Event] = [
        Start(id="up", model="m", created_s=1),
        PartStart(0, 0, Text(text="a")),
        PartEnd(0, 0),
        Finish(stops=(Stop(choice=0, reason=reason),), usage=Usage()),
    ]
    parsed = Response.model_validate_json(reply(events), strict=True)
    assert frames(streamed(events))[-1]["response"] == json.loads(reply(events))
    assert (parsed.status == "incomplete") == (parsed.incomplete_details is not None)
    cut = reason in (StopReason.LENGTH, StopReason.CONTEXT, StopReason.GUARDRAIL, StopReason.CONTENT_FILTER)
    assert (parsed.status == "incomplete") == cut


def test_texts_that_follow_one_another_are_one_message_and_unsaid_parts_leave_no_gap() -> None:
    parts = (
        Text(text="a"),
        RedactedReasoning(data=b"x", origin="o"),
        Refusal(text="b"),
        ToolCall(id="c", name="f", arguments="{}"),
        Text(text="d"),
    )
    events: list[Event] = [Start(id="up", model="m", created_s=1)]
    for index, part in enumerate(parts):
        events += [PartStart(0, index, part), PartEnd(0, index)]
    events.append(Finish(stops=(Stop(choice=0, reason=StopReason.END),), usage=Usage()))
    output = json.loads(reply(events))["output"]
    assert [item["type"] for item in output] == ["message", "function_call", "message"]
    assert said(output) == [["a", "b"], ["{}"], ["d"]] == assembled(frames(streamed(events)))
    assert frames(streamed(events))[-1]["response"]["output"] == output


def test_what_was_cut_in_the_middle_of_a_call_is_never_said_to_be_whole() -> None:
    events: list[Event] = [
        Start(id="up", model="m", created_s=1),
        PartStart(0, 0, ToolCall(id="c", name="transfer", arguments="")),
        Delta(0, 0, '{"amount": 1'),
    ]
    sent = frames(streamed(events, errors.UpstreamProtocolError("broke off")))
    assert not [event for event in sent if event["type"].endswith(".done")]
    cut: list[Event] = [
        *events,
        PartEnd(0, 0),
        Finish(stops=(Stop(choice=0, reason=StopReason.LENGTH),), usage=Usage()),
    ]
    [item] = [event["item"] for event in frames(streamed(cut)) if event["type"] == "response.output_item.done"]
    assert item["status"] == "incomplete"


def test_an_error_before_the_first_event_is_one_frame() -> None:
    [event] = frames(streamed([], errors.RateLimited("later")))
    assert (event["type"], event["sequence_number"], event["code"]) == ("error", 0, "rate_limit_exceeded")


def test_a_stored_response_reads_as_it_was_sent() -> None:
    for case in WHOLE_CASES:
        fold = Fold()
        for event in load(case).events:
            fold.add(event)
        answer = fold.response()
        stored = StoredResponse(
            id=RESPONSE_ID,
            parent_id=None,
            model="support-chat",
            created_s=answer.created_s,
            input=(),
            output=answer.choices[0].message,
            stop_reason=answer.choices[0].stop.reason,
            usage=answer.usage,
            settings=EXCHANGE.stored_settings(EXCHANGE.request),
        )
        sent = json.loads(whole(load(case)))
        for item in sent["output"]:
            for part in item.get("content", ()):
                if "logprobs" in part:
                    part["logprobs"] = []  # they are not kept
        assert json.loads(msgspec.json.encode(stored_response(stored))) == sent


def test_input_items_are_listed_in_the_sdks_shapes() -> None:
    picture = Image(media=MediaUrl("https://x.example/a.png"), detail="low")
    messages = (
        Message(role=Role.SYSTEM, parts=(Text(text="s"),)),
        Message(
            role=Role.USER,
            parts=(
                Text(text="u"),
                CachePoint(),
                picture,
                Document(media=MediaBytes(data=b"hi", media_type="application/pdf"), name="a.pdf"),
                Document(media=MediaUrl("https://x.example/b.pdf")),
            ),
        ),
        Message(
            role=Role.ASSISTANT,
            parts=(Reasoning(text="r"), Text(text="t"), ToolCall(id="c", name="f", arguments="{}")),
        ),
        Message(role=Role.TOOL, parts=(ToolResult(call_id="c", parts=(Text(text="o"), picture)),)),
        Message(role=Role.USER, parts=(Audio(media=MediaBytes(data=b"hi", media_type="audio/wav")),)),
    )
    stored = StoredResponse(
        id=RESPONSE_ID,
        parent_id=None,
        model="m",
        created_s=1,
        input=messages[:4],
        output=Message(role=Role.ASSISTANT, parts=()),
        stop_reason=StopReason.END,
        usage=Usage(),
        settings=EXCHANGE.stored_settings(EXCHANGE.request),
    )

    def listed(of: StoredResponse, *, image_urls: bool = False) -> dict[str, Any]:
        page = input_items(of, after=None, limit=100, newest_first=False, image_urls=image_urls)
        return json.loads(msgspec.json.encode(page))

    page = listed(stored, image_urls=True)
    ResponseItemList.model_validate_json(json.dumps(page), strict=True)
    kinds = ["message", "message", "reasoning", "message", "function_call", "function_call_output"]
    assert [item["type"] for item in page["data"]] == kinds
    assert len({item["id"] for item in page["data"]}) == len(kinds)
    content = page["data"][1]["content"]
    assert content[1]["image_url"] == "https://x.example/a.png"
    assert content[2]["file_data"] == "data:application/pdf;base64,aGk="
    assert content[3]["file_url"] == "https://x.example/b.pdf"
    assert listed(stored)["data"][1]["content"][1]["image_url"] is None
    sound = listed(msgspec.structs.replace(stored, input=messages[4:]))["data"][0]["content"][0]
    assert sound == {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}
    empty = listed(msgspec.structs.replace(stored, input=()))
    assert (empty["data"], empty["first_id"], empty["has_more"]) == ([], "", False)
