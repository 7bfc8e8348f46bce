"""Responses in the background as the wire shows them: one that failed or was cancelled, and events to read again.

Source: openai-python 3.57 (`Response.status`, `responses.retrieve(stream=True, starting_after=...)`), compared November
2026.
"""

from __future__ import annotations

import msgspec

from bedplate_core.errors import GatewayError
from bedplate_core.jsonvalue import JSONObject
from bedplate_gateway.dialects.openai.responses_reply import ResponseError
from bedplate_gateway.dialects.openai.responses_stream import FAILURES

_END_OF_EVENT = b"\n\n"
_DATA = b"data: "


def failed_response(shown: bytes, error: GatewayError) -> bytes:
    """The response that `shown` was while it ran, ended by `error`."""
    cause = ResponseError(code=FAILURES.get(error.code, "server_error"), message=error.message)
    return _with(shown, {"status": "failed", "error": {"code": cause.code, "message": cause.message}})


def cancelled_response(shown: bytes) -> bytes:
    """The response that `shown` was while it ran, cancelled."""
    return _with(shown, {"status": "cancelled"})


def response_in(events: bytes) -> bytes:
    """The whole response in the last of `events`, which are all of a stream that ended well."""
    last = events.removesuffix(_END_OF_EVENT).rpartition(_END_OF_EVENT)[2]
    event = msgspec.json.decode(last.partition(_DATA)[2], type=dict[str, msgspec.Raw])
    return bytes(event["response"])


class EventsAfter:
    """Leaves out the events of a stream up to a sequence number. They are numbered from 0 without gaps."""

    def __init__(self, sequence_number: int | None) -> None:
        """None leaves out nothing."""
        self._left = 0 if sequence_number is None else sequence_number + 1

    def __call__(self, events: bytes) -> bytes:
        """Of the next `events`, which are whole, those behind the number."""
        at = 0
        while self._left and at < len(events):
            at = events.index(_END_OF_EVENT, at) + len(_END_OF_EVENT)
            self._left -= 1
        return events[at:]


def _with(shown: bytes, changes: JSONObject) -> bytes:
    response: JSONObject = msgspec.json.decode(shown)
    return msgspec.json.encode({**response, **changes})


__all__ = ["EventsAfter", "cancelled_response", "failed_response", "response_in"]
