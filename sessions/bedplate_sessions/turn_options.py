"""How a call wants to be a turn of its session."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from bedplate_core.ids import ItemId
from bedplate_sessions.context.policy import ContextPolicy


class OnBusy(StrEnum):
    """What to do when another turn of the branch is running: wait for it, refuse (409), or go on in a new branch."""

    WAIT = "wait"
    REJECT = "reject"
    BRANCH = "branch"


class OnInterrupted(StrEnum):
    """What becomes of an earlier turn that broke off: left out of the conversation, or part of it as far as it came."""

    DROP = "drop"
    CONTINUE = "continue"


class TurnOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`branch` is the branch to go on with. `fork_at`: an item of it; the turn begins a new branch behind that item.

    `pin`: what this turn says is never left out of what a model is told. `context`: what becomes of a history that no
    longer fits the model's window.
    """

    branch: int = 0
    fork_at: ItemId | None = None
    on_busy: OnBusy = OnBusy.WAIT
    on_interrupted: OnInterrupted = OnInterrupted.DROP
    pin: bool = False
    context: ContextPolicy = ContextPolicy()


__all__ = ["OnBusy", "OnInterrupted", "TurnOptions"]
