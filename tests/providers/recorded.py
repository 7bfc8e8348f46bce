"""Plays the transcripts in `tests/wire/upstream`: an upstream that answers exactly the requests it knows."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.providers.frames import event
from tests.providers.wire_server import SSE, Received, Wire

ROOT = Path(__file__).parent.parent / "wire" / "upstream"


class Recording:
    """One case: the request that is expected, and what comes back."""

    def __init__(self, path: Path) -> None:
        case = json.loads(path.read_text())
        stream, frames = path.with_suffix(".sse"), path.with_suffix(".frames")
        self.name = path.stem
        self.path: str = case["path"]
        self.request: Any = case["request"]
        self.status: int = case.get("status", 200)
        self.headers: dict[str, str] = case.get("headers", {})
        self.reply: Any = case.get("reply")
        self.frames = [json.loads(line) for line in frames.read_text().splitlines()] if frames.exists() else None
        self.stream = stream.read_bytes() if stream.exists() else None
        self.content_type = SSE
        if self.frames is not None:
            self.stream = b"".join(self.events)
            self.content_type = "application/vnd.amazon.eventstream"

    @property
    def events(self) -> list[bytes]:
        """The stream in its events, as the network may bring them."""
        if self.frames is not None:
            return [event(name, value) for each in self.frames for name, value in each.items()]
        assert self.stream is not None
        return [piece + b"\n\n" for piece in self.stream.split(b"\n\n") if piece]

    @property
    def payloads(self) -> list[bytes]:
        """The data of server-sent events."""
        lines = (line for piece in self.events for line in piece.split(b"\n"))
        return [line.removeprefix(b"data: ") for line in lines if line.startswith(b"data: ")]


def recordings(kind: str) -> list[Recording]:
    """Every case of that kind of upstream."""
    return [Recording(path) for path in sorted((ROOT / kind).glob("*.json"))]


class Replay:
    """A script for `WireServer`. `asked` names the cases that were played."""

    def __init__(self, kind: str, *, pause_s: float = 0.001) -> None:
        self.cases = recordings(kind)
        self.asked: list[str] = []
        self._pause_s = pause_s

    async def __call__(self, wire: Wire, request: Received) -> None:
        case = self.find(request)
        self.asked.append(case.name)
        if case.stream is None:
            await wire.reply(f"{case.status} Recorded", case.reply, **case.headers)
            return
        wire.content_type = case.content_type
        await wire.stream(end=False)
        for piece in case.events:
            await wire.chunk(piece)
            await asyncio.sleep(self._pause_s)
        await wire.raw(b"0\r\n\r\n")

    def find(self, request: Received) -> Recording:
        for case in self.cases:
            if case.path == request.path and case.request == request.json:
                return case
        raise AssertionError(f"no case has this request: {request.path} {request.body.decode()}")
