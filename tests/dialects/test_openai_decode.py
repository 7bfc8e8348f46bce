"""What a chat, a raw completion and an embeddings request may say, and the error that names what they may not."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from bedplate_core.errors import GatewayError, InvalidRequest, UnsupportedFeature
from bedplate_core.messages import CachePoint, Image, MediaBytes, MediaUrl, Role, Text, ToolResult, Video
from bedplate_core.requests import NamedTool, ToolMode
from bedplate_gateway.dialects.openai import ChatExchange, CompletionExchange, EmbeddingsExchange

Body = dict[str, Any]
USER = {"role": "user", "content": "hi"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLS = {"role": "assistant", "content": None, "tool_calls": [CALL]}
ANSWER = {"role": "tool", "tool_call_id": "c1", "content": "x"}


def tool(name: str, **more: Any) -> Body:
    return {"type": "function", "function": {"name": name, **more}}


def chat(continues: bool = False, **changes: Any) -> ChatExchange:
    body = {"model": "m", "messages": [USER], **changes}
    return ChatExchange.decode(json.dumps(body).encode(), continues=continues)


def nested(depth: int) -> Body:
    schema: Body = {}
    for _ in range(depth - 1):
        schema = {"a": schema}
    return schema


def user(*parts: Body) -> list[Body]:
    return [{"role": "user", "content": list(parts)}]


def image(url: str) -> Body:
    return {"type": "image_url", "image_url": {"url": url}}


JSON_SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}

REFUSALS: list[tuple[Body, str | None, str]] = [
    ({"messages": []}, "messages", "length >= 1"),
    ({"model": ""}, "model", "length"),
    ({"model": 3}, "model", "expected string, got integer"),
    ({"messages": [{"role": "user"}]}, "messages[0].content", "required"),
    ({"messages": [{"content": "x"}]}, "messages[0].role", "required"),
    ({"messages": [{"role": "zork", "content": "x"}]}, "messages[0].role", "system, developer, user"),
    ({"messages": [{"role": "function", "name": "f", "content": "x"}]}, "messages[0].role", "tool message"),
    ({"messages": [{**USER, "api_base": "x"}]}, "messages[0].api_base", "unknown field"),
    ({"messages": [{**USER, "name": "a b"}]}, "messages[0].name", "matching"),
    ({"messages": user()}, "messages[0].content", "at least one"),
    ({"messages": user({"type": "texx"})}, "messages[0].content[0].type", "got 'texx'"),
    ({"messages": user({"type": "text", "text": 3})}, "messages[0].content[0].text", "expected string"),
    ({"messages": user(image("http://a.example/x"))}, "messages[0].content[0].image_url.url", "https:"),
    ({"messages": user(image("file:///etc/passwd"))}, "messages[0].content[0].image_url.url", "https:"),
    ({"messages": user(image("https://" + "a" * 9000))}, "messages[0].content[0].image_url.url", "longer"),
    ({"messages": user(image("data:image/png,x"))}, "messages[0].content[0].image_url.url", "base64"),
    ({"messages": user(image("data:image/png;base64,@"))}, "messages[0].content[0].image_url.url", "base64"),
    ({"messages": user(image("data:image/png;base64,"))}, "messages[0].content[0].image_url.url", "empty"),
    ({"messages": user(image("data:text/html;base64,eA=="))}, "messages[0].content[0].image_url.url", "image"),
    (
        {"messages": user({"type": "input_audio", "input_audio": {"data": "ä", "format": "wav"}})},
        "messages[0].content[0].input_audio.data",
        "base64",
    ),
    (
        {"messages": user({"type": "file", "file": {"file_id": "file-1"}})},
        "messages[0].content[0].file.file_id",
        "file_data",
    ),
    ({"messages": user({"type": "file", "file": {}})}, "messages[0].content[0].file.file_data", "required"),
    ({"messages": [{"role": "assistant", "content": None}]}, "messages[0].content", "expected content"),
    ({"messages": [{"role": "assistant", "audio": {"id": "a"}}]}, "messages[0].audio", "not supported"),
    (
        {"messages": [{"role": "assistant", "function_call": {"name": "f", "arguments": ""}}]},
        "messages[0].function_call",
        "not supported",
    ),
    (
        {"messages": [{"role": "assistant", "tool_calls": [{"type": "custom", "id": "c", "custom": {}}]}]},
        "messages[0].tool_calls[0].type",
        "custom",
    ),
    ({"messages": [USER, ANSWER]}, "messages[1].tool_call_id", "answers no call"),
    ({"messages": [USER, CALLS, ANSWER, ANSWER]}, "messages[3].tool_call_id", "answers no call"),
    ({"messages": [USER, CALLS, {**ANSWER, "tool_call_id": "c2"}]}, "messages[2].tool_call_id", "'c2'"),
    ({"messages": [USER, CALLS]}, "messages[1].tool_calls", "c1"),
    ({"messages": [USER, CALLS, USER]}, "messages[1].tool_calls", "c1"),
    ({"temperature": 2.1}, "temperature", "<= 2"),
    ({"temperature": -0.1}, "temperature", ">= 0"),
    ({"temperature": True}, "temperature", "got boolean"),
    ({"top_p": 1.1}, "top_p", "<= 1"),
    ({"presence_penalty": 2.5}, "presence_penalty", "<= 2"),
    ({"frequency_penalty": -2.5}, "frequency_penalty", ">= -2"),
    ({"n": 17}, "n", "integer <= 16"),
    ({"n": 0}, "n", ">= 1"),
    ({"max_tokens": 0}, "max_tokens", ">= 1"),
    ({"max_tokens": 4, "max_completion_tokens": 5}, "max_tokens", "differs"),
    ({"seed": 2**63}, "seed", "<="),
    ({"stop": ["a"] * 5}, "stop", "length <= 4"),
    ({"stop": ""}, "stop", "length >= 1"),
    ({"stop": ["a", ""]}, "stop[1]", "length >= 1"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "<= 20"),
    ({"top_logprobs": 2}, "top_logprobs", "logprobs is true"),
    ({"logit_bias": {"5": 101}}, "logit_bias[...]", "<= 100"),
    ({"logit_bias": {"five": 1}}, "logit_bias", "matching"),
    ({"logit_bias": {str(number): 1 for number in range(1025)}}, "logit_bias", "length <= 1024"),
    ({"reasoning_effort": "huge"}, "reasoning_effort", "'huge' is not supported"),
    ({"stream_options": {"include_usage": True}}, "stream_options", "stream is true"),
    ({"stream": True, "stream_options": {"zork": 1}}, "stream_options.zork", "unknown field"),
    ({"response_format": {"type": "grammar"}}, "response_format.type", "text, json_object, json_schema"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a b", "schema": {}}}},
        "response_format.json_schema.name",
        "matching",
    ),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a\n", "schema": {}}}},
        "response_format.json_schema.name",
        "matching",
    ),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}},
        "response_format.json_schema.schema",
        "required",
    ),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": nested(33)}}},
        "response_format.json_schema.schema",
        "32",
    ),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"d": "x" * 65536}}}},
        "response_format.json_schema.schema",
        "65536",
    ),
    ({"tools": [tool("a b")]}, "tools[0].function.name", "matching"),
    ({"tools": [tool("f"), tool("f")]}, "tools[1].function.name", "another tool"),
    ({"tools": [tool(f"f{number}") for number in range(129)]}, "tools", "length <= 128"),
    ({"tools": [tool("f", parameters=nested(33))]}, "tools[0].function.parameters", "32"),
    ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0].type", "custom"),
    ({"tools": [{"type": "web_search"}]}, "tools[0].type", "'web_search'"),
    ({"tool_choice": "auto"}, "tool_choice", "tools are given"),
    ({"tools": [tool("f")], "tool_choice": "maybe"}, "tool_choice", "none, auto, required"),
    ({"tools": [tool("f")], "tool_choice": tool("g")}, "tool_choice.function.name", "'g'"),
    ({"tools": [tool("f")], "tool_choice": {"type": "custom", "custom": {}}}, "tool_choice.type", "custom"),
    (
        {
            "tools": [tool("f")],
            "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [tool("g")]}},
        },
        "tool_choice.allowed_tools.tools[0].function.name",
        "'g'",
    ),
    (
        {
            "tools": [tool("f")],
            "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}},
        },
        "tool_choice.allowed_tools.tools",
        "no tool",
    ),
    ({"min_p": nested(33)}, "min_p", "32"),
    ({"grammar": "x" * 65536}, "grammar", "65536"),
]


@pytest.mark.parametrize(("changes", "param", "says"), REFUSALS, ids=lambda value: str(value)[:40])
def test_a_refusal_names_the_field_and_what_would_work(changes: Body, param: str | None, says: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        chat(**changes)
    assert caught.value.param == param
    assert says in caught.value.message
    assert param is None or caught.value.message.startswith(f"{param}: ")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "truncated"),
        (b'{"model": ', "truncated"),
        (b'{"model": "m" "messages": []}', "byte 14"),
        (b"[]", "expected object, got array"),
        (b'{"model":"\xff","messages":[]}', "UTF-8"),
        (b'{"model":"m","temperature":NaN}', "byte 27"),
        (b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}', "not valid JSON"),
        (b'{"model":"m","messages":[{"role":"user","content":"x"}],"zork":' + b"[" * 100_000, "deep"),
        (b'{"model":"m","messages":[{"role":"user","content":"x"}],"zork":' + b"9" * 100_000 + b"}", "zork"),
        (b'{"model":"m","messages":[{"role":"user","content":"x"}],"seed":' + b"9" * 100_000 + b"}", "seed"),
        (b'{"model":"m","messages":[{"role":"user","content":"x"}],"zork":' + b"9" * 5000 + b"}", "zork"),
        (b'{"model":"m","messages":[{"role":"user","content":"x"}],"seed":1e999}', "out of range"),
        (b"\xef\xbb\xbf{}", "byte 0"),
    ],
)
def test_what_is_no_json_is_an_invalid_request(body: bytes, says: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ChatExchange.decode(body)
    assert says in caught.value.message


def test_errors_do_not_carry_the_body_back() -> None:
    for changes in ({"response_format": {"type": "x" * 10_000}}, {"tool_choice": "y" * 10_000}, {"host_" * 5000: 1}):
        with pytest.raises(InvalidRequest) as caught:
            chat(**changes)
        assert len(caught.value.message) <= 500
        assert len(caught.value.param or "") <= 128


def test_limits_are_inclusive() -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "a" * 64, "schema": nested(32)}}
    names = [f"f{number}" for number in range(128)]
    exchange = chat(n=16, stop=["a"] * 4, response_format=schema, tools=[tool(name) for name in names])
    assert exchange.request.choices == 16
    assert [tool.name for tool in exchange.request.tools] == names


def test_the_last_of_two_equal_keys_counts() -> None:
    body = b'{"model":"a","model":"b","messages":[{"role":"user","content":"x"}]}'
    assert ChatExchange.decode(body).request.model == "b"


def test_tool_results_may_come_first_when_a_stored_conversation_goes_on() -> None:
    request = chat(continues=True, messages=[ANSWER, USER]).request
    assert request.messages[0].parts == (ToolResult(call_id="c1", parts=(Text(text="x"),)),)
    with pytest.raises(InvalidRequest) as caught:
        chat(continues=True, messages=[USER, ANSWER])
    assert caught.value.param == "messages[1].tool_call_id"


def test_calls_may_be_answered_in_any_order() -> None:
    calls = {**CALLS, "tool_calls": [CALL, {**CALL, "id": "c2"}]}
    messages = [USER, calls, {**ANSWER, "tool_call_id": "c2"}, ANSWER, USER]
    assert [message.role for message in chat(messages=messages).request.messages][2:4] == [Role.TOOL, Role.TOOL]


def test_tool_choices() -> None:
    tools = [tool("f"), tool("g")]
    for mode in ToolMode:
        assert chat(tools=tools, tool_choice=mode.value).request.tool_choice is mode
    assert chat(tools=tools, tool_choice=tool("g")).request.tool_choice == NamedTool("g")


def test_allowed_tools_leave_only_those() -> None:
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [tool("g")]}}
    request = chat(tools=[tool("f"), tool("g")], tool_choice=choice).request
    assert [tool.name for tool in request.tools] == ["g"]
    assert request.tool_choice is ToolMode.REQUIRED


def test_media_are_decoded_or_named_and_never_fetched() -> None:
    data = base64.b64encode(b"\x89PNG").decode()
    messages = user(
        image(f"data:image/PNG;charset=binary;base64,{data}"),
        image("s3://bucket/key.png"),
        {"type": "video_url", "video_url": {"url": "https://a.example/v.mp4"}},
    )
    parts = chat(messages=messages).request.messages[0].parts
    assert parts == (
        Image(media=MediaBytes(data=b"\x89PNG", media_type="image/png")),
        Image(media=MediaUrl("s3://bucket/key.png")),
        Video(media=MediaUrl("https://a.example/v.mp4")),
    )


def test_a_cache_breakpoint_in_a_tool_result_stands_after_it() -> None:
    part = {"type": "text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}}
    messages = chat(messages=[USER, CALLS, {**ANSWER, "content": [part]}]).request.messages
    assert messages[2].parts == (ToolResult(call_id="c1", parts=(Text(text="x"),)), CachePoint())


def test_effort_none_switches_thinking_off() -> None:
    control = chat(reasoning_effort="none").request.reasoning
    assert control is not None
    assert (control.effort, control.enabled) == ("none", False)


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt"),
        ({"prompt": [1, [2]]}, "prompt"),
        ({"prompt": [[1], []]}, "prompt[1]"),
        ({"prompt": [-1]}, "prompt[0]"),
        ({"prompt": None}, "prompt"),
        ({"prompt": ["a"] * 129}, "prompt"),
        ({"prompt": ["a"] * 128, "n": 3}, "n"),
        ({"n": 17}, "n"),
        ({"best_of": 17}, "best_of"),
        ({"logprobs": 21}, "logprobs"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"stream_options": {}}, "stream_options"),
    ],
)
def test_raw_completions_refuse(changes: Body, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        CompletionExchange.decode(json.dumps({"model": "m", "prompt": "x", **changes}).encode())
    assert caught.value.param == param


def test_a_raw_completion_has_sixteen_tokens_unless_told_otherwise() -> None:
    assert CompletionExchange.decode(b'{"model":"m","prompt":"x"}').request.sampling.max_tokens == 16


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": [1, "a"]}, "input"),
        ({"dimensions": 0}, "dimensions"),
        ({"encoding_format": "int8"}, "encoding_format"),
    ],
)
def test_embeddings_refuse(changes: Body, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        EmbeddingsExchange.decode(json.dumps({"model": "m", "input": "x", **changes}).encode())
    assert caught.value.param == param


def test_unsupported_features_are_told_from_mistakes() -> None:
    with pytest.raises(UnsupportedFeature):
        chat(tools=[{"type": "custom", "custom": {"name": "f"}}])
    with pytest.raises(GatewayError) as caught:
        chat(temperature=3)
    assert not isinstance(caught.value, UnsupportedFeature)
