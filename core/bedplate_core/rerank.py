"""Documents in the order of their relevance to a query."""

from __future__ import annotations

import msgspec

from bedplate_core.jsonvalue import JSON
from bedplate_core.usage import Usage


class RerankRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A query and the texts to order by it, at least one.

    `top_n` is how many of the best are wanted; None for all. `extensions` are fields of the inbound dialect that a
    provider forwards or refuses by name.
    """

    model: str
    query: str
    documents: tuple[str, ...]
    top_n: int | None = None
    extensions: dict[str, JSON] = msgspec.field(default_factory=dict[str, JSON])


class RankedDocument(msgspec.Struct, frozen=True):
    """`index` is the document's place in the request, from 0; more relevant documents have a higher `score`."""

    index: int
    score: float


class Ranking(msgspec.Struct, frozen=True, kw_only=True):
    """The best documents first, each at most once; as many as `top_n` asked for, or all there are."""

    model: str
    ranked: tuple[RankedDocument, ...]
    usage: Usage


__all__ = ["RankedDocument", "Ranking", "RerankRequest"]
