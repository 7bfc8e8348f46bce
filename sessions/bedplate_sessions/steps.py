"""Invocations and steps: how Bedrock's operations see a session.

A turn of a chat is an invocation, and each of its items a step; both can be read by these operations. What
`PutInvocationStep` stores is opaque: it is a step and no item, and no model is told of it.
"""

from __future__ import annotations

from datetime import datetime
from typing import TypeAlias

import msgspec

from bedplate_core.messages import Image, Message, Text


class Invocation(msgspec.Struct, frozen=True, kw_only=True):
    """A group of steps. `id` is 32 hexadecimal digits; `number` counts a session's invocations from 1."""

    id: str
    number: int
    description: str | None
    created_at: datetime


class InvocationPage(msgspec.Struct, frozen=True, kw_only=True):
    """Invocations, newest first. `next_before`: the `before` of the next page; None: this is the last."""

    invocations: tuple[Invocation, ...]
    next_before: int | None


StepBlock: TypeAlias = Text | Image
"""An image's media are bytes, or an `s3:` address that nobody fetches."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step. `id` and `invocation_id` are 32 hexadecimal digits.

    What a client put is in `blocks`; a step that is an item of a chat has `message` instead. A list of steps holds
    neither unless it was asked for them.
    """

    id: str
    invocation_id: str
    time: datetime
    blocks: tuple[StepBlock, ...] = ()
    message: Message | None = None


class StepPlace(msgspec.Struct, frozen=True, array_like=True):
    """Where a list of steps goes on: behind the item `seq` of branch 0, and behind the put step `step_seq`."""

    seq: int
    step_seq: int


class StepPage(msgspec.Struct, frozen=True, kw_only=True):
    """Steps, newest first."""

    steps: tuple[Step, ...]
    next_before: StepPlace | None


__all__ = ["Invocation", "InvocationPage", "Step", "StepBlock", "StepPage", "StepPlace"]
