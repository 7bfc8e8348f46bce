"""Tokenizing, detokenizing and counting on vLLM: what is sent, what is read, and the same on the real engine.

Answers are vLLM 0.32's own types, written out: `tests/wire/vllm`.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bedplate_core.errors import (
    InvalidRequest,
    UnsupportedFeature,
    UpstreamProtocolError,
    UpstreamUnavailable,
)
from bedplate_core.messages import Image, MediaBytes, MediaUrl, Text
from bedplate_core.requests import ReasoningControl, Request, Sampling, TokenPrompt, ToolMode
from bedplate_core.response import collect
from bedplate_core.tokens import DetokenizeRequest, TokenizeRequest, Tokens
from bedplate_providers.base import CountsTokens, Tokenizes
from bedplate_providers.endpoints import VllmEndpoint, VllmTask
from bedplate_providers.fleet import VllmFleet
from bedplate_providers.registry import build_provider
from tests.fixtures.engine import EngineEndpoint
from tests.providers.drive import DISPATCH, WEATHER, chat, user
from tests.providers.wire_server import Received, Wire, WireServer

pytestmark = pytest.mark.anyio

WIRE = Path(__file__).parent.parent / "wire" / "vllm"
DEAD = "http://127.0.0.1:9"


@asynccontextmanager
async def fleet_for(body: object, status: str = "200 OK") -> AsyncGenerator[tuple[VllmFleet, WireServer]]:
    """A fleet of one server that answers every request with `body` (bytes, JSON, or a recorded answer's name)."""

    async def script(wire: Wire, request: Received) -> None:
        said = (WIRE / f"{body}.json").read_bytes() if isinstance(body, str) else body
        await wire.reply(status, said)

    async with WireServer(script) as server:
        fleet = VllmFleet("f", VllmEndpoint(urls=(server.url,), api_key="k3y"))
        yield fleet, server
        assert all(replica.in_flight == 0 for replica in fleet.replicas)
        await fleet.aclose()
        await server.idle()


async def test_a_prompt() -> None:
    async with fleet_for("tokenize") as (fleet, server):
        content = Request(model="m", prompts=("Hello",), extensions={"add_special_tokens": False})
        tokens = await fleet.tokenize(TokenizeRequest(content=content), DISPATCH)
        assert tokens == Tokens(token_ids=(1, 29, 1033), context_tokens=4096)
        (sent,) = server.requests
        assert (sent.method, sent.path) == ("POST", "/tokenize")
        assert sent.json == {"model": "m", "prompt": "Hello", "add_special_tokens": False}
        assert sent.headers["authorization"] == "Bearer k3y"
        assert sent.headers["x-request-id"] == "req_1"


async def test_a_chat_with_tools_and_its_strings() -> None:
    async with fleet_for("tokenize_strings") as (fleet, server):
        content = chat("hi", tools=(WEATHER,), extensions={"add_generation_prompt": False})
        tokens = await fleet.tokenize(TokenizeRequest(content=content, token_strings=True), DISPATCH)
        assert tokens.strings == ("Hello", "Ġworld")
        sent = server.requests[0].json
        assert sent["messages"] == [{"role": "user", "content": "hi"}]
        assert sent["tools"][0]["function"]["name"] == "weather"
        assert set(sent) == {"model", "messages", "tools", "add_generation_prompt", "return_token_strs"}


async def test_pictures_go_as_data_and_addresses_are_refused() -> None:
    async with fleet_for("tokenize") as (fleet, server):
        content = Request(model="m", messages=(user(Image(media=MediaBytes(b"x", "image/png"))),))
        await fleet.tokenize(TokenizeRequest(content=content), DISPATCH)
        (part,) = server.requests[0].json["messages"][0]["content"]
        assert part["image_url"]["url"] == f"data:image/png;base64,{base64.b64encode(b'x').decode()}"
        elsewhere = Request(model="m", messages=(user(Image(media=MediaUrl("https://inside.example/x"))),))
        with pytest.raises(UnsupportedFeature, match="as data"):
            await fleet.tokenize(TokenizeRequest(content=elsewhere), DISPATCH)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("content", "param"),
    [
        (Request(model="m", prompts=("a",), extensions={"chat_template": "x"}), "chat_template"),
        (Request(model="m", prompts=("a",), extensions={"add_generation_prompt": True}), "add_generation_prompt"),
        (chat(extensions={"min_p": 0.1}), "min_p"),
        (chat(extensions={"chat_template_kwargs": {"messages": []}}), "chat_template_kwargs.messages"),
        (Request(model="m", prompts=("a", "b")), "prompt"),
        (Request(model="m", prompts=(TokenPrompt((1,)),)), "prompt"),
        (Request(model="m"), "prompt"),
    ],
)
async def test_what_is_not_forwarded_is_refused_by_name(content: Request, param: str) -> None:
    async with fleet_for("tokenize") as (fleet, server):
        with pytest.raises(InvalidRequest) as caught:
            await fleet.tokenize(TokenizeRequest(content=content), DISPATCH)
        assert caught.value.param == param
        assert server.requests == []


async def test_back_to_text() -> None:
    async with fleet_for("detokenize") as (fleet, server):
        request = DetokenizeRequest(model="m", token_ids=(28120, 905))
        assert await fleet.detokenize(request, DISPATCH) == "Hello world"
        assert server.requests[0].path == "/detokenize"
        assert server.requests[0].json == {"model": "m", "tokens": [28120, 905]}


async def test_counting_sends_what_a_generation_would_render() -> None:
    async with fleet_for("tokenize") as (fleet, server):
        request = chat(
            "hi",
            tools=(WEATHER,),
            sampling=Sampling(max_tokens=5, temperature=0.5),
            reasoning=ReasoningControl(effort="low"),
            extensions={"chat_template_kwargs": {"style": "x"}, "documents": [{"text": "d"}], "min_p": 0.1},
        )
        assert await fleet.count_tokens(request, DISPATCH) == 3
        sent = server.requests[0].json
        assert set(sent) == {"model", "messages", "tools", "chat_template_kwargs"}
        assert sent["chat_template_kwargs"] == {
            "style": "x", "documents": [{"text": "d"}], "reasoning_effort": "low", "enable_thinking": True,
        }  # fmt: skip
        unseen = msgspec.structs.replace(request, tool_choice=ToolMode.NONE, extensions={}, reasoning=None)
        await fleet.count_tokens(unseen, DISPATCH)
        assert set(server.requests[1].json) == {"model", "messages"}


async def test_counting_raw_prompts_adds_them_up() -> None:
    async with fleet_for("tokenize") as (fleet, server):
        assert await fleet.count_tokens(Request(model="m", prompts=("a", "b")), DISPATCH) == 6
        assert [sent.json["prompt"] for sent in server.requests] == ["a", "b"]
        assert await fleet.count_tokens(Request(model="m", prompts=(TokenPrompt((1, 2)),)), DISPATCH) == 2
        assert len(server.requests) == 2


async def test_counting_refuses_what_a_generation_refuses() -> None:
    async with fleet_for("tokenize") as (fleet, server):
        with pytest.raises(UnsupportedFeature, match="priority"):
            await fleet.count_tokens(chat(extensions={"priority": 1}), DISPATCH)
        assert server.requests == []


@pytest.mark.parametrize(
    "body",
    [
        b"x",
        b"\xff",
        [],
        {"tokens": [1], "count": 2},
        {"tokens": [-1], "count": 1},
        {"tokens": [1], "count": 1},  # the strings are missing
        {"tokens": [1], "count": 1, "token_strs": []},
    ],
)
async def test_answers_that_are_not_the_protocol(body: Any) -> None:
    async with fleet_for(body) as (fleet, _):
        asked = TokenizeRequest(content=Request(model="m", prompts=("a",)), token_strings=True)
        with pytest.raises(UpstreamProtocolError):
            await fleet.tokenize(asked, DISPATCH)
        with pytest.raises(UpstreamProtocolError):
            await fleet.detokenize(DetokenizeRequest(model="m", token_ids=(1,)), DISPATCH)


async def test_a_negative_count_is_not_the_protocol() -> None:
    async with fleet_for({"tokens": [], "count": -1}) as (fleet, _):
        with pytest.raises(UpstreamProtocolError):
            await fleet.count_tokens(chat(), DISPATCH)


async def test_upstream_errors_name_nothing_of_the_upstream() -> None:
    error = {"error": {"message": "bad at http://10.0.0.1:8000/x for /models/secret/path", "type": "X", "code": 400}}
    async with fleet_for(error, "400 Bad Request") as (fleet, _):
        with pytest.raises(InvalidRequest) as caught:
            await fleet.detokenize(DetokenizeRequest(model="m", token_ids=(1,)), DISPATCH)
        assert "10.0.0.1" not in caught.value.message
        assert "secret" not in caught.value.message


async def test_it_moves_to_another_replica_and_cancelling_closes_the_socket() -> None:
    async def script(wire: Wire, request: Received) -> None:
        if b"wait" in request.body:
            await wire.peer_gone()
        await wire.reply("200 OK", (WIRE / "detokenize.json").read_bytes())

    async with WireServer(script) as server:
        fleet = VllmFleet("f", VllmEndpoint(urls=(server.url, DEAD)))
        for _ in range(2):
            assert await fleet.detokenize(DetokenizeRequest(model="m", token_ids=(1,)), DISPATCH) == "Hello world"
        waiting = asyncio.ensure_future(fleet.count_tokens(chat("wait"), DISPATCH))
        while len(server.requests) < 3:  # noqa: ASYNC110  (the server has no event for it)
            await asyncio.sleep(0.002)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await server.idle()
        assert all(replica.in_flight == 0 for replica in fleet.replicas)
        await fleet.aclose()
        with pytest.raises(UpstreamUnavailable):
            await fleet.count_tokens(chat(), DISPATCH)


async def test_every_task_has_tokens() -> None:
    for task in VllmTask:
        provider = build_provider("f", VllmEndpoint(urls=("http://h",), task=task))
        assert isinstance(provider, Tokenizes)
        assert isinstance(provider, CountsTokens)
        await provider.aclose()


@pytest.mark.engine
async def test_the_real_engine_goes_there_and_back(engine_endpoint: EngineEndpoint) -> None:
    url, key, model = engine_endpoint
    fleet = VllmFleet("engine", VllmEndpoint(urls=(url,), api_key=key))
    text = "Grüße an alle: one two three."
    content = Request(model=model, prompts=(text,))
    tokens = await fleet.tokenize(TokenizeRequest(content=content, token_strings=True), DISPATCH)
    assert tokens.strings is not None
    assert len(tokens.strings) == len(tokens.token_ids) > 5
    assert tokens.context_tokens is not None
    assert await fleet.detokenize(DetokenizeRequest(model=model, token_ids=tokens.token_ids), DISPATCH) == text
    outside = DetokenizeRequest(model=model, token_ids=(2**31 - 1,))
    assert await fleet.detokenize(outside, DISPATCH) == ""  # as vLLM reads an id that its vocabulary does not have
    await fleet.aclose()


@pytest.mark.engine
@pytest.mark.parametrize("kind", ["chat", "system", "tools", "prompt"])
async def test_the_real_engine_counts_what_a_generation_uses(engine_endpoint: EngineEndpoint, kind: str) -> None:
    url, key, model = engine_endpoint
    fleet = VllmFleet("engine", VllmEndpoint(urls=(url,), api_key=key))
    few = Sampling(max_tokens=2, temperature=0)
    request = {
        "chat": Request(model=model, messages=(user("Name three colours."),), sampling=few),
        "system": Request(model=model, messages=(user("Hi"), user(Text(text="there"))), sampling=few),
        "tools": Request(model=model, messages=(user("Weather?"),), tools=(WEATHER,), sampling=few),
        "prompt": Request(model=model, prompts=("Once upon a time",), sampling=few),
    }[kind]
    counted = await fleet.count_tokens(request, DISPATCH)
    response = await collect(fleet.generate(request, DISPATCH))
    assert counted == response.usage.input_tokens > 0
    await fleet.aclose()
