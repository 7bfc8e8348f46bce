"""What the OpenAI dialect costs: decoding a chat of about 1 KB, encoding one delta, encoding a whole answer.

Run `python bench/openai_dialect.py`. Numbers are the best of several rounds, in microseconds.
"""

from __future__ import annotations

import json
import timeit
from collections.abc import Callable

from bedplate_core.events import Delta, Event, Finish, PartEnd, PartStart, Start, Stop, StopReason
from bedplate_core.messages import Text
from bedplate_core.response import Fold
from bedplate_core.usage import Usage
from bedplate_gateway.dialects.openai import ChatExchange

ROUNDS = 7
DELTAS = 100


def body() -> bytes:
    """A chat of four messages, with the settings that clients usually send."""
    messages = [
        {"role": "system", "content": "You answer questions about orders. " * 8},
        {"role": "user", "content": "Where is my order from last Tuesday? " * 6},
        {"role": "assistant", "content": "It left the warehouse on Wednesday. " * 4},
        {"role": "user", "content": "When does it arrive?"},
    ]
    sent = {"model": "support-chat", "messages": messages, "temperature": 0.2, "max_tokens": 512, "user": "u-17"}
    return json.dumps({**sent, "stream": True, "stream_options": {"include_usage": True}}).encode()


def best_us(work: Callable[[], object], number: int) -> float:
    """Microseconds of one call of `work`."""
    return min(timeit.repeat(work, repeat=ROUNDS, number=number)) / number * 1e6


def main() -> None:
    """Measure and print."""
    sent = body()
    exchange = ChatExchange.decode(sent)
    head: list[Event] = [Start(id="resp_1", model="up", created_s=1), PartStart(0, 0, Text(text=""))]
    deltas: list[Event] = [Delta(0, 0, f" token{number}") for number in range(DELTAS)]
    end = Finish(stops=(Stop(choice=0, reason=StopReason.END),), usage=Usage(input_tokens=200, output_tokens=DELTAS))
    encoder = exchange.stream()
    encoder.encode(head)
    fold = Fold()
    for event in (*head, *deltas, PartEnd(0, 0), end):
        fold.add(event)
    response = fold.response()

    print(f"decode a chat of {len(sent)} bytes   {best_us(lambda: ChatExchange.decode(sent), 2000):8.2f} us")
    print(f"encode a delta, in batches of 100 {best_us(lambda: encoder.encode(deltas), 200) / DELTAS:8.2f} us")
    print(f"encode a delta, alone             {best_us(lambda: encoder.encode(deltas[:1]), 5000):8.2f} us")
    print(f"open a stream, up to its text     {best_us(lambda: exchange.stream().encode(head), 2000):8.2f} us")
    print(f"encode a whole answer             {best_us(lambda: exchange.reply(response), 2000):8.2f} us")


if __name__ == "__main__":
    main()
