"""Reading a session back."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from litestar import get
from litestar.connection import Request
from litestar.params import FromPath, Parameter

from bedplate_core.errors import NotFound
from bedplate_core.messages import Part, Role
from bedplate_gateway.access.principal import Action
from bedplate_gateway.web.authorization import ACTION
from bedplate_gateway.web.edge import principal_of
from bedplate_gateway.web.services import services_of
from bedplate_sessions.face_ids import session_of
from bedplate_sessions.items import Item

MAX_SEQ = 2**63 - 1
"""Postgres counts to this."""
MAX_BRANCH = 2**31 - 1


class SessionItem(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a session. `call_id` is the request that it came with.

    `seq` counts up along the branch; numbers of what was dropped or deleted are missing. `branch` is the branch that
    the item was added to, which others may share.
    """

    id: str
    object: Literal["session.item"] = "session.item"
    branch: int
    seq: int
    call_id: str
    role: Role
    parts: tuple[Part, ...]
    status: str
    stop_reason: str | None
    pinned: bool
    created_at: datetime


class SessionItems(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a session, oldest first. `next_after` is the `after` of the next page, when there is one."""

    object: Literal["list"] = "list"
    data: tuple[SessionItem, ...]
    has_more: bool
    next_after: int | None


@get(
    "/v1/sessions/{session_id:str}/items",
    opt={ACTION: Action.READ_SESSION},
    summary="Read a session",
    description="The messages of a branch of one of your project's sessions, oldest first.",
    tags=["Sessions"],
    operation_id="listSessionItems",
)
async def list_session_items(
    request: Request[Any, Any, Any],
    session_id: FromPath[str],
    after: Annotated[int, Parameter(ge=0, le=MAX_SEQ, description="Only items with a greater `seq`")] = 0,
    limit: Annotated[int, Parameter(ge=1, le=1000, description="Items on a page")] = 100,
    branch: Annotated[int, Parameter(ge=0, le=MAX_BRANCH, description="The branch")] = 0,
) -> SessionItems:
    """A page of items."""
    session = session_of(session_id)
    if session is None:
        raise NotFound("There is no session with this id in your project.")
    page = await services_of(request).sessions.reader.page(
        principal_of(request.scope).project, session, branch=branch, after_seq=after, limit=limit
    )
    return SessionItems(
        data=tuple(_wire(item) for item in page.items),
        has_more=page.has_more,
        next_after=page.items[-1].seq if page.has_more else None,
    )


def _wire(item: Item) -> SessionItem:
    return SessionItem(
        id=item.id,
        branch=item.branch,
        seq=item.seq,
        call_id=item.call_id,
        role=item.message.role,
        parts=item.message.parts,
        status=item.status.value,
        stop_reason=item.stop_reason.value if item.stop_reason else None,
        pinned=item.pinned,
        created_at=item.created_at,
    )


SESSION_ROUTES = (list_session_items,)

__all__ = ["SESSION_ROUTES"]
