"""Raw prompts: a text, several texts, token ids, or several lists of token ids, in one field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, TypeAlias

from msgspec import Meta

from bedplate_core.errors import InvalidRequest
from bedplate_core.requests import RawPrompt, TokenPrompt

MAX_TOKEN_ID: Final = 2**31 - 1

TokenId: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_TOKEN_ID)]
WirePrompt: TypeAlias = str | list[str | TokenId | list[TokenId]]


def raw_prompts(sent: str | Sequence[str | int | Sequence[int]], param: str, most: int) -> tuple[RawPrompt, ...]:
    """The prompts in order; a list of token ids is one prompt.

    Raises `InvalidRequest` naming `param` for none, more than `most`, empty token lists, or a mixture.
    """
    if isinstance(sent, str):
        return (sent,)
    if not sent:
        raise InvalidRequest(f"{param}: is empty", param=param)
    token_ids = [item for item in sent if isinstance(item, int)]
    if len(token_ids) == len(sent):
        return (TokenPrompt(tuple(token_ids)),)
    if len(sent) > most:
        raise InvalidRequest(f"{param}: has {len(sent)} entries; at most {most} are allowed", param=param)
    texts = [item for item in sent if isinstance(item, str)]
    if len(texts) == len(sent):
        return tuple(texts)
    lists = [item for item in sent if not isinstance(item, (str, int))]
    if len(lists) != len(sent):
        raise InvalidRequest(f"{param}: mixes texts and token ids", param=param)
    if not all(lists):
        empty = f"{param}[{lists.index([])}]"
        raise InvalidRequest(f"{empty}: is empty", param=empty)
    return tuple(TokenPrompt(tuple(ids)) for ids in lists)


__all__ = ["MAX_TOKEN_ID", "TokenId", "WirePrompt", "raw_prompts"]
