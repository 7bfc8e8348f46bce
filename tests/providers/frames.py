"""Frames of AWS's event stream, encoded without the code under test."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any


def frame(headers: dict[str, str], payload: bytes) -> bytes:
    """One frame; all headers are texts."""
    spelt = b"".join(_header(name.encode(), value.encode()) for name, value in headers.items())
    lengths = struct.pack("!II", 16 + len(spelt) + len(payload), len(spelt))
    message = lengths + struct.pack("!I", zlib.crc32(lengths)) + spelt + payload
    return message + struct.pack("!I", zlib.crc32(message))


def event(name: str, value: Any) -> bytes:
    """An event; `value` is its payload, as bytes or to be written as JSON."""
    payload = value if isinstance(value, bytes) else json.dumps(value).encode()
    return frame({":event-type": name, ":content-type": "application/json", ":message-type": "event"}, payload)


def exception(name: str, message: str, **extras: Any) -> bytes:
    """An exception that the service's model has."""
    headers = {":exception-type": name, ":content-type": "application/json", ":message-type": "exception"}
    return frame(headers, json.dumps({"message": message, **extras}).encode())


def error(code: str, message: str) -> bytes:
    """An error that the service's model does not have."""
    return frame({":message-type": "error", ":error-code": code, ":error-message": message}, b"")


def _header(name: bytes, value: bytes) -> bytes:
    return struct.pack("!B", len(name)) + name + b"\x07" + struct.pack("!H", len(value)) + value
