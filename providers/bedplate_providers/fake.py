"""The scripted provider: the model's name selects the behaviour. For tests, demonstrations and smoke tests.

It keeps every promise of a provider, counts its open streams, and never touches the network or chance (the
ids of tool calls aside). Token counts are whitespace-separated words.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import struct
import time
from collections.abc import Iterator

import msgspec

from bedplate_core.embeddings import Embeddings
from bedplate_core.errors import InvalidRequest, UnsupportedFeature, UpstreamRejected, UpstreamUnavailable
from bedplate_core.events import (
    Batch,
    Delta,
    Event,
    Finish,
    PartEnd,
    PartStart,
    Progress,
    Start,
    Stop,
    TokenLogprob,
)
from bedplate_core.ids import new_response_id
from bedplate_core.messages import Reasoning
from bedplate_core.requests import Dispatch, EmbedRequest, Request
from bedplate_core.rerank import Ranking, RerankRequest
from bedplate_core.score import ScoreRequest, Scores
from bedplate_core.tokens import DetokenizeRequest, TokenizeRequest, Tokens
from bedplate_core.transcription import Transcript, TranscriptionRequest
from bedplate_core.usage import Usage
from bedplate_providers import fake_abilities
from bedplate_providers.base import Health
from bedplate_providers.extensions import forwarded_extensions
from bedplate_providers.fake_script import BEHAVIOURS, Answer, Pace, Script, input_tokens

EMBEDDING_MODEL = "fake/embed"
_DIMENSIONS = 8
_MAX_DIMENSIONS = 4096


class FakeProvider:
    """Answers by script. `open_streams` is how many streams were given out and not yet finished or closed."""

    def __init__(self, name: str = "fake", pace: Pace | None = None) -> None:
        self.name = name
        self._pace = pace or Pace()
        self._streams: set[FakeStream] = set()
        self._closed = False

    @property
    def open_streams(self) -> int:
        """Streams given out that have neither ended nor been closed."""
        return len(self._streams)

    def generate(self, request: Request, dispatch: Dispatch) -> FakeStream:
        """See `Provider.generate`. Raises on iteration for an unknown model, `suffix` or an extension that
        is not forwarded to vLLM either."""
        stream = FakeStream(request, self._pace, self._streams)
        if self._closed:
            stream.fail(UpstreamUnavailable("The provider is shut down."))
        return stream

    async def start(self) -> None:
        """See `Provider.start`."""

    async def health(self) -> Health:
        """Always well until closed."""
        return Health(ok=not self._closed, detail="closed" if self._closed else "scripted")

    async def aclose(self) -> None:
        """See `Provider.aclose`."""
        self._closed = True
        for stream in tuple(self._streams):
            stream.fail(UpstreamUnavailable("The provider is shut down."))

    async def embed(self, request: EmbedRequest, dispatch: Dispatch) -> Embeddings:
        """Vectors of length 1 derived from a hash of each input, so equal inputs have equal vectors.

        8 dimensions unless `dimensions` says otherwise (1 to 4096).
        """
        if request.model != EMBEDDING_MODEL:
            raise UnsupportedFeature(f"{request.model} does not embed; {EMBEDDING_MODEL} does", param="model")
        for name in request.extensions:
            raise UnsupportedFeature(f"{name} is not supported by this model's upstream", param=name)
        dimensions = _DIMENSIONS if request.dimensions is None else request.dimensions
        if not 1 <= dimensions <= _MAX_DIMENSIONS:
            raise InvalidRequest(f"dimensions must be from 1 to {_MAX_DIMENSIONS}", param="dimensions")
        texts = [item if isinstance(item, str) else repr(item.token_ids) for item in request.inputs]
        tokens = sum(len(item.split()) if isinstance(item, str) else len(item.token_ids) for item in request.inputs)
        return Embeddings(
            model=request.model,
            vectors=tuple(_vector(text, dimensions) for text in texts),
            usage=Usage(input_tokens=tokens),
        )

    async def tokenize(self, request: TokenizeRequest, dispatch: Dispatch) -> Tokens:
        """UTF-8 bytes; see `fake_abilities.tokenize`."""
        return fake_abilities.tokenize(request)

    async def detokenize(self, request: DetokenizeRequest, dispatch: Dispatch) -> str:
        """From UTF-8 bytes; see `fake_abilities.detokenize`."""
        return fake_abilities.detokenize(request)

    async def count_tokens(self, request: Request, dispatch: Dispatch) -> int:
        """The words that a generation's usage would count."""
        _check(request)
        return input_tokens(request)

    async def rerank(self, request: RerankRequest, dispatch: Dispatch) -> Ranking:
        """By shared words; see `fake_abilities.rerank`."""
        return fake_abilities.rerank(request)

    async def score(self, request: ScoreRequest, dispatch: Dispatch) -> Scores:
        """By shared words; see `fake_abilities.score`."""
        return fake_abilities.score(request)

    async def transcribe(self, request: TranscriptionRequest, dispatch: Dispatch) -> Transcript:
        """A description of the sound; see `fake_abilities.transcribe`."""
        return fake_abilities.transcribe(request)


class FakeStream:
    """One scripted answer; see `ProviderStream`."""

    replica: str | None = None

    def __init__(self, request: Request, pace: Pace, streams: set[FakeStream]) -> None:
        self._request = request
        self._pace = pace
        self._streams = streams
        self._batches: Iterator[Batch] | None = None
        self._script: Script | None = None
        self._sent = 0
        self._over = False
        self._failure: Exception | None = None
        self._woken: asyncio.Event = asyncio.Event()
        streams.add(self)

    def fail(self, error: Exception) -> None:
        """Make the stream raise `error` instead of its next batch."""
        self._failure = error
        self._woken.set()

    def __aiter__(self) -> FakeStream:
        return self

    async def __anext__(self) -> Batch:
        if self._over:
            raise StopAsyncIteration
        try:
            batch = await self._next()
        except BaseException:
            self._end()
            raise
        self._sent += 1
        return batch

    async def aclose(self) -> None:
        """See `EventStream.aclose`. A task that waits for a batch sees the end of the iteration."""
        self._end()

    def _end(self) -> None:
        self._over = True
        self._streams.discard(self)
        self._woken.set()

    async def _next(self) -> Batch:
        if self._script is None or self._batches is None:
            behaviour = BEHAVIOURS.get(self._request.model)
            if behaviour is None:
                raise UpstreamRejected("The upstream does not have this model.")
            _check(self._request)
            self._script = behaviour.plan(self._request, self._pace)
            self._batches = play(self._request, self._script)
            await self._pause(self._script.first_delay_s)
        elif self._sent > 1:
            await self._pause(self._script.delay_s)
        else:
            await self._pause(0)
        if self._script.error is not None and self._sent >= self._script.fail_after:
            raise self._script.error
        batch = next(self._batches, None)
        if batch is None:
            if self._script.error is not None:
                raise self._script.error
            raise StopAsyncIteration
        return batch

    async def _pause(self, seconds: float) -> None:
        """Let others run for `seconds`, which may be infinite; a stream closed meanwhile ends here."""
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), None if math.isinf(seconds) else seconds)
        else:
            await asyncio.sleep(0)
        if self._failure is not None:
            raise self._failure
        if self._over:
            raise StopAsyncIteration


def _check(request: Request) -> None:
    if request.suffix is not None:
        raise UnsupportedFeature("suffix is not supported by this model", param="suffix")
    forwarded_extensions(request)


def play(request: Request, script: Script) -> Iterator[Batch]:
    """The batches of a script: one per token, choices in turn, or one for all when it is a burst."""
    yield [
        Start(
            id=new_response_id(),
            model=request.model,
            created_s=int(time.time()),
            choices=len(script.answers) or 1,
        )
    ]
    tally = _Tally(request)
    if script.burst:
        events: list[Event] = []
        for batch in _turns(request, script, tally):
            events.extend(batch)
        yield events
    else:
        yield from _turns(request, script, tally)


class _Tally:
    """What was consumed so far."""

    def __init__(self, request: Request) -> None:
        self.usage = Usage(input_tokens=input_tokens(request))

    def add(self, *, reasoning: bool) -> Usage:
        self.usage = msgspec.structs.replace(
            self.usage,
            output_tokens=self.usage.output_tokens + 1,
            reasoning_tokens=self.usage.reasoning_tokens + reasoning,
        )
        return self.usage


def _turns(request: Request, script: Script, tally: _Tally) -> Iterator[list[Event]]:
    """All batches after `Start`: every choice says one token in turn until all are done, then `Finish`."""
    speakers = [_speak(request, choice, answer, tally) for choice, answer in enumerate(script.answers)]
    while speakers:
        still: list[Iterator[list[Event]]] = []
        for speaker in speakers:
            batch = next(speaker, None)
            if batch is not None:
                still.append(speaker)
                yield batch
        speakers = still
    stops = tuple(
        Stop(choice=choice, reason=answer.reason, sequence=answer.sequence)
        for choice, answer in enumerate(script.answers)
    )
    yield [Finish(stops=stops, usage=tally.usage)]


def _speak(request: Request, choice: int, answer: Answer, tally: _Tally) -> Iterator[list[Event]]:
    """One choice's batches: a token each, its part opened before the first and closed after the last."""
    for index, spoken in enumerate(answer.spoken):
        batch: list[Event] = [PartStart(choice, index, spoken.part)]
        for number, piece in enumerate(spoken.pieces):
            logprobs = _logprobs(piece, request.top_logprobs)
            batch.append(Delta(choice, index, piece, logprobs))
            batch.append(Progress(tally.add(reasoning=isinstance(spoken.part, Reasoning))))
            if number < len(spoken.pieces) - 1:
                yield batch
                batch = []
        batch.append(PartEnd(choice, index, spoken.signature))
        yield batch


def _logprobs(token: str, alternatives: int | None) -> tuple[TokenLogprob, ...]:
    """Made-up log-probabilities: the token itself at -0.1, its alternatives ever less likely."""
    if alternatives is None:
        return ()
    others = tuple(
        _logprob(token if number == 0 else f"{token}~{number}", -0.1 - number) for number in range(alternatives)
    )
    return (msgspec.structs.replace(_logprob(token, -0.1), alternatives=others),)


def _logprob(token: str, logprob: float) -> TokenLogprob:
    return TokenLogprob(token, logprob, tuple(token.encode()))


def _vector(text: str, dimensions: int) -> tuple[float, ...]:
    digest = hashlib.shake_256(text.encode()).digest(dimensions * 4)
    raw = [value / 2**31 - 1 for value in struct.unpack(f">{dimensions}I", digest)]
    length = math.sqrt(math.fsum(value * value for value in raw)) or 1.0
    return tuple(value / length for value in raw)


__all__ = ["EMBEDDING_MODEL", "FakeProvider", "FakeStream", "play"]
