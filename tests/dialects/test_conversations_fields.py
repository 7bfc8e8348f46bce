"""Every field and kind of item of the SDK's conversations: served, or refused by its name."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from openai.types.conversations import conversation_create_params, conversation_update_params, item_create_params
from openai.types.responses import ResponseInputItemParam

from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_core.messages import Message, Role, Text
from bedplate_gateway.dialects.openai.conversations import decode_create, decode_items, decode_update
from bedplate_gateway.dialects.openai.conversations_wire import CREATE_FIELDS, ITEMS_FIELDS, UPDATE_FIELDS
from tests.dialects.test_responses_fields import tags

IN_QUERY = {"include"}
SERVED = {"message", "function_call", "function_call_output", "reasoning"}
PAIRS = {f"{number:02}{'k' * 62}": "v" * 512 for number in range(16)}


def body(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def test_every_field_of_the_sdk_is_served() -> None:
    for params, rules in (
        (conversation_create_params.ConversationCreateParams, CREATE_FIELDS),
        (conversation_update_params.ConversationUpdateParams, UPDATE_FIELDS),
        (item_create_params.ItemCreateParams, ITEMS_FIELDS),
    ):
        assert set(params.__annotations__) - IN_QUERY == rules.mapped


def test_every_kind_of_item_is_served_or_refused_by_name() -> None:
    for kind in tags(ResponseInputItemParam) - SERVED:
        for decode in (decode_create, decode_items):
            with pytest.raises(UnsupportedFeature) as caught:
                decode(body(items=[{"type": kind}]))
            assert (caught.value.param, kind in caught.value.message) == ("items[0].type", True)
    assert get_args(ResponseInputItemParam)


def test_the_largest_metadata_and_twenty_items_are_served() -> None:
    new = decode_create(body(metadata=PAIRS, items=[{"role": "user", "content": "x"}] * 20))
    assert new.metadata == PAIRS
    assert new.messages == (Message(role=Role.USER, parts=(Text(text="x"),)),) * 20
    assert decode_update(body(metadata=PAIRS)) == PAIRS


@pytest.mark.parametrize("sent", [b"", b"{}", b'{"items":null,"metadata":null}', b'{"items":[]}'])
def test_nothing_asks_for_an_empty_conversation(sent: bytes) -> None:
    new = decode_create(sent)
    assert (new.messages, new.metadata) == ((), {})


@pytest.mark.parametrize("sent", [b"", b"[]", b"{", b'"x"', b"\xff", b"null", b"[" * 100_000])
def test_what_is_no_body_is_refused(sent: bytes) -> None:
    for decode in (decode_items, decode_update):
        with pytest.raises(InvalidRequest):
            decode(sent)


def test_reasoning_that_says_nothing_is_no_item() -> None:
    silent = {"type": "reasoning", "id": "rs_1", "summary": []}
    with pytest.raises(InvalidRequest, match="says nothing"):
        decode_items(body(items=[silent]))
    assert len(decode_items(body(items=[silent, {"role": "user", "content": "x"}]))) == 1


def test_encrypted_reasoning_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedFeature) as caught:
        decode_items(body(items=[{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}]))
    assert caught.value.param == "items[0].encrypted_content"


@pytest.mark.parametrize("name", ["input", "metadata ", "model", "Items"])
def test_unknown_fields_are_named(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_create(body(**{name: "x"}))
    assert caught.value.param == name
