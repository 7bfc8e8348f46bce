"""Requests as vLLM spells them; whatever is not sent is refused by name or listed with its reason."""

from __future__ import annotations

from typing import Any

import pytest

from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_core.messages import (
    Audio,
    CachePoint,
    Document,
    GuardContent,
    Image,
    MediaBytes,
    MediaUrl,
    Message,
    Reasoning,
    RedactedReasoning,
    Refusal,
    Role,
    Signature,
    Text,
    ToolCall,
    ToolResult,
)
from bedplate_core.requests import (
    Dispatch,
    EmbedRequest,
    JsonObjectFormat,
    JsonSchemaFormat,
    NamedTool,
    ReasoningControl,
    Request,
    Sampling,
    TokenPrompt,
    ToolMode,
)
from bedplate_providers.extensions import FORWARDED, FORWARDED_CHAT, MAX_INTEGER, MAX_ITEMS
from bedplate_providers.vllm_request import MAX_STOP_TEXTS, render_embedding, render_request
from tests.providers.drive import WEATHER, chat, user

PLAIN = Dispatch(call_id="req_1")
PNG = MediaBytes(data=b"\x89PNG", media_type="image/png")
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}}


def body(request: Request, dispatch: Dispatch = PLAIN) -> Any:
    return render_request(request, dispatch, "us")[1]


def test_the_whole_of_a_chat() -> None:
    request = chat(
        "hi",
        sampling=Sampling(
            max_tokens=9, temperature=0.5, top_p=0.9, top_k=4, presence_penalty=0.1, frequency_penalty=0.2,
            stop=("a", "b"), seed=7, logit_bias={"5": -100.0},
        ),
        choices=2,
        top_logprobs=3,
        response_format=JsonSchemaFormat(name="n", schema={"type": "object"}, strict=True),
        reasoning=ReasoningControl(effort="low", budget_tokens=50),
        extensions={"min_p": 0.1, "chat_template_kwargs": {"enable_thinking": True},
                    "bad_words": ["x"], "ignore_eos": None},
    )  # fmt: skip
    assert render_request(request, Dispatch(call_id="c", cache_salt="s"), "us") == (
        "/v1/chat/completions",
        {
            "model": "m",
            "messages": [{"role": "user", "content": "hi"}],
            "stream": True,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
            "cache_salt": "s",
            "max_completion_tokens": 9,
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": 4,
            "presence_penalty": 0.1,
            "frequency_penalty": 0.2,
            "stop": ["a", "b"],
            "seed": 7,
            "logit_bias": {"5": -100.0},
            "n": 2,
            "logprobs": True,
            "top_logprobs": 3,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
            },
            "reasoning_effort": "low",
            "thinking_token_budget": 50,
            "min_p": 0.1,
            "chat_template_kwargs": {"enable_thinking": True},
            "bad_words": ["x"],
        },
    )


def test_the_least_of_a_chat_sets_nothing_else() -> None:
    assert set(body(chat())) == {"model", "messages", "stream", "stream_options"}


def test_a_text_completion() -> None:
    path, sent = render_request(
        Request(model="m", prompts=("a", "b"), echo=True, suffix="z", top_logprobs=0, sampling=Sampling(max_tokens=0)),
        PLAIN,
        "us",
    )
    assert path == "/v1/completions"
    assert (sent["prompt"], sent["echo"], sent["suffix"], sent["logprobs"], sent["max_tokens"]) == (
        ["a", "b"],
        True,
        "z",
        0,
        0,
    )
    assert body(Request(model="m", prompts=("a",)))["prompt"] == "a"
    assert body(Request(model="m", prompts=(TokenPrompt((1, 2)),)))["prompt"] == [1, 2]
    assert body(Request(model="m", prompts=(TokenPrompt((1, 2)), TokenPrompt((3,)))))["prompt"] == [[1, 2], [3]]


def messages(*given: Message) -> Any:
    return body(Request(model="m", messages=given))["messages"]


def test_a_conversation_with_tools() -> None:
    sent = messages(
        Message(role=Role.SYSTEM, parts=(Text(text="Be brief."),)),
        Message(role=Role.USER, parts=(Text(text="hi"),), name="kim"),
        Message(
            role=Role.ASSISTANT,
            parts=(
                Text(text="Looking."),
                ToolCall(id="c1", name="f", arguments="{bad"),
                ToolCall(id="c2", name="g", arguments=""),
            ),
        ),
        Message(
            role=Role.TOOL,
            parts=(
                ToolResult(call_id="c1", parts=(Text(text="sun"),)),
                ToolResult(call_id="c2", parts=(Image(media=PNG),), is_error=True),
            ),
        ),
        Message(role=Role.USER, parts=(Text(text="a"), CachePoint(), Text(text="b"))),
    )
    assert sent == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi", "name": "kim"},
        {
            "role": "assistant",
            "content": "Looking.",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{bad"}},
                {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "sun"},
        {"role": "tool", "tool_call_id": "c2", "content": [IMAGE]},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    ]  # fmt: skip


def test_tool_results_in_a_user_message_come_first() -> None:
    sent = messages(user(Text(text="and now?"), ToolResult(call_id="c", parts=(Text(text="r"),))))
    assert sent == [{"role": "tool", "tool_call_id": "c", "content": "r"}, {"role": "user", "content": "and now?"}]


def test_a_cache_point_behind_a_tool_result_changes_nothing() -> None:
    result = ToolResult(call_id="c", parts=(Text(text="r"),))
    with_point = messages(Message(role=Role.TOOL, parts=(result, CachePoint())))
    assert with_point == messages(Message(role=Role.TOOL, parts=(result,)))


def test_media_as_data() -> None:
    wav = MediaBytes(data=b"RIFF", media_type="audio/wav")
    (sent,) = messages(
        user("look", Image(media=PNG, detail="low"), Audio(media=wav), GuardContent(content=Text(text="g")))
    )
    assert sent["content"] == [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        {"type": "text", "text": "g"},
    ]


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/a.png",
        "http://169.254.169.254/",
        "file:///etc/passwd",
        "s3://b/k",
        "data:image/png;base64,AA==",
    ],
)
def test_no_address_reaches_the_upstream(url: str) -> None:
    with pytest.raises(UnsupportedFeature) as caught:
        messages(user(Image(media=MediaUrl(url=url))))
    assert caught.value.param == "messages[0]"
    assert url not in str(caught.value)


def test_what_costs_the_engine_at_every_token_is_bounded() -> None:
    most = chat(sampling=Sampling(stop=tuple("s" * count for count in range(1, MAX_STOP_TEXTS + 1))))
    assert len(body(most)["stop"]) == MAX_STOP_TEXTS
    with pytest.raises(UnsupportedFeature) as caught:
        body(chat(sampling=Sampling(stop=("s",) * (MAX_STOP_TEXTS + 1))))
    assert caught.value.param == "stop"
    for name, count in MAX_ITEMS.items():
        assert len(body(chat(extensions={name: ["x"] * count}))[name]) == count
        with pytest.raises(InvalidRequest) as refused:
            body(chat(extensions={name: ["x"] * (count + 1)}))
        assert refused.value.param == name
    for value in (MAX_INTEGER + 1, -MAX_INTEGER - 1):
        with pytest.raises(InvalidRequest) as refused:
            body(chat(extensions={"min_tokens": value}))
        assert refused.value.param == "min_tokens"


def test_reasoning_goes_back_only_to_its_origin() -> None:
    def sent(*parts: Reasoning | RedactedReasoning) -> Any:
        return messages(user("a"), Message(role=Role.ASSISTANT, parts=(*parts, Text(text="b"))))[1]

    assert sent(Reasoning(text="t", signature=Signature("us", "x")))["reasoning"] == "t"
    assert "reasoning" not in sent(Reasoning(text="t"))
    assert "reasoning" not in sent(Reasoning(text="t", signature=Signature("them", "x")))
    assert sent(RedactedReasoning(data=b"x", origin="us")) == {"role": "assistant", "content": "b"}
    assert messages(Message(role=Role.ASSISTANT, parts=(Refusal(text="no"),)))[0]["content"] == "no"


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (None, "auto"),
        (ToolMode.AUTO, "auto"),
        (ToolMode.REQUIRED, "required"),
        (NamedTool("weather"), {"type": "function", "function": {"name": "weather"}}),
    ],
)
def test_the_choice_of_tools(choice: ToolMode | NamedTool | None, sent: Any) -> None:
    rendered = body(chat(tools=(WEATHER,), tool_choice=choice, parallel_tool_calls=False))
    assert rendered["tool_choice"] == sent
    assert rendered["parallel_tool_calls"] is False
    (tool,) = rendered["tools"]
    assert tool["function"]["parameters"] == WEATHER.parameters
    forced = choice in (ToolMode.REQUIRED, NamedTool("weather"))
    assert tool["function"].get("strict") is (True if forced else None)


def test_strict_is_the_clients_where_it_says_so() -> None:
    import msgspec

    loose = msgspec.structs.replace(WEATHER, strict=False)
    assert body(chat(tools=(loose,), tool_choice=ToolMode.REQUIRED))["tools"][0]["function"]["strict"] is False


def test_with_tool_choice_none_the_model_sees_no_tools() -> None:
    assert not {"tools", "tool_choice"} & set(body(chat(tools=(WEATHER,), tool_choice=ToolMode.NONE)))


def test_reasoning_controls() -> None:
    def sent(**control: Any) -> tuple[Any, Any]:
        rendered = body(chat(reasoning=ReasoningControl(**control)))
        return rendered.get("reasoning_effort"), rendered.get("thinking_token_budget")

    assert sent(enabled=False, budget_tokens=5) == ("none", None)
    assert sent(enabled=True) == ("medium", None)
    assert sent(enabled=True, budget_tokens=9) == ("medium", 9)
    with pytest.raises(InvalidRequest):
        sent(effort="huge")


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (chat(extensions={"priority": 1}), "priority"),
        (chat(extensions={"cache_salt": "x"}), "cache_salt"),
        (chat(extensions={"request_id": "x"}), "request_id"),
        (chat(extensions={"chat_template": "x"}), "chat_template"),
        (chat(extensions={"kv_transfer_params": {}}), "kv_transfer_params"),
        (chat(extensions={"guided_json": {}}), "guided_json"),
        (chat(extensions={"messages": []}), "messages"),
        (chat(extensions={"chat_template_kwargs": {"chat_template": "x"}}), "chat_template_kwargs.chat_template"),
        (chat(extensions={"chat_template_kwargs": {"tools": []}}), "chat_template_kwargs.tools"),
        (Request(model="m", prompts=("a",), extensions={"continue_final_message": True}), "continue_final_message"),
        (Request(model="m", prompts=("a",), tools=(WEATHER,)), "tools"),
        (Request(model="m", prompts=("a", TokenPrompt((1,)))), "prompt"),
        (chat(echo=True), "echo"),
        (chat(suffix="x"), "suffix"),
        (Request(model="m", messages=(user(Document(media=PNG)),)), "messages[0]"),
        (Request(model="m", messages=(user(Audio(media=PNG)),)), "messages[0]"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(request_: Request, param: str) -> None:
    with pytest.raises(UnsupportedFeature) as caught:
        body(request_)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (chat(extensions={"min_p": "x"}), "min_p"),
        (chat(extensions={"min_tokens": True}), "min_tokens"),
        (chat(extensions={"ignore_eos": 1}), "ignore_eos"),
        (chat(tool_choice=ToolMode.REQUIRED), "tool_choice"),
        (chat(tools=(WEATHER,), tool_choice=NamedTool("other")), "tool_choice"),
        (Request(model="m"), "messages"),
        (Request(model="m", messages=(Message(role=Role.TOOL, parts=(Text(text="x"),)),)), "messages[0]"),
        (Request(model="m", messages=(user(ToolCall(id="a", name="b", arguments="")),)), "messages[0]"),
    ],
)
def test_what_is_wrong_is_refused_by_name(request_: Request, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        body(request_)
    assert caught.value.param == param
    assert not isinstance(caught.value, UnsupportedFeature)


def test_the_json_object_format() -> None:
    assert body(chat(response_format=JsonObjectFormat()))["response_format"] == {"type": "json_object"}


def test_no_field_of_the_upstreams_own_is_forwarded() -> None:
    ours = {
        "model",
        "messages",
        "stream",
        "stream_options",
        "cache_salt",
        "request_id",
        "session_id",
        "priority",
        "n",
        "tools",
    }
    ours |= {
        "vllm_xargs",
        "kv_transfer_params",
        "ec_transfer_params",
        "chat_template",
        "mm_processor_kwargs",
        "prompt_embeds",
    }
    assert not ours & (set(FORWARDED) | set(FORWARDED_CHAT))


def test_embedding_requests() -> None:
    with pytest.raises(UnsupportedFeature):
        render_embedding(EmbedRequest(model="e", inputs=("a",), extensions={"priority": 1}), PLAIN)
    with pytest.raises(UnsupportedFeature):
        render_embedding(EmbedRequest(model="e", inputs=("a", TokenPrompt((1,)))), PLAIN)
    with pytest.raises(InvalidRequest):
        render_embedding(EmbedRequest(model="e", inputs=()), PLAIN)
