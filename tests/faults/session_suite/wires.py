"""The requests of three dialects, how a client knows that an answer is whole, and the text in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tests.faults.session_suite.engine import MODEL


class Unfinished(Exception):
    """The body ends before the answer does, or in an error."""


class Wire(NamedTuple):
    """One operation. `read` takes a whole body and gives the text of the answer; raises `Unfinished`."""

    name: str
    path: str
    body: Callable[[str], dict[str, Any]]
    read: Callable[[bytes], str]


def _chat(stream: bool) -> Callable[[str], dict[str, Any]]:
    return lambda text: {"model": MODEL, "stream": stream, "messages": [{"role": "user", "content": text}]}


def _messages(stream: bool) -> Callable[[str], dict[str, Any]]:
    return lambda text: {**_chat(stream)(text), "max_tokens": 1000}


def _converse(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"text": text}]}]}


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        raise Unfinished from error


def _read_chat(body: bytes) -> str:
    return str(_json(body)["choices"][0]["message"]["content"])


def _read_messages(body: bytes) -> str:
    return "".join(block["text"] for block in _json(body)["content"])


def _read_converse(body: bytes) -> str:
    return "".join(block["text"] for block in _json(body)["output"]["message"]["content"])


def _data(body: bytes) -> Iterator[Any]:
    for line in body.decode().splitlines():
        if line.startswith("data: {"):
            yield _json(line.removeprefix("data: ").encode())


def _read_chat_stream(body: bytes) -> str:
    if not body.endswith(b"data: [DONE]\n\n"):
        raise Unfinished
    return "".join(choice["delta"].get("content") or "" for chunk in _data(body) for choice in chunk.get("choices", []))


def _read_messages_stream(body: bytes) -> str:
    events = list(_data(body)) if body.endswith(b"\n\n") else []
    if not events or events[-1]["type"] != "message_stop":
        raise Unfinished
    return "".join(event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta")


def frames(body: bytes) -> Iterator[tuple[dict[str, str], Any]]:
    """Headers and payload of each message of an AWS event stream. Raises `Unfinished` when the last one is cut."""
    at = 0
    while at < len(body):
        size = int.from_bytes(body[at : at + 4], "big")
        if len(body) < at + 12 or len(body) < at + size:
            raise Unfinished
        head_end = at + 12 + int.from_bytes(body[at + 4 : at + 8], "big")
        headers, place = {}, at + 12
        while place < head_end:
            name_end = place + 1 + body[place]
            value_start = name_end + 3
            value_end = value_start + int.from_bytes(body[name_end + 1 : value_start], "big")
            headers[body[place + 1 : name_end].decode()] = body[value_start:value_end].decode()
            place = value_end
        yield headers, _json(body[head_end : at + size - 4])
        at += size


def _read_converse_stream(body: bytes) -> str:
    text, last = "", ""
    for headers, payload in frames(body):
        last = headers.get(":event-type", "")
        if last == "contentBlockDelta":
            text += payload["delta"].get("text", "")
    if last != "metadata":
        raise Unfinished
    return text


WIRES = (
    Wire("chat", "/v1/chat/completions", _chat(stream=False), _read_chat),
    Wire("chat-stream", "/v1/chat/completions", _chat(stream=True), _read_chat_stream),
    Wire("messages", "/v1/messages", _messages(stream=False), _read_messages),
    Wire("messages-stream", "/v1/messages", _messages(stream=True), _read_messages_stream),
    Wire("converse", f"/model/{MODEL}/converse", _converse, _read_converse),
    Wire("converse-stream", f"/model/{MODEL}/converse-stream", _converse, _read_converse_stream),
)

__all__ = ["WIRES", "Unfinished", "Wire", "frames"]
