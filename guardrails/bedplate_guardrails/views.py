"""How text is seen by the detectors: a normalised view of it, with the way back to the original.

A reader takes `ｂａｄ`, `b\u200bad` and `bаd` with a Cyrillic `а` for the same word; a plain comparison does not. The
detectors therefore never look at the text itself but at one of two views:

- `plain`, for patterns: compatibility forms are folded (NFKC), every decimal digit is an ASCII digit, every
  non-ASCII white space is a space, characters without a visible form are removed. Case is kept.
- `folded`, for words: `plain`, case-folded, without combining diacritics (so accents make no difference), with
  letters of other scripts that look like Latin ones replaced, and every white space a space.

A view is made one character at a time, so it does not depend on how the text arrived in pieces. Sequences are not
composed across characters (`e` with U+0301 is not `é`); in `folded` both become `e`.

Confusables are the lower-case look-alikes of the Latin letters from the Unicode confusables table
(https://www.unicode.org/reports/tr39/), Cyrillic, Greek, Armenian and the phonetic small capitals.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal, TypeAlias

ViewName: TypeAlias = Literal["plain", "folded"]

_ODD = re.compile(r"[^\t\n\v\f\r -~]")
_ASCII_SPACE = re.compile(r"[\t\n\v\f\r]")
_SPACES = {ord(space): " " for space in "\t\n\v\f\r"}

_INVISIBLE = (
    (0x00, 0x08), (0x0E, 0x1F), (0x7F, 0x84), (0x86, 0x9F), (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C),
    (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F),
    (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFFB),
    (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip
_DIACRITICS = ((0x300, 0x36F), (0x1AB0, 0x1AFF), (0x1DC0, 0x1DFF), (0x20D0, 0x20FF), (0xFE20, 0xFE2F))
_LETTER_SYMBOLS = ((0x1F150, 0x1F169), (0x1F170, 0x1F189))

_LOOKALIKES = str.maketrans(
    "авеікмнорстухѕјԁԛԝһӏүαβγεικνορτυχωϲϳոսցհօɑɡıɩʀʙɢʜɪʟɴʏᴀᴄᴅᴇᴊᴋᴍᴏᴘᴛᴜᴠᴡᴢꜰꜱøđħłŧƒ",
    "abeikmhopctyxsjdqwhlyabyeikvoptuxwcjnughoagiirbghilnyacdejkmoptuvwzfsodhltf",
)


def _within(char: str, ranges: tuple[tuple[int, int], ...]) -> bool:
    code = ord(char)
    return any(low <= code <= high for low, high in ranges)


def plain_char(char: str) -> str:
    """What `char` is in the plain view: one character or more, or nothing when it has no visible form."""
    if _within(char, _INVISIBLE) or unicodedata.category(char) == "Cf":
        return ""
    if "\ud800" <= char <= "\udfff":
        return "\ufffd"
    digit = unicodedata.decimal(char, None)
    if digit is not None:
        return str(digit)
    if char.isspace():
        return char if char.isascii() else " "
    return "".join(part if not part.isspace() else " " for part in unicodedata.normalize("NFKC", char))


def folded_char(char: str) -> str:
    """What `char` is in the folded view: one character or more, or nothing when it has no visible form."""
    for low, high in _LETTER_SYMBOLS:
        if low <= ord(char) <= high:
            return chr(ord("a") + ord(char) - low)
    plain = plain_char(char)
    if not plain or plain.isspace():
        return plain and " "
    bare = "".join(part for part in unicodedata.normalize("NFKD", plain.casefold()) if not _within(part, _DIACRITICS))
    return bare.casefold().translate(_LOOKALIKES)


class View:
    """One of the two views. Remembers what it found out about characters, up to a bound; safe to share."""

    MAX_REMEMBERED = 8192

    __slots__ = ("_folds", "_known", "name")

    def __init__(self, name: ViewName) -> None:
        self.name: ViewName = name
        self._folds = name == "folded"
        self._known: dict[str, str] = {}

    def of(self, text: str) -> tuple[str, list[int] | None]:
        """The view of `text`, and for each of its characters the index in `text` it came from.

        The second is None when the characters correspond one to one, which is the common case.
        """
        if (text.isascii() and text.isprintable()) or _ODD.search(text) is None:
            if not self._folds:
                return text, None
            lower = text.lower()
            return (lower.translate(_SPACES) if _ASCII_SPACE.search(lower) else lower), None
        parts = [self._char(char) for char in text]
        if all(len(part) == 1 for part in parts):
            return "".join(parts), None
        return "".join(parts), [index for index, part in enumerate(parts) for _ in part]

    def _char(self, char: str) -> str:
        known = self._known.get(char)
        if known is None:
            known = folded_char(char) if self._folds else plain_char(char)
            if len(self._known) < self.MAX_REMEMBERED:
                self._known[char] = known
        return known


__all__ = ["View", "ViewName", "folded_char", "plain_char"]
