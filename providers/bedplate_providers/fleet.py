"""A model served by several vLLM replicas, as one provider.

The calls of a conversation go to one replica, all others take turns. One that cannot be reached leaves the
rotation at once and returns with the next health check it passes. A call moves on to another replica only before
its first event and only for an error that says another may do better. Errors after the request was sent move it at
most once: a request that kills an engine must not be walked through the fleet.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Self, TypeVar

from bedplate_core.embeddings import Embeddings
from bedplate_core.errors import GatewayError, UpstreamUnavailable
from bedplate_core.events import Batch
from bedplate_core.requests import Dispatch, EmbedRequest, Request
from bedplate_core.rerank import Ranking, RerankRequest
from bedplate_core.score import ScoreRequest, Scores
from bedplate_core.tokens import DetokenizeRequest, TokenizeRequest, Tokens
from bedplate_core.transcription import Transcript, TranscriptionRequest
from bedplate_providers import vllm_audio, vllm_ranking, vllm_tokens
from bedplate_providers.affinity import Rendezvous
from bedplate_providers.base import Health, ReplicaHealth
from bedplate_providers.endpoints import VllmEndpoint
from bedplate_providers.upstream_errors import ReplicaLost, ReplicaUnreachable
from bedplate_providers.upstream_stream import UpstreamStream
from bedplate_providers.vllm import VllmServer

T = TypeVar("T")

_MOVES_AFTER_SENT = 1


class Replica:
    """One server of a fleet and what is known of it. `in_flight` counts this process's calls."""

    __slots__ = ("detail", "healthy", "in_flight", "server")

    def __init__(self, server: VllmServer) -> None:
        self.server = server
        self.healthy = True
        self.in_flight = 0
        self.detail = "not checked yet"

    def eject(self, reason: str) -> None:
        """Take it out of the rotation until it passes a health check."""
        self.healthy = False
        self.detail = reason

    @property
    def state(self) -> ReplicaHealth:
        """For the health output."""
        return ReplicaHealth(url=self.server.url, ok=self.healthy, in_flight=self.in_flight, detail=self.detail)


Choose = Callable[[Sequence[Replica], str | None], Replica]
"""Picks one of the replicas given (at least one, all healthy) for a call with that affinity key."""


class VllmFleet:
    """The replicas of one endpoint; see `Provider`, `Tokenizes` and `CountsTokens`, which every vLLM server has.

    `start` begins the health checks, `aclose` ends them; `async with` does both. Without them a replica that
    was taken out of the rotation stays out, except that a fleet with no healthy replica is still tried.
    """

    def __init__(self, name: str, endpoint: VllmEndpoint, choose: Choose | None = None) -> None:
        self.name = name
        self._interval_s = endpoint.health_interval_s
        self._choose = choose or Rendezvous()
        context = None
        if any(url.startswith("https:") for url in endpoint.urls):
            context = ssl.create_default_context(cafile=endpoint.ca_file)
        self.replicas = tuple(
            Replica(
                VllmServer(
                    url,
                    origin_name=name,
                    credential=endpoint.credential,
                    timeouts=endpoint.timeouts,
                    max_connections=endpoint.max_connections,
                    ssl_context=context if url.startswith("https:") else None,
                )
            )
            for url in endpoint.urls
        )
        self._checks: list[asyncio.Task[None]] = []
        self._closed = False

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def generate(self, request: Request, dispatch: Dispatch) -> FleetStream:
        """See `Provider.generate`."""
        return FleetStream(self, request, dispatch)

    async def tokenize(self, request: TokenizeRequest, dispatch: Dispatch) -> Tokens:
        """See `Tokenizes.tokenize`."""
        return await self.ask(lambda server: vllm_tokens.tokenize(server, request, dispatch), dispatch)

    async def detokenize(self, request: DetokenizeRequest, dispatch: Dispatch) -> str:
        """See `Tokenizes.detokenize`."""
        return await self.ask(lambda server: vllm_tokens.detokenize(server, request, dispatch), dispatch)

    async def count_tokens(self, request: Request, dispatch: Dispatch) -> int:
        """See `CountsTokens.count_tokens`."""
        return await self.ask(lambda server: vllm_tokens.count_tokens(server, request, dispatch), dispatch)

    async def start(self) -> None:
        """Check every replica once, then go on checking in the background. Idempotent."""
        if self._checks or self._closed:
            return
        self._checks = [asyncio.create_task(self._watch(replica)) for replica in self.replicas]
        await asyncio.sleep(0)

    async def health(self) -> Health:
        """See `Provider.health`."""
        states = tuple(replica.state for replica in self.replicas)
        well = sum(state.ok for state in states)
        detail = f"{well} of {len(states)} replicas"
        return Health(ok=well > 0 and not self._closed, detail=detail, replicas=states)

    async def serves(self, model: str) -> bool:
        """Whether every healthy replica lists `model`. Raises `GatewayError` when none can be asked."""
        replica = self.choose(None, ())
        for candidate in self.replicas:
            if candidate.healthy or candidate is replica:
                cards = await candidate.server.models()
                if model not in {card.id for card in cards}:
                    return False
        return True

    async def aclose(self) -> None:
        """See `Provider.aclose`."""
        self._closed = True
        for task in self._checks:
            task.cancel()
        if self._checks:
            await asyncio.wait(self._checks)
        self._checks = []
        for replica in self.replicas:
            await replica.server.aclose()

    def choose(self, affinity: str | None, tried: Sequence[Replica]) -> Replica | None:
        """The replica for a call, other than those `tried`.

        When no replica is healthy, a first attempt still goes to one: it may have come back since its last
        check. `None` when there is nothing left to try.
        """
        if self._closed:
            return None
        left = [replica for replica in self.replicas if replica not in tried]
        healthy = [replica for replica in left if replica.healthy]
        if healthy:
            return self._choose(healthy, affinity)
        if tried or not left:
            return None
        return self._choose(left, affinity)

    def exhausted(self) -> UpstreamUnavailable:
        """The error for a call that no replica can take."""
        return UpstreamUnavailable("No replica of the model is available.", retry_after_s=self._interval_s)

    async def ask(self, question: Callable[[VllmServer], Awaitable[T]], dispatch: Dispatch) -> T:
        """What a replica answers to `question`, which is asked of another where that may do better.

        Raises `GatewayError`; cancellation ends the question.
        """
        tried: list[Replica] = []
        moves = _MOVES_AFTER_SENT
        failure: GatewayError | None = None
        while (replica := self.choose(dispatch.affinity, tried)) is not None:
            tried.append(replica)
            replica.in_flight += 1
            try:
                return await question(replica.server)
            except GatewayError as error:
                failure = error
                moves = account(error, replica, moves)
                if moves < 0:
                    raise
            finally:
                replica.in_flight -= 1
        raise failure or self.exhausted()

    async def _watch(self, replica: Replica) -> None:
        """Check one replica for ever."""
        while True:
            try:
                await replica.server.ping()
            except GatewayError as error:
                replica.eject(error.message)
            else:
                replica.healthy = True
                replica.detail = "well"
            await asyncio.sleep(self._interval_s)


class VllmEmbeddingFleet(VllmFleet):
    """A fleet of servers of an embedding model; see `Embeds`."""

    async def embed(self, request: EmbedRequest, dispatch: Dispatch) -> Embeddings:
        """See `Embeds.embed`."""
        return await self.ask(lambda server: server.embed(request, dispatch), dispatch)


class VllmRankingFleet(VllmFleet):
    """A fleet of servers of a model that scores pairs of texts; see `Reranks` and `ScoresPairs`."""

    async def rerank(self, request: RerankRequest, dispatch: Dispatch) -> Ranking:
        """See `Reranks.rerank`."""
        return await self.ask(lambda server: vllm_ranking.rerank(server, request, dispatch), dispatch)

    async def score(self, request: ScoreRequest, dispatch: Dispatch) -> Scores:
        """See `ScoresPairs.score`."""
        return await self.ask(lambda server: vllm_ranking.score(server, request, dispatch), dispatch)


class VllmSpeechFleet(VllmFleet):
    """A fleet of servers of a speech model; see `Transcribes`."""

    async def transcribe(self, request: TranscriptionRequest, dispatch: Dispatch) -> Transcript:
        """See `Transcribes.transcribe`."""
        return await self.ask(lambda server: vllm_audio.transcribe(server, request, dispatch), dispatch)


class FleetStream:
    """A generation on some replica of the fleet; see `EventStream`."""

    __slots__ = ("_closed", "_dispatch", "_fleet", "_inner", "_replica", "_request", "replica")

    def __init__(self, fleet: VllmFleet, request: Request, dispatch: Dispatch) -> None:
        self._fleet = fleet
        self._request = request
        self._dispatch = dispatch
        self._inner: UpstreamStream[bytes] | None = None
        self._replica: Replica | None = None
        self.replica: str | None = None
        self._closed = False

    def __aiter__(self) -> FleetStream:
        return self

    async def __anext__(self) -> Batch:
        inner = self._inner
        try:
            if inner is None:
                if self._closed:
                    raise StopAsyncIteration
                return await self._first()
            return await inner.__anext__()
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """See `EventStream.aclose`."""
        self._closed = True
        if self._inner is not None:
            await self._inner.aclose()
        self._leave()

    async def _first(self) -> Batch:
        """The first batch, from the first replica that gives one."""
        tried: list[Replica] = []
        moves = _MOVES_AFTER_SENT
        failure: GatewayError | None = None
        while (replica := self._fleet.choose(self._dispatch.affinity, tried)) is not None:
            tried.append(replica)
            self._replica = replica
            self.replica = replica.server.url
            replica.in_flight += 1
            self._inner = replica.server.generate(self._request, self._dispatch)
            try:
                return await self._inner.__anext__()
            except GatewayError as error:
                failure = error
                self._leave()
                moves = account(error, replica, moves)
                if moves < 0:
                    raise
        raise failure or self._fleet.exhausted()

    def _leave(self) -> None:
        if self._replica is not None:
            self._replica.in_flight -= 1
            self._replica = None


def account(error: GatewayError, replica: Replica, moves: int) -> int:
    """Note what `error` says of `replica`; the moves that are left after it, below 0 when the call must not
    move.
    """
    if isinstance(error, ReplicaUnreachable):
        replica.eject(error.message)
        return moves - 1 if isinstance(error, ReplicaLost) else moves
    return moves - 1 if error.retryable else -1


__all__ = [
    "Choose",
    "FleetStream",
    "Replica",
    "VllmEmbeddingFleet",
    "VllmFleet",
    "VllmRankingFleet",
    "VllmSpeechFleet",
    "account",
]
