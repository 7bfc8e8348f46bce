"""Amazon Bedrock: what is sent, and what is refused by name."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bedplate_core.errors import (
    InvalidRequest,
    UnsupportedFeature,
    UpstreamProtocolError,
)
from bedplate_core.messages import (
    Audio,
    CachePoint,
    Document,
    GuardContent,
    GuardQualifier,
    Image,
    MediaBytes,
    MediaUrl,
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
from bedplate_providers.base import CountsTokens
from bedplate_providers.bedrock import BedrockProvider
from bedplate_providers.bedrock_request import model_path, render_count, render_request
from bedplate_providers.endpoints import BedrockEndpoint
from tests.providers.bedrock_calls import (
    ARN,
    MODEL,
    US,
    asked,
    body,
    messages,
    said,
)
from tests.providers.drive import DISPATCH, WEATHER, chat, run, user
from tests.providers.recorded import Replay
from tests.providers.wire_server import Received, Wire, WireServer

pytestmark = pytest.mark.anyio


async def test_path_and_bearer_key() -> None:
    async def script(wire: Wire, request: Received) -> None:
        await wire.reply("400 No", {})

    async with WireServer(script) as server:
        endpoint = BedrockEndpoint(region="eu-central-1", base_url=f"{server.url}/prefix", api_key="k3y")
        provider = BedrockProvider(US, endpoint)
        await run(provider.generate(chat(model=MODEL), DISPATCH))
        await run(provider.generate(chat(model=ARN), DISPATCH))
        await provider.aclose()
        sent, other = server.requests
        assert sent.path == "/prefix/model/eu.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse-stream"
        assert other.path == (
            "/prefix/model/arn%3Aaws%3Abedrock%3Aeu-central-1%3A111122223333%3A"
            "application-inference-profile%2Fab12cd34ef56/converse-stream"
        )
        assert sent.headers["authorization"] == "Bearer k3y"
        assert sent.headers["content-type"] == "application/json"
        assert not any(name.startswith("x-amz-") for name in sent.headers)


@pytest.mark.parametrize("model", ["../../admin", "a?b", "a#b", "a b", "\u00e9", "a\r\nX: y", "a%2Fb"])
def test_a_model_is_one_segment_whatever_it_is_called(model: str) -> None:
    path = model_path(model, "converse-stream")
    assert path.count("/") == 3
    assert path.isascii()
    assert not set(path) & set("?# \r\n")


def test_the_least_body() -> None:
    assert body(chat("hi")) == {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}


def test_leading_system_messages_are_the_system_field_and_later_ones_stay() -> None:
    made = body(
        Request(
            model="m",
            messages=(
                said(Role.SYSTEM, "one"),
                said(Role.SYSTEM, "two", CachePoint(ttl="1h")),
                user("hi"),
                said(Role.SYSTEM, "three"),
                user("ho"),
            ),
        )
    )
    assert made["system"] == [{"text": "one"}, {"text": "two"}, {"cachePoint": {"type": "default", "ttl": "1h"}}]
    assert [message["role"] for message in made["messages"]] == ["user", "system", "user"]


def test_messages_of_one_side_become_one_with_results_first() -> None:
    made = messages(
        user("hi"),
        said(Role.ASSISTANT, ToolCall(id="a", name="f", arguments='{"x": 1}')),
        said(Role.ASSISTANT, "and", ToolCall(id="b", name="f", arguments="")),
        user("meanwhile"),
        said(Role.TOOL, ToolResult(call_id="a", parts=(Text(text="1"),)), CachePoint()),
        said(Role.TOOL, ToolResult(call_id="b", parts=(Text(text=""),), is_error=True)),
        user("go on", CachePoint(ttl="5m")),
    )
    assert [message["role"] for message in made] == ["user", "assistant", "user"]
    assert made[1]["content"] == [
        {"toolUse": {"toolUseId": "a", "name": "f", "input": {"x": 1}}},
        {"text": "and"},
        {"toolUse": {"toolUseId": "b", "name": "f", "input": {}}},
    ]
    assert made[2]["content"] == [
        {"toolResult": {"toolUseId": "a", "content": [{"text": "1"}]}},
        {"cachePoint": {"type": "default"}},
        {"toolResult": {"toolUseId": "b", "content": [], "status": "error"}},
        {"text": "meanwhile"},
        {"text": "go on"},
        {"cachePoint": {"type": "default", "ttl": "5m"}},
    ]


def test_empty_texts_and_messages_are_left_out() -> None:
    made = messages(user("", "hi"), said(Role.ASSISTANT, ""), user("ho"))
    assert made == [{"role": "user", "content": [{"text": "hi"}]}, {"role": "user", "content": [{"text": "ho"}]}]
    with pytest.raises(InvalidRequest) as caught:
        messages(user(""))
    assert caught.value.param == "messages"


def test_cache_points_that_nothing_carries_are_left_out() -> None:
    ours = Reasoning(text="hm", signature=Signature(US, "s"))
    made = messages(user(CachePoint(), "hi", CachePoint(), CachePoint()), said(Role.ASSISTANT, ours, CachePoint()))
    assert made[0]["content"] == [{"text": "hi"}, {"cachePoint": {"type": "default"}}]
    assert [*made[1]["content"][0]] == ["reasoningContent"]
    with pytest.raises(UnsupportedFeature):
        messages(user("hi", CachePoint(ttl="2h")))


def test_reasoning_goes_back_to_whoever_made_it() -> None:
    made = messages(
        user("hi"),
        said(
            Role.ASSISTANT,
            Reasoning(text="ours", signature=Signature(US, "sig")),
            Reasoning(text="another's", signature=Signature("other", "sig")),
            Reasoning(text="unsigned"),
            RedactedReasoning(data=b"\x00\xff", origin=US),
            RedactedReasoning(data=b"x", origin="other"),
            "answer",
        ),
    )
    assert made[1]["content"] == [
        {"reasoningContent": {"reasoningText": {"text": "ours", "signature": "sig"}}},
        {"reasoningContent": {"redactedContent": "AP8="}},
        {"text": "answer"},
    ]


def test_media() -> None:
    def media(media_type: str) -> MediaBytes:
        return MediaBytes(b"x", media_type)

    made = messages(
        user(
            "look",
            Image(media=media("image/png"), detail="high"),
            Document(media=media("application/pdf"), name="The  plan_v2.pdf", context="old"),
            Document(media=media("text/plain")),
            Video(media=media("video/mp4")),
            Audio(media=media("audio/mpeg")),
            GuardContent(content=Text(text="q"), qualifiers=(GuardQualifier.QUERY,)),
            GuardContent(content=Image(media=media("image/jpeg"))),
        )
    )
    source = {"bytes": "eA=="}
    assert made[0]["content"][1:] == [
        {"image": {"format": "png", "source": source}},
        {"document": {"format": "pdf", "source": source, "name": "The plan v2 pdf", "context": "old"}},
        {"document": {"format": "txt", "source": source, "name": "document"}},
        {"video": {"format": "mp4", "source": source}},
        {"audio": {"format": "mp3", "source": source}},
        {"text": "q"},
        {"image": {"format": "jpeg", "source": source}},
    ]


def test_no_two_documents_have_the_same_name() -> None:
    def document(name: str | None) -> Document:
        return Document(media=MediaBytes(b"x", "text/plain"), name=name)

    result = ToolResult(call_id="a", parts=(document("Plan.txt"),))
    made = messages(
        user("read", document("plan.txt"), document(None), document(None), document("document 2"), document("n" * 300)),
        said(Role.ASSISTANT, "and"),
        said(Role.TOOL, result),
        user(document("n" * 300), document("\u5b57")),
    )
    (returned,) = made[2]["content"][0]["toolResult"]["content"]
    sent = [*made[0]["content"][1:], returned, *made[2]["content"][1:]]
    names = [each["document"]["name"] for each in sent]
    assert names == [
        "plan txt", "document", "document 2", "document 2 2", "n" * 200, "Plan txt 2", "n" * 198 + " 2", "document 3"
    ]  # fmt: skip


def test_a_result_holds_media_too() -> None:
    result = ToolResult(call_id="a", parts=(Image(media=MediaBytes(b"x", "image/gif")), Text(text="t")))
    made = messages(user("hi"), said(Role.TOOL, result))
    assert made[0]["content"][0]["toolResult"]["content"] == [
        {"image": {"format": "gif", "source": {"bytes": "eA=="}}},
        {"text": "t"},
    ]


@pytest.mark.parametrize(
    "part",
    [
        Image(media=MediaUrl("https://h/x.png")),
        Image(media=MediaUrl("s3://bucket/x.png")),
        Image(media=MediaBytes(b"x", "image/tiff")),
        Audio(media=MediaBytes(b"x", "audio/midi")),
        Video(media=MediaBytes(b"x", "video/x-unknown")),
        Document(media=MediaBytes(b"x", "application/zip")),
        Document(media=MediaBytes(b"x", "application/pdf"), citations=True),
        ToolResult(call_id="a", parts=(Audio(media=MediaBytes(b"x", "audio/wav")),)),
    ],
)
def test_what_cannot_be_read_there_is_refused_by_its_place(part: Part) -> None:
    with pytest.raises(UnsupportedFeature) as caught:
        messages(user("hi"), said(Role.ASSISTANT, "ho"), user("and", part))
    assert caught.value.param == "messages[2]"


@pytest.mark.parametrize(
    ("role", "part"),
    [
        (Role.SYSTEM, Image(media=MediaBytes(b"x", "image/png"))),
        (Role.USER, ToolCall(id="a", name="f", arguments="{}")),
        (Role.USER, Reasoning(text="x")),
        (Role.ASSISTANT, ToolResult(call_id="a", parts=())),
        (Role.ASSISTANT, Image(media=MediaBytes(b"x", "image/png"))),
        (Role.TOOL, Text(text="x")),
        (Role.ASSISTANT, ToolCall(id="a", name="f", arguments="[1]")),
        (Role.ASSISTANT, ToolCall(id="a", name="f", arguments="{oops")),
    ],
)
def test_what_cannot_stand_there_is_an_invalid_request(role: Role, part: Part) -> None:
    with pytest.raises(InvalidRequest) as caught:
        messages(user("hi"), said(role, part))
    assert caught.value.param == "messages[1]"


@pytest.mark.parametrize("id_", ["call/1 \u00e9", "c" * 65, "", "a:b.c-d_e"])
def test_ids_of_calls_fit_and_still_meet(id_: str) -> None:
    made = messages(
        user("hi"),
        said(Role.ASSISTANT, ToolCall(id=id_, name="f", arguments="{}")),
        said(Role.TOOL, ToolResult(call_id=id_, parts=())),
    )
    (call,), (result,) = made[1]["content"], made[2]["content"]
    sent = call["toolUse"]["toolUseId"]
    assert sent == result["toolResult"]["toolUseId"]
    assert 1 <= len(sent) <= 64
    assert all(char.isascii() and (char.isalnum() or char in "_.:-") for char in sent)
    if id_ == "a:b.c-d_e":
        assert sent == id_


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, None),
        (ToolMode.AUTO, {"auto": {}}),
        (ToolMode.REQUIRED, {"any": {}}),
        (NamedTool("weather"), {"tool": {"name": "weather"}}),
    ],
)
def test_tools(choice: Any, expected: Any) -> None:
    now = Tool(name="now", description="", strict=True)
    config = body(chat(tools=(WEATHER, now), tool_choice=choice))["toolConfig"]
    assert config.get("toolChoice") == expected
    assert config["tools"] == [
        {
            "toolSpec": {
                "name": "weather",
                "description": "The weather in a city.",
                "inputSchema": {"json": WEATHER.parameters},
            }
        },
        {"toolSpec": {"name": "now", "inputSchema": {"json": {"type": "object", "properties": {}}}, "strict": True}},
    ]


def test_without_a_word_for_no_tool_the_tools_are_left_out() -> None:
    assert "toolConfig" not in body(chat(tools=(WEATHER,), tool_choice=ToolMode.NONE))
    assert "toolConfig" not in body(chat(tool_choice=ToolMode.NONE, parallel_tool_calls=False))


@pytest.mark.parametrize(
    "request_", [chat(tool_choice=ToolMode.REQUIRED), chat(tools=(WEATHER,), tool_choice=NamedTool("other"))]
)
def test_a_choice_without_its_tool_is_wrong(request_: Request) -> None:
    with pytest.raises(InvalidRequest) as caught:
        body(request_)
    assert caught.value.param == "tool_choice"


def test_sampling_schema_effort_and_the_models_own_fields() -> None:
    made = render_request(
        chat(
            sampling=Sampling(max_tokens=9, temperature=1, top_p=0.5, top_k=7, stop=("a", "b"), presence_penalty=0),
            response_format=JsonSchemaFormat(name="n", description="d", schema={"type": "object"}, strict=True),
            reasoning=ReasoningControl(effort="low", budget_tokens=1024),
            parallel_tool_calls=True,
            extensions={"anthropic_beta": ["x"], "left_out": None},
        ),
        US,
        ("anthropic_beta", "left_out"),
    )
    del made["messages"]
    assert made == {
        "inferenceConfig": {"maxTokens": 9, "temperature": 1, "topP": 0.5, "stopSequences": ["a", "b"]},
        "additionalModelRequestFields": {
            "anthropic_beta": ["x"],
            "top_k": 7,
            "thinking": {"type": "enabled", "budget_tokens": 1024},
        },
        "additionalModelResponseFieldPaths": ["/stop_sequence"],
        "outputConfig": {
            "textFormat": {
                "type": "json_schema",
                "structure": {"jsonSchema": {"name": "n", "schema": '{"type":"object"}', "description": "d"}},
            },
            "effort": "low",
        },
    }


@pytest.mark.parametrize(
    ("control", "thinking", "effort"),
    [
        (ReasoningControl(effort="high"), None, "high"),
        (ReasoningControl(effort="none", enabled=False), {"type": "disabled"}, None),
        (ReasoningControl(enabled=False, budget_tokens=5), {"type": "disabled"}, None),
        (ReasoningControl(enabled=True, effort="max"), {"type": "adaptive"}, "max"),
        (ReasoningControl(enabled=True, budget_tokens=2048), {"type": "enabled", "budget_tokens": 2048}, None),
    ],
)
def test_reasoning(control: ReasoningControl, thinking: Any, effort: str | None) -> None:
    made = body(chat(reasoning=control))
    assert made.get("additionalModelRequestFields", {}).get("thinking") == thinking
    assert made.get("outputConfig", {}).get("effort") == effort


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompts": ("x",)}, "prompt"),
        ({"echo": True}, "echo"),
        ({"suffix": ""}, "suffix"),
        ({"choices": 2}, "n"),
        ({"top_logprobs": 0}, "logprobs"),
        ({"sampling": Sampling(seed=0)}, "seed"),
        ({"sampling": Sampling(presence_penalty=0.1)}, "presence_penalty"),
        ({"sampling": Sampling(frequency_penalty=-0.1)}, "frequency_penalty"),
        ({"sampling": Sampling(logit_bias={"1": 1})}, "logit_bias"),
        ({"sampling": Sampling(temperature=1.01)}, "temperature"),
        ({"tools": (WEATHER,), "parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"response_format": JsonObjectFormat()}, "response_format"),
        ({"reasoning": ReasoningControl(effort="minimal")}, "reasoning_effort"),
        ({"extensions": {"min_p": 0.1}}, "min_p"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    for render in (render_request, render_count):
        with pytest.raises(UnsupportedFeature) as caught:
            render(chat(**fields), US)
        assert caught.value.param == param
        assert param in caught.value.message


# what comes back


async def test_tokens_are_counted_without_generating() -> None:
    replay = Replay("bedrock")
    async with WireServer(replay) as server:
        provider = BedrockProvider(US, BedrockEndpoint(region="r", base_url=server.url, api_key="k3y"))
        assert isinstance(provider, CountsTokens)
        assert await provider.count_tokens(asked(tools=(WEATHER,)), DISPATCH) == 403
        await provider.aclose()
    assert replay.asked == ["count_tokens"]


@pytest.mark.parametrize("answer", [b"x", {}, {"inputTokens": "3"}, {"inputTokens": -3}])
async def test_a_count_that_is_none_is_an_error(answer: Any) -> None:
    async def script(wire: Wire, request: Received) -> None:
        await wire.reply("200 OK", answer)

    async with WireServer(script) as server:
        provider = BedrockProvider(US, BedrockEndpoint(region="r", base_url=server.url, api_key="k3y"))
        with pytest.raises(UpstreamProtocolError):
            await provider.count_tokens(chat(), DISPATCH)
        await provider.aclose()


def test_a_refusal_in_words_of_the_models_own_is_sent_back_as_text() -> None:
    made = messages(user("hi"), said(Role.ASSISTANT, Refusal(text="No.")))
    assert made[1]["content"] == [{"text": "No."}]


def test_schemas_travel_as_text() -> None:
    schema = {"type": "object", "properties": {"\u00e9": {"type": "string"}}}
    made = body(chat(response_format=JsonSchemaFormat(name="n", schema=schema)))
    sent = made["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
    assert msgspec.json.decode(sent["schema"]) == schema
