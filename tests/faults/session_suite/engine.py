"""Stands in for vLLM in a process of its own, which can be killed: it says how many messages it was told, and the last.

    python -m tests.faults.session_suite.engine --port 9000

What it says of a conversation is therefore checked with the answer: one message too many or too few in the history of
a turn shows in the text that the client gets.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
from typing import Any

from tests.providers.vllm_streams import DONE, chat_chunk

MODEL = "scripted"
PAUSE_S = 0.004
"""Between two pieces, so that there is a middle of a stream to be killed in."""

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"


def said(told: int, question: str) -> str:
    """The answer to the last of `told` messages."""
    return f"I was told {told} messages and the last is {question}"


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def pieces(body: Any) -> list[bytes]:
    """The events of a streamed answer; tokens are messages in and words out."""
    told = len(body["messages"])
    words = said(told, _text(body["messages"][-1]["content"])).split(" ")
    events = [chat_chunk({"role": "assistant", "content": ""}, usage=(told, 0))]
    for number, word in enumerate(words, 1):
        text = word if number == 1 else f" {word}"
        events.append(chat_chunk({"content": text}, usage=(told, number)))
    events.append(chat_chunk({"content": ""}, finish="stop", usage=(told, len(words))))
    return [*events, chat_chunk(None, usage=(told, len(words))), DONE]


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            if head.startswith("GET"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                continue
            fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
            body = json.loads(await reader.readexactly(int(fields["content-length"])))
            if not body["stream"]:
                raise ValueError("the gateway was expected to stream whatever its client asks for")
            writer.write(_HEAD)
            for piece in pieces(body):
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await writer.drain()
                await asyncio.sleep(PAUSE_S)
            writer.write(b"0\r\n\r\n")
    writer.close()


async def serve(port: int) -> None:
    """Serve on the loopback address until the process ends."""
    server = await asyncio.start_server(_serve, "127.0.0.1", port)
    await server.serve_forever()


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    asyncio.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()

__all__ = ["MODEL", "main", "said"]
