"""Streams as vLLM 0.32 sends them, made from parts so that a test can leave one out or double it."""

from __future__ import annotations

import json
from typing import Any

ID = "chatcmpl-req_1"


def event(value: Any) -> bytes:
    return b"data: " + json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


def chat_chunk(
    delta: dict[str, Any] | None,
    *,
    index: int = 0,
    finish: str | None = None,
    stop: str | int | None = None,
    usage: tuple[int, int] | None = (20, 1),
    **choice: Any,
) -> bytes:
    """One `chat.completion.chunk`; `delta` None is the last one, which has no choices."""
    body: dict[str, Any] = {"id": ID, "object": "chat.completion.chunk", "created": 1764000000, "model": "m"}
    entry = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish, "token_ids": None, **choice}
    if finish is not None:
        entry["stop_reason"] = stop
    body["choices"] = [] if delta is None else [entry]
    if usage is not None:
        prompt, completion = usage
        body["usage"] = {"prompt_tokens": prompt, "total_tokens": prompt + completion, "completion_tokens": completion}
    return event(body)


def text_chunk(
    text: str | None,
    *,
    index: int = 0,
    finish: str | None = None,
    stop: str | int | None = None,
    usage: tuple[int, int] | None = (20, 1),
    **choice: Any,
) -> bytes:
    """One `text_completion` chunk; `text` None is the last one."""
    body: dict[str, Any] = {"id": "cmpl-1", "object": "text_completion", "created": 1764000000, "model": "m"}
    entry = {"index": index, "text": text, "logprobs": None, "finish_reason": finish, "stop_reason": stop, **choice}
    body["choices"] = [] if text is None else [entry]
    if usage is not None:
        prompt, completion = usage
        body["usage"] = {"prompt_tokens": prompt, "total_tokens": prompt + completion, "completion_tokens": completion}
    return event(body)


def call_piece(index: int, *, id_: str | None = None, name: str | None = None, arguments: str | None = None) -> Any:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    piece: dict[str, Any] = {"index": index, "function": function}
    if id_ is not None:
        piece |= {"id": id_, "type": "function"}
    return {"tool_calls": [piece]}


ROLE = chat_chunk({"role": "assistant", "content": ""}, usage=(20, 0))
DONE = b"data: [DONE]\n\n"
FINAL = chat_chunk(None, usage=(20, 5))


def hello(*, reason: str = "stop", stop: str | int | None = None) -> list[bytes]:
    """`Hello, wörld` in three chunks, its end, its usage, `[DONE]`."""
    return [
        ROLE,
        chat_chunk({"content": "Hello"}, usage=(20, 1)),
        chat_chunk({"content": ", "}, usage=(20, 2)),
        chat_chunk({"content": "wörld"}, usage=(20, 4)),
        chat_chunk({"content": ""}, finish=reason, stop=stop, usage=(20, 5)),
        FINAL,
        DONE,
    ]
