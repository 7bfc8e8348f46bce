"""How many tokens messages have, about, without a tokenizer.

Tokenizers differ and none of them is at hand, so the sizes here are rules of thumb: near enough to see that a
conversation is far from its limit, and corrected by one exact count where it is not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import assert_never

import msgspec

from bedplate_core.messages import (
    Audio,
    CachePoint,
    Document,
    GuardContent,
    Image,
    Media,
    MediaBytes,
    MediaUrl,
    Message,
    Part,
    Reasoning,
    RedactedReasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
    Video,
)
from bedplate_core.requests import Tool

# Tokens a character, by how many bytes it has in UTF-8: ASCII; other alphabets (accented Latin, Greek, Cyrillic,
# Arabic); CJK and the scripts of South and East Asia; emoji and rare ideographs.
_ASCII = 0.25
_ALPHABETS = 0.5
_CJK = 1.2
_ASTRAL = 2.5

_MESSAGE_TOKENS = 4  # the role and its markers
_TOOL_TOKENS = 8  # the frame of a call, a result or a tool's definition
_AUDIO_BYTES_A_TOKEN = 500
_VIDEO_BYTES_A_TOKEN = 500
_PLAIN_BYTES_A_TOKEN = 4
_BINARY_BYTES_A_TOKEN = 20  # formats with pictures and compression in them, such as PDF
_UNSEEN_TOKENS = 2000  # media named by an address that has not been fetched


class TokenEstimator(msgspec.Struct, frozen=True, kw_only=True):
    """Estimates of tokens. All are at least 0, and the same value always has the same estimate.

    `ratio` is what the rules of thumb are multiplied by; see `calibrated`. `image_tokens` is what a picture counts,
    whatever its size, before that.
    """

    ratio: float = 1.0
    image_tokens: int = 1000

    def text(self, text: str) -> int:
        """The tokens of a text. Takes no measurable time for ASCII of any length, else three passes in C."""
        return self._scaled(_text(text))

    def message(self, message: Message) -> int:
        """The tokens of one message with the markers around it."""
        return self._scaled(_MESSAGE_TOKENS + sum(self._part(part) for part in message.parts))

    def sizes(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """`message` of each, in order."""
        return tuple(map(self.message, messages))

    def tools(self, tools: Sequence[Tool]) -> int:
        """What the definitions of tools add to a request."""
        return self._scaled(sum(_TOOL_TOKENS + _text(msgspec.json.encode(tool).decode()) for tool in tools))

    def calibrated(self, estimate_total: int, exact_total: int) -> TokenEstimator:
        """This estimator, corrected by what a provider counted where this one had estimated `estimate_total`.

        Unchanged where one of the two is 0, from which nothing can be learnt.
        """
        if estimate_total <= 0 or exact_total <= 0:
            return self
        return msgspec.structs.replace(self, ratio=self.ratio * exact_total / estimate_total)

    def _scaled(self, tokens: float) -> int:
        return math.ceil(tokens * self.ratio)

    def _part(self, part: Part) -> float:
        match part:
            case Text() | Reasoning() | Refusal():
                return _text(part.text)
            case ToolCall():
                return _TOOL_TOKENS + _text(part.name) + _text(part.arguments)
            case ToolResult():
                return _TOOL_TOKENS + sum(self._part(inner) for inner in part.parts)
            case GuardContent():
                return self._part(part.content)
            case Image():
                return self.image_tokens
            case Audio():
                return _media(part.media, _AUDIO_BYTES_A_TOKEN)
            case Video():
                return max(self.image_tokens, _media(part.media, _VIDEO_BYTES_A_TOKEN))
            case Document():
                hints = _text(part.name or "") + _text(part.context or "")
                return hints + _media(part.media, _document_bytes_a_token(part.media))
            case RedactedReasoning():
                return len(part.data) / _PLAIN_BYTES_A_TOKEN
            case CachePoint():
                return 0
            case _:
                assert_never(part)


def _text(text: str) -> float:
    if text.isascii():
        return len(text) * _ASCII
    # Two lengths and two encodings say how many characters there are of each width, without a look at any of them.
    chars = len(text)
    ascii_chars = len(text.encode("ascii", "ignore"))
    astral = len(text.encode("utf-16-le", "surrogatepass")) // 2 - chars
    wide_bytes = len(text.encode("utf-8", "surrogatepass")) - ascii_chars - 4 * astral
    wide_chars = chars - ascii_chars - astral
    three = wide_bytes - 2 * wide_chars
    return ascii_chars * _ASCII + (wide_chars - three) * _ALPHABETS + three * _CJK + astral * _ASTRAL


def _media(media: Media, bytes_a_token: int) -> float:
    match media:
        case MediaBytes():
            return len(media.data) / bytes_a_token
        case MediaUrl():
            return _UNSEEN_TOKENS
        case _:
            assert_never(media)


def _document_bytes_a_token(media: Media) -> int:
    plain = (media.media_type or "").startswith("text/")
    return _PLAIN_BYTES_A_TOKEN if plain else _BINARY_BYTES_A_TOKEN


__all__ = ["TokenEstimator"]
