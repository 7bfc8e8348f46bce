"""Where a text that is still coming is cut into the pieces that models evaluate.

A cut depends on the text before it and the few characters that show it, never on chunks or time: the same text is cut
at the same places, streamed or whole.
"""

from __future__ import annotations

import re

MIN_SEGMENT_CHARS = 40
"""A sentence that is shorter goes on into the next one: it says little by itself."""
MAX_SEGMENT_CHARS = 240
"""A sentence that goes on for longer is cut at a space, or here."""
CONTEXT_CHARS = 240
"""How much of the text before a segment a model sees with it."""
TAIL_CHARS = 60
"""How much at the end of a segment is held at most until the next one is judged, where names are looked for; two thirds
of it at least, where the segment has as much. A name over the cut that is no longer is seen whole before it leaves."""

_SENTENCE_END = re.compile(r"""[.!?…]["'”’)\]]*\s|[。！？]|\n""")


class Segmenter:
    """Cuts one text. `append` returns the lengths of the segments that became complete."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = ""

    def append(self, text: str) -> list[int]:
        """Take more of the text."""
        self._rest += text
        cuts: list[int] = []
        while (cut := self._cut()) is not None:
            cuts.append(cut)
            self._rest = self._rest[cut:]
        return cuts

    def close(self) -> int:
        """The text ends, and may begin anew: how much there is in its last segment."""
        chars = len(self._rest)
        self._rest = ""
        return chars

    def _cut(self) -> int | None:
        rest = self._rest
        if len(rest) < MIN_SEGMENT_CHARS:
            return None
        for found in _SENTENCE_END.finditer(rest, 0, MAX_SEGMENT_CHARS):
            if found.end() >= MIN_SEGMENT_CHARS:
                return found.end()
        if len(rest) < MAX_SEGMENT_CHARS:
            return None
        for place in range(MAX_SEGMENT_CHARS - 1, MIN_SEGMENT_CHARS - 1, -1):
            if rest[place].isspace():
                return place + 1
        return MAX_SEGMENT_CHARS


__all__ = ["CONTEXT_CHARS", "MAX_SEGMENT_CHARS", "MIN_SEGMENT_CHARS", "TAIL_CHARS", "Segmenter"]
