"""Regular expressions in RE2's syntax, taken apart far enough to say what could still become a match.

A stream needs two questions answered about a pattern: what matches, and which tail of the text so far is the
beginning of something that could match. RE2 answers the first in linear time and has no partial matching for the
second, so `Expression.prefixes` is a second expression that matches exactly the beginnings of the first one's
matches (its prefix closure). Anchored at the end of the text it finds the earliest place that must be held back,
again in linear time, with a shorter match never winning over a longer one that may still come.

The closure is built from the syntax tree: a beginning of `ab` is a beginning of `a`, or `a` and a beginning of `b`;
a beginning of `a{m,n}` is up to `n - 1` times `a` and a beginning of `a`. An assertion such as `\\b` at the very end
counts as possible, since the next character decides it.

Syntax: https://github.com/google/re2/wiki/Syntax. Refused, besides what RE2 refuses (look-around,
back-references): `\\C` (one byte), and expressions that match the empty string.
"""

from __future__ import annotations

import re
from typing import NamedTuple, TypeAlias

_QUANTIFIER = re.compile(r"(?:[*+?]|\{(\d+)(,(\d*))?\})\??")
_GROUP = re.compile(r"\((?:\?(?:P?<(?P<name>[^>]*)>|(?P<flags>[imsU]*(?:-[imsU]+)?)(?P<end>[:)])))?")
_ESCAPE = re.compile(r"\\(?:[pP](?:\{[^}]*\}|.)|x\{[0-9A-Fa-f]+\}|x[0-9A-Fa-f]{2}|[0-7]{1,3}|.)", re.DOTALL)
_CLASS_ITEM = re.compile(r"\[:\^?[a-z]+:\]|" + _ESCAPE.pattern + r"|[^\]]", re.DOTALL)
_ASSERTIONS = frozenset({"\\b", "\\B", "\\A", "\\z"})


class Atom(NamedTuple):
    """Exactly one character; `source` stands for itself, flags included."""

    source: str


class Assertion(NamedTuple):
    """A condition on a place, without a character."""

    source: str


class Sequence(NamedTuple):
    """One after the other."""

    items: tuple[Node, ...]


class Choice(NamedTuple):
    """Any one of them."""

    items: tuple[Node, ...]


class Repeat(NamedTuple):
    """`item`, `least` to `most` times; without an upper bound when `most` is None."""

    item: Node
    least: int
    most: int | None


Node: TypeAlias = Atom | Assertion | Sequence | Choice | Repeat


class Expression(NamedTuple):
    """A parsed expression. `source` is equivalent to what was parsed, without capturing groups.

    `prefixes` matches every beginning of a match, the empty one included. `min_chars` and `max_chars` bound the
    length of a match; `max_chars` is None when there is no bound. `literals` are the characters that stand for
    themselves outside classes.
    """

    source: str
    prefixes: str
    min_chars: int
    max_chars: int | None
    literals: frozenset[str]


def parse_expression(pattern: str) -> Expression:
    """Parse a pattern that RE2 accepts. Raises `ValueError` for what this module refuses."""
    parser = _Parser(pattern)
    tree = parser.parse()
    least, most = _length(tree)
    return Expression(_source(tree), _prefixes(tree), least, most, frozenset(parser.literals))


def _source(node: Node) -> str:
    match node:
        case Atom() | Assertion():
            return node.source
        case Sequence():
            return "".join(_source(item) for item in node.items)
        case Choice():
            return f"(?:{'|'.join(_source(item) for item in node.items)})"
        case Repeat():
            most = "" if node.most is None else str(node.most)
            return f"(?:{_source(node.item)}){{{node.least},{most}}}"


def _prefixes(node: Node) -> str:
    match node:
        case Atom():
            return f"(?:{node.source})?"
        case Assertion():
            return ""
        case Sequence():
            closed = ""
            for item in reversed(node.items):
                if isinstance(item, Atom | Assertion):
                    closed = f"(?:{item.source}{closed})?"
                else:
                    closed = f"(?:{_prefixes(item)}|{_source(item)}{closed})"
            return closed
        case Choice():
            return f"(?:{'|'.join(_prefixes(item) for item in node.items)})"
        case Repeat():
            if node.most == 0:
                return ""
            before = "*" if node.most is None else f"{{0,{node.most - 1}}}"
            return f"(?:{_source(node.item)}){before}{_prefixes(node.item)}"


def _length(node: Node) -> tuple[int, int | None]:
    match node:
        case Atom():
            return 1, 1
        case Assertion():
            return 0, 0
        case Sequence():
            lengths = [_length(item) for item in node.items]
            return sum(least for least, _ in lengths), _sum([most for _, most in lengths])
        case Choice():
            lengths = [_length(item) for item in node.items]
            mosts = [most for _, most in lengths if most is not None]
            return min(least for least, _ in lengths), max(mosts) if len(mosts) == len(lengths) else None
        case Repeat():
            least, most = _length(node.item)
            if most == 0 or node.most == 0:
                return 0, 0
            bound = None if most is None or node.most is None else most * node.most
            return least * node.least, bound


def _sum(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


class _Parser:
    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        self.literals: set[str] = set()

    def parse(self) -> Node:
        node = self._choice(frozenset())
        if self._at < len(self._pattern):
            raise ValueError(f"unexpected {self._pattern[self._at]!r} at character {self._at + 1}")
        return node

    def _choice(self, flags: frozenset[str]) -> Node:
        """Alternatives up to the end or the closing bracket. Flags set inside hold to the end of the group."""
        branches: list[Node] = []
        items: list[Node] = []
        while self._at < len(self._pattern) and self._pattern[self._at] != ")":
            if self._pattern[self._at] == "|":
                self._at += 1
                branches.append(Sequence(tuple(items)))
                items = []
            elif (switched := self._flag_switch(flags)) is not None:
                flags = switched
            else:
                items.extend(self._repeated(self._item(flags)))
        branches.append(Sequence(tuple(items)))
        return branches[0] if len(branches) == 1 else Choice(tuple(branches))

    def _flag_switch(self, flags: frozenset[str]) -> frozenset[str] | None:
        opening = _GROUP.match(self._pattern, self._at)
        if opening is None or opening["end"] != ")":
            return None
        self._at = opening.end()
        return _switched(flags, opening["flags"])

    def _item(self, flags: frozenset[str]) -> list[Node]:
        char = self._pattern[self._at]
        if char == "(":
            return [self._group(flags)]
        if char == "[":
            return [Atom(_flagged(self._class(), flags))]
        if char == "\\":
            return self._escape(flags)
        self._at += 1
        if char in "^$":
            return [Assertion(_flagged(char, flags))]
        if char == ".":
            return [Atom(_flagged(char, flags))]
        return [self._literal(char, flags)]

    def _group(self, flags: frozenset[str]) -> Node:
        opening = _GROUP.match(self._pattern, self._at)
        if opening is None or (self._pattern.startswith("(?", self._at) and opening.end() - self._at < 2):
            raise ValueError(f"a group that is not supported at character {self._at + 1}")
        self._at = opening.end()
        node = self._choice(_switched(flags, opening["flags"] or ""))
        if not self._pattern.startswith(")", self._at):
            raise ValueError("a group is not closed")
        self._at += 1
        return node

    def _class(self) -> str:
        start = self._at
        self._at += 1
        if self._pattern.startswith("^", self._at):
            self._at += 1
        if self._pattern.startswith("]", self._at):  # first in a class, the bracket is an ordinary member
            self._at += 1
        while not self._pattern.startswith("]", self._at):
            item = _CLASS_ITEM.match(self._pattern, self._at)
            if item is None:
                raise ValueError("a character class is not closed")
            self._at = item.end()
        self._at += 1
        return self._pattern[start : self._at]

    def _escape(self, flags: frozenset[str]) -> list[Node]:
        if self._pattern.startswith("\\Q", self._at):
            end = self._pattern.find("\\E", self._at)
            quoted = self._pattern[self._at + 2 : end if end >= 0 else len(self._pattern)]
            self._at = end + 2 if end >= 0 else len(self._pattern)
            return [self._literal(char, flags) for char in quoted]
        escape = _ESCAPE.match(self._pattern, self._at)
        if escape is None:
            raise ValueError("the pattern ends in a backslash")
        self._at = escape.end()
        source = escape[0]
        if source in _ASSERTIONS:
            return [Assertion(source)]
        if source == "\\C":
            raise ValueError(r"\C matches one byte, which is not a character")
        if source == "\\E":
            return []
        if source.startswith("\\x"):
            self.literals.add(chr(int(source[2:].strip("{}"), 16)))
        return [Atom(_flagged(source, flags))]

    def _literal(self, char: str, flags: frozenset[str]) -> Node:
        self.literals.add(char)
        return Atom(_flagged(re.escape(char) if char.isascii() else char, flags))

    def _repeated(self, items: list[Node]) -> list[Node]:
        """`items` with a quantifier that follows applied to the last of them."""
        quantifier = _QUANTIFIER.match(self._pattern, self._at)
        if quantifier is None or not items:
            return items
        self._at = quantifier.end()
        match quantifier[0][0]:
            case "*":
                least, most = 0, None
            case "+":
                least, most = 1, None
            case "?":
                least, most = 0, 1
            case _:
                least = int(quantifier[1])
                most = least if quantifier[2] is None else int(quantifier[3]) if quantifier[3] else None
        return [*items[:-1], Repeat(items[-1], least, most)]


def _flagged(source: str, flags: frozenset[str]) -> str:
    return f"(?{''.join(sorted(flags))}:{source})" if flags else source


def _switched(flags: frozenset[str], switch: str) -> frozenset[str]:
    """`flags` after a switch such as `i` or `s-m`. `U` only changes which match is preferred and is dropped."""
    on, _, off = switch.partition("-")
    return (flags | set(on) - {"U"}) - set(off)


__all__ = ["Expression", "parse_expression"]
