"""A call's record as one part of a larger transaction, in place of the row writer's."""

from __future__ import annotations

from typing import Final

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate_gateway.records.record import CallRecord
from bedplate_sessions.durable import Write

_ADD: Final = text(
    "insert into invocation select * from json_populate_record(null::invocation, cast(:row as json)) "
    "on conflict (id) do nothing"
)
_encoder: Final = msgspec.json.Encoder()


def record_write(record: CallRecord) -> Write:
    """What stores `record`; running it twice stores it once."""
    # Postgres has no U+0000 in texts. A client that sends one must not thereby lose its turn.
    row = _encoder.encode(record).replace(rb"\u0000", rb"\ufffd").decode()

    async def add(connection: AsyncConnection) -> None:
        await connection.execute(_ADD, {"row": row})

    return add


__all__ = ["record_write"]
