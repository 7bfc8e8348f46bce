"""Which code serves which kind of endpoint. A kind is a line in this file and nothing else."""

from __future__ import annotations

from typing import assert_never

from bedplate_providers.base import Provider
from bedplate_providers.endpoints import Endpoint, FakeEndpoint, VllmEndpoint
from bedplate_providers.fake import FakeProvider
from bedplate_providers.fake_script import Pace
from bedplate_providers.fleet import VllmFleet, VllmPoolingFleet


def build_provider(name: str, endpoint: Endpoint) -> Provider:
    """A provider named `name` for `endpoint`. Connects to nothing; `start` begins its background work."""
    match endpoint:
        case FakeEndpoint():
            return FakeProvider(name, Pace(endpoint.delay_s, endpoint.first_delay_s))
        case VllmEndpoint():
            fleet = VllmPoolingFleet if endpoint.embeddings else VllmFleet
            return fleet(name, endpoint)
        case _:
            assert_never(endpoint)


__all__ = ["Endpoint", "FakeEndpoint", "VllmEndpoint", "build_provider"]
