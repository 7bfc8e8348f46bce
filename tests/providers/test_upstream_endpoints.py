"""Endpoints of single servers decode from resources, refuse what is wrong, and never show a key."""

from __future__ import annotations

from io import StringIO
from typing import Any

import msgspec
import pytest
from rich.console import Console

from bedplate_providers.anthropic import AnthropicProvider
from bedplate_providers.base import CountsTokens, Embeds
from bedplate_providers.endpoints import AnthropicEndpoint, Endpoint, OpenAIEndpoint
from bedplate_providers.openai import OpenAIEmbedder, OpenAIProvider
from bedplate_providers.registry import build_provider

pytestmark = pytest.mark.anyio
SECRET = "sk-very-secret"


def decode(value: Any) -> Endpoint:
    return msgspec.convert(value, Endpoint)  # type: ignore[arg-type]  # a union is no class to the type checker


async def test_each_kind_has_its_provider() -> None:
    made = [
        build_provider("a", decode({"kind": "openai", "base_url": "https://h/v1", "api_key": SECRET})),
        build_provider("b", decode({"kind": "openai", "base_url": "http://h:1", "embeddings": True})),
        build_provider("c", decode({"kind": "anthropic", "api_key": SECRET, "timeouts": {"idle_s": 5}})),
    ]
    assert [type(provider) for provider in made] == [OpenAIProvider, OpenAIEmbedder, AnthropicProvider]
    assert [provider.name for provider in made] == ["a", "b", "c"]
    assert [isinstance(provider, Embeds) for provider in made] == [False, True, False]
    assert [isinstance(provider, CountsTokens) for provider in made] == [False, False, True]
    for provider in made:
        await provider.start()
        assert (await provider.health()).ok
        await provider.aclose()
        await provider.aclose()
        assert not (await provider.health()).ok


def test_the_defaults() -> None:
    assert AnthropicEndpoint().base_url == "https://api.anthropic.com"
    assert AnthropicEndpoint().max_output_tokens == 8192
    assert OpenAIEndpoint(base_url="https://h").require_usage


KINDS = ({"kind": "openai", "base_url": "https://h/v1"}, {"kind": "anthropic", "base_url": "https://h"})
WRONG: list[dict[str, Any]] = [
    {"base_url": "ftp://h"},
    {"base_url": "h"},
    {"base_url": "file:///etc/passwd"},
    {"base_url": f"https://u:{SECRET}@h"},
    {"base_url": f"https://h?key={SECRET}"},
    {"base_url": "https://h#x"},
    {"base_url": "https://h:99999"},
    {"base_url": "https://h\r\nx"},
    {"base_url": "https://h x"},
    {"api_key": ""},
    {"api_key": f"{SECRET}\r\nX: y"},
    {"max_connections": 0},
    {"timeouts": {"total_s": 0}},
    {"unknown": 1},
    {"urls": ["https://h"]},
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind["kind"])
@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_refused_without_quoting_a_secret(kind: dict[str, Any], wrong: dict[str, Any]) -> None:
    decode(kind)
    with pytest.raises(msgspec.ValidationError) as caught:
        decode(kind | wrong)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        {"kind": "openai"},
        {"kind": "openai", "base_url": "https://h", "extra_fields": ["stream"]},
        {"kind": "openai", "base_url": "https://h", "system_role": "root"},
        {"kind": "openai", "base_url": "https://h", "max_tokens_field": "tokens"},
        {"kind": "anthropic", "base_url": "https://h/v1"},
        {"kind": "anthropic", "max_output_tokens": 0},
    ],
)
def test_what_is_wrong_with_one_kind(value: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode(value)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind["kind"])
def test_a_key_does_not_show(kind: dict[str, Any]) -> None:
    endpoint = decode(kind | {"api_key": SECRET})
    provider = build_provider("p", endpoint)
    out = StringIO()
    Console(file=out).print(endpoint)
    for shown in (repr(endpoint), str(endpoint), f"{endpoint}", out.getvalue(), repr(provider)):
        assert SECRET not in shown
    assert "https://h" in repr(endpoint)
