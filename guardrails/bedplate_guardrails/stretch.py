"""Consecutive parts of one kind of one choice, held until models judged them."""

from __future__ import annotations

from bisect import insort
from collections import deque

import msgspec

from bedplate_core.events import PartEnd, PartStart
from bedplate_guardrails.choice_out import Edge, Kind
from bedplate_guardrails.run import Mask
from bedplate_guardrails.segments import CONTEXT_CHARS, TAIL_CHARS, Segmenter


class Window(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What models are shown of a stretch: `text`, which begins at `offset` and ends with the segment's `end`.

    What is before `start` was judged with segments before it; what is before `floor` may have left. Both are places of
    the text alone and do not depend on what did leave. Places are the stretch's.
    """

    stretch: Stretch
    offset: int
    floor: int
    start: int
    end: int
    text: str


class Stretch:
    """Text with marks (the edges of its parts) in their places, cut into windows, masked and let out in order.

    Places count the characters since its beginning. `context` is what the choice said in this kind before. With
    `holds_tails` the end of a segment waits for the next window, unless its part ends there; with `leaves_at_once`
    nothing waits for windows.

    The first segment of a part is shown twice where something of its kind was said before: joined to it, because a
    client may join them, and by itself, because a client may not.
    """

    __slots__ = (
        "_base", "_cursor", "_cut", "_end", "_floor", "_follows_mask", "_holds_tails", "_judged", "_known",
        "_leaves_at_once", "_limit", "_marks", "_masks", "_new", "_part", "_segmenter", "_text", "closed", "kind",
    )  # fmt: skip

    def __init__(self, kind: Kind, context: str, *, holds_tails: bool, leaves_at_once: bool) -> None:
        self.kind = kind
        self._leaves_at_once = leaves_at_once
        self._text = context[-CONTEXT_CHARS:]
        self._base = -len(self._text)  # the place of its first character
        self._cursor = 0  # before this place everything has left
        self._end = 0
        self._cut = 0  # where the open segment begins
        self._part = 0  # where the open part begins
        self._floor = 0  # before this place everything may leave once all windows so far are judged
        self._judged = 0
        self._limit = 0  # before this place everything may leave
        self._holds_tails = holds_tails
        self._segmenter = Segmenter()
        self._marks: deque[tuple[int, Edge]] = deque()
        self._masks: list[tuple[int, int, str]] = []
        self._known: list[tuple[int, int, str]] = []
        self._new: list[Window] = []
        self._follows_mask = False
        self.closed = False

    @property
    def context(self) -> str:
        """The end of the text, for what follows in the same kind."""
        return self._text[-CONTEXT_CHARS:]

    def append(self, text: str) -> None:
        """More text of the current part."""
        self._text += text
        self._end += len(text)
        for chars in self._segmenter.append(text):
            self._complete(chars)

    def mark(self, edge: Edge) -> None:
        """The edge of a part. At the end of one its last segment is complete."""
        match edge:
            case PartEnd():
                self._boundary()
            case PartStart():
                self._part = self._end
        self._marks.append((self._end, edge))

    def close(self) -> None:
        """Nothing follows."""
        self._boundary()
        self.closed = True

    def windows(self) -> list[Window]:
        """The windows that became complete since the last time."""
        new, self._new = self._new, []
        return new

    def judged(self, window: Window) -> None:
        """What lies before the end of `window` may leave, but for its tail."""
        self._judged = window.end
        self._limit = self._floor if window.end == self._cut else window.floor

    def find(self, window: Window, start: int, end: int, kind: str) -> int | None:
        """Note a name that was found in `window`. Returns where the one begins that it is or goes on with, if any."""
        self._known = [known for known in self._known if known[1] > window.offset]
        begins = [known[0] for known in self._known if known[2] == kind and start < known[1] and known[0] < end]
        self._known.append((start, end, kind))
        return min(begins, default=None)

    def mask(self, start: int, end: int, mask: str) -> None:
        """Put a mask over a span. An empty mask goes on with the one before it."""
        insort(self._masks, (start, end, mask))

    def release_to(self, limit: int) -> list[str | Edge]:
        """What lies before `limit`, masked, with the marks in their places."""
        out: list[str | Edge] = []
        while self._masks and self._masks[0][0] < limit:
            start, end, mask = self._masks.pop(0)
            if end <= self._cursor:
                continue
            overlapped = start < self._cursor
            self._emit(max(start, self._cursor), out)
            if mask and not (overlapped and self._follows_mask):
                out.append(Mask(mask))
            self._cursor = end
            self._follows_mask = True
        self._emit(limit, out)
        self._trim()
        return out

    def release(self) -> list[str | Edge]:
        """What may leave now."""
        return self.release_to(self._end if self._leaves_at_once else self._limit)

    @property
    def is_empty(self) -> bool:
        """Whether it is closed and everything has left."""
        return self.closed and self._cursor >= self._end and not self._marks

    def _boundary(self) -> None:
        chars = self._segmenter.close()
        if chars:
            self._complete(chars)
        self._floor = self._end
        if self._judged == self._end:
            self._limit = self._end

    def _complete(self, chars: int) -> None:
        start, end = self._cut, self._cut + chars
        self._cut = end
        if start == self._part and start > self._base:
            self._new.append(self._window(start, start, end))
        self._new.append(self._window(max(start - CONTEXT_CHARS, self._base), start, end))
        self._floor = self._tail(start, end)

    def _window(self, offset: int, start: int, end: int) -> Window:
        text = self._text[offset - self._base : end - self._base]
        return Window(stretch=self, offset=offset, floor=self._floor, start=start, end=end, text=text)

    def _tail(self, start: int, end: int) -> int:
        """Where the held tail of a segment begins: at a word, if one begins in the tail's first third."""
        if not self._holds_tails:
            return end
        place = max(end - TAIL_CHARS, start)
        space = self._text.find(" ", place - self._base, min(place + TAIL_CHARS // 3, end - 1) - self._base)
        return place if space < 0 else space + 1 + self._base

    def _emit(self, limit: int, out: list[str | Edge]) -> None:
        while self._marks and self._marks[0][0] <= limit:
            place, edge = self._marks.popleft()
            self._copy(place, out)
            out.append(edge)
        self._copy(limit, out)

    def _copy(self, limit: int, out: list[str | Edge]) -> None:
        if limit > self._cursor:
            out.append(self._text[self._cursor - self._base : limit - self._base])
            self._cursor = limit
            self._follows_mask = False

    def _trim(self) -> None:
        keep = min(self._cursor, self._cut) - CONTEXT_CHARS
        if keep > self._base:
            self._text = self._text[keep - self._base :]
            self._base = keep


__all__ = ["Stretch", "Window"]
