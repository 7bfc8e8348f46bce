"""Texts as the token ids of a model, and back."""

from __future__ import annotations

import msgspec

from bedplate_core.requests import Request


class TokenizeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be cut into tokens.

    `content` is a chat (rendered with the model's own template, tools included) or exactly one raw text prompt; of
    its other fields only the extensions that change how it is rendered count. `token_strings` asks for the
    vocabulary's own spelling of each token.
    """

    content: Request
    token_strings: bool = False


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """Token ids in order, each at least 0. `strings`, when asked for, has one entry for each.

    `context_tokens` is the length of input and output together that the model is served with; None where unknown.
    """

    token_ids: tuple[int, ...]
    strings: tuple[str, ...] | None = None
    context_tokens: int | None = None


class DetokenizeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Token ids of `model`, in order, to be turned back into text."""

    model: str
    token_ids: tuple[int, ...]


__all__ = ["DetokenizeRequest", "TokenizeRequest", "Tokens"]
