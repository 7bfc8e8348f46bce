"""From the chunks of an OpenAI-compatible server to our events: what differs from vLLM's.

The usage comes once, in the last chunk or with the last piece; some servers send a piece that says nothing after the
end of a choice.
"""

from __future__ import annotations

from bedplate_core.errors import UpstreamProtocolError
from bedplate_core.events import StopReason
from bedplate_core.requests import Request
from bedplate_providers.chat_chunks import ChatChunkReader
from bedplate_providers.vllm_wire import ChatChunkChoice, CompletionChunkChoice


class OpenAIChunkReader(ChatChunkReader):
    """Reads the stream of one call; see `EventReader`.

    With `require_usage`, an answer whose consumption is never told ends in `UpstreamProtocolError`: it could not be
    charged. Without, it counts as nothing.
    """

    __slots__ = ("_require_usage",)

    def __init__(self, request: Request, *, require_usage: bool) -> None:
        super().__init__(request)
        self._require_usage = require_usage

    def _after_stop(self, choice: ChatChunkChoice | CompletionChunkChoice) -> bool:
        """Routers send the usage with a piece of the ended choice that is otherwise empty."""
        if choice.finish_reason is not None:
            return False
        if isinstance(choice, CompletionChunkChoice):
            return not choice.text
        delta = choice.delta
        said = (delta.content, delta.reasoning, delta.reasoning_content, delta.refusal, delta.tool_calls)
        return not any(said)

    def _met(self, stop: str | int) -> tuple[StopReason, str | None] | None:
        """`stop_reason` is not OpenAI's, and servers that send it mean various things: it is the stop text only when
        the request named that text.
        """
        if isinstance(stop, str) and stop in self._request.sampling.stop:
            return StopReason.STOP_SEQUENCE, stop
        return None

    def _finish(self) -> None:
        if self._final is None and self._require_usage:
            raise UpstreamProtocolError("The model's upstream did not say what the answer consumed.")
        super()._finish()


__all__ = ["OpenAIChunkReader"]
