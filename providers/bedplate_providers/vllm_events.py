"""From the chunks of a vLLM stream to our events: what vLLM adds to `ChatChunkReader`.

It sends the usage so far in every chunk, and says which stop text or token ended a choice.
"""

from __future__ import annotations

from bedplate_core.events import StopReason
from bedplate_core.requests import Request
from bedplate_core.usage import Usage
from bedplate_providers.chat_chunks import ChatChunkReader


class ChunkReader(ChatChunkReader):
    """Reads the stream of one call; see `EventReader`."""

    __slots__ = ("_input_tokens",)

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self._input_tokens = [0] * max(len(request.prompts), 1)

    def _count(self) -> None:
        """A chunk's usage speaks for its choice alone, the input for that choice's prompt."""
        choices, inputs = self._request.choices, self._input_tokens
        for state, usage in self._usages:
            output_tokens = usage.completion_tokens or 0
            if output_tokens > state.output_tokens:
                state.output_tokens = output_tokens
            prompt = state.number // choices
            if usage.prompt_tokens > inputs[prompt]:
                inputs[prompt] = usage.prompt_tokens
            details = usage.completion_tokens_details
            if details is not None:
                state.reasoning_tokens = max(state.reasoning_tokens, details.reasoning_tokens or 0)
        if self._usages:
            self._counted = True
            self._usages.clear()

    def _usage(self) -> Usage:
        if self._final is not None:
            return super()._usage()
        return Usage(
            input_tokens=sum(self._input_tokens),
            output_tokens=sum(state.output_tokens for state in self._choices),
            reasoning_tokens=sum(state.reasoning_tokens for state in self._choices),
        )

    def _met(self, stop: str | int) -> tuple[StopReason, str | None] | None:
        """A text is the stop text. A number is the stop token, which counts only where the request named it: the
        model may have several end tokens.
        """
        if isinstance(stop, str):
            return StopReason.STOP_SEQUENCE, stop
        named = self._request.extensions.get("stop_token_ids")
        return (StopReason.STOP_SEQUENCE, None) if isinstance(named, list) and stop in named else None


__all__ = ["ChunkReader"]
