"""No body, however mangled, leads to anything but a request or an `InvalidRequest`."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from bedplate_core.errors import InvalidRequest
from bedplate_core.messages import RedactedReasoning, Signature
from bedplate_gateway.dialects.anthropic import CountTokensExchange, MessagesExchange, PageQuery, error_reply
from bedplate_gateway.dialects.anthropic.messages_reply import tool_input
from bedplate_gateway.dialects.anthropic.messages_request import decode_messages_body
from bedplate_gateway.dialects.anthropic.opaque import redacted_of, redacted_text, signature_of, signature_text
from tests.dialects.mangled import Mangled

REQUESTS = Path(__file__).parent.parent / "wire" / "anthropic" / "requests"
SEEDS = [json.loads(path.read_text()) for path in sorted(REQUESTS.glob("*.json")) if ".canonical" not in path.name]
DECODERS: list[Callable[[bytes], Any]] = [
    MessagesExchange.decode,
    partial(MessagesExchange.decode, continues=True),
    CountTokensExchange.decode,
    partial(decode_messages_body, model="m", stream=True),
]
MANGLED = Mangled(
    SEEDS,
    names={"type", "role", "content", "source", "tool_use_id", "input", "citations", "caller", "speed", "host"},
    words=["text", "image", "tool_use", "tool_result", "server_tool_use", "file", "base64", "t"],
)


def check(body: bytes) -> None:
    for decode in DECODERS:
        try:
            said = msgspec.json.encode(decode(body))
        except InvalidRequest as error:
            said = error_reply(error).body
        msgspec.json.decode(said)


@settings(max_examples=400, deadline=None)
@given(MANGLED.bodies())
def test_mutations_of_valid_bodies(body: bytes) -> None:
    check(body)


@settings(max_examples=200, deadline=None)
@given(MANGLED.bodies(), st.integers(0, 2**16), st.binary(min_size=1, max_size=3))
def test_mutations_of_bytes(body: bytes, place: int, noise: bytes) -> None:
    place %= len(body)
    check(body[:place] + noise + body[place + len(noise) :])
    check(body[:place])


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=64))
def test_any_bytes(body: bytes) -> None:
    check(body)


def test_deep_nesting_everywhere() -> None:
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {"a": "Hello"}}
    for depth in (33, 900, 5000, 100_000):
        bomb = "[" * depth + "]" * depth
        for seed in (SEEDS[0], {**SEEDS[0], "messages": [{"role": "assistant", "content": [call]}]}):
            for name in (*seed, "tools", "zork"):
                check(json.dumps({**seed, name: "@"}).replace('"@"', bomb).encode())
            check(json.dumps(seed).replace('"Hello"', bomb).encode())
            check(json.dumps({**seed, "tools": [{"type": "@"}]}).replace('"@"', bomb).encode())


@settings(max_examples=200, deadline=None)
@given(st.text(), st.text(min_size=1))
def test_a_signature_comes_back_with_its_origin(origin: str, value: str) -> None:
    signature = Signature(origin=origin or "o", value=value)
    assert signature_of(signature_text(signature)) == signature
    assert signature_of(signature_text(None)) is None
    foreign = signature_of(value)
    assert foreign is not None


@settings(max_examples=200, deadline=None)
@given(st.text(min_size=1), st.binary())
def test_an_encrypted_thought_comes_back_with_its_origin(origin: str, data: bytes) -> None:
    part = RedactedReasoning(data=data, origin=origin)
    assert redacted_of(redacted_text(part)) == part


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_any_client_text_is_taken_for_a_signature_or_a_thought(text: str) -> None:
    assert (signature_of(text) is None) is (text == "")
    assert isinstance(redacted_of(text), RedactedReasoning)


@settings(max_examples=300, deadline=None)
@given(st.text() | MANGLED.values.map(json.dumps))
def test_any_arguments_make_an_object_that_shows_them(arguments: str) -> None:
    shown = json.loads(msgspec.json.encode(tool_input(arguments)))
    assert isinstance(shown, dict)
    try:
        said = json.loads(arguments)
    except ValueError:
        said = None
    if isinstance(said, dict) and shown != {"INVALID_JSON": arguments}:
        assert shown == said
    elif arguments.strip():
        assert shown == {"INVALID_JSON": arguments}


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["limit", "after_id", "before_id", "lifecycle", "x"]),
            st.text() | st.integers().map(str) | st.just("active"),
        )
    )
)
def test_any_query(pairs: list[tuple[str, str]]) -> None:
    try:
        query = PageQuery.parse(pairs)
    except InvalidRequest:
        return
    assert 1 <= query.limit <= 1000
