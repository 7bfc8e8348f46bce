"""The fields that chat completions and raw completions share, as the canonical request says them."""

from __future__ import annotations

from collections.abc import Sequence

from bedplate_core.errors import InvalidRequest
from bedplate_gateway.dialects.openai.chat_wire import StreamOptions


def stop_texts(stop: str | Sequence[str] | None) -> tuple[str, ...]:
    """The stop texts; the wire has one or several."""
    if stop is None:
        return ()
    return (stop,) if isinstance(stop, str) else tuple(stop)


def include_usage(options: StreamOptions | None, stream: bool | None) -> bool:
    """Whether a stream ends with a usage chunk. Raises `InvalidRequest` for options without a stream."""
    if options is None:
        return False
    if not stream:
        raise InvalidRequest("stream_options: only allowed when stream is true", param="stream_options")
    return bool(options.include_usage)


__all__ = ["include_usage", "stop_texts"]
