"""Requests to send and a way to run a stream to its end under watch."""

from __future__ import annotations

from typing import Any

from bedplate_core.errors import GatewayError
from bedplate_core.events import Event, EventStream, Progress
from bedplate_core.messages import Message, Part, Role, Text
from bedplate_core.order import EventOrder
from bedplate_core.requests import Dispatch, Request, Tool
from bedplate_core.response import Fold, Response

DISPATCH = Dispatch(call_id="req_1", cache_salt="salt-1")
WEATHER = Tool(
    name="weather",
    description="The weather in a city.",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}, "days": {"type": "integer"}},
        "required": ["city"],
        "additionalProperties": False,
    },
)


def user(*parts: str | Part) -> Message:
    return Message(role=Role.USER, parts=tuple(Text(text=part) if isinstance(part, str) else part for part in parts))


def chat(text: str = "Say hello to the world", *, model: str = "m", **fields: Any) -> Request:
    return Request(model=model, messages=(user(text),), **fields)


class Run:
    """What a stream gave: its batches, events, and the error that ended it."""

    def __init__(self) -> None:
        self.batches: list[list[Event]] = []
        self.error: GatewayError | None = None

    @property
    def events(self) -> list[Event]:
        return [event for batch in self.batches for event in batch]

    @property
    def without_progress(self) -> list[Event]:
        return [event for event in self.events if not isinstance(event, Progress)]

    @property
    def response(self) -> Response:
        fold = Fold()
        for event in self.events:
            fold.add(event)
        return fold.response()


async def run(stream: EventStream) -> Run:
    """Read to the end, checking order, that batches are not empty, and that usage never decreases; then
    close.
    """
    result = Run()
    order = EventOrder()
    used = (0, 0)
    try:
        async for batch in stream:
            assert batch
            result.batches.append(list(batch))
            for event in batch:
                order.add(event)
                if isinstance(event, Progress):
                    now = (event.usage.input_tokens, event.usage.output_tokens)
                    assert now[0] >= used[0]
                    assert now[1] >= used[1]
                    used = now
        order.end()
    except GatewayError as error:
        result.error = error
    finally:
        await stream.aclose()
        await stream.aclose()
    return result
