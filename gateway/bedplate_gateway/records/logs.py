"""Structured logs: one JSON object a line, or a readable line on a terminal.

Our own lines do not go through the standard library's logging, whose records, filters and formatters would cost more
than everything else that is done for a call's record. Lines of other libraries come from there, through one handler
that renders them the same way.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog

_JSON = msgspec.json.Encoder(enc_hook=repr)


class _Lines(structlog.BytesLogger):
    """Writes finished lines to standard error. `name` is what `add_logger_name` puts on each."""

    def __init__(self, name: str) -> None:
        super().__init__(sys.stderr.buffer)
        self.name = name


class Line(msgspec.Struct, kw_only=True):
    """A line of our own whose fields are known beforehand; subclasses add theirs."""

    event: str
    logger: str
    level: str = "info"
    timestamp: datetime


class JsonLines:
    """Writes lines for a fraction of what a logger takes: all of one pass of the event loop at once, at its end."""

    __slots__ = ("_lines", "_write")

    def __init__(self) -> None:
        self._write = structlog.BytesLogger(sys.stderr.buffer).msg
        self._lines: list[bytes] = []

    def write(self, line: Line) -> None:
        """Have `line` written. To be called in the event loop."""
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._flush)
        self._lines.append(_JSON.encode(line))

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        self._write(b"\n".join(lines))


def json_lines() -> JsonLines | None:
    """None unless this process logs its own lines as JSON. To be asked for after `configure_logs`."""
    return JsonLines() if structlog.get_config()["processors"] == [_json_line] else None


def configure_logs(log_format: str) -> None:
    """Set up logging for this process.

    `log_format` is `json`, `console` or `auto` (console when standard error is a terminal). Lines of other
    libraries come through the same renderer. Message bodies and credentials are never passed to a logger.
    """
    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor
    if console:
        # The default formatter shows the values of local variables, and those hold bodies and keys.
        renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        processors = [*shared, renderer, _encoded]
    else:
        shared.append(structlog.processors.format_exc_info)
        renderer = structlog.processors.JSONRenderer(serializer=_json)
        processors = [_json_line]
    structlog.configure(
        processors=processors,
        logger_factory=_Lines,
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.processors.StackInfoRenderer()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for noisy in ("uvicorn.access", "alembic.runtime.migration", "sqlalchemy"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _json_line(logger: _Lines, level: str, event: MutableMapping[str, Any]) -> bytes:
    """The whole line of one of our own events in one step: every call writes one."""
    event["logger"] = logger.name
    event["level"] = level
    event["timestamp"] = datetime.now(UTC)
    if "exc_info" in event:
        event = structlog.processors.format_exc_info(logger, level, event)
    return _JSON.encode(event)


def _json(event: Any, **_: Any) -> str:
    return _JSON.encode(event).decode()


def _encoded(_: Any, __: str, line: Any) -> bytes:
    return str(line).encode("utf-8", "backslashreplace")


__all__ = ["JsonLines", "Line", "configure_logs", "json_lines"]
