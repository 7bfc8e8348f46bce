"""The list of models.

Source: openai-python 2.54 (`openai.types.Model`), compared November 2026; `max_model_len` is
vLLM's field, which clients read to size their prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType


class ModelEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A model name that a client may use. `created_s` is seconds since 1970, when the name was set up."""

    id: str
    created_s: int
    owned_by: str = "bedplate"
    context_tokens: int | None = None


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `GET /v1/models/{id}`."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    max_model_len: int | UnsetType = UNSET


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `GET /v1/models`."""

    object: Literal["list"] = "list"
    data: tuple[Model, ...]


def model_list(models: Sequence[ModelEntry]) -> bytes:
    """The JSON body that lists `models` in the order given."""
    return msgspec.json.encode(ModelList(data=tuple(_wire(model) for model in models)))


def model_body(model: ModelEntry) -> bytes:
    """The JSON body for one model."""
    return msgspec.json.encode(_wire(model))


def _wire(model: ModelEntry) -> Model:
    context = UNSET if model.context_tokens is None else model.context_tokens
    return Model(id=model.id, created=model.created_s, owned_by=model.owned_by, max_model_len=context)


__all__ = ["Model", "ModelEntry", "ModelList", "model_body", "model_list"]
