"""Where upstreams are: the configuration of each kind, as it stands in a resource file or a table row.

`msgspec.convert(value, Endpoint)` decodes them; `kind` is the tag, and unknown fields are refused. `SECRETS` of each
kind names the fields that hold secrets: in a resource, references to them.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import ClassVar, Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec

from bedplate_providers.base import Timeouts
from bedplate_providers.credential import Credential


class VllmTask(StrEnum):
    """What a vLLM server is started for. One server does one of these."""

    GENERATE = "generate"
    """Chats and completions: `vllm serve` of a language model."""
    EMBED = "embed"
    """Vectors: a pooling server (`--runner pooling`) of an embedding model."""
    RANK = "rank"
    """Reranking and scoring: a pooling server of a cross-encoder, or of any model that vLLM scores with."""
    TRANSCRIBE = "transcribe"
    """Speech to text: `vllm serve` of a model such as Whisper."""


class VllmEndpoint(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="vllm", forbid_unknown_fields=True):
    """One or more replicas of the same vLLM server.

    `urls` are origins such as `http://10.0.0.7:8000`, with an optional path prefix and without `/v1`.
    `api_key` is the bearer key of all replicas. `max_connections` bounds the connections to each replica;
    calls beyond it wait no longer than `timeouts.connect_s`. `ca_file` names the certificate authority of
    `https` replicas, the system's when `None`. `task` is what the server is started for.
    `health_interval_s` is the pause between two health checks of a replica.
    """

    SECRETS: ClassVar[tuple[str, ...]] = ("api_key",)

    urls: tuple[str, ...]
    api_key: str | None = None
    timeouts: Timeouts = Timeouts()
    max_connections: int = 1024
    ca_file: str | None = None
    task: VllmTask = VllmTask.GENERATE
    health_interval_s: float = 5.0

    def __post_init__(self) -> None:
        if not self.urls:
            raise ValueError("urls must name at least one replica")
        if len(set(self.urls)) != len(self.urls):
            raise ValueError("urls names a replica twice")
        for url in self.urls:
            check_url(url, "urls")
            _leave_v1_out(url, "urls")
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

    SECRETS: ClassVar[tuple[str, ...]] = ()

    delay_s: float = 0.05
    first_delay_s: float = 2.0


class _ServerEndpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One server with one key.

    `max_connections` bounds the connections; calls beyond it wait no longer than `timeouts.connect_s`. `ca_file`
    names the certificate authority of an `https` server, the system's when `None`.
    """

    SECRETS: ClassVar[tuple[str, ...]] = ("api_key",)

    base_url: str
    api_key: str | None = None
    timeouts: Timeouts = Timeouts()
    max_connections: int = 256
    ca_file: str | None = None

    def __post_init__(self) -> None:
        check_url(self.base_url, "base_url")
        if self.max_connections < 1:
            raise ValueError("max_connections must be at least 1")
        if self.api_key is not None:
            Credential(self.api_key)

    @property
    def credential(self) -> Credential | None:
        """The key, wrapped so that it does not show."""
        return None if self.api_key is None else Credential(self.api_key)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({shown})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        key = None if self.api_key is None else "***"
        return [("base_url", self.base_url), ("api_key", key), ("max_connections", self.max_connections)]


class OpenAIEndpoint(
    _ServerEndpoint, frozen=True, kw_only=True, tag_field="kind", tag="openai", forbid_unknown_fields=True
):
    """A server that speaks OpenAI's API: OpenAI itself or any that is compatible with it.

    `base_url` is what an OpenAI client takes, such as `https://api.openai.com/v1`; the operations' paths go behind it.
    `embeddings` says that it embeds. `system_role` is the role that it wants system messages in. `max_tokens_field`
    is how it spells the bound of a chat's output; older servers know `max_tokens` only. `extra_fields` names fields
    beside OpenAI's own that clients may send to it, such as `top_k` or `min_p`. `require_usage` makes an answer that
    never says what it consumed an error; without, such an answer counts as nothing.
    """

    embeddings: bool = False
    system_role: Literal["system", "developer"] = "system"
    max_tokens_field: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"
    extra_fields: tuple[str, ...] = ()
    require_usage: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.extra_fields:
            if name in _OPENAI_FIELDS:
                raise ValueError(f"extra_fields: {name} is set by the gateway")


class AnthropicEndpoint(
    _ServerEndpoint, frozen=True, kw_only=True, tag_field="kind", tag="anthropic", forbid_unknown_fields=True
):
    """A server that speaks Anthropic's Messages API.

    `base_url` is an origin with an optional path prefix and without `/v1`. `max_output_tokens` bounds an answer whose
    client set no bound: the API demands one. It must not be above what the models behind the endpoint can do. The
    API's pings are no events, so `timeouts.idle_s` also bounds how long a model may think without showing it.
    """

    base_url: str = "https://api.anthropic.com"
    max_output_tokens: int = 8192

    def __post_init__(self) -> None:
        super().__post_init__()
        _leave_v1_out(self.base_url, "base_url")
        if self.max_output_tokens < 1:
            raise ValueError("max_output_tokens must be at least 1")


class AwsKeyPair(msgspec.Struct, frozen=True, kw_only=True):
    """What requests to AWS are signed with; `session_token` belongs to temporary credentials."""

    access_key_id: str
    secret: Credential
    session_token: Credential | None = None


class BedrockEndpoint(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="bedrock", forbid_unknown_fields=True
):
    """Amazon Bedrock's runtime in one region, or a server that speaks it.

    `base_url` is an origin with an optional path prefix; without it, it is AWS's own of `region` under
    `amazonaws.com`. Calls are authenticated by `api_key`, a Bedrock API key that is sent as it is, or signed for
    `region` with `access_key_id` and `secret_access_key`; exactly one of these is given. `session_token` belongs to
    temporary credentials, which end when they end: nothing here renews them. `extra_fields` names fields beside the
    gateway's own that clients may send to the models there; they go into `additionalModelRequestFields`.
    `max_connections` bounds the connections; calls beyond it wait no longer than `timeouts.connect_s`. `ca_file`
    names the certificate authority of an `https` server, the system's when `None`.
    """

    SECRETS: ClassVar[tuple[str, ...]] = ("api_key", "secret_access_key", "session_token")

    region: str
    base_url: str | None = None
    api_key: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = None
    session_token: str | None = None
    extra_fields: tuple[str, ...] = ()
    timeouts: Timeouts = Timeouts()
    max_connections: int = 256
    ca_file: str | None = None

    def __post_init__(self) -> None:
        if _REGION.fullmatch(self.region) is None:
            raise ValueError("region is a region's name, such as eu-central-1")
        check_url(self.url, "base_url")
        if self.max_connections < 1:
            raise ValueError("max_connections must be at least 1")
        if (self.access_key_id is None) is not (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key belong together")
        if (self.api_key is None) is (self.access_key_id is None):
            raise ValueError("give api_key, or access_key_id and secret_access_key")
        if self.session_token is not None and self.access_key_id is None:
            raise ValueError("session_token belongs to access_key_id and secret_access_key")
        if self.access_key_id is not None and _ACCESS_KEY_ID.fullmatch(self.access_key_id) is None:
            raise ValueError("access_key_id is letters, digits and underscores")
        for name in self.SECRETS:
            if getattr(self, name) is not None:
                Credential(getattr(self, name))
        for name in self.extra_fields:
            if name in _BEDROCK_FIELDS:
                raise ValueError(f"extra_fields: {name} is set by the gateway")

    @property
    def url(self) -> str:
        """Where the calls go."""
        return self.base_url or f"https://bedrock-runtime.{self.region}.amazonaws.com"

    @property
    def credential(self) -> Credential | None:
        """The API key, wrapped so that it does not show."""
        return None if self.api_key is None else Credential(self.api_key)

    @property
    def key_pair(self) -> AwsKeyPair | None:
        """The pair to sign with, wrapped so that it does not show."""
        if self.access_key_id is None or self.secret_access_key is None:
            return None
        token = None if self.session_token is None else Credential(self.session_token)
        secret = Credential(self.secret_access_key)
        return AwsKeyPair(access_key_id=self.access_key_id, secret=secret, session_token=token)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"BedrockEndpoint({shown})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        key = None if self.api_key is None else "***"
        return [
            ("region", self.region),
            ("base_url", self.base_url),
            ("api_key", key),
            ("access_key_id", self.access_key_id),
            ("max_connections", self.max_connections),
        ]


Endpoint: TypeAlias = VllmEndpoint | OpenAIEndpoint | AnthropicEndpoint | BedrockEndpoint | FakeEndpoint

_REGION = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+){0,5}")
_ACCESS_KEY_ID = re.compile(r"\w{1,128}", re.ASCII)
_BEDROCK_FIELDS = frozenset({"thinking", "top_k"})

_OPENAI_FIELDS = frozenset(
    {"input", "max_completion_tokens", "max_tokens", "messages", "model", "n", "prompt", "response_format", "stream",
     "stream_options", "tool_choice", "tools"}
)  # fmt: skip


def check_url(url: str, field: str) -> None:
    """Raise `ValueError` unless `url` is an origin with an optional path prefix. Quotes nothing of a
    secret; names `field`.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{field}: an address is http:// or https:// with a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"{field}: a key belongs in api_key, not in an address")
    if parts.query or parts.fragment or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"{field}: an address has no query, fragment, space or non-ASCII character")
    _ = parts.port  # raises ValueError when it is not a port


def _leave_v1_out(url: str, field: str) -> None:
    if urlsplit(url).path.rstrip("/").endswith("/v1"):
        raise ValueError(f"{field}: leave /v1 out")


__all__ = [
    "AnthropicEndpoint",
    "AwsKeyPair",
    "BedrockEndpoint",
    "Endpoint",
    "FakeEndpoint",
    "OpenAIEndpoint",
    "VllmEndpoint",
    "VllmTask",
    "check_url",
]
