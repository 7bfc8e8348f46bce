"""How a long conversation is to be made to fit."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

Strategy: TypeAlias = Literal["none", "truncate", "summarize"]
"""What becomes of a history that is too long: sent as it is, for the model to refuse; without its oldest part; or with
a summary in place of that part."""


class ContextPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`max_tokens` bounds the history, which is all but the leading system messages and the turn's own messages; None:
    only the model's context does. What must stay counts and stays, also where it is more than that.

    `summary_model` is the model that is asked for summaries; None: the one that the call is for.
    """

    strategy: Strategy = "truncate"
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    summary_model: str | None = None


__all__ = ["ContextPolicy", "Strategy"]
