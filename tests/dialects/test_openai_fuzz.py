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

REQUESTS = Path(__file__).parent.parent / "wire" / "openai" / "requests"
SEEDS = [json.loads(path.read_text()) for path in sorted(REQUESTS.glob("*.json")) if ".canonical" not in path.name]
DECODERS: list[Callable[[bytes], Any]] = [
    ChatExchange.decode,
    CompletionExchange.decode,
    EmbeddingsExchange.decode,
]
NAMES = sorted({name for seed in SEEDS for name in seed} | {"audio", "store", "host", "type", "role", "content"})
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.text(max_size=12),
    st.sampled_from(["text", "image_url", "tool", "assistant", "function", "data:image/png;base64,", "https://a"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), inner),
    max_leaves=8,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container in `value` with each of its keys."""
    found: list[tuple[Any, Any]] = []
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in list(keys):
        found.append((value, key))
        found.extend(places(value[key]))
    return found


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    body = json.loads(json.dumps(draw(st.sampled_from(SEEDS))))
    for _ in range(draw(st.integers(1, 3))):
        spots = places(body)
        if not spots:
            break
        container, key = draw(st.sampled_from(spots))
        kind = draw(st.sampled_from(["replace", "delete", "add", "repeat"]))
        if kind == "replace":
            container[key] = draw(VALUES)
        elif kind == "delete":
            del container[key]
        elif isinstance(container, dict):
            container[draw(st.sampled_from(NAMES) | st.text(max_size=6))] = draw(VALUES)
        else:
            container.append(container[key] if kind == "repeat" else draw(VALUES))
    return json.dumps(body).encode()


def check(body: bytes) -> None:
    for decode in DECODERS:
        try:
            said = msgspec.json.encode(decode(body))
        except InvalidRequest as error:
            said = error_reply(error).body
        msgspec.json.decode(said)


@settings(max_examples=400, deadline=None)
@given(mutated())
def test_mutations_of_valid_bodies(body: bytes) -> None:
    check(body)


@settings(max_examples=200, deadline=None)
@given(mutated(), st.integers(0, 2**16), st.binary(min_size=1, max_size=3))
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
