"""The events that every answer is made of, streamed or not, whichever upstream and dialect.

Order, for one call:

    Start (PartStart Delta* PartEnd | Progress)* Finish

One `Start` first. A part is named by `(choice, index)`; it opens once, receives deltas while it is open and
closes once; within a choice indices count up from 0 and at most one part is open at a time. Parts of
different choices may interleave. The last event is exactly one `Finish`, which names a stop for every
choice, or the stream raises exactly one `GatewayError`; never both, and nothing follows.

Events travel in **batches**: what arrived together stays together, so that a hundred events that came in
one read cost one wake-up, one pass through each stage and one write. A batch is never empty. An error
raised by a stream follows all batches before it; nothing that was received is lost.

Why stop reasons come only with the last event: a client takes `finish_reason` for "this turn is done", and
nothing may say so before the turn and its record are durable.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Sequence
from enum import StrEnum
from typing import Protocol, TypeAlias

import msgspec

from bedplate_core.assessment import GuardrailTrace
from bedplate_core.messages import Part, Signature
from bedplate_core.usage import Usage


class StopReason(StrEnum):
    """Why a choice ended."""

    END = "end"
    LENGTH = "length"
    CONTEXT = "context"
    STOP_SEQUENCE = "stop_sequence"
    TOOL = "tool"
    GUARDRAIL = "guardrail"
    """A policy of ours stopped it. An outcome, not an error."""
    CONTENT_FILTER = "content_filter"
    """The upstream's own filter stopped it."""
    REFUSAL = "refusal"
    PAUSE = "pause"
    """The provider paused a long turn and wants it sent back (Anthropic's `pause_turn`)."""


class TokenLogprob(msgspec.Struct, frozen=True):
    """One token with its log-probability; `bytes` are its UTF-8 bytes, which may be part of a character.

    `alternatives` are the most likely tokens at this position, best first, without alternatives of their own.
    """

    token: str
    logprob: float
    bytes: tuple[int, ...] | None = None
    alternatives: tuple[TokenLogprob, ...] = ()


class Start(msgspec.Struct, frozen=True, kw_only=True, tag="start"):
    """The answer begins. `created_s` is seconds since 1970."""

    id: str
    model: str
    created_s: int
    choices: int = 1


class PartStart(msgspec.Struct, frozen=True, tag="part_start"):
    """A part opens. `part` is its value so far: empty text for what streams, the whole for what does not."""

    choice: int
    index: int
    part: Part


class Delta(msgspec.Struct, frozen=True, tag="delta"):
    """More text of an open part: of a text, reasoning or refusal, or of a tool call's arguments.

    `logprobs` and `token_ids` belong to exactly this text. `text` may be empty when only they are given.
    """

    choice: int
    index: int
    text: str
    logprobs: tuple[TokenLogprob, ...] = ()
    token_ids: tuple[int, ...] = ()


class PartEnd(msgspec.Struct, frozen=True, tag="part_end"):
    """A part closes; a reasoning part's signature comes with it."""

    choice: int
    index: int
    signature: Signature | None = None


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """What was consumed up to here, where the upstream says so while it streams. Never decreases."""

    usage: Usage


class Stop(msgspec.Struct, frozen=True, kw_only=True):
    """How one choice ended; `sequence` is the stop text that was met, where known."""

    choice: int
    reason: StopReason
    sequence: str | None = None


class Finish(msgspec.Struct, frozen=True, kw_only=True, tag="finish"):
    """The last event: one stop per choice, ordered by choice, and what the call consumed.

    `guardrail` is what guardrails made of the call, where one intervened or the caller asked to see it.
    """

    stops: tuple[Stop, ...]
    usage: Usage
    guardrail: GuardrailTrace | None = None


Event: TypeAlias = Start | PartStart | Delta | PartEnd | Progress | Finish
Batch: TypeAlias = Sequence[Event]


class EventStream(Protocol):
    """An answer under way. Async generators of batches are event streams.

    Whoever obtains a stream closes it: `aclose` is idempotent, may be called before the first batch, and
    when it returns the upstream is released. Iteration raises `GatewayError` and nothing else on purpose.
    """

    def __aiter__(self) -> AsyncIterator[Batch]: ...

    def __anext__(self) -> Awaitable[Batch]: ...

    def aclose(self) -> Awaitable[None]: ...


__all__ = [
    "Batch",
    "Delta",
    "Event",
    "EventStream",
    "Finish",
    "PartEnd",
    "PartStart",
    "Progress",
    "Start",
    "Stop",
    "StopReason",
    "TokenLogprob",
]
