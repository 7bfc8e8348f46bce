"""How well pairs of texts go together."""

from __future__ import annotations

import msgspec

from bedplate_core.jsonvalue import JSON
from bedplate_core.usage import Usage


class ScoreRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Pairs of texts to score: `first[i]` with `second[i]`, or the one text of `first` with each of `second`.

    So `first` has one entry or as many as `second`, which has at least one. `extensions` are fields of the inbound
    dialect that a provider forwards or refuses by name.
    """

    model: str
    first: tuple[str, ...]
    second: tuple[str, ...]
    extensions: dict[str, JSON] = msgspec.field(default_factory=dict[str, JSON])


class Scores(msgspec.Struct, frozen=True, kw_only=True):
    """One number for each entry of `second`, in order; higher is more alike."""

    model: str
    scores: tuple[float, ...]
    usage: Usage


__all__ = ["ScoreRequest", "Scores"]
