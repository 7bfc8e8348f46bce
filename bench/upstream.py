"""A mock vLLM server that costs almost nothing: every answer is bytes made beforehand.

Run `python -m bench.upstream --port 9000`. It serves `POST /v1/chat/completions` over HTTP/1.1 with keep-alive; the
model's name selects the answer:

    bench-whole   a 0.7 KB text; to a request with "stream":true the same text as one piece
    bench-burst   64 pieces in one write
    bench-paced   64 pieces, 20 ms apart, or as `--pace-s` says

Pieces look as vLLM 0.32 sends them with `continuous_usage_stats`. `GET /health` and `GET /v1/models` answer as well.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from typing import cast

import uvloop

CHUNKS = 64
PACE_S = 0.02
WORDS = (
    "The order left the warehouse on Wednesday morning and is on its way to the depot nearest to your address. "
    "From there it usually takes one more working day until it is handed over. "
)
TEXT = (WORDS * 4)[:700]
WHOLE, BURST, PACED = "bench-whole", "bench-burst", "bench-paced"

_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
)
_LAST_CHUNK = b"0\r\n\r\n"
_PROMPT_TOKENS = 210


def usage(tokens: int) -> dict[str, int]:
    """Counts after `tokens` pieces."""
    return {"prompt_tokens": _PROMPT_TOKENS, "total_tokens": _PROMPT_TOKENS + tokens, "completion_tokens": tokens}


def event(model: str, delta: dict[str, str], tokens: int, finish: str | None = None) -> bytes:
    """One piece of a streamed answer as server-sent event."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish, "token_ids": None}
    return _sse(model, [choice], tokens)


def _sse(model: str, choices: list[dict[str, object]], tokens: int) -> bytes:
    body = {
        "id": "chatcmpl-5f0c3a7d9be24f11",
        "object": "chat.completion.chunk",
        "created": 1764000000,
        "model": model,
        "choices": choices,
        "usage": usage(tokens),
    }
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"


def pieces(model: str, texts: Sequence[str]) -> list[bytes]:
    """All events of a streamed answer that says `texts`: the role first; the stop, usage and end mark last."""
    events = [event(model, {"role": "assistant", "content": ""}, 0)]
    events += [event(model, {"content": text}, number) for number, text in enumerate(texts, 1)]
    end = event(model, {}, len(texts), "stop") + _sse(model, [], len(texts)) + b"data: [DONE]\n\n"
    return [*events, end]


def whole_body(model: str) -> bytes:
    """An answer that is not streamed."""
    message = {"role": "assistant", "content": TEXT, "refusal": None, "tool_calls": []}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop", "stop_reason": None}
    body = {
        "id": "chatcmpl-5f0c3a7d9be24f11",
        "object": "chat.completion",
        "created": 1764000000,
        "model": model,
        "choices": [choice],
        "usage": usage(160),
    }
    return json.dumps(body, separators=(",", ":")).encode()


def framed(data: bytes) -> bytes:
    """`data` as one chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def reply(body: bytes, content_type: bytes = b"application/json") -> bytes:
    """A whole HTTP answer."""
    return b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (content_type, len(body), body)


SAID = [f" word{number:02d}" for number in range(CHUNKS)]
ANSWERS = {
    (WHOLE, False): reply(whole_body(WHOLE)),
    (WHOLE, True): _STREAM_HEAD + framed(b"".join(pieces(WHOLE, [TEXT]))) + _LAST_CHUNK,
    (BURST, False): reply(whole_body(BURST)),
    (BURST, True): _STREAM_HEAD + framed(b"".join(pieces(BURST, SAID))) + _LAST_CHUNK,
}
PACED_PIECES = [framed(piece) for piece in pieces(PACED, SAID)]
MODELS = reply(json.dumps({"object": "list", "data": [{"id": name} for name in (WHOLE, BURST, PACED)]}).encode())
HEALTH = reply(b"")


class MockVllm(asyncio.Protocol):
    """One connection of a client, which sends one request at a time. `pace_s` is between paced pieces."""

    def __init__(self, pace_s: float) -> None:
        self._pace_s = pace_s
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        head_end = received.find(b"\r\n\r\n") + 4
        if head_end < 4:
            self._received = received
            return
        if received.startswith(b"GET"):
            self._received = b""
            self._write(MODELS if received.startswith(b"GET /v1/models") else HEALTH)
            return
        if len(received) < head_end + content_length(received[:head_end]):
            self._received = received
            return
        self._received = b""
        streamed = b'"stream":true' in received
        if BURST.encode() in received:
            self._write(ANSWERS[BURST, streamed])
        elif streamed and PACED.encode() in received:
            self._write(_STREAM_HEAD + PACED_PIECES[0])
            self._pace(1)
        else:
            self._write(ANSWERS[WHOLE, streamed])

    def _pace(self, number: int) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._pace_s, self._next_piece, number)

    def _next_piece(self, number: int) -> None:
        if number == len(PACED_PIECES) - 1:
            self._write(PACED_PIECES[number] + _LAST_CHUNK)
            return
        self._write(PACED_PIECES[number])
        self._pace(number + 1)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


def content_length(head: bytes) -> int:
    """The `Content-Length` of a head, 0 without one."""
    lower = head.lower()
    at = lower.find(b"\r\ncontent-length:")
    return 0 if at < 0 else int(lower[at + 17 : lower.find(b"\r\n", at + 17)])


async def serve(port: int, pace_s: float) -> None:
    """Serve on the loopback address until cancelled."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: MockVllm(pace_s), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pace-s", type=float, default=PACE_S, help="seconds between paced pieces")
    asked = parser.parse_args()
    uvloop.run(serve(asked.port, asked.pace_s))


if __name__ == "__main__":
    main()
