"""What may be said to `/tokenize` and `/detokenize`, and what they say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_core.messages import Role, Text
from bedplate_core.requests import Request
from bedplate_core.tokens import DetokenizeRequest, Tokens
from bedplate_gateway.dialects.limits import MAX_TOKEN_IDS
from bedplate_gateway.dialects.openai.prompts import MAX_TOKEN_ID
from bedplate_gateway.dialects.openai.tokens import (
    DETOKENIZE_FIELDS,
    TOKENIZE_FIELDS,
    DetokenizeExchange,
    TokenizeExchange,
)

Body = dict[str, Any]
MESSAGES = [{"role": "user", "content": "hi"}]
PROMPT: Body = {"model": "m", "prompt": "hi"}
CHAT: Body = {"model": "m", "messages": MESSAGES}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}

VLLM_TOKENIZE = [
    "model",
    "prompt",
    "messages",
    "add_special_tokens",
    "return_token_strs",
    "add_generation_prompt",
    "continue_final_message",
    "chat_template",
    "chat_template_kwargs",
    "media_io_kwargs",
    "mm_processor_kwargs",
    "tools",
]
"""The fields of `TokenizeCompletionRequest` and `TokenizeChatRequest` of vLLM 0.32.0."""

VALUES: dict[str, Body] = {
    "add_generation_prompt": {"add_generation_prompt": False},
    "add_special_tokens": {"add_special_tokens": True},
    "chat_template_kwargs": {"chat_template_kwargs": {"enable_thinking": False}},
    "continue_final_message": {"continue_final_message": True},
    "messages": {"messages": [{"role": "user", "content": "ho"}]},
    "model": {"model": "n"},
    "return_token_strs": {"return_token_strs": True},
    "tools": {"tools": [TOOL]},
}


def tokenize(body: Body) -> TokenizeExchange:
    return TokenizeExchange.decode(json.dumps(body).encode())


def test_every_field_of_vllm_is_mapped_or_refused() -> None:
    for field in VLLM_TOKENIZE:
        assert (field in TOKENIZE_FIELDS.mapped) != (field in TOKENIZE_FIELDS.refused), field
    assert TOKENIZE_FIELDS.mapped <= set(VLLM_TOKENIZE)
    assert DETOKENIZE_FIELDS.mapped == {"model", "tokens"}


@pytest.mark.parametrize("field", sorted(VALUES))
def test_mapped_fields_change_the_request(field: str) -> None:
    assert tokenize({**CHAT, **VALUES[field]}) != tokenize(CHAT)


def test_every_mapped_field_is_covered() -> None:
    assert set(VALUES) | {"prompt"} == TOKENIZE_FIELDS.mapped


def test_a_prompt_and_a_chat() -> None:
    asked = tokenize({**PROMPT, "add_special_tokens": False, "return_token_strs": True}).request
    assert asked.content == Request(model="m", prompts=("hi",), extensions={"add_special_tokens": False})
    assert asked.token_strings
    chat = tokenize({**CHAT, "tools": [TOOL], "add_generation_prompt": False}).request
    assert chat.content.messages[0].role is Role.USER
    assert chat.content.messages[0].parts == (Text(text="hi"),)
    assert [tool.name for tool in chat.content.tools] == ["f"]
    assert chat.content.extensions == {"add_generation_prompt": False}
    assert not chat.token_strings


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": "m"}, "prompt"),
        ({**PROMPT, **CHAT}, "prompt"),
        ({"prompt": "x"}, "model"),
        ({"model": "m", "prompt": ["x"]}, "prompt"),
        ({"model": "m", "messages": []}, "messages"),
        (
            {"model": "m", "messages": [{"role": "user", "content": [{"type": "nothing"}]}]},
            "messages[0].content[0].type",
        ),
        ({"model": "m", "messages": [{"role": "user", "content": "x", "nmae": "y"}]}, "messages[0].nmae"),
        ({**CHAT, "tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({**CHAT, "tools": [TOOL, TOOL]}, "tools[1].function.name"),
        ({**PROMPT, "tools": [TOOL]}, "tools"),
        ({**PROMPT, "add_generation_prompt": True}, "add_generation_prompt"),
        ({**CHAT, "add_generation_prompt": True, "continue_final_message": True}, "continue_final_message"),
        ({**PROMPT, "cache_salt": "x"}, "cache_salt"),
        ({**PROMPT, "priority": 1}, "priority"),
    ],
)
def test_what_is_wrong_is_named(body: Body, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        tokenize(body)
    assert caught.value.param == param


@pytest.mark.parametrize("field", sorted(TOKENIZE_FIELDS.refused))
def test_refused_fields_are_named(field: str) -> None:
    with pytest.raises(UnsupportedFeature) as caught:
        tokenize({**CHAT, field: "x"})
    assert caught.value.param == field
    assert tokenize({**CHAT, field: None}) == tokenize(CHAT)


def test_detokenize() -> None:
    body = json.dumps({"model": "m", "tokens": [0, MAX_TOKEN_ID]}).encode()
    assert DetokenizeExchange.decode(body).request == DetokenizeRequest(model="m", token_ids=(0, MAX_TOKEN_ID))


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": "m"}, "tokens"),
        ({"model": "m", "tokens": [1, -1]}, "tokens[1]"),
        ({"model": "m", "tokens": [MAX_TOKEN_ID + 1]}, "tokens[0]"),
        ({"model": "m", "tokens": [1.5]}, "tokens[0]"),
        ({"model": "m", "tokens": [True]}, "tokens[0]"),
        ({"model": "m", "tokens": "1"}, "tokens"),
        ({"model": "m", "tokens": [1] * (MAX_TOKEN_IDS + 1)}, "tokens"),
        ({"model": "m", "tokens": [1], "skip_special_tokens": True}, "skip_special_tokens"),
        ({"model": "m", "tokens": [1], "request_id": "x"}, "request_id"),
    ],
)
def test_what_is_wrong_with_ids_is_named(body: Body, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        DetokenizeExchange.decode(json.dumps(body).encode())
    assert caught.value.param == param


def test_answers_are_spelt_as_vllm_spells_them() -> None:
    exchange = tokenize(PROMPT)
    reply = exchange.reply(Tokens(token_ids=(1, 2), strings=("a", "b"), context_tokens=9))
    assert json.loads(reply.body) == {"count": 2, "max_model_len": 9, "tokens": [1, 2], "token_strs": ["a", "b"]}
    assert json.loads(exchange.reply(Tokens(token_ids=())).body) == {"count": 0, "tokens": [], "token_strs": None}
    back = DetokenizeExchange(request=DetokenizeRequest(model="m", token_ids=()))
    assert json.loads(back.reply("é").body) == {"prompt": "é"}
