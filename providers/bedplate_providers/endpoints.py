"""Where upstreams are: the configuration of each kind, as it stands in a resource file or a table row.

`msgspec.convert(value, Endpoint)` decodes them; `kind` is the tag, and unknown fields are refused.
"""

from __future__ import annotations

from typing import TypeAlias
from urllib.parse import urlsplit

import msgspec

from bedplate_providers.base import Timeouts
from bedplate_providers.credential import Credential


class VllmEndpoint(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="vllm", forbid_unknown_fields=True):
    """One or more replicas of the same vLLM server.

    `urls` are origins such as `http://10.0.0.7:8000`, with an optional path prefix and without `/v1`.
    `api_key` is the bearer key of all replicas. `max_connections` bounds the connections to each replica;
    calls beyond it wait no longer than `timeouts.connect_s`. `ca_file` names the certificate authority of
    `https` replicas, the system's when `None`. `embeddings` says that the server is a pooling one.
    `health_interval_s` is the pause between two health checks of a replica.
    """

    urls: tuple[str, ...]
    api_key: str | None = None
    timeouts: Timeouts = Timeouts()
    max_connections: int = 1024
    ca_file: str | None = None
    embeddings: bool = False
    health_interval_s: float = 5.0

    def __post_init__(self) -> None:
        if not self.urls:
            raise ValueError("urls must name at least one replica")
        if len(set(self.urls)) != len(self.urls):
            raise ValueError("urls names a replica twice")
        for url in self.urls:
            _check_url(url)
        if self.max_connections < 1:
            raise ValueError("max_connections must be at least 1")
        if not self.health_interval_s > 0:
            raise ValueError("health_interval_s must be above 0")
        if self.api_key is not None:
            Credential(self.api_key)

    @property
    def credential(self) -> Credential | None:
        """The key, wrapped so that it does not show."""
        return None if self.api_key is None else Credential(self.api_key)

    def __repr__(self) -> str:
        key = None if self.api_key is None else "***"
        return f"VllmEndpoint(urls={self.urls!r}, api_key={key}, max_connections={self.max_connections})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        key = None if self.api_key is None else "***"
        return [("urls", self.urls), ("api_key", key), ("max_connections", self.max_connections)]


class FakeEndpoint(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="fake", forbid_unknown_fields=True):
    """The scripted provider. `delay_s` is the pause of `fake/slow`, `first_delay_s` that of
    `fake/slow-first`.
    """

    delay_s: float = 0.05
    first_delay_s: float = 2.0


Endpoint: TypeAlias = VllmEndpoint | FakeEndpoint


def _check_url(url: str) -> None:
    """Raise `ValueError` unless `url` is an origin with an optional path prefix. Quotes nothing of a
    secret.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("urls: each must be http:// or https:// with a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("urls: a replica's key belongs in api_key, not in its address")
    if parts.query or parts.fragment or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("urls: an address has no query, fragment, space or non-ASCII character")
    if parts.path.rstrip("/").endswith("/v1"):
        raise ValueError("urls: leave /v1 out")
    _ = parts.port  # raises ValueError when it is not a port


__all__ = ["Endpoint", "FakeEndpoint", "VllmEndpoint"]
