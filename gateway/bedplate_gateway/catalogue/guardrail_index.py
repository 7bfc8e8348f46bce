"""Which guardrails a project has, without what is in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

import msgspec

DRAFT: Final = "DRAFT"
Version: TypeAlias = int | None
"""A version's number; None: the draft."""

_NUMBER: Final = re.compile(r"[1-9][0-9]{0,7}")
_ARN: Final = re.compile(r"arn:aws(?:-[^:]+)?:bedrock:[a-z0-9-]{1,20}:[0-9]{12}:guardrail/([a-z0-9]+)")


class GuardrailEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A guardrail of a project: its draft's revision and the numbers of its versions."""

    id: str
    name: str
    revision: int
    versions: frozenset[int] = frozenset()

    def has(self, version: Version) -> bool:
        """Whether there is such a version. There is always a draft."""
        return version is None or version in self.versions


class GuardrailIndex:
    """The guardrails of one project by id and by name."""

    __slots__ = ("_by_id", "_by_name")

    def __init__(self, entries: Iterable[GuardrailEntry] = ()) -> None:
        self._by_id: Mapping[str, GuardrailEntry] = {entry.id: entry for entry in entries}
        self._by_name: Mapping[str, GuardrailEntry] = {entry.name: entry for entry in self._by_id.values()}

    def __len__(self) -> int:
        return len(self._by_id)

    def find(self, identifier: str) -> GuardrailEntry | None:
        """The guardrail with this id or ARN, or else with this name. Of an ARN only the resource's id counts."""
        return self._by_id.get(identifier_of(identifier)) or self._by_name.get(identifier)

    def by_id(self, name: str) -> GuardrailEntry | None:
        """The guardrail with this id."""
        return self._by_id.get(name)

    def by_name(self, name: str) -> GuardrailEntry | None:
        """The guardrail with this name."""
        return self._by_name.get(name)

    def named(self, text: str) -> tuple[GuardrailEntry, Version] | None:
        """What `name` or `name:version` means in a file; None where there is no such guardrail or version.

        A name with a colon in it that exists goes first.
        """
        whole = self._by_name.get(text)
        if whole is not None:
            return whole, None
        name, _, said = text.rpartition(":")
        entry = self._by_name.get(name)
        if entry is None or not is_version(said):
            return None
        version = version_of(said)
        return (entry, version) if entry.has(version) else None


def is_version(text: str) -> bool:
    """Whether `text` is `DRAFT` or a version's number."""
    return text == DRAFT or _NUMBER.fullmatch(text) is not None


def version_of(text: str) -> Version:
    """The version that `text` names, which `is_version`."""
    return None if text == DRAFT else int(text)


def identifier_of(text: str) -> str:
    """The id in a guardrail's ARN, of which only the resource counts; any other text is itself."""
    arn = _ARN.fullmatch(text)
    return arn[1] if arn else text


__all__ = ["DRAFT", "GuardrailEntry", "GuardrailIndex", "Version", "identifier_of", "is_version", "version_of"]
