"""What a gateway process and its worker say to each other: frames of msgpack, one answer to each order.

A frame is its length in 4 bytes (big-endian) and that many bytes of msgpack. Nothing is pickled: a worker that was
taken over by a validator can send wrong values, but no code.
"""

from __future__ import annotations

import struct
from typing import Any, TypeAlias

import msgspec

from bedplate_guardrails.evaluation import Result, Task

MAX_FRAME_BYTES = 256 * 1024 * 1024
_LENGTH = struct.Struct(">I")


class Registered(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A validator that the administrator registered: `validator` is `package.module:Class`.

    `arguments` are for its constructor, `metadata` goes with every call.
    """

    name: str
    validator: str
    arguments: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    metadata: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])


class Load(msgspec.Struct, frozen=True, kw_only=True, tag="load"):
    """Make a unit ready: a kind of model, or `validator:NAME` with what is registered under the name."""

    unit: str
    registered: Registered | None = None


class Work(msgspec.Struct, frozen=True, kw_only=True, tag="work"):
    """Evaluate `tasks` (each a `Task`, encoded), all of one unit that was loaded."""

    unit: str
    tasks: tuple[msgspec.Raw, ...]


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag="ready"):
    """The first frame of a worker: it takes orders."""


class Loaded(msgspec.Struct, frozen=True, kw_only=True, tag="loaded"):
    """Whether the unit is ready; if not, what to tell a client and what to write into the log."""

    failure: str | None = None
    detail: str = ""


class Worked(msgspec.Struct, frozen=True, kw_only=True, tag="worked"):
    """What became of each task, in order: a `Result` or `Failed`, encoded."""

    outcomes: tuple[msgspec.Raw, ...]


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """One task failed. `detail` is for the log and has no text of the task in it."""

    message: str
    detail: str = ""


Order: TypeAlias = Load | Work
Reply: TypeAlias = Ready | Loaded | Worked
Outcome: TypeAlias = Result | Failed

_encoder = msgspec.msgpack.Encoder()
_orders: msgspec.msgpack.Decoder[Order] = msgspec.msgpack.Decoder(Order)
_replies: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)
_tasks: msgspec.msgpack.Decoder[Task] = msgspec.msgpack.Decoder(Task)
_outcomes: msgspec.msgpack.Decoder[Outcome] = msgspec.msgpack.Decoder(Outcome)


class WireError(ValueError):
    """What came is not what this wire carries."""


class FrameBuffer:
    """Puts frames together from pieces as they arrive."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, piece: bytes) -> list[bytes]:
        """The frames that are complete with `piece`. Raises `WireError` for a length beyond `MAX_FRAME_BYTES`."""
        self._bytes += piece
        frames: list[bytes] = []
        start = 0
        while len(self._bytes) - start >= _LENGTH.size:
            length: int = _LENGTH.unpack_from(self._bytes, start)[0]
            if length > MAX_FRAME_BYTES:
                raise WireError("a frame is longer than this wire carries")
            end = start + _LENGTH.size + length
            if len(self._bytes) < end:
                break
            frames.append(bytes(self._bytes[start + _LENGTH.size : end]))
            start = end
        if start:
            del self._bytes[:start]
        return frames


def framed(message: Order | Reply) -> bytes:
    """A message as a frame. Raises `WireError` when it is longer than `MAX_FRAME_BYTES`."""
    encoded = _encoder.encode(message)
    if len(encoded) > MAX_FRAME_BYTES:
        raise WireError("a message is longer than this wire carries")
    return _LENGTH.pack(len(encoded)) + encoded


def encode_task(task: Task) -> bytes:
    """A task as bytes, the same for equal tasks. Raises `UnicodeEncodeError` where a text has half a surrogate pair."""
    return _encoder.encode(task)


def encode_outcome(outcome: Outcome) -> bytes:
    """An outcome as bytes."""
    return _encoder.encode(outcome)


def decode_order(frame: bytes) -> Order:
    """An order. Raises `WireError`."""
    return _decoded(_orders, frame)


def decode_reply(frame: bytes) -> Reply:
    """A reply. Raises `WireError`."""
    return _decoded(_replies, frame)


def decode_task(encoded: bytes | msgspec.Raw) -> Task:
    """A task. Raises `WireError`."""
    return _decoded(_tasks, encoded)


def decode_outcome(encoded: bytes | msgspec.Raw) -> Outcome:
    """An outcome. Raises `WireError`."""
    return _decoded(_outcomes, encoded)


def _decoded(decoder: msgspec.msgpack.Decoder[Any], encoded: bytes | msgspec.Raw) -> Any:
    try:
        return decoder.decode(encoded)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WireError("what came is not what this wire carries") from error


__all__ = [
    "MAX_FRAME_BYTES",
    "Failed",
    "FrameBuffer",
    "Load",
    "Loaded",
    "Order",
    "Outcome",
    "Ready",
    "Registered",
    "Reply",
    "WireError",
    "Work",
    "Worked",
    "decode_order",
    "decode_outcome",
    "decode_reply",
    "decode_task",
    "encode_outcome",
    "encode_task",
    "framed",
]
