"""The list of models, in pages.

Source: anthropic-python 2.13 (`ModelInfo`, `ModelListParams`, `SyncPage`), compared November 2026. `capabilities` is
left out, which its type allows: it says for each of Anthropic's features what a model can do, and most are not here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec

from bedplate_core.errors import InvalidRequest
from bedplate_gateway.dialects.decoding import clip

DEFAULT_LIMIT: Final = 20
MAX_LIMIT: Final = 1000
_LIFECYCLES: Final = ("active", "deprecated", "retired")


class ModelEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A model name that a client may use. `created_s` is seconds since 1970, when the name was set up."""

    id: str
    created_s: int
    context_tokens: int | None = None
    max_output_tokens: int | None = None


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `GET /v1/models/{id}`. `created_at` is RFC 3339 in UTC."""

    id: str
    type: Literal["model"] = "model"
    display_name: str
    created_at: str
    lifecycle: Literal["active"] = "active"
    max_input_tokens: int | None
    max_tokens: int | None


class ModelPage(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `GET /v1/models`. `has_more` says that there is more in the direction that was asked for."""

    data: tuple[ModelInfo, ...]
    has_more: bool
    first_id: str | None
    last_id: str | None


class PageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which page: `limit` models right after or right before a model, or the first ones."""

    limit: int = DEFAULT_LIMIT
    after_id: str | None = None
    before_id: str | None = None
    active: bool = True
    """Whether models in the `active` stage, which all of ours are, were asked for."""

    @classmethod
    def parse(cls, pairs: Sequence[tuple[str, str]]) -> PageQuery:
        """The query of a request. Raises `InvalidRequest` naming the parameter; unknown ones are ignored."""
        given = dict(pairs)
        stages = [value for name, value in pairs if name in ("lifecycle", "lifecycle[]")]
        for stage in stages:
            if stage not in _LIFECYCLES:
                raise InvalidRequest(f"lifecycle: expected one of {', '.join(_LIFECYCLES)}", param="lifecycle")
        after_id, before_id = given.get("after_id"), given.get("before_id")
        if after_id is not None and before_id is not None:
            raise InvalidRequest("before_id: cannot be sent together with after_id", param="before_id")
        return cls(
            limit=_limit(given.get("limit")),
            after_id=after_id,
            before_id=before_id,
            active=not stages or "active" in stages,
        )


def model_page(models: Sequence[ModelEntry], query: PageQuery) -> bytes:
    """The JSON body of one page: the newest models first, by name where they are equally old.

    Raises `InvalidRequest` for a cursor that is no model of the list.
    """
    ordered = sorted(models, key=lambda model: (-model.created_s, model.id)) if query.active else []
    begin, end = 0, len(ordered)
    if query.after_id is not None:
        begin = _place(ordered, query.after_id, "after_id") + 1
    if query.before_id is not None:
        end = _place(ordered, query.before_id, "before_id")
        begin = max(0, end - query.limit)
        has_more = begin > 0
    else:
        has_more = end - begin > query.limit
        end = min(end, begin + query.limit)
    data = tuple(_info(model) for model in ordered[begin:end])
    page = ModelPage(
        data=data,
        has_more=has_more,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
    )
    return msgspec.json.encode(page)


def model_body(model: ModelEntry) -> bytes:
    """The JSON body for one model."""
    return msgspec.json.encode(_info(model))


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    limit = int(text) if text.isascii() and text.isdigit() and len(text) <= 4 else 0
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidRequest(f"limit: expected a number from 1 to {MAX_LIMIT}", param="limit")
    return limit


def _place(models: Sequence[ModelEntry], cursor: str, param: str) -> int:
    for place, model in enumerate(models):
        if model.id == cursor:
            return place
    raise InvalidRequest(f"{param}: {clip(cursor, 64)!r} is not in the list", param=param)


def _info(model: ModelEntry) -> ModelInfo:
    created = datetime.fromtimestamp(model.created_s, UTC)
    return ModelInfo(
        id=model.id,
        display_name=model.id,
        created_at=created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        max_input_tokens=model.context_tokens,
        max_tokens=model.max_output_tokens,
    )


__all__ = [
    "DEFAULT_LIMIT",
    "MAX_LIMIT",
    "ModelEntry",
    "ModelInfo",
    "ModelPage",
    "PageQuery",
    "model_body",
    "model_page",
]
