"""An OpenAI-compatible server: what is sent, what is refused by name, and how its answers are read."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from bedplate_core.errors import (
    ContextLengthExceeded,
    GatewayError,
    InvalidRequest,
    PayloadTooLarge,
    UnsupportedFeature,
    UpstreamProtocolError,
    UpstreamRejected,
)
from bedplate_core.events import Finish, StopReason
from bedplate_core.messages import (
    Audio,
    CachePoint,
    Document,
    Image,
    MediaBytes,
    MediaUrl,
    Message,
    Part,
    Reasoning,
    Refusal,
    Role,
    Signature,
    Text,
    ToolCall,
    ToolResult,
    Video,
)
from bedplate_core.requests import (
    EmbedRequest,
    JsonSchemaFormat,
    NamedTool,
    ReasoningControl,
    Request,
    Sampling,
    TokenPrompt,
    ToolMode,
)
from bedplate_core.usage import Usage
from bedplate_providers.base import Embeds
from bedplate_providers.endpoints import OpenAIEndpoint
from bedplate_providers.openai import OpenAIEmbedder, OpenAIProvider
from bedplate_providers.openai_errors import refusal
from bedplate_providers.openai_events import OpenAIChunkReader
from bedplate_providers.openai_request import render_embedding, render_request
from tests.providers.drive import DISPATCH, WEATHER, Run, chat, run, user
from tests.providers.recorded import Replay
from tests.providers.vllm_streams import DONE, call_piece, chat_chunk, event
from tests.providers.wire_server import Received, Wire, WireServer

pytestmark = pytest.mark.anyio
HOST = "https://host/v1"
PLAIN = OpenAIEndpoint(base_url=HOST)


def body(request: Request, **options: Any) -> Any:
    return render_request(request, OpenAIEndpoint(base_url=HOST, **options))[1]


async def played(case: str, request: Request) -> Run:
    replay = Replay("openai", pause_s=0)
    async with WireServer(replay) as server:
        provider = OpenAIProvider("openai", OpenAIEndpoint(base_url=f"{server.url}/v1"))
        result = await run(provider.generate(request, DISPATCH))
        await provider.aclose()
    assert replay.asked == [case]
    return result


def asked(text: str = "Count: one two three four five six", **fields: Any) -> Request:
    fields.setdefault("sampling", Sampling(max_tokens=24, temperature=0))
    return chat(text, model="gpt-4.1-mini", **fields)


# what is sent


@pytest.mark.parametrize("base", ["", "/v1", "/openai/v1/"])
async def test_paths_headers_and_what_is_vllms_alone(base: str) -> None:
    async def script(wire: Wire, request: Received) -> None:
        await wire.stream(chat_chunk({"content": "x"}, finish="stop"), chat_chunk(None), DONE)

    async with WireServer(script) as server:
        provider = OpenAIProvider("o", OpenAIEndpoint(base_url=server.url + base, api_key="k3y"))
        assert (await run(provider.generate(chat(), DISPATCH))).error is None
        await provider.aclose()
        (sent,) = server.requests
        assert sent.path == f"{base.rstrip('/')}/chat/completions"
        assert sent.headers["authorization"] == "Bearer k3y"
        assert "x-request-id" not in sent.headers
        assert sent.json == {
            "model": "m",
            "stream": True,
            "stream_options": {"include_usage": True},
            "messages": [{"role": "user", "content": "Say hello to the world"}],
        }


async def test_an_upstream_over_tls_is_checked_against_the_ca_file() -> None:
    endpoint = OpenAIEndpoint(base_url="https://host/v1", ca_file="/no/such/file")
    with pytest.raises(OSError, match="No such file"):
        OpenAIProvider("o", endpoint)
    context = OpenAIProvider("o", PLAIN).upstream.pool._ssl  # pyright: ignore[reportPrivateUsage]  # what it checks with
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_options_of_the_endpoint_change_the_spelling() -> None:
    request = Request(
        model="m",
        messages=(Message(role=Role.SYSTEM, parts=(Text(text="Be short."),)), user("hi")),
        sampling=Sampling(max_tokens=5, top_k=3),
        extensions={"min_p": 0.1},
    )
    plain = body(request, extra_fields=("top_k", "min_p"))
    assert plain["messages"][0]["role"] == "system"
    assert (plain["max_completion_tokens"], plain["top_k"], plain["min_p"]) == (5, 3, 0.1)
    other = body(request, system_role="developer", max_tokens_field="max_tokens", extra_fields=("top_k", "min_p"))
    assert other["messages"][0]["role"] == "developer"
    assert other["max_tokens"] == 5
    assert "max_completion_tokens" not in other


def test_own_extensions_are_forwarded() -> None:
    sent = body(chat(extensions={"verbosity": "low", "prediction": {"type": "content", "content": "x"}}))
    assert sent["verbosity"] == "low"
    assert sent["prediction"] == {"type": "content", "content": "x"}
    with pytest.raises(InvalidRequest):
        body(chat(extensions={"verbosity": 3}))


@pytest.mark.parametrize(
    "name", ["service_tier", "priority", "cache_salt", "min_p", "web_search_options", "modalities", "chat_template"]
)
def test_other_extensions_are_refused_by_name(name: str) -> None:
    with pytest.raises(UnsupportedFeature) as caught:
        body(chat(extensions={name: "x"}))
    assert caught.value.param == name


@pytest.mark.parametrize("name", ["model", "messages", "stream", "n", "tools", "max_tokens"])
def test_extra_fields_cannot_be_those_that_the_gateway_sets(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        OpenAIEndpoint(base_url=HOST, extra_fields=(name,))


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (chat(sampling=Sampling(top_k=5)), "top_k"),
        (chat(reasoning=ReasoningControl(budget_tokens=100)), "thinking.budget_tokens"),
        (chat(echo=True), "echo"),
        (Request(model="m", prompts=("a", TokenPrompt((1,)))), "prompt"),
        (Request(model="m", prompts=("a",), tools=(WEATHER,)), "tools"),
    ],
)
def test_what_it_cannot_do_is_refused_by_name(request_: Request, param: str) -> None:
    with pytest.raises(UnsupportedFeature) as caught:
        render_request(request_, PLAIN)
    assert caught.value.param == param


def bytes_of(kind: str) -> MediaBytes:
    return MediaBytes(b"x", kind)


@pytest.mark.parametrize(
    "part",
    [
        Video(media=bytes_of("video/mp4")),
        Audio(media=bytes_of("audio/flac")),
        Image(media=MediaUrl("https://inside/x.png")),
        Document(media=bytes_of("application/pdf"), citations=True),
        Document(media=bytes_of("application/pdf"), context="c"),
    ],
)
def test_parts_that_it_cannot_take_are_refused_where_they_stand(part: Part) -> None:
    with pytest.raises(UnsupportedFeature) as caught:
        body(Request(model="m", messages=(user("hi"), user(part))))
    assert caught.value.param == "messages[1]"


def test_pictures_in_a_tools_result_are_refused() -> None:
    result = ToolResult(call_id="c", parts=(Image(media=bytes_of("image/png")),))
    with pytest.raises(UnsupportedFeature):
        body(Request(model="m", messages=(user("hi"), Message(role=Role.TOOL, parts=(result,)))))


def test_media_that_it_takes() -> None:
    parts = (
        Image(media=bytes_of("image/png"), detail="low"),
        Audio(media=bytes_of("audio/mpeg")),
        Document(media=bytes_of("application/pdf"), name="a.pdf"),
        CachePoint(),
    )
    assert body(Request(model="m", messages=(user(*parts),)))["messages"][0]["content"] == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,eA==", "detail": "low"}},
        {"type": "input_audio", "input_audio": {"data": "eA==", "format": "mp3"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,eA=="}},
    ]


def test_reasoning_never_goes_back_and_strict_is_the_clients() -> None:
    said = (
        Reasoning(text="hm", signature=Signature("openai", "s")),
        Text(text="a"),
        ToolCall(id="c", name="weather", arguments=""),
    )
    request = Request(
        model="m",
        messages=(user("hi"), Message(role=Role.ASSISTANT, parts=said)),
        tools=(WEATHER,),
        tool_choice=ToolMode.REQUIRED,
    )
    sent = body(request)
    assert sent["messages"][1] == {
        "role": "assistant",
        "content": "a",
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "weather", "arguments": "{}"}}],
    }
    assert "strict" not in sent["tools"][0]["function"]
    assert sent["tool_choice"] == "required"


# what comes back


async def test_parallel_tools() -> None:
    request = asked(
        "What is the weather in Paris and Rome?",
        tools=(WEATHER,),
        parallel_tool_calls=True,
        sampling=Sampling(max_tokens=120, temperature=0),
    )
    (choice,) = (await played("tools_parallel", request)).response.choices
    calls = [part for part in choice.parts if isinstance(part, ToolCall)]
    assert [(call.name, call.arguments) for call in calls] == [
        ("weather", '{"city":"Paris"}'),
        ("weather", '{"city":"Rome"}'),
    ]
    assert len({call.id for call in calls}) == 2
    assert choice.stop.reason is StopReason.TOOL


async def test_a_refusal_and_its_stop() -> None:
    form = JsonSchemaFormat(name="weather", schema=WEATHER.parameters or {}, strict=True)
    result = await played("refusal", asked("Say what must not be said.", response_format=form))
    (choice,) = result.response.choices
    assert choice.parts == (Refusal(text="I cannot help with that."),)
    assert choice.stop.reason is StopReason.REFUSAL


async def test_a_named_tool_ends_with_stop_and_is_a_call_still() -> None:
    request = asked(
        "What is the weather in Paris?",
        tools=(WEATHER,),
        tool_choice=NamedTool("weather"),
        sampling=Sampling(max_tokens=120, temperature=0),
    )
    assert (await played("tool_named", request)).response.choices[0].stop.reason is StopReason.TOOL


async def test_cached_and_reasoning_tokens_are_told() -> None:
    request = asked("A long prefix, and then a question.", sampling=Sampling(max_tokens=24))
    usage = (await played("cached", request)).response.usage
    assert usage == Usage(input_tokens=1200, cached_input_tokens=1024, output_tokens=6)
    request = asked(reasoning=ReasoningControl(effort="high"), sampling=Sampling(max_tokens=200))
    usage = (await played("reasoning_effort", request)).response.usage
    assert usage == Usage(input_tokens=15, output_tokens=70, reasoning_tokens=64)


NO_USAGE = [chat_chunk({"content": "x"}, usage=None), chat_chunk({}, finish="stop", usage=None), DONE]


def test_an_answer_without_usage_is_an_error_unless_the_endpoint_allows_it() -> None:
    strict = OpenAIChunkReader(chat(), require_usage=True)
    strict.read([chunk[6:-2] for chunk in NO_USAGE])
    assert type(strict.failure) is UpstreamProtocolError
    assert not strict.done
    lenient = OpenAIChunkReader(chat(), require_usage=False)
    events = lenient.read([chunk[6:-2] for chunk in NO_USAGE])
    assert lenient.done
    assert isinstance(events[-1], Finish)
    assert events[-1].usage == Usage()


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_both_spellings_of_reasoning_are_read(name: str) -> None:
    reader = OpenAIChunkReader(chat(), require_usage=False)
    events = reader.read([chat_chunk({name: "hm"}, usage=None)[6:-2]])
    assert Reasoning(text="") in [getattr(event, "part", None) for event in events]


def test_usage_with_the_last_piece_and_with_an_empty_piece_after_it_counts() -> None:
    for last in (
        [chat_chunk({}, finish="stop", usage=(9, 4))],
        [chat_chunk({}, finish="stop", usage=None), chat_chunk({"role": "assistant", "content": ""}, usage=(9, 4))],
    ):
        reader = OpenAIChunkReader(chat(), require_usage=True)
        events = reader.read([chunk[6:-2] for chunk in [chat_chunk({"content": "x"}, usage=None), *last, DONE]])
        assert isinstance(events[-1], Finish)
        assert events[-1].usage == Usage(input_tokens=9, output_tokens=4)


def test_calls_that_share_an_index_do_not_run_together() -> None:
    pieces = [call_piece(0, id_=id_, name="weather", arguments='{"city":"Rome"}') for id_ in ("a", "b")]
    reader = OpenAIChunkReader(chat(), require_usage=False)
    events = reader.read([chat_chunk(piece, usage=None)[6:-2] for piece in pieces])
    assert reader.failure is None
    ids = [part.id for event in events if isinstance(part := getattr(event, "part", None), ToolCall)]
    assert ids == ["a", "b"]


@pytest.mark.parametrize(("named", "reason"), [(("end",), StopReason.STOP_SEQUENCE), ((), StopReason.END)])
def test_a_stop_reason_counts_only_for_a_text_that_was_asked_for(named: tuple[str, ...], reason: StopReason) -> None:
    reader = OpenAIChunkReader(chat(sampling=Sampling(stop=named)), require_usage=False)
    events = reader.read([chat_chunk({"content": "x"}, finish="stop", stop="end", usage=None)[6:-2], DONE[6:-2]])
    assert isinstance(events[-1], Finish)
    assert events[-1].stops[0].reason is reason


# errors


def error(code: str | None = None, message: str = "m", kind: str = "invalid_request_error") -> bytes:
    return event({"error": {"message": message, "type": kind, "param": "p", "code": code}})[6:]


@pytest.mark.parametrize(
    ("status", "said", "expected"),
    [
        (400, error("context_length_exceeded"), ContextLengthExceeded),
        (400, error("unsupported_parameter"), UnsupportedFeature),
        (400, error("unsupported_value"), UnsupportedFeature),
        (400, error("invalid_value"), InvalidRequest),
        (422, error(), InvalidRequest),
        (400, b"", UpstreamRejected),
        (401, error("invalid_api_key", "Incorrect API key provided: sk-secret"), UpstreamRejected),
        (404, error("model_not_found"), UpstreamRejected),
        (413, error(), PayloadTooLarge),
        (429, error("insufficient_quota", kind="insufficient_quota"), UpstreamRejected),
        (429, error(None, kind="insufficient_quota"), UpstreamRejected),
    ],
)
def test_errors_by_code(status: int, said: bytes, expected: type[GatewayError]) -> None:
    made = refusal(status, said, {})
    assert type(made) is expected
    assert "sk-secret" not in made.message
    if isinstance(made, InvalidRequest):
        assert made.param == "p"


# embeddings


async def test_embeddings() -> None:
    async with WireServer(Replay("openai")) as server:
        provider = OpenAIEmbedder("o", OpenAIEndpoint(base_url=f"{server.url}/v1", embeddings=True))
        assert isinstance(provider, Embeds)
        request = EmbedRequest(model="text-embedding-3-small", inputs=("one", "two"))
        result = await provider.embed(request, DISPATCH)
        assert result.vectors == ((1.0, 0.0), (0.0, 1.0))
        assert result.usage == Usage(input_tokens=2)
        await provider.aclose()
    assert not isinstance(OpenAIProvider("o", PLAIN), Embeds)


async def test_embeddings_as_lists_are_read_too() -> None:
    async def script(wire: Wire, request: Received) -> None:
        await wire.reply("200 OK", {"data": [{"index": 0, "embedding": [0.5, 1]}], "usage": {"prompt_tokens": 1}})

    async with WireServer(script) as server:
        provider = OpenAIEmbedder("o", OpenAIEndpoint(base_url=server.url, embeddings=True))
        assert (await provider.embed(EmbedRequest(model="e", inputs=("a",)), DISPATCH)).vectors == ((0.5, 1.0),)
        await provider.aclose()


def test_what_embeddings_refuse() -> None:
    sent = render_embedding(EmbedRequest(model="e", inputs=(TokenPrompt((1, 2)),), dimensions=3))
    assert (sent["input"], sent["dimensions"]) == ([[1, 2]], 3)
    for request in (
        EmbedRequest(model="e", inputs=("a", TokenPrompt((1,)))),
        EmbedRequest(model="e", inputs=("a",), extensions={"truncate_prompt_tokens": 3}),
    ):
        with pytest.raises(UnsupportedFeature):
            render_embedding(request)
    with pytest.raises(InvalidRequest):
        render_embedding(EmbedRequest(model="e", inputs=()))
