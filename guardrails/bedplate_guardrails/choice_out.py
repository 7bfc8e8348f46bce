"""What leaves of one choice: its parts as they go out, and the message that ends it when it is blocked."""

from __future__ import annotations

from typing import TypeAlias

from bedplate_core.events import Delta, Event, PartEnd, PartStart
from bedplate_core.messages import Reasoning, Refusal, Text
from bedplate_guardrails.run import Mask

Kind: TypeAlias = type[Text] | type[Reasoning] | type[Refusal]
Edge: TypeAlias = PartStart | PartEnd


class ChoiceOut:
    """Part numbers are those of the upstream. At most one part is open."""

    __slots__ = ("_masked", "_next", "_number", "_open", "_shown")

    def __init__(self, number: int) -> None:
        self._number = number
        self._open: int | None = None
        self._next = 0
        self._masked: set[Kind] = set()
        self._shown = False

    def pieces(self, kind: Kind | None, pieces: list[str | Edge], out: list[Event]) -> None:
        """Let out texts and edges of a run of one kind, in order. A signature over masked text is worth nothing."""
        for piece in pieces:
            if not isinstance(piece, str):
                if isinstance(piece, PartEnd) and piece.signature is not None and kind in self._masked:
                    piece = PartEnd(piece.choice, piece.index)
                self.edge(piece, out)
            elif self._open is not None:
                if kind is not None and type(piece) is Mask:
                    self._masked.add(kind)
                self._shown = self._shown or kind is Text
                out.append(Delta(self._number, self._open, str(piece)))

    def said(self, kind: Kind | None, text: str, out: list[Event]) -> None:
        """Let out a text in which nothing is masked, as `pieces` does."""
        if self._open is not None:
            if kind is Text:
                self._shown = True
            out.append(Delta(self._number, self._open, text))

    def edge(self, event: Edge, out: list[Event]) -> None:
        """Let out the edge of a part."""
        if isinstance(event, PartStart):
            self._open = event.index
            self._next = event.index + 1
        else:
            self._open = None
        out.append(event)

    @property
    def open(self) -> int | None:
        """The part that is open on the way out."""
        return self._open

    def close(self, out: list[Event]) -> None:
        """Close the part that is open."""
        if self._open is not None:
            out.append(PartEnd(self._number, self._open))
            self._open = None

    def announce(self, message: str, out: list[Event]) -> None:
        """End the choice with the guardrail's message in a text part of its own."""
        self.close(out)
        said = f"\n\n{message}" if self._shown else message
        out.append(PartStart(self._number, self._next, Text(text="")))
        out.append(Delta(self._number, self._next, said))
        out.append(PartEnd(self._number, self._next))


__all__ = ["ChoiceOut", "Edge", "Kind"]
