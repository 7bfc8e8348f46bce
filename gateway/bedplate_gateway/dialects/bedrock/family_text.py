"""What the families of raw text completion (Llama, Mistral) share: one prompt in, one text out.

A refusal is text here; reasoning and calls, which a prompt without a chat template does not lead to, are left out.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, Protocol, TypeAlias, assert_never

from msgspec import Meta

from bedplate_core.events import Batch, Delta, Finish, PartEnd, PartStart, Progress, Start, StopReason
from bedplate_core.response import Response
from bedplate_core.usage import Usage
from bedplate_gateway.dialects.limits import MAX_TOKENS
from bedplate_gateway.dialects.openai.completion_answer import said

DEFAULT_MAX_TOKENS: Final = 512
"""The output limit of a request that names none: AWS's default for both families."""

Prompt: TypeAlias = Annotated[str, Meta(min_length=1)]
Fraction: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
TokenLimit: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_TOKENS)]
"""AWS documents 2,048 (Llama) and 8,192 (Mistral) as the most; a model of the fleet has a limit of its own."""

TextStop: TypeAlias = Literal["stop", "length"]


class TextChunk(Protocol):
    """Writes one JSON document of a streamed text; `usage` is what is known so far, `stop` comes with the last."""

    def __call__(self, text: str, usage: Usage | None, stop: TextStop | None, /) -> bytes: ...


class TextStream:
    """A streamed text completion; see `NativeStream`. One event makes one document or none."""

    __slots__ = ("_chunk", "_open", "_usage")

    def __init__(self, chunk: TextChunk) -> None:
        self._chunk = chunk
        self._open = False
        self._usage: Usage | None = None

    def payloads(self, batch: Batch) -> list[bytes]:
        """See `NativeStream.payloads`."""
        payloads: list[bytes] = []
        for event in batch:
            match event:
                case Delta():
                    if self._open and event.text:
                        payloads.append(self._chunk(event.text, self._usage, None))
                case PartStart():
                    text = said(event.part)
                    self._open = text is not None
                    if text:
                        payloads.append(self._chunk(text, self._usage, None))
                case PartEnd():
                    self._open = False
                case Progress():
                    self._usage = event.usage
                case Finish():
                    payloads.append(self._chunk("", event.usage, text_stop(event.stops[0].reason)))
                case Start():
                    pass  # the wire has no opening document
                case _:
                    assert_never(event)
        return payloads

    def close(self) -> list[bytes]:
        """Nothing: these chunks open nothing that has an end."""
        return []


def whole_text(response: Response) -> tuple[str, TextStop]:
    """The text of the only answer, and why it ended."""
    choice = response.choices[0]
    return "".join(said(part) or "" for part in choice.parts), text_stop(choice.stop.reason)


def text_stop(reason: StopReason) -> TextStop:
    """`length` for an answer that ran into a limit, else `stop`: these families have no other words."""
    return "length" if reason in (StopReason.LENGTH, StopReason.CONTEXT) else "stop"


__all__ = [
    "DEFAULT_MAX_TOKENS",
    "Fraction",
    "Prompt",
    "TextChunk",
    "TextStop",
    "TextStream",
    "TokenLimit",
    "text_stop",
    "whole_text",
]
