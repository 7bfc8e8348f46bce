"""Vectors for texts."""

from __future__ import annotations

import msgspec

from bedplate_core.usage import Usage


class Embeddings(msgspec.Struct, frozen=True, kw_only=True):
    """One vector per input, in the order of the inputs."""

    model: str
    vectors: tuple[tuple[float, ...], ...]
    usage: Usage


__all__ = ["Embeddings"]
