"""Many words as one expression, with what they have in common written once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

MAX_TREE_CHARS = 60_000
"""How many characters of words together are worth an expression; its automaton then stays below some megabytes."""

_Tree: TypeAlias = "dict[str, _Tree]"
_END = ""


class WordTree:
    """The words by their characters. `letter` gives the expression of a character and whether it is a word's first."""

    __slots__ = ("_root",)

    def __init__(self, words: Iterable[str]) -> None:
        self._root: _Tree = {}
        for word in words:
            node = self._root
            for char in word:
                node = node.setdefault(char, {})
            node[_END] = {}

    def matches(self, letter: Callable[[str, bool], str], end: Callable[[str], str]) -> str:
        """An expression for the words; `end` gives what must hold after a word's last character."""
        return _matches(self._root, "", letter, end)

    def beginnings(self, letter: Callable[[str, bool], str]) -> str:
        """An expression for the beginnings of the words, the empty one included."""
        return _beginnings(self._root, letter, first=True)


def _matches(node: _Tree, before: str, letter: Callable[[str, bool], str], end: Callable[[str], str]) -> str:
    branches = [
        letter(char, not before) + _matches(child, char, letter, end)
        for char, child in sorted(node.items())
        if char != _END
    ]
    if _END in node:
        branches.append(end(before))
    return branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"


def _beginnings(node: _Tree, letter: Callable[[str, bool], str], *, first: bool) -> str:
    branches = [
        letter(char, first) + _beginnings(child, letter, first=False)
        for char, child in sorted(node.items())
        if char != _END
    ]
    return f"(?:{'|'.join(branches)})?" if branches else ""


__all__ = ["MAX_TREE_CHARS", "WordTree"]
