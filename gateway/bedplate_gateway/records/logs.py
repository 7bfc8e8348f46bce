"""Structured logs: one JSON object a line, or a readable line on a terminal.

Our own lines do not go through the standard library's logging, whose records, filters and formatters would cost more
than everything else that is done for a call's record. Lines of other libraries come from there, through one handler
that renders them the same way.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import msgspec
import structlog


class _Lines(structlog.BytesLogger):
    """Writes finished lines to standard error. `name` is what `add_logger_name` puts on each."""

    def __init__(self, name: str) -> None:
        super().__init__(sys.stderr.buffer)
        self.name = name


def configure_logs(log_format: str, level: int = logging.INFO) -> None:
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
    else:
        shared.append(structlog.processors.format_exc_info)
        renderer = structlog.processors.JSONRenderer(serializer=_json)
    structlog.configure(
        processors=[*shared, renderer, _encoded],
        logger_factory=_Lines,
        wrapper_class=structlog.make_filtering_bound_logger(level),
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
    root.setLevel(level)
    for noisy in ("uvicorn.access", "alembic.runtime.migration", "sqlalchemy"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _json(event: Any, **_: Any) -> str:
    return msgspec.json.encode(event, enc_hook=repr).decode()


def _encoded(_: Any, __: str, line: Any) -> bytes:
    return str(line).encode("utf-8", "backslashreplace")


__all__ = ["configure_logs"]
