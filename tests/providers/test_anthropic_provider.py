"""Anthropic's API: what is sent, what is refused by name, and how its answers are read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bedplate_core.errors import (
    ContextLengthExceeded,
    GatewayError,
    InvalidRequest,
    PayloadTooLarge,
    RateLimited,
    UnsupportedFeature,
    UpstreamProtocolError,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from bedplate_core.events import Finish, Progress, Start, StopReason
from bedplate_core.messages import (
    Audio,
    CachePoint,
    Document,
    GuardContent,
    Image,
    MediaBytes,
    MediaUrl,
    Message,
    Part,
    Reasoning,
    RedactedReasoning,
    Refusal,
    Role,
    Signature,
    Text,
    ToolCall,
    ToolResult,
    Video,
)
from bedplate_core.requests import (
    JsonObjectFormat,
    JsonSchemaFormat,
    NamedTool,
    ReasoningControl,
    Request,
    Sampling,
    Tool,
    ToolMode,
)
from bedplate_core.usage import Usage
from bedplate_providers.anthropic import AnthropicProvider
from bedplate_providers.anthropic_errors import from_event, refusal
from bedplate_providers.anthropic_events import MessageReader
from bedplate_providers.anthropic_request import render_prompt, render_request
from bedplate_providers.anthropic_wire import ErrorInfo
from bedplate_providers.base import CountsTokens
from bedplate_providers.endpoints import AnthropicEndpoint
from tests.providers.drive import DISPATCH, WEATHER, Run, chat, run, user
from tests.providers.recorded import Replay
from tests.providers.wire_server import Received, Wire, WireServer

pytestmark = pytest.mark.anyio
US = "anthropic"
SIGNATURE = "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pk="
REDACTED = "EmwKAhgBEgy3va3pzix/LafPsn4aDFIT2Xlxh0L5L8rLVyIwxtE3rAFBa8cr3qpP"
COUNTED = "One two three four five six."


def body(request: Request, name: str = US) -> Any:
    return render_request(request, name, 8192)


def asked(text: str = "Count: one two three four five six", **fields: Any) -> Request:
    fields.setdefault("sampling", Sampling(max_tokens=24, temperature=0))
    return chat(text, model="claude-sonnet-4-5", **fields)


async def played(case: str, request: Request) -> Run:
    replay = Replay("anthropic", pause_s=0)
    async with WireServer(replay) as server:
        provider = AnthropicProvider(US, AnthropicEndpoint(base_url=server.url))
        result = await run(provider.generate(request, DISPATCH))
        await provider.aclose()
    assert replay.asked == [case]
    assert result.error is None
    return result


# what is sent


async def test_path_headers_and_the_bound_that_the_api_demands() -> None:
    async def script(wire: Wire, request: Received) -> None:
        await wire.reply("400 No", {})

    async with WireServer(script) as server:
        endpoint = AnthropicEndpoint(base_url=f"{server.url}/prefix", api_key="k3y", max_output_tokens=99)
        provider = AnthropicProvider(US, endpoint)
        await run(provider.generate(chat(), DISPATCH))
        await run(provider.generate(chat(sampling=Sampling(max_tokens=5)), DISPATCH))
        await provider.aclose()
        sent = server.requests[0]
        assert sent.path == "/prefix/v1/messages"
        assert sent.headers["x-api-key"] == "k3y"
        assert sent.headers["anthropic-version"] == "2023-06-01"
        assert "authorization" not in sent.headers
        assert (sent.json["max_tokens"], server.requests[1].json["max_tokens"]) == (99, 5)


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (chat(choices=2), "n"),
        (chat(top_logprobs=0), "logprobs"),
        (chat(sampling=Sampling(seed=0)), "seed"),
        (chat(sampling=Sampling(presence_penalty=0.1)), "presence_penalty"),
        (chat(sampling=Sampling(frequency_penalty=-0.1)), "frequency_penalty"),
        (chat(sampling=Sampling(logit_bias={"1": 1})), "logit_bias"),
        (chat(echo=True), "echo"),
        (chat(suffix="x"), "suffix"),
        (Request(model="m", prompts=("a",)), "prompt"),
        (chat(response_format=JsonObjectFormat()), "response_format"),
        (chat(reasoning=ReasoningControl(effort="minimal")), "reasoning_effort"),
        (chat(extensions={"service_tier": "auto"}), "service_tier"),
        (chat(extensions={"container": None}), "container"),
    ],
)
def test_what_it_cannot_do_is_refused_by_name(request_: Request, param: str) -> None:
    with pytest.raises(UnsupportedFeature) as caught:
        body(request_)
    assert caught.value.param == param
    assert param in caught.value.message


def test_a_penalty_of_zero_is_none() -> None:
    assert "presence_penalty" not in body(chat(sampling=Sampling(presence_penalty=0, frequency_penalty=0.0)))


def bytes_of(kind: str, data: bytes = b"x") -> MediaBytes:
    return MediaBytes(data, kind)


@pytest.mark.parametrize(
    "part",
    [
        Video(media=bytes_of("video/mp4")),
        Audio(media=bytes_of("audio/wav")),
        Image(media=bytes_of("image/tiff")),
        Image(media=MediaUrl("https://inside/x.png")),
        Document(media=bytes_of("application/msword")),
        Document(media=bytes_of("application/pdf"), citations=True),
        CachePoint(ttl="2h"),
    ],
)
def test_parts_that_it_cannot_take_are_refused_where_they_stand(part: Part) -> None:
    with pytest.raises(UnsupportedFeature) as caught:
        body(Request(model="m", messages=(user("hi"), user(part))))
    assert caught.value.param == "messages[1]"


@pytest.mark.parametrize(
    "message",
    [
        Message(role=Role.TOOL, parts=(Text(text="x"),)),
        Message(role=Role.SYSTEM, parts=(Image(media=bytes_of("image/png")),)),
        Message(role=Role.USER, parts=(ToolCall(id="c", name="n", arguments="{}"),)),
        Message(role=Role.ASSISTANT, parts=(ToolResult(call_id="c", parts=()),)),
        Message(role=Role.ASSISTANT, parts=(ToolCall(id="c", name="n", arguments="[1]"),)),
        Message(role=Role.ASSISTANT, parts=(ToolCall(id="c", name="n", arguments='{"a":'),)),
        Message(role=Role.USER, parts=(Document(media=bytes_of("text/plain", b"\xff")),)),
    ],
)
def test_parts_that_cannot_stand_there_are_the_clients_error(message: Message) -> None:
    with pytest.raises(InvalidRequest) as caught:
        body(Request(model="m", messages=(user("hi"), message)))
    assert type(caught.value) is InvalidRequest
    assert caught.value.param == "messages[1]"


def test_system_messages_lead_or_stay_where_they_are() -> None:
    system = Message(role=Role.SYSTEM, parts=(Text(text="a"), CachePoint(ttl="1h")))
    late = Message(role=Role.SYSTEM, parts=(Text(text="c"),))
    sent = body(Request(model="m", messages=(system, system, user("b"), late)))
    marked = {"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    assert sent["system"] == [marked, marked]
    assert sent["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "b"}]},
        {"role": "system", "content": [{"type": "text", "text": "c"}]},
    ]


def test_one_side_in_a_row_is_one_message_with_results_first() -> None:
    calls = tuple(ToolCall(id=f"call:{n}", name="weather", arguments='{"city":"Rome"}') for n in (1, 2))
    results = (
        Message(role=Role.TOOL, parts=(ToolResult(call_id="call:1", parts=(Text(text="sun"),)),)),
        Message(role=Role.TOOL, parts=(ToolResult(call_id="call:2", parts=(Text(text=""),), is_error=True),)),
    )
    request = Request(
        model="m",
        messages=(
            user("hi"),
            Message(role=Role.ASSISTANT, parts=(Text(text=""), Refusal(text="no"))),
            Message(role=Role.ASSISTANT, parts=calls),
            user("well"),
            *results,
            user("and?", CachePoint()),
        ),
        tools=(WEATHER,),
    )
    sent = body(request)["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "user"]
    assert sent[1]["content"] == [
        {"type": "text", "text": "no"},
        {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Rome"}},
        {"type": "tool_use", "id": "call_2", "name": "weather", "input": {"city": "Rome"}},
    ]
    assert sent[2]["content"] == [
        {"type": "tool_result", "tool_use_id": "call_1", "content": [{"type": "text", "text": "sun"}]},
        {"type": "tool_result", "tool_use_id": "call_2", "is_error": True},
        {"type": "text", "text": "well"},
        {"type": "text", "text": "and?", "cache_control": {"type": "ephemeral"}},
    ]


def test_media_that_it_takes() -> None:
    parts = (
        Image(media=bytes_of("image/png"), detail="low"),
        Document(media=bytes_of("application/pdf"), name="a.pdf", context="c"),
        Document(media=bytes_of("text/plain", "wörld".encode())),
        GuardContent(content=Text(text="guarded")),
    )
    assert body(Request(model="m", messages=(user(*parts),)))["messages"][0]["content"] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "eA=="}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "eA=="},
            "title": "a.pdf",
            "context": "c",
        },
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "wörld"}},
        {"type": "text", "text": "guarded"},
    ]


def test_nothing_said_is_the_clients_error() -> None:
    with pytest.raises(InvalidRequest):
        body(Request(model="m", messages=(user(""),)))


def thoughts(origin: str) -> Request:
    parts = (
        Reasoning(text="signed", signature=Signature(origin, "s1")),
        CachePoint(),
        Reasoning(text="unsigned"),
        RedactedReasoning(data=b"r1", origin=origin),
        Text(text="a"),
    )
    return Request(model="m", messages=(user("hi"), Message(role=Role.ASSISTANT, parts=parts), user("more")))


def test_reasoning_goes_back_to_whoever_signed_it_and_to_nobody_else() -> None:
    ours = body(thoughts(US))["messages"][1]["content"]
    assert ours == [
        {"type": "thinking", "thinking": "signed", "signature": "s1"},
        {"type": "redacted_thinking", "data": "r1"},
        {"type": "text", "text": "a"},
    ]
    for origin in ("vllm", "anthropic-eu", ""):
        foreign = body(thoughts(origin))
        assert foreign["messages"][1]["content"] == [{"type": "text", "text": "a"}]
        assert "s1" not in json.dumps(foreign)


@pytest.mark.parametrize(
    ("choice", "parallel", "sent"),
    [
        (None, None, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolMode.AUTO, True, {"type": "auto", "disable_parallel_tool_use": False}),
        (ToolMode.REQUIRED, None, {"type": "any"}),
        (ToolMode.NONE, False, {"type": "none"}),
        (NamedTool("weather"), False, {"type": "tool", "name": "weather", "disable_parallel_tool_use": True}),
    ],
)
def test_tool_choice(choice: Any, parallel: bool | None, sent: Any) -> None:
    made = body(chat(tools=(WEATHER,), tool_choice=choice, parallel_tool_calls=parallel))
    assert made.get("tool_choice") == sent
    assert made["tools"][0]["input_schema"] == WEATHER.parameters


def test_tools_without_parameters_and_choices_without_tools() -> None:
    made = body(chat(tools=(Tool(name="now", strict=True),)))
    assert made["tools"] == [{"name": "now", "input_schema": {"type": "object", "properties": {}}, "strict": True}]
    for request in (chat(tool_choice=ToolMode.REQUIRED), chat(tools=(WEATHER,), tool_choice=NamedTool("other"))):
        with pytest.raises(InvalidRequest) as caught:
            body(request)
        assert caught.value.param == "tool_choice"


@pytest.mark.parametrize(
    ("control", "thinking", "effort"),
    [
        (ReasoningControl(effort="high"), None, "high"),
        (ReasoningControl(effort="none", enabled=False), {"type": "disabled"}, None),
        (ReasoningControl(enabled=False, budget_tokens=5), {"type": "disabled"}, None),
        (ReasoningControl(enabled=True), {"type": "adaptive", "display": "summarized"}, None),
        (ReasoningControl(enabled=True, effort="max"), {"type": "adaptive", "display": "summarized"}, "max"),
        (
            ReasoningControl(enabled=True, budget_tokens=2048),
            {"type": "enabled", "budget_tokens": 2048, "display": "summarized"},
            None,
        ),
    ],
)
def test_reasoning(control: ReasoningControl, thinking: Any, effort: str | None) -> None:
    made = body(chat(reasoning=control))
    assert made.get("thinking") == thinking
    assert made.get("output_config", {}).get("effort") == effort


def test_a_schema_and_an_effort_share_the_output_config() -> None:
    form = JsonSchemaFormat(name="n", schema={"type": "object"}, strict=True)
    made = body(chat(response_format=form, reasoning=ReasoningControl(effort="low")))
    assert made["output_config"] == {"format": {"type": "json_schema", "schema": {"type": "object"}}, "effort": "low"}


def test_sampling() -> None:
    made = body(chat(sampling=Sampling(temperature=0.5, top_p=0.9, top_k=7, stop=("a", "b"))))
    assert (made["temperature"], made["top_p"], made["top_k"]) == (0.5, 0.9, 7)
    assert made["stop_sequences"] == ["a", "b"]


# what comes back


async def test_thinking_is_signed_by_this_provider() -> None:
    request = asked(reasoning=ReasoningControl(enabled=True, budget_tokens=1024), sampling=Sampling(max_tokens=2048))
    response = (await played("thinking", request)).response
    assert response.choices[0].parts == (
        Reasoning(text="The user wants a count.", signature=Signature(US, SIGNATURE)),
        Text(text=COUNTED),
    )
    assert response.usage == Usage(input_tokens=50, output_tokens=40, reasoning_tokens=24)


async def test_redacted_thinking_is_kept_and_both_go_back() -> None:
    request = asked(
        "Think about what is hidden.",
        reasoning=ReasoningControl(enabled=True, effort="high"),
        sampling=Sampling(max_tokens=2048),
    )
    parts = (await played("thinking_redacted", request)).response.choices[0].parts
    hidden = RedactedReasoning(data=REDACTED.encode(), origin=US)
    assert parts == (hidden, Text(text=COUNTED))
    thought = Reasoning(text="The user wants a count.", signature=Signature(US, SIGNATURE))
    again = Request(
        model="claude-sonnet-4-5",
        messages=(
            user("Count."),
            Message(role=Role.ASSISTANT, parts=(thought, *parts)),
            user("And again."),
        ),
        reasoning=ReasoningControl(enabled=True, budget_tokens=1024),
        sampling=Sampling(max_tokens=2048),
    )
    await played("thinking_replayed", again)


async def test_what_the_cache_gave_and_took_is_part_of_the_input() -> None:
    system = Message(role=Role.SYSTEM, parts=(Text(text="A long prefix."), CachePoint(ttl="1h")))
    request = Request(
        model="claude-sonnet-4-5", messages=(system, user("A question.")), sampling=Sampling(max_tokens=24)
    )
    result = await played("cached", request)
    expected = Usage(input_tokens=1234, cached_input_tokens=1024, cache_write_input_tokens=200, output_tokens=6)
    assert result.response.usage == expected
    told = next(event for event in result.events if isinstance(event, Progress))
    assert told.usage.input_tokens == 1234


async def test_parallel_tools_after_text() -> None:
    request = asked(
        "What is the weather in Paris and Rome?",
        tools=(WEATHER,),
        parallel_tool_calls=True,
        sampling=Sampling(max_tokens=120, temperature=0),
    )
    (choice,) = (await played("tools_parallel", request)).response.choices
    assert [type(part) for part in choice.parts] == [Text, ToolCall, ToolCall]
    calls = [part for part in choice.parts if isinstance(part, ToolCall)]
    assert [call.arguments for call in calls] == ['{"city": "Paris"}', '{"city": "Rome"}']
    assert choice.stop.reason is StopReason.TOOL


async def test_a_tool_without_arguments_has_an_empty_object() -> None:
    (choice,) = (await played("no_arguments", asked("What time is it?", tools=(Tool(name="now"),)))).response.choices
    assert choice.parts == (ToolCall(id="toolu_01C", name="now", arguments="{}"),)


@pytest.mark.parametrize(
    ("case", "text", "limit", "reason"),
    [
        ("refusal", "Say what must not be said.", None, StopReason.REFUSAL),
        ("context_window", "Go on for ever.", 64, StopReason.CONTEXT),
        ("pause", "Take a long turn.", 64, StopReason.PAUSE),
        ("unknown_event", "Something new.", None, StopReason.END),
    ],
)
async def test_stop_reasons(case: str, text: str, limit: int | None, reason: StopReason) -> None:
    sampling = {} if limit is None else {"sampling": Sampling(max_tokens=limit)}
    assert (await played(case, asked(text, **sampling))).response.choices[0].stop.reason is reason


START = {"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 5, "output_tokens": 1}}}
TEXT = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
SAY = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}}
CLOSE = {"type": "content_block_stop", "index": 0}
END = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}
STOP = {"type": "message_stop"}


def block(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": 0, "content_block": {"type": kind, **fields}}


def delta(kind: str, index: int = 0, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}}


def read(*events: dict[str, Any]) -> tuple[MessageReader, list[Any]]:
    reader = MessageReader("m", US)
    return reader, reader.read([json.dumps(event).encode() for event in events])


def test_the_least_stream_is_good() -> None:
    reader, events = read(START, TEXT, SAY, CLOSE, END, STOP)
    assert (reader.failure, reader.done) == (None, True)
    assert isinstance(events[-1], Finish)


@pytest.mark.parametrize(
    "events",
    [
        (TEXT,),
        (SAY,),
        (END, STOP),
        (STOP,),
        (START, START),
        (START, SAY),
        (START, CLOSE),
        (START, TEXT, TEXT),
        (START, TEXT, delta("text_delta", 1, text="x")),
        (START, TEXT, {"type": "content_block_stop", "index": 1}),
        (START, TEXT, delta("input_json_delta", partial_json="{}")),
        (START, TEXT, delta("signature_delta", signature="s")),
        (START, TEXT, delta("citations_delta")),
        (START, TEXT, SAY, END),
        (START, TEXT, SAY, STOP),
        (START, TEXT, SAY, CLOSE, STOP),
        (START, TEXT, SAY, CLOSE, END, END),
        (START, TEXT, SAY, CLOSE, END, TEXT),
        (START, block("server_tool_use", id="s", name="web_search")),
        (START, block("tool_use", id="t")),
        (START, {**END, "delta": {"stop_reason": "something_new"}}),
        (START, {"type": "error", "error": {"type": "overloaded_error", "message": "x"}}),
        ({"type": "message_start"},),
        ({"index": 0},),
    ],
)
def test_what_is_out_of_order_or_unknown_is_an_error_and_never_a_finish(events: tuple[dict[str, Any], ...]) -> None:
    reader, made = read(*events, *([STOP] if events[-1] is not STOP else []))
    assert type(reader.failure) is UpstreamProtocolError
    assert not reader.done
    assert not any(isinstance(event, Finish) for event in made)
    if events[0] is START:
        assert isinstance(made[0], Start)


def test_arguments_that_come_whole_with_the_block_are_kept() -> None:
    call = block("tool_use", id="t", name="weather", input={"city": "Rome"})
    reader, events = read(START, call, CLOSE, {**END, "delta": {"stop_reason": "tool_use"}}, STOP)
    assert reader.failure is None
    assert [event.text for event in events if hasattr(event, "text")] == ['{"city":"Rome"}']


def test_usage_never_decreases() -> None:
    low = {"type": "message_delta", "delta": {}, "usage": {"input_tokens": 3, "output_tokens": 0}}
    _, events = read(START, low)
    assert [event.usage for event in events if isinstance(event, Progress)] == [Usage(input_tokens=5, output_tokens=1)]


# errors


def said(kind: str, message: str = "m") -> bytes:
    return json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()


@pytest.mark.parametrize(
    ("status", "sent", "expected"),
    [
        (400, said("invalid_request_error", "prompt is too long: 9 tokens > 5 maximum"), ContextLengthExceeded),
        (
            400,
            said("invalid_request_error", "input length and `max_tokens` exceed context limit: 1 + 2 > 2"),
            ContextLengthExceeded,
        ),
        (400, said("invalid_request_error", "Your credit balance is too low to access the API."), UpstreamRejected),
        (400, said("invalid_request_error"), InvalidRequest),
        (400, b"", UpstreamRejected),
        (401, said("authentication_error", "invalid x-api-key"), UpstreamRejected),
        (402, said("billing_error"), UpstreamRejected),
        (403, said("permission_error"), UpstreamRejected),
        (404, said("not_found_error"), UpstreamRejected),
        (413, said("request_too_large"), PayloadTooLarge),
        (429, said("rate_limit_error"), RateLimited),
        (500, said("api_error"), UpstreamUnavailable),
        (504, said("timeout_error"), UpstreamTimeout),
        (529, said("overloaded_error"), UpstreamUnavailable),
        (500, said("overloaded_error"), UpstreamUnavailable),
    ],
)
def test_errors_by_status_and_type(status: int, sent: bytes, expected: type[GatewayError]) -> None:
    assert type(refusal(status, sent, {})) is expected


def test_an_overload_may_be_tried_again_when_the_api_says() -> None:
    error = refusal(529, said("overloaded_error"), {"retry-after": "12"})
    assert (error.retryable, error.retry_after_s) == (True, 12)


def test_a_field_that_the_api_names_is_named() -> None:
    error = refusal(400, said("invalid_request_error", "messages.0.content: field required"), {})
    assert (error.param, error.message) == ("messages.0.content", "messages.0.content: field required")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("overloaded_error", UpstreamUnavailable),
        ("api_error", UpstreamUnavailable),
        ("rate_limit_error", RateLimited),
        ("invalid_request_error", InvalidRequest),
        ("authentication_error", UpstreamRejected),
        ("timeout_error", UpstreamTimeout),
        ("something_new", UpstreamUnavailable),
    ],
)
def test_an_error_event_is_classified_only_before_the_answer(kind: str, expected: type[GatewayError]) -> None:
    assert type(from_event(ErrorInfo(type=kind, message="m"), started=False)) is expected
    assert type(from_event(ErrorInfo(type=kind, message="m"), started=True)) is UpstreamProtocolError


# counting


async def test_tokens_are_counted_without_generating() -> None:
    replay = Replay("anthropic")
    async with WireServer(replay) as server:
        provider = AnthropicProvider(US, AnthropicEndpoint(base_url=server.url))
        assert isinstance(provider, CountsTokens)
        assert await provider.count_tokens(asked(tools=(WEATHER,)), DISPATCH) == 403
        await provider.aclose()
    assert replay.asked == ["count_tokens"]
    assert "max_tokens" not in render_prompt(asked(), US)
    assert "stream" not in render_prompt(asked(), US)


@pytest.mark.parametrize("answer", [b"x", {}, {"input_tokens": "3"}])
async def test_a_count_that_is_none_is_an_error(answer: Any) -> None:
    async def script(wire: Wire, request: Received) -> None:
        await wire.reply("200 OK", answer)

    async with WireServer(script) as server:
        provider = AnthropicProvider(US, AnthropicEndpoint(base_url=server.url))
        with pytest.raises(UpstreamProtocolError):
            await provider.count_tokens(chat(), DISPATCH)
        await provider.aclose()
