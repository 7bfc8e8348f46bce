"""Every field of OpenAI's requests is mapped, refused by name or ignored for a written reason, and does what its
category says."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from openai.types import completion_create_params, embedding_create_params
from openai.types.chat import completion_create_params as chat_create_params

from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_core.messages import Part
from bedplate_gateway.dialects.decoding import FieldRules
from bedplate_gateway.dialects.openai import ChatExchange, CompletionExchange, EmbeddingsExchange
from bedplate_gateway.dialects.openai.chat_reply import UNSAID
from bedplate_gateway.dialects.openai.chat_wire import CHAT_FIELDS, IGNORED_NESTED
from bedplate_gateway.dialects.openai.completion_wire import COMPLETION_FIELDS
from bedplate_gateway.dialects.openai.embeddings import EMBEDDINGS_FIELDS

Body = dict[str, Any]
TOOL = {"type": "function", "function": {"name": "f"}}
CHAT: Body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
COMPLETION: Body = {"model": "m", "prompt": "hi"}
EMBEDDINGS: Body = {"model": "m", "input": "hi"}

# A value of each mapped field that must change the canonical request, with the fields it needs beside it.
CHAT_VALUES: dict[str, Body] = {
    "frequency_penalty": {"frequency_penalty": 1},
    "logit_bias": {"logit_bias": {"5": -1}},
    "logprobs": {"logprobs": True},
    "max_completion_tokens": {"max_completion_tokens": 3},
    "max_tokens": {"max_tokens": 3},
    "messages": {"messages": [{"role": "user", "content": "ho"}]},
    "model": {"model": "other"},
    "n": {"n": 2},
    "parallel_tool_calls": {"parallel_tool_calls": False},
    "presence_penalty": {"presence_penalty": 1},
    "reasoning_effort": {"reasoning_effort": "high"},
    "response_format": {"response_format": {"type": "json_object"}},
    "seed": {"seed": 1},
    "stop": {"stop": "x"},
    "stream": {"stream": True},
    "stream_options": {"stream": True, "stream_options": {"include_usage": True}},
    "temperature": {"temperature": 1},
    "tool_choice": {"tools": [TOOL], "tool_choice": "required"},
    "tools": {"tools": [TOOL]},
    "top_k": {"top_k": 4},
    "top_logprobs": {"logprobs": True, "top_logprobs": 2},
    "top_p": {"top_p": 0.5},
}
COMPLETION_VALUES: dict[str, Body] = {
    "echo": {"echo": True},
    "frequency_penalty": {"frequency_penalty": 1},
    "logit_bias": {"logit_bias": {"5": -1}},
    "logprobs": {"logprobs": 0},
    "max_tokens": {"max_tokens": 3},
    "model": {"model": "other"},
    "n": {"n": 2},
    "presence_penalty": {"presence_penalty": 1},
    "prompt": {"prompt": "ho"},
    "seed": {"seed": 1},
    "stop": {"stop": "x"},
    "stream": {"stream": True},
    "stream_options": {"stream": True, "stream_options": {"include_usage": True}},
    "suffix": {"suffix": "x"},
    "temperature": {"temperature": 1},
    "top_k": {"top_k": 4},
    "top_p": {"top_p": 0.5},
}
EMBEDDINGS_VALUES: dict[str, Body] = {
    "dimensions": {"dimensions": 3},
    "encoding_format": {"encoding_format": "base64"},
    "input": {"input": "ho"},
    "model": {"model": "other"},
}
REFUSED_VALUES: Body = {
    "audio": {"voice": "alloy", "format": "wav"},
    "best_of": 2,
    "function_call": "auto",
    "functions": [{"name": "f"}],
    "modalities": ["text", "audio"],
    "moderation": {"model": "omni"},
    "store": True,
    "web_search_options": {},
}
NEUTRAL_VALUES: Body = {"best_of": 1, "functions": [], "modalities": ["text"], "store": False}

OPERATIONS = [
    ("chat", ChatExchange.decode, CHAT, CHAT_FIELDS, CHAT_VALUES),
    ("completions", CompletionExchange.decode, COMPLETION, COMPLETION_FIELDS, COMPLETION_VALUES),
    ("embeddings", EmbeddingsExchange.decode, EMBEDDINGS, EMBEDDINGS_FIELDS, EMBEDDINGS_VALUES),
]
DECODERS: dict[str, tuple[Callable[[bytes], Any], Body]] = {
    name: (decode, base) for name, decode, base, _, _ in OPERATIONS
}
CASES = [(name, field) for name, _, _, rules, _ in OPERATIONS for field in sorted(rules.mapped | rules.ignored.keys())]


def decoded(operation: str, changes: Body) -> Any:
    decode, base = DECODERS[operation]
    return decode(json.dumps({**base, **changes}).encode())


@pytest.mark.parametrize(
    ("rules", "params"),
    [
        (CHAT_FIELDS, chat_create_params.CompletionCreateParamsBase),
        (CHAT_FIELDS, chat_create_params.CompletionCreateParamsStreaming),
        (COMPLETION_FIELDS, completion_create_params.CompletionCreateParamsBase),
        (COMPLETION_FIELDS, completion_create_params.CompletionCreateParamsStreaming),
        (EMBEDDINGS_FIELDS, embedding_create_params.EmbeddingCreateParams),
    ],
)
def test_every_field_of_the_sdk_is_in_exactly_one_category(rules: FieldRules, params: Any) -> None:
    categories = (rules.mapped, rules.ignored.keys(), rules.refused.keys(), {"prediction", "verbosity"})
    for field in params.__annotations__:
        assert sum(field in category for category in categories) == 1, field


@pytest.mark.parametrize(("operation", "field"), CASES)
def test_mapped_fields_change_the_request_and_ignored_ones_do_not(operation: str, field: str) -> None:
    values = next(values for name, _, _, _, values in OPERATIONS if name == operation)
    if field in values:
        needed = {name: value for name, value in values[field].items() if name != field}
        assert decoded(operation, values[field]) != decoded(operation, needed)
    elif field in NEUTRAL_VALUES:
        assert decoded(operation, {field: NEUTRAL_VALUES[field]}) == decoded(operation, {})
    else:
        for value in ("x", {"a": "b"}, 3, None):
            assert decoded(operation, {field: value}) == decoded(operation, {})


@pytest.mark.parametrize("field", sorted(CHAT_FIELDS.refused))
def test_refused_fields_are_named_and_their_neutral_values_pass(field: str) -> None:
    with pytest.raises(UnsupportedFeature) as caught:
        decoded("chat", {field: REFUSED_VALUES[field]})
    assert caught.value.param == field
    assert field in caught.value.message
    neutral = decoded("chat", {field: None})
    assert neutral == decoded("chat", {})
    if field in NEUTRAL_VALUES:
        assert decoded("chat", {field: NEUTRAL_VALUES[field]}) == neutral


def test_more_candidates_than_answers_are_refused_by_name() -> None:
    with pytest.raises(UnsupportedFeature, match="best_of") as caught:
        decoded("completions", {"best_of": 2})
    assert caught.value.param == "best_of"


def test_verbosity_and_unknown_fields_become_extensions() -> None:
    request = decoded("chat", {"verbosity": "low", "guided_choice": ["a"], "min_p": None}).request
    assert request.extensions == {"verbosity": "low", "guided_choice": ["a"]}


@pytest.mark.parametrize("operation", ["chat", "completions", "embeddings"])
@pytest.mark.parametrize(
    "field",
    [
        "cache_salt",
        "cacheSalt",
        "priority",
        "Priority",
        "kv_transfer_params",
        "ec_transfer_params",
        "request_id",
        "vllm_xargs",
        "data_parallel_rank",
        "api_base",
        "apiBase",
        "base_url",
        "baseURL",
        "host",
        "upstream_host",
        "endpoint",
        "api_key",
        "API-KEY",
        "apikey",
        "openai_api_key",
        "callback_url",
        "proxy",
        "https_proxy",
        "extra_headers",
        "spec_path",
        "user_config",
        "webhook",
        "aws_secret",
    ],
)
def test_what_only_the_gateway_sets_is_refused_by_name(operation: str, field: str) -> None:
    for value in ("x", None, {"api_base": "https://elsewhere.example"}):
        with pytest.raises(InvalidRequest) as caught:
            decoded(operation, {field: value})
        assert caught.value.param == field
        assert "elsewhere" not in caught.value.message


@pytest.mark.parametrize(
    ("path", "ignored"),
    [
        ("stream_options.include_obfuscation", {"stream": True, "stream_options": {"include_obfuscation": True}}),
        ("messages[].annotations", {"annotations": [{"type": "url_citation"}]}),
        ("messages[].parsed", {"parsed": {"n": 1}}),
        ("messages[].tool_calls[].index", {"index": 3}),
        ("messages[].tool_calls[].function.parsed_arguments", {"parsed_arguments": {"a": 1}}),
    ],
)
def test_ignored_fields_below_the_top_level_change_nothing(path: str, ignored: Body) -> None:
    assert path in IGNORED_NESTED
    if path.startswith("stream_options"):
        assert decoded("chat", ignored) == decoded("chat", {"stream": True})
        return

    def conversation(field: Body) -> Any:
        inner = field if path.endswith("parsed_arguments") else {}
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}", **inner}}
        said: Body = {"role": "assistant", "content": "x", "tool_calls": [call]}
        if path.endswith("index"):
            call |= field
        elif not inner:
            said |= field
        answer = {"role": "tool", "tool_call_id": "c", "content": "y"}
        return decoded("chat", {"messages": [*CHAT["messages"], said, answer]})

    assert conversation(ignored) == conversation({})


def test_every_ignored_nested_field_is_covered() -> None:
    marks = test_ignored_fields_below_the_top_level_change_nothing.pytestmark
    assert {path for path, _ in marks[0].args[1]} == set(IGNORED_NESTED)


def test_every_kind_of_part_is_said_or_listed_as_unsaid() -> None:
    kinds = set(Part.__args__)
    said = {kind for kind in kinds if kind.__name__ in {"Text", "Reasoning", "Refusal", "ToolCall"}}
    assert said | set(UNSAID) == kinds
    assert not said & set(UNSAID)
