"""What a call consumed."""

from __future__ import annotations

import msgspec


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Token counts of one call, all choices together. Counts are at least 0.

    `cached_input_tokens` (read from a prefix cache) and `cache_write_input_tokens` are part of
    `input_tokens`; `reasoning_tokens` are part of `output_tokens`. A dialect whose wire counts them
    apart (Anthropic, Bedrock) subtracts when it encodes and adds when it decodes.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_input_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


__all__ = ["Usage"]
