"""A list of words, to be found with digits and signs for letters as well."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property

from bedplate_guardrails.automaton import AutomatonGate
from bedplate_guardrails.detectors.word_edges import folded_word, joins
from bedplate_guardrails.detectors.word_tree import MAX_TREE_CHARS, WordTree
from bedplate_guardrails.expression import parse_expression

_SIGNS = {"a": "4@", "b": "8", "e": "3", "i": "l1!|", "o": "0", "s": "5$", "t": "7+"}
_READ_AS = {sign: letter for letter, signs in _SIGNS.items() for sign in signs}
_SPACERS = " ._*/-"
_MIN_SPACED_CHARS = 4
_SPACED = r"(?:\b[0-9a-z]|[^0-9a-z_ .*/-])[ ._*/-][^ ._*/-][ ._*/-][^ ._*/-]"
"""Where a word may stand letter by letter: much less than the tree of them, and rare in a text."""


class LeetList:
    """Words that are also found where letters are written as digits or signs (`a` as `4` or `@`, `e` as `3`, `i` and
    `l` as each other, `1`, `!` or `|`, `o` as `0`, `s` as `5` or `$`, `t` as `7` or `+`, `b` as `8`), are repeated, or
    stand one separator apart (`b.a.d.s`, the same one throughout, in words of four letters or more).

    At most half of what is found may be digits that are read as letters, so that a number is no word. Immutable and
    safe to share. Raises `ValueError` for a word that is nothing but white space and invisible characters.
    """

    max_chars = None  # any letter may be repeated

    def __init__(self, words: Iterable[str]) -> None:
        self._words = frozenset("".join("i" if char == "l" else char for char in folded_word(word)) for word in words)
        self._beginnings = frozenset(word[:end] for word in self._words for end in range(1, len(word) + 1))
        first = {char for word in self._words for char in word[0] + _SIGNS.get(word[0], "")}
        self._first = re.compile(f"[{''.join(map(re.escape, sorted(first)))}]")
        self._automaton = self._compiled()

    @cached_property
    def gate(self) -> tuple[str, str] | None:
        """As `Detector.gate`; None where it would be too large."""
        if sum(map(len, self._words)) > MAX_TREE_CHARS:
            return None
        tree = WordTree(self._words)
        spaced = parse_expression(_SPACED)
        return f"{tree.matches(_run, _nothing)}|{spaced.source}", f"{tree.beginnings(_run)}|{spaced.prefixes}"

    def _compiled(self) -> AutomatonGate | None:
        if self.gate is None:
            return None
        try:
            return AutomatonGate([self.gate])
        except ValueError:
            return None

    def is_free_of_matches(self, text: str) -> bool:
        """Whether a complete text holds none of the words for sure."""
        return self.quiet_until(text, 0) == len(text)

    def quiet_until(self, text: str, start: int) -> int | None:
        """As `bedplate_guardrails.lane.Gate` says."""
        if self._automaton is not None:
            return self._automaton.quiet_until(text, start)
        at = self.next_start(text, start)
        while at is not None:
            end, open_ended = self.longest(text, at)
            if open_ended:
                return at
            if end:
                return None
            at = self.next_start(text, at + 1)
        return len(text)

    def next_start(self, text: str, start: int) -> int | None:
        """The next place at or after `start` where a word may begin."""
        if self._automaton is not None:
            at, _ = self._automaton.next_candidate(text, start)
            return at if at < len(text) else None
        first = self._first.search(text, start)
        return None if first is None else first.start()

    def longest(self, text: str, at: int) -> tuple[int, bool]:
        """Where the longest word from `at` ends, 0 for none, and whether more text could make a longer one."""
        joined = at > 0 and joins(text[at - 1])
        keys = {key for key in _read(text[at]) if key in self._beginnings and not (joined and joins(key))}
        if not keys:
            return 0, False
        run = self._run(text, at, keys)
        spaced = self._spaced(text, at, keys)
        return max(run[0], spaced[0]), run[1] or spaced[1]

    def _run(self, text: str, at: int, keys: set[str]) -> tuple[int, bool]:
        """Follows letters that stand side by side, any of them repeated."""
        best, end = 0, at + 1
        while keys:
            if any(self._ends(key, text, at, end) for key in keys):
                best = end
            if end == len(text):
                return best, True
            read = _read(text[end])
            repeated = {key for key in keys if key[-1] in read and (key[-1].isalpha() or key[-1] == " ")}
            keys = {key + char for key in keys for char in read if key + char in self._beginnings} | repeated
            end += 1
        return best, False

    def _spaced(self, text: str, at: int, keys: set[str]) -> tuple[int, bool]:
        """Follows letters that stand one separator apart."""
        best, end = 0, at + 1
        if end < len(text) and text[end] not in _SPACERS:
            return 0, False
        while keys:
            if any(len(key) >= _MIN_SPACED_CHARS and self._ends(key, text, at, end, 2) for key in keys):
                best = end
            if end == len(text):
                return best, True
            if text[end] != text[at + 1]:
                break
            if end + 1 == len(text):
                return best, True
            keys = {key + char for key in keys for char in _read(text[end + 1]) if key + char in self._beginnings}
            end += 2
        return best, False

    def _ends(self, key: str, text: str, at: int, end: int, step: int = 1) -> bool:
        """Whether a word of the list ends here, and what was read as it is not mostly digits."""
        if key not in self._words or (end < len(text) and joins(key[-1]) and joins(text[end])):
            return False
        letters = text[at:end:step]
        read = sum(char.isdigit() for char in letters) - sum(char.isdigit() for char in key)
        return 2 * read <= len(letters)


def _read(char: str) -> set[str]:
    """What a character may stand for."""
    return {char, _READ_AS[char]} if char in _READ_AS else {char}


def _run(char: str, first: bool) -> str:
    if char == " ":
        return " +"
    return f"{_one(char, first)}{_class(char)}*" if char.isalpha() else _one(char, first)


def _one(char: str, first: bool) -> str:
    """An expression for one character; at a word's first, what must not stand before."""
    if not first or not (char.isascii() and char.isalnum()):
        return _class(char)
    signs = "".join(sign for sign in _SIGNS.get(char, "") if not sign.isalnum())
    plain = "".join(sign for sign in _SIGNS.get(char, "") if sign.isalnum())
    edged = rf"\b[{char}{plain}]"
    return rf"(?:{edged}|[{re.escape(signs)}])" if signs else edged


def _class(char: str) -> str:
    signs = _SIGNS.get(char)
    return re.escape(char) if signs is None else f"[{char}{re.escape(signs)}]"


def _nothing(_char: str) -> str:
    return ""


__all__ = ["LeetList"]
