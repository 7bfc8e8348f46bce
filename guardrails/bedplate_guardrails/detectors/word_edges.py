"""Where a word begins and ends, and the words of a list as the folded view shows them."""

from __future__ import annotations

import unicodedata

from bedplate_guardrails.views import View

_UNSPACED = (
    (0xE00, 0xEFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x31F0, 0x31FF), (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF),
)  # fmt: skip


def folded_word(word: str) -> str:
    """A word as the folded view shows it, with single spaces. Raises `ValueError` when nothing is left."""
    folded = " ".join(View("folded").of(word)[0].split())
    if not folded:
        raise ValueError(f"the word {word!r} has no visible character")
    return folded


def joins(char: str) -> bool:
    """Whether `char` makes one word with a letter or digit beside it."""
    if char.isascii():
        return char.isalnum() or char == "_"
    code = ord(char)
    if any(low <= code <= high for low, high in _UNSPACED):
        return False
    return char.isalnum() or unicodedata.category(char).startswith("M")


__all__ = ["folded_word", "joins"]
