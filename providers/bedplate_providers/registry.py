"""Which code serves which kind of endpoint. A kind is a line in this file and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import assert_never

from bedplate_providers.anthropic import AnthropicProvider
from bedplate_providers.base import Provider
from bedplate_providers.bedrock import BedrockProvider
from bedplate_providers.endpoints import (
    AnthropicEndpoint,
    BedrockEndpoint,
    Endpoint,
    FakeEndpoint,
    OpenAIEndpoint,
    VllmEndpoint,
    VllmTask,
)
from bedplate_providers.fake import FakeProvider
from bedplate_providers.fake_script import Pace
from bedplate_providers.fleet import VllmEmbeddingFleet, VllmFleet, VllmRankingFleet, VllmSpeechFleet
from bedplate_providers.openai import OpenAIEmbedder, OpenAIProvider

_FLEETS: Mapping[VllmTask, type[VllmFleet]] = MappingProxyType(
    {
        VllmTask.GENERATE: VllmFleet,
        VllmTask.EMBED: VllmEmbeddingFleet,
        VllmTask.RANK: VllmRankingFleet,
        VllmTask.TRANSCRIBE: VllmSpeechFleet,
    }
)


def build_provider(name: str, endpoint: Endpoint) -> Provider:
    """A provider named `name` for `endpoint`. Connects to nothing; `start` begins its background work."""
    match endpoint:
        case FakeEndpoint():
            return FakeProvider(name, Pace(endpoint.delay_s, endpoint.first_delay_s))
        case VllmEndpoint():
            return _FLEETS[endpoint.task](name, endpoint)
        case OpenAIEndpoint():
            return (OpenAIEmbedder if endpoint.embeddings else OpenAIProvider)(name, endpoint)
        case AnthropicEndpoint():
            return AnthropicProvider(name, endpoint)
        case BedrockEndpoint():
            return BedrockProvider(name, endpoint)
        case _:
            assert_never(endpoint)


__all__ = [
    "AnthropicEndpoint",
    "BedrockEndpoint",
    "Endpoint",
    "FakeEndpoint",
    "OpenAIEndpoint",
    "VllmEndpoint",
    "build_provider",
]
