"""Everything that is stored, read for the checker: rows as they are, texts through the product's own reader."""

from __future__ import annotations

import json
from typing import Any

import asyncpg

from bedplate_core.ids import ProjectId, SessionId
from bedplate_gateway.app import Application
from bedplate_gateway.database import database_config
from bedplate_gateway.settings import Settings
from tests.faults.session_suite.checker import BranchRow, ItemRow, RecordRow, ReplyRow, Stored


async def read_stored(settings: Settings) -> Stored:
    """All rows of all projects."""
    texts, shown = await _shown(settings)
    connection = await asyncpg.connect(database_config(settings).url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            sessions = await connection.fetch("select id from session")
            branches = await connection.fetch(
                "select session_id, branch, head, turn_call, turn_from from session_branch"
            )
            items = await connection.fetch(
                "select id, session_id, branch, seq, parent_seq, role, status, call_id, usage::text from session_item"
            )
            records = await connection.fetch(
                "select id, outcome, session_id, input_tokens, output_tokens from invocation"
            )
            replies = await connection.fetch("select call_id, session_id, key_owner, status from stored_reply")
            owners = await connection.fetch("select owner from session_key")
    finally:
        await connection.close()
    return Stored(
        sessions=tuple(row["id"] for row in sessions),
        branches=tuple(BranchRow(**dict(row)) for row in branches),
        items=tuple(_item(row, texts) for row in items),
        records=tuple(
            RecordRow(
                id=row["id"],
                outcome=row["outcome"],
                session_id=row["session_id"],
                tokens=(row["input_tokens"], row["output_tokens"]),
            )
            for row in records
        ),
        replies=tuple(ReplyRow(**dict(row)) for row in replies),
        key_owners=tuple(row["owner"] for row in owners),
        shown=shown,
    )


def _item(row: Any, texts: dict[str, str]) -> ItemRow:
    values = dict(row)
    usage = values.pop("usage")
    tokens = None
    if usage is not None:
        counts = json.loads(usage)
        tokens = (counts.get("input_tokens", 0), counts.get("output_tokens", 0))
    return ItemRow(**values, text=texts.get(row["id"]), tokens=tokens)


async def _shown(settings: Settings) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    """The texts of items by id, and the items of each session's branch 0, as the product reads them."""
    services = Application(settings).services
    connection = await asyncpg.connect(database_config(settings).url)
    try:
        sessions = await connection.fetch("select id, project_id from session")
        texts: dict[str, str] = {}
        shown: dict[str, tuple[str, ...]] = {}
        for session in sessions:
            page = await services.sessions.reader.page(
                ProjectId(session["project_id"]), SessionId(session["id"]), limit=1000
            )
            shown[session["id"]] = tuple(item.id for item in page.items)
            texts.update((item.id, item.message.text) for item in page.items)
        return texts, shown
    finally:
        await connection.close()
        await services.database.aclose()


__all__ = ["read_stored"]
