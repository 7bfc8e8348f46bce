"""What an upstream is to the rest of Bedplate.

`Provider` is the one interface that generates. Everything else an upstream may be able to do is a small
protocol of its own (`Embeds`), which a class implements or does not: a capability exists when the class has
the method and the endpoint's configuration says so, and never as a method that raises.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import msgspec

from bedplate_core.embeddings import Embeddings
from bedplate_core.events import EventStream
from bedplate_core.requests import Dispatch, EmbedRequest, Request
from bedplate_core.rerank import Ranking, RerankRequest
from bedplate_core.score import ScoreRequest, Scores
from bedplate_core.tokens import DetokenizeRequest, TokenizeRequest, Tokens
from bedplate_core.transcription import Transcript, TranscriptionRequest


class Timeouts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long each phase of a call may take, in seconds.

    `connect_s`: until a connection (with TLS) stands. `first_event_s`: from the request sent to the first
    event of the answer. `idle_s`: between two pieces of the answer. `total_s`: the whole call. All are above
    0.
    """

    connect_s: float = 3.0
    first_event_s: float = 120.0
    idle_s: float = 60.0
    total_s: float = 600.0

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0")


class ReplicaHealth(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about one replica. `url` carries no credential. `in_flight` counts calls of this
    process.
    """

    url: str
    ok: bool
    in_flight: int = 0
    detail: str = ""


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a provider can serve: `ok` when at least one replica can. `detail` is for operators."""

    ok: bool
    detail: str = ""
    replicas: tuple[ReplicaHealth, ...] = ()


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Facts about a model behind an endpoint, as its catalogue entry states them.

    `context_tokens` is the length of input and output together, `None` where unknown. `ranking` is reranking and
    scoring.
    """

    context_tokens: int | None = None
    max_output_tokens: int | None = None
    generation: bool = True
    completions: bool = True
    tools: bool = True
    structured_output: bool = True
    logprobs: bool = True
    reasoning: bool = False
    vision: bool = False
    embeddings: bool = False
    ranking: bool = False
    transcription: bool = False


class ProviderStream(EventStream, Protocol):
    """An event stream that knows who makes it."""

    @property
    def replica(self) -> str | None:
        """The address of the replica that answers, or that was tried last; None where there is no such thing."""
        ...


class Provider(Protocol):
    """An upstream that generates. One instance per configured endpoint; safe for concurrent use in one event
    loop.
    """

    @property
    def name(self) -> str:
        """The name under which it is configured."""
        ...

    def generate(self, request: Request, dispatch: Dispatch) -> ProviderStream:
        """The answer to `request` as a stream of batches, in the order that `bedplate_core.events` states.

        Returns at once; neither connects nor raises. Iteration raises `GatewayError` only, and a stream that
        ends without raising has ended with its `Finish`. `aclose` releases the upstream before it returns,
        in every phase: also when iteration never began, and when another task is waiting for the next batch
        (that task then sees the end of the iteration). Cancelling a task that waits for a batch releases the
        upstream as well.
        """
        ...

    async def start(self) -> None:
        """Begin background work such as health checks. Idempotent. A provider generates without it too."""
        ...

    async def health(self) -> Health:
        """What is known now, without waiting for an upstream. Never raises."""
        ...

    async def aclose(self) -> None:
        """Stop background work and close every connection; streams still under way fail. Idempotent."""
        ...


@runtime_checkable
class Embeds(Protocol):
    """An upstream that turns texts into vectors."""

    async def embed(self, request: EmbedRequest, dispatch: Dispatch) -> Embeddings:
        """One vector per input, in order. Raises `GatewayError` only; cancellation releases the upstream."""
        ...


@runtime_checkable
class CountsTokens(Protocol):
    """An upstream that counts a request's tokens without generating."""

    async def count_tokens(self, request: Request, dispatch: Dispatch) -> int:
        """The input tokens that `request` would have.

        Raises `GatewayError` only; cancellation releases the upstream.
        """
        ...


@runtime_checkable
class Tokenizes(Protocol):
    """An upstream that says which tokens a text is made of, and which text tokens make."""

    async def tokenize(self, request: TokenizeRequest, dispatch: Dispatch) -> Tokens:
        """The tokens, in order. Raises `GatewayError` only; cancellation releases the upstream."""
        ...

    async def detokenize(self, request: DetokenizeRequest, dispatch: Dispatch) -> str:
        """The text. Raises `GatewayError` only; cancellation releases the upstream."""
        ...


@runtime_checkable
class Reranks(Protocol):
    """An upstream that orders documents by their relevance to a query."""

    async def rerank(self, request: RerankRequest, dispatch: Dispatch) -> Ranking:
        """The best documents first. Raises `GatewayError` only; cancellation releases the upstream."""
        ...


@runtime_checkable
class ScoresPairs(Protocol):
    """An upstream that scores pairs of texts."""

    async def score(self, request: ScoreRequest, dispatch: Dispatch) -> Scores:
        """One score per pair, in order. Raises `GatewayError` only; cancellation releases the upstream."""
        ...


@runtime_checkable
class Transcribes(Protocol):
    """An upstream that writes down speech, in its own language or in English."""

    async def transcribe(self, request: TranscriptionRequest, dispatch: Dispatch) -> Transcript:
        """What was said. Raises `GatewayError` only; cancellation releases the upstream."""
        ...


__all__ = [
    "CountsTokens",
    "Embeds",
    "Health",
    "Profile",
    "Provider",
    "ProviderStream",
    "ReplicaHealth",
    "Reranks",
    "ScoresPairs",
    "Timeouts",
    "Tokenizes",
    "Transcribes",
]
