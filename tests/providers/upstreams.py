"""The kinds of upstream over HTTP, with a good stream of each and ways to spoil it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from bedplate_core.requests import Request
from bedplate_providers.anthropic import AnthropicProvider
from bedplate_providers.base import Timeouts
from bedplate_providers.bedrock import BedrockProvider
from bedplate_providers.endpoints import AnthropicEndpoint, BedrockEndpoint, OpenAIEndpoint, VllmEndpoint
from bedplate_providers.fleet import VllmFleet
from bedplate_providers.http import HttpPool
from bedplate_providers.openai import OpenAIProvider
from tests.providers import frames
from tests.providers.drive import chat
from tests.providers.recorded import Recording, recordings
from tests.providers.vllm_streams import event, hello
from tests.providers.wire_server import SSE

AnyProvider = VllmFleet | OpenAIProvider | AnthropicProvider | BedrockProvider


def _sse(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


class Kind:
    """One kind: how to make its provider, a good stream in its events, and its own spellings of what goes wrong."""

    def __init__(
        self,
        name: str,
        make: Callable[[str, Timeouts], AnyProvider],
        good: list[bytes],
        finish: int,
        error: bytes,
        huge: bytes,
        refusal: Callable[[str], Any],
        *,
        wrap: Callable[[bytes], bytes] = _sse,
        comment: bytes = b": keep-alive\n\n",
        content_type: str = SSE,
    ) -> None:
        self.name = name
        self.make = make
        self.good = good
        self.finish = finish
        """Which of `good` says how the answer ended; what comes after it closes the stream."""
        self.error = error
        """An error event with something internal in its message."""
        self.huge = huge
        """The beginning of an event that never ends."""
        self.refusal = refusal
        """The body of an answer with another status, with that message."""
        self.wrap = wrap
        """An event with that payload."""
        self.comment = comment
        """Something whole that says nothing."""
        self.content_type = content_type

    @property
    def request(self) -> Request:
        return chat()


def pool_of(provider: AnyProvider) -> HttpPool:
    return provider.replicas[0].server.pool if isinstance(provider, VllmFleet) else provider.upstream.pool


def _case(kind: str, name: str) -> Recording:
    return next(case for case in recordings(kind) if case.name == name)


_INTERNAL = "/srv/secret/engine.py died at 10.0.0.7"
_OPENAI_ERROR = event({"error": {"message": _INTERNAL, "type": "server_error", "code": None, "param": None}})
_ANTHROPIC_ERROR = json.dumps({"type": "error", "error": {"type": "overloaded_error", "message": _INTERNAL}})

KINDS = (
    Kind(
        "vllm",
        lambda url, timeouts: VllmFleet("vllm", VllmEndpoint(urls=(url,), timeouts=timeouts, api_key="k3y")),
        hello(),
        4,
        event({"error": {"message": _INTERNAL, "code": 500}}),
        b"data: ",
        lambda message: {"error": {"message": message, "type": "X", "code": 400}},
    ),
    Kind(
        "openai",
        lambda url, timeouts: OpenAIProvider(
            "openai", OpenAIEndpoint(base_url=f"{url}/v1", timeouts=timeouts, api_key="k3y")
        ),
        _case("openai", "text").events,
        7,
        _OPENAI_ERROR,
        b"data: ",
        lambda message: {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}},
    ),
    Kind(
        "anthropic",
        lambda url, timeouts: AnthropicProvider(
            "anthropic", AnthropicEndpoint(base_url=url, timeouts=timeouts, api_key="k3y")
        ),
        _case("anthropic", "text").events,
        10,
        f"event: error\ndata: {_ANTHROPIC_ERROR}\n\n".encode(),
        b"event: content_block_delta\ndata: ",
        lambda message: {"type": "error", "error": {"type": "invalid_request_error", "message": message}},
    ),
    Kind(
        "bedrock",
        lambda url, timeouts: BedrockProvider(
            "bedrock", BedrockEndpoint(region="eu-central-1", base_url=url, timeouts=timeouts, api_key="k3y")
        ),
        _case("bedrock", "text").events,
        8,
        frames.exception("serviceUnavailableException", _INTERNAL),
        frames.event("contentBlockDelta", b"x" * 10_000_000)[:200],
        lambda message: {"__type": "ValidationException", "message": message},
        wrap=lambda data: frames.event("contentBlockDelta", data),
        comment=frames.event("keepAlive", {}),
        content_type="application/vnd.amazon.eventstream",
    ),
)
