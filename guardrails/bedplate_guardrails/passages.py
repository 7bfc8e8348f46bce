"""The texts of a request for the rules that judge by models: collected, grouped, and replaced where they stand.

Texts that belong together are read together, one to a line: a model sees a tool call's values beside their keys, and
short values cost no evaluation each. Keys of schemas and schema words such as `type` are left to the patterns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import groupby

import msgspec

from bedplate_core.jsonvalue import JSON, JSONObject
from bedplate_core.messages import Role
from bedplate_core.requests import Request
from bedplate_guardrails.arguments import unescaped
from bedplate_guardrails.walk import PassageKind, Walk
from bedplate_guardrails.windows import windows_of

Mask = tuple[int, int, str]

_SCHEMA_WORDS = frozenset(
    {
        "$anchor",
        "$id",
        "$ref",
        "$schema",
        "contentEncoding",
        "contentMediaType",
        "format",
        "pattern",
        "required",
        "type",
    }
)


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """One text. `fixed` says that nothing can stand for a part of it, as in a tool's name."""

    text: str
    role: Role | None
    kind: PassageKind
    group: int
    fixed: bool = False


class PassageGroup:
    """Passages that belong together. `text` is theirs, one to a line."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self.passages = tuple(passages)
        self.text = "\n".join(passage.text for passage in passages)

    @property
    def kind(self) -> PassageKind:
        """What the passages are."""
        return self.passages[0].kind

    @property
    def may_attack(self) -> bool:
        """Whether users, tools or documents said it, so that it is looked through for prompt attacks."""
        return self.passages[0].role in (Role.USER, Role.TOOL)

    @cached_property
    def places(self) -> tuple[tuple[int, int], ...]:
        """Where each passage stands in `text`."""
        places: list[tuple[int, int]] = []
        start = 0
        for passage in self.passages:
            places.append((start, start + len(passage.text)))
            start += len(passage.text) + 1
        return tuple(places)

    def split(self, start: int, end: int) -> list[tuple[int, int, int]]:
        """What of `start` to `end` of `text` lies in each passage, as `(passage, start, end)`; nothing empty."""
        pieces: list[tuple[int, int, int]] = []
        for number, (first, last) in enumerate(self.places):
            low, high = max(start, first), min(end, last)
            if low < high:
                pieces.append((number, low - first, high - first))
        return pieces


class _PassageWalk(Walk):
    """What the walks for models read of definitions."""

    def number(self, written: str) -> str:
        return written

    def schema(self, schema: JSONObject) -> JSONObject:
        changed = self._schema_value(schema)
        return changed if isinstance(changed, dict) else schema

    def _schema_value(self, value: JSON) -> JSON:
        match value:
            case str():
                return self.text(value)
            case list():
                items = [self._schema_value(item) for item in value]
                return value if items == value else items
            case dict():
                changed: JSONObject = {
                    key: item if key in _SCHEMA_WORDS and not isinstance(item, dict) else self._schema_value(item)
                    for key, item in value.items()
                }
                return value if changed == value else changed
            case _:
                return value


class _Collector(_PassageWalk):
    """Notes every text and leaves it as it is."""

    def __init__(self, *, selective: bool) -> None:
        super().__init__(selective=selective)
        self.passages: list[Passage] = []

    def text(self, text: str) -> str:
        self._note(text, fixed=False)
        return text

    def name(self, name: str) -> None:
        self._note(name, fixed=True)

    def broken(self, written: str) -> str:
        self._note(unescaped(written)[0], fixed=False)
        return written

    def _note(self, text: str, *, fixed: bool) -> None:
        passage = Passage(text=text, role=self.role, kind=self.kind, group=self.group, fixed=fixed)
        self.passages.append(passage)


class _Replacer(_PassageWalk):
    """Goes the collector's way and puts each passage's masks into it."""

    def __init__(self, masks: Sequence[Sequence[Mask]], *, selective: bool) -> None:
        super().__init__(selective=selective)
        self._masks = iter(masks)

    def text(self, text: str) -> str:
        return masked(text, next(self._masks))

    def name(self, name: str) -> None:
        next(self._masks)

    def broken(self, written: str) -> str:
        places = unescaped(written)[1]
        return masked(written, [(places[start], places[end], mask) for start, end, mask in next(self._masks)])


class _Swap(_PassageWalk):
    """Puts other texts in the place of some."""

    def __init__(self, replaced: Mapping[str, str]) -> None:
        super().__init__()
        self._replaced = replaced

    def text(self, text: str) -> str:
        return self._replaced.get(text, text)

    def broken(self, written: str) -> str:
        return self._replaced.get(unescaped(written)[0], written)


def passages_of(request: Request, *, selective: bool) -> list[Passage]:
    """Every text of a request that models judge, in the walk's order. Raises as `Walk.request` does."""
    collector = _Collector(selective=selective)
    collector.request(request)
    return collector.passages


def groups_of(passages: Sequence[Passage]) -> list[PassageGroup]:
    """The passages in their groups, in order."""
    return [PassageGroup(list(group)) for _, group in groupby(passages, key=lambda passage: passage.group)]


def replaced_passages(request: Request, masks: Sequence[Sequence[Mask]], *, selective: bool) -> Request:
    """`request` with masks, in order and not overlapping, in each of its passages, which are numbered as collected."""
    return _Replacer(masks, selective=selective).request(request)


def masked(text: str, masks: Sequence[Mask]) -> str:
    """`text` with each mask in place of its `(start, end)`."""
    if not masks:
        return text
    pieces: list[str] = []
    cursor = 0
    for start, end, mask in masks:
        pieces += text[cursor:start], mask
        cursor = end
    return "".join([*pieces, text[cursor:]])


def argument_texts(arguments: str) -> list[str]:
    """The texts of a tool call's arguments, decoded: strings, keys and numbers; all of it where it is not JSON."""
    collector = _Collector(selective=False)
    collector.arguments(arguments)
    return [passage.text for passage in collector.passages]


def with_replaced(arguments: str, replaced: Mapping[str, str]) -> str:
    """A tool call's arguments with `replaced` for the texts that `argument_texts` gives; JSON stays JSON."""
    return _Swap(replaced).arguments(arguments)


__all__ = [
    "Mask",
    "Passage",
    "PassageGroup",
    "PassageKind",
    "argument_texts",
    "groups_of",
    "masked",
    "passages_of",
    "replaced_passages",
    "windows_of",
    "with_replaced",
]
