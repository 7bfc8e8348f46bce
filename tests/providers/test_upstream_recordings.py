"""The transcripts are what the vendors document: their own SDKs' types accept every request and every event. And
however the network cuts a transcript, the same events come of it.
"""

from __future__ import annotations

import itertools
import json
from functools import cache
from typing import Any, get_type_hints

import anthropic.types
import openai.types
import pydantic
import pytest
from anthropic.types import message_count_tokens_params, message_create_params
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types import chat, completion_create_params, embedding_create_params
from openai.types.chat import completion_create_params as chat_create_params

from bedplate_core.events import Delta, Event, Finish, PartEnd, PartStart, Progress, Start
from bedplate_core.order import EventOrder
from bedplate_core.requests import Request
from bedplate_providers.anthropic_events import MessageReader
from bedplate_providers.openai_events import OpenAIChunkReader
from bedplate_providers.sse import SseParser
from bedplate_providers.upstream_stream import EventReader
from tests.providers.recorded import Recording, recordings

REQUESTS: dict[str, Any] = {
    "/v1/messages": message_create_params.MessageCreateParamsStreaming,
    "/v1/messages/count_tokens": message_count_tokens_params.MessageCountTokensParams,
    "/v1/chat/completions": chat_create_params.CompletionCreateParamsStreaming,
    "/v1/completions": completion_create_params.CompletionCreateParamsStreaming,
    "/v1/embeddings": embedding_create_params.EmbeddingCreateParams,
}
EVENTS: dict[str, Any] = {
    "/v1/messages": anthropic.types.RawMessageStreamEvent,
    "/v1/chat/completions": chat.ChatCompletionChunk,
    "/v1/completions": openai.types.Completion,
}
PIECES: dict[str, tuple[Any, Any, Any]] = {
    "openai": (
        chat.ChatCompletionMessageParam,
        chat.ChatCompletionContentPartParam,
        chat.ChatCompletionFunctionToolParam,
    ),
    "anthropic": (anthropic.types.MessageParam, anthropic.types.ContentBlockParam, anthropic.types.ToolParam),
}
"""The types of a message, a block of its content, and a tool."""

NOT_TYPED = {"temperature", "top_p", "top_k"}
"""The Messages API takes these for some models; the SDK no longer types them."""

SKIPPED = ({"type": "ping"}, {"type": "something_new", "x": 1})
"""Events that the SDK's union leaves out: its stream drops them before it decodes."""

KINDS = ("openai", "anthropic")
ALL = [pytest.param(kind, case, id=f"{kind}-{case.name}") for kind in KINDS for case in recordings(kind)]
STREAMS = [param for param in ALL if param.values[1].stream is not None]  # type: ignore[union-attr]  # a Recording


@cache
def adapter(expected: Any) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(expected)


def check(kind: str, case: Recording) -> None:
    """Hold the body, and every message, block and tool in it, to the SDK's types.

    pydantic checks what is typed `Iterable` only when it is read, so those are checked one by one.
    """
    body: dict[str, Any] = case.request
    message, part, tool = PIECES[kind]
    adapter(REQUESTS[case.path]).validate_python(body)
    for sent in body.get("messages", []):
        adapter(message).validate_python(sent)
        content = sent.get("content")
        blocks: list[Any] = content if isinstance(content, list) else []
        for block in blocks:
            adapter(part).validate_python(block)
    for sent in body.get("tools", []):
        adapter(tool).validate_python(sent)
    for sent in body.get("system", []):
        adapter(anthropic.types.TextBlockParam).validate_python(sent)


@pytest.mark.parametrize(("kind", "case"), ALL)
def test_the_request_is_one_that_the_vendors_sdk_could_send(kind: str, case: Recording) -> None:
    known = get_type_hints(REQUESTS[case.path]).keys() | (NOT_TYPED if kind == "anthropic" else set[str]())
    assert case.request.keys() <= known
    check(kind, case)


@pytest.mark.parametrize(("kind", "case"), STREAMS)
def test_the_stream_is_one_that_the_vendors_sdk_reads(kind: str, case: Recording) -> None:
    payloads = [payload for payload in case.payloads if payload != b"[DONE]"]
    assert (b"[DONE]" in case.payloads) is (kind == "openai")
    for payload in payloads:
        value = json.loads(payload)
        if case.path == "/v1/completions":
            for choice in value["choices"]:  # typed as always there; the service sends null until the end
                choice["finish_reason"] = choice["finish_reason"] or "stop"
        if value not in SKIPPED:
            adapter(EVENTS[case.path]).validate_python(value)


def reader(kind: str, case: Recording) -> EventReader[bytes]:
    sent = case.request
    if kind == "anthropic":
        return MessageReader(sent["model"], kind)
    prompt: str | list[str] = sent.get("prompt", [])
    prompts = (prompt,) if isinstance(prompt, str) else tuple(prompt)
    request = Request(model=sent["model"], prompts=prompts, choices=sent.get("n", 1))
    return OpenAIChunkReader(request, require_usage=True)


def read(kind: str, case: Recording, pieces: list[bytes]) -> list[Event]:
    """The events of `pieces`; checks their order, and that nothing but the whole makes a `Finish`."""
    parser, made, order = SseParser(), reader(kind, case), EventOrder()
    events: list[Event] = []
    for number, piece in enumerate(pieces):
        batch = made.read(parser.feed(piece))
        assert made.failure is None
        for event in batch:
            order.add(event)
        events += batch
        if number < len(pieces) - 1 and made.done:
            assert not any(parser.feed(rest) for rest in pieces[number + 1 :] if rest.strip())
            break
    assert made.done
    order.end()
    return events


def settled(events: list[Event]) -> list[Event]:
    """Without what depends on how it was cut: how often the usage is told, and the time that Anthropic's lacks."""
    return [event for event in events if not isinstance(event, Progress | Start)]


@pytest.mark.parametrize(("kind", "case"), STREAMS)
def test_it_ends_in_one_finish_with_its_usage(kind: str, case: Recording) -> None:
    events = read(kind, case, case.events)
    assert isinstance(events[0], Start)
    assert isinstance(events[-1], Finish)
    assert events[-1].usage.input_tokens > 0
    assert events[-1].usage.output_tokens > 0


@pytest.mark.parametrize(("kind", "case"), STREAMS)
def test_a_prefix_of_a_stream_is_never_an_answer(kind: str, case: Recording) -> None:
    for count in range(len(case.payloads)):
        made = reader(kind, case)
        events = made.read(case.payloads[:count])
        assert not made.done
        assert made.failure is None
        assert not any(isinstance(event, Finish) for event in events)
        assert made.end().status == 502


CUT = [param for param in STREAMS if param.values[1].name in ("tools_parallel", "thinking", "choices", "refusal")]  # type: ignore[union-attr]  # a Recording


@pytest.mark.parametrize(("kind", "case"), CUT)
@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, 10_000), max_size=12))
def test_however_it_is_cut_the_events_are_the_same(kind: str, case: Recording, cuts: list[int]) -> None:
    stream = case.stream or b""
    places = sorted({0, len(stream), *(cut % len(stream) for cut in cuts)})
    pieces = [stream[a:b] for a, b in itertools.pairwise(places)]
    assert settled(read(kind, case, pieces)) == settled(read(kind, case, [stream]))


def test_the_transcripts_cover_every_kind_of_event() -> None:
    seen = {
        type(event)
        for param in STREAMS
        for event in read(param.values[0], param.values[1], param.values[1].events)  # type: ignore[arg-type]  # a Recording
    }
    assert seen == {Start, PartStart, Delta, PartEnd, Progress, Finish}
