"""Endpoints decode from resources, refuse what is wrong, and never show a key."""

from __future__ import annotations

from io import StringIO
from typing import Any

import msgspec
import pytest
from rich.console import Console

from bedplate_providers.base import Embeds, Provider, Timeouts
from bedplate_providers.credential import Credential
from bedplate_providers.endpoints import Endpoint, FakeEndpoint, VllmEndpoint
from bedplate_providers.fake import FakeProvider
from bedplate_providers.fleet import VllmEmbeddingFleet, VllmFleet
from bedplate_providers.registry import build_provider

pytestmark = pytest.mark.anyio

SECRET = "sk-very-secret"


def decode(value: Any) -> Endpoint:
    return msgspec.convert(value, Endpoint)  # type: ignore[arg-type]


async def test_each_kind_has_its_provider() -> None:
    made: list[Provider] = [
        build_provider("a", decode({"kind": "fake", "delay_s": 0.1})),
        build_provider("b", decode({"kind": "vllm", "urls": ["http://h:1"], "timeouts": {"idle_s": 5}})),
        build_provider("c", decode({"kind": "vllm", "urls": ["https://h"], "task": "embed", "api_key": SECRET})),
    ]
    assert [type(provider) for provider in made] == [FakeProvider, VllmFleet, VllmEmbeddingFleet]
    assert [provider.name for provider in made] == ["a", "b", "c"]
    assert [isinstance(provider, Embeds) for provider in made] == [True, False, True]
    for provider in made:
        await provider.start()
        await provider.health()
        await provider.aclose()
        await provider.aclose()


@pytest.mark.parametrize(
    "value",
    [
        {"kind": "other"},
        {"kind": "fake", "unknown": 1},
        {"kind": "vllm"},
        {"kind": "vllm", "urls": []},
        {"kind": "vllm", "urls": ["http://h", "http://h"]},
        {"kind": "vllm", "urls": ["ftp://h"]},
        {"kind": "vllm", "urls": [f"http://u:{SECRET}@h"]},
        {"kind": "vllm", "urls": ["http://h/v1"]},
        {"kind": "vllm", "urls": ["http://h/v1/"]},
        {"kind": "vllm", "urls": [f"http://h?key={SECRET}"]},
        {"kind": "vllm", "urls": ["http://h:99999"]},
        {"kind": "vllm", "urls": ["http://h\r\nx"]},
        {"kind": "vllm", "urls": ["http://h"], "url": "x"},
        {"kind": "vllm", "urls": ["http://h"], "task": "draw"},
        {"kind": "vllm", "urls": ["http://h"], "max_connections": 0},
        {"kind": "vllm", "urls": ["http://h"], "health_interval_s": 0},
        {"kind": "vllm", "urls": ["http://h"], "timeouts": {"idle_s": 0}},
        {"kind": "vllm", "urls": ["http://h"], "timeouts": {"idle": 1}},
        {"kind": "vllm", "urls": ["http://h"], "api_key": f"{SECRET}\r\nX: y"},
        {"kind": "vllm", "urls": ["http://h"], "api_key": ""},
    ],
)
def test_what_is_wrong_is_refused_without_quoting_a_secret(value: Any) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        decode(value)
    assert SECRET not in str(caught.value)


def test_a_key_does_not_show() -> None:
    endpoint = VllmEndpoint(urls=("http://h",), api_key=SECRET)
    out = StringIO()
    Console(file=out).print(endpoint)
    credential = Credential(SECRET)
    for shown in (
        repr(endpoint),
        str(endpoint),
        f"{endpoint}",
        out.getvalue(),
        repr(credential),
        f"{credential}",
        str([credential]),
    ):
        assert SECRET not in shown
    assert credential.reveal() == SECRET


def test_the_defaults() -> None:
    assert Timeouts() == Timeouts(connect_s=3, first_event_s=120, idle_s=60, total_s=600)
    assert FakeEndpoint().delay_s > 0
