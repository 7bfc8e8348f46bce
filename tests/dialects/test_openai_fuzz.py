"""No body, however mangled, leads to anything but a request or an `InvalidRequest`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from bedplate_core.errors import InvalidRequest
from bedplate_gateway.dialects.openai import ChatExchange, CompletionExchange, EmbeddingsExchange, error_reply
from tests.dialects.mangled import Mangled

REQUESTS = Path(__file__).parent.parent / "wire" / "openai" / "requests"
SEEDS = [json.loads(path.read_text()) for path in sorted(REQUESTS.glob("*.json")) if ".canonical" not in path.name]
DECODERS: list[Callable[[bytes], Any]] = [
    ChatExchange.decode,
    CompletionExchange.decode,
    EmbeddingsExchange.decode,
]
MANGLED = Mangled(
    SEEDS,
    names={"audio", "store", "host", "type", "role", "content"},
    words=["text", "image_url", "tool", "assistant", "function", "data:image/png;base64,", "https://a"],
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
    for depth in (33, 900, 5000, 100_000):
        bomb = "[" * depth + "]" * depth
        for seed in SEEDS[:6]:
            text = json.dumps(seed)
            for name in (*seed, "zork"):
                check(json.dumps({**seed, name: "@"}).replace('"@"', bomb).encode())
            check(text.replace('"Hello"', bomb).encode())
