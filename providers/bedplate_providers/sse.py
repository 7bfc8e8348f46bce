"""Server-sent events, incrementally: bytes in, the data of complete events out.

The format is that of the HTML standard, section 9.2.6 (event stream interpretation), as far as a relay needs
it: only `data` fields count, several of one event are joined by a line feed, everything else (comments,
`event`, `id`, `retry`) is skipped, an event without data is none, and one that the stream's end cut off is
dropped.
"""

from __future__ import annotations

MAX_EVENT_BYTES = 8 * 1024 * 1024

_FIELD = b"data: "
_BETWEEN = b"\n\ndata: "


class EventTooLarge(ValueError):
    """One event is longer than the limit."""


class SseParser:
    """Parses one stream. How the bytes are cut into chunks makes no difference.

    Lines end with LF, CRLF or CR; after a CR at the end of a chunk the next byte is awaited. Payloads are
    bytes, so a character that was cut in two is whole again. `too_large` is set once an event over the limit
    was met.
    """

    __slots__ = ("_held", "_max_event_bytes", "_partial", "too_large")

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._partial = bytearray()
        self._held = False
        self.too_large = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The payloads of the events that `chunk` completes, in order.

        Raises `EventTooLarge` when an event is over the limit; if that is found behind complete events,
        these are returned and the next call raises.
        """
        if self.too_large:
            raise EventTooLarge(f"an event is longer than {self._max_event_bytes} bytes")
        if not self._partial and not self._held and len(chunk) <= self._max_event_bytes:
            plain = _single_lines(chunk)
            if plain is not None:
                return plain
        if self._held:
            chunk = b"\r" + chunk
            self._held = False
        if b"\r" in chunk:
            if chunk.endswith(b"\r"):
                self._held = True
                chunk = chunk[:-1]
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if b"\n" not in chunk:
            self._partial += chunk
            self._check(len(self._partial), [])
            return []
        if self._partial:
            chunk = bytes(self._partial) + chunk
        blocks = chunk.split(b"\n\n")
        self._partial = bytearray(blocks.pop())
        payloads: list[bytes] = []
        for block in blocks:
            if len(block) > self._max_event_bytes:
                self._check(len(block), payloads)
                break
            if block.startswith(_FIELD) and b"\n" not in block:
                payloads.append(block[6:])
            else:
                data = _data(block)
                if data is not None:
                    payloads.append(data)
        self._check(len(self._partial), payloads)
        return payloads

    def _check(self, size: int, payloads: list[bytes]) -> None:
        if size > self._max_event_bytes:
            self.too_large = True
            self._partial.clear()
            if not payloads:
                raise EventTooLarge(f"an event is longer than {self._max_event_bytes} bytes")


def _single_lines(chunk: bytes) -> list[bytes] | None:
    """The payloads of `chunk` where it is what most servers send: whole events of one `data: ` line each.

    Every line feed must be one of those that end an event, so that there is no other line. `None` for anything else.
    """
    if not chunk.startswith(_FIELD) or not chunk.endswith(b"\n\n") or b"\r" in chunk:
        return None
    payloads = chunk[len(_FIELD) : -2].split(_BETWEEN)
    return payloads if chunk.count(b"\n") == 2 * len(payloads) else None


def _data(block: bytes) -> bytes | None:
    """The data of one event's lines, `None` when it has none."""
    lines: list[bytes] = []
    for line in block.split(b"\n"):
        if line.startswith(b"data:"):
            lines.append(line[6:] if line.startswith(b"data: ") else line[5:])
        elif line == b"data":
            lines.append(b"")
    return b"\n".join(lines) if lines else None


__all__ = ["MAX_EVENT_BYTES", "EventTooLarge", "SseParser"]
