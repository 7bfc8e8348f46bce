"""Where a complete text is cut into the pieces that models evaluate."""

from __future__ import annotations

import re

WINDOW_CHARS = 1_000
"""The longest piece."""
OVERLAP_CHARS = 200
"""How much of a piece the next one repeats, at most: what is shorter is whole in one of the two."""

_SENTENCE_END = re.compile(r"""(?:[.!?]["')\]]*\s|[。！？]|\n)\s*""")
_SPACE = re.compile(r"\s+")


def window_places(text: str) -> list[tuple[int, int]]:
    """The windows of `text` as `(start, end)`, in order, none longer than `WINDOW_CHARS`, together all of it.

    They end at the end of a sentence where there is one in their second half, else at a space, else anywhere.
    """
    places: list[tuple[int, int]] = []
    start = 0
    while len(text) - start > WINDOW_CHARS:
        end = _end(text, start)
        places.append((start, end))
        start = _next_start(text, end)
    places.append((start, len(text)))
    return places


def windows_of(text: str) -> list[str]:
    """The windows of `text` themselves."""
    return [text[start:end] for start, end in window_places(text)]


def _end(text: str, start: int) -> int:
    least, most = start + WINDOW_CHARS // 2, start + WINDOW_CHARS
    for pattern in (_SENTENCE_END, _SPACE):
        last = 0
        for found in pattern.finditer(text, least, most):
            last = found.end()
        if last:
            return last
    return most


def _next_start(text: str, end: int) -> int:
    """The first word within the overlap's first half, else where the overlap begins."""
    begin = end - OVERLAP_CHARS
    space = _SPACE.search(text, begin, begin + OVERLAP_CHARS // 2)
    return space.end() if space else begin


__all__ = ["OVERLAP_CHARS", "WINDOW_CHARS", "window_places", "windows_of"]
