"""The routes of OpenAI's conversations: sessions as things that are made, filled, read and deleted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import delete, get, post
from litestar.connection import Request
from litestar.params import FromPath, Parameter
from litestar.response import Response

from bedplate_core.errors import InvalidRequest, NotFound
from bedplate_core.ids import ProjectId, SessionId
from bedplate_core.messages import Message
from bedplate_core.requests import Request as CanonicalRequest
from bedplate_gateway.access.principal import Action
from bedplate_gateway.dialects.openai.conversations import (
    conversation_object,
    decode_create,
    decode_items,
    decode_update,
)
from bedplate_gateway.dialects.openai.conversations_items import delete_item, list_items, one_item, whole_list
from bedplate_gateway.dialects.openai.conversations_wire import DeletedConversation
from bedplate_gateway.dialects.openai.responses_request import refuse_includes
from bedplate_gateway.dialects.openai.responses_wire import IMAGE_URLS
from bedplate_gateway.engine.media import MediaGuard
from bedplate_gateway.web.authorization import ACTION
from bedplate_gateway.web.documentation import BODY, Body
from bedplate_gateway.web.edge import call_id_of, principal_of
from bedplate_gateway.web.new_session import new_session
from bedplate_gateway.web.services import Services, services_of
from bedplate_sessions import face_ids
from bedplate_sessions.conversation_items import ConversationItems
from bedplate_sessions.session import Face

MAX_LISTED: Final = 100
_INCLUDE: Final = ("include", "include[]")
"""The SDKs repeat the name with brackets."""
_ERRORS: Final[Mapping[str, str]] = {
    "400": "The request is wrong; `param` names the field",
    "401": "The API key is missing or not valid",
    "403": "The key does not permit this",
    "404": "There is no such conversation or item in your project",
    "409": "The conversation has ended or expired, is under a legal hold, or a turn of it does not end",
    "413": "The body is too large",
    "500": "The gateway failed",
    "503": "The database or the guardrail is away; `retry-after` says when to try again",
}
_MEDIA: Final = MediaGuard()
"""Nothing is fetched for items that no model reads yet: their media are given as data."""


@post(
    "/v1/conversations",
    status_code=200,
    opt={
        ACTION: Action.CREATE_SESSION,
        BODY: Body(request="OpenAIConversationCreate", reply="OpenAIConversationObject", error_statuses=_ERRORS),
    },
    summary="Create a conversation",
    description=(
        "A durable conversation, with up to 20 items in it from the beginning. It is a session: the header "
        "`x-bedplate-session` takes its id on every dialect. It does not expire by idleness."
    ),
    tags=["OpenAI"],
    operation_id="createConversation",
)
async def create_conversation(request: Request[Any, Any, Any]) -> Response[bytes]:
    """A new conversation."""
    new = decode_create(await request.body())
    services, principal = services_of(request), principal_of(request.scope)
    messages = await _admitted(services, principal.project, new.messages)
    session = await _items(services).create(
        principal.project,
        principal.key_id,
        msgspec.structs.replace(new_session(services, principal.project, Face.CONVERSATION), metadata=new.metadata),
        messages,
        call=call_id_of(request.scope),
    )
    return _json(conversation_object(session))


@get(
    "/v1/conversations/{conversation_id:str}",
    opt={ACTION: Action.READ_SESSION, BODY: Body(reply="OpenAIConversationObject", error_statuses=_ERRORS)},
    summary="Read a conversation",
    description="One of your project's conversations. Every session is one, whatever dialect it began in.",
    tags=["OpenAI"],
    operation_id="retrieveConversation",
)
async def retrieve_conversation(request: Request[Any, Any, Any], conversation_id: FromPath[str]) -> Response[bytes]:
    """One conversation."""
    session = await services_of(request).sessions.registry.get(_project(request), _session(conversation_id))
    return _json(conversation_object(session))


@post(
    "/v1/conversations/{conversation_id:str}",
    status_code=200,
    opt={
        ACTION: Action.UPDATE_SESSION,
        BODY: Body(request="OpenAIConversationUpdate", reply="OpenAIConversationObject", error_statuses=_ERRORS),
    },
    summary="Update a conversation",
    description="Its metadata are replaced by those that are sent.",
    tags=["OpenAI"],
    operation_id="updateConversation",
)
async def update_conversation(request: Request[Any, Any, Any], conversation_id: FromPath[str]) -> Response[bytes]:
    """Replace the metadata."""
    metadata = decode_update(await request.body())
    registry = services_of(request).sessions.registry
    session = await registry.replace_metadata(_project(request), _session(conversation_id), metadata)
    return _json(conversation_object(session))


@delete(
    "/v1/conversations/{conversation_id:str}",
    status_code=200,
    opt={ACTION: Action.DELETE_SESSION, BODY: Body(reply="OpenAIDeletedConversation", error_statuses=_ERRORS)},
    summary="Delete a conversation",
    description="Removes the conversation with all its items, branches and stored responses for good.",
    tags=["OpenAI"],
    operation_id="deleteConversation",
)
async def delete_conversation(request: Request[Any, Any, Any], conversation_id: FromPath[str]) -> Response[bytes]:
    """Delete one conversation."""
    session = _session(conversation_id)
    await services_of(request).sessions.registry.delete(_project(request), session)
    return _json(DeletedConversation(id=face_ids.conversation_id(session)))


@post(
    "/v1/conversations/{conversation_id:str}/items",
    status_code=200,
    opt={
        ACTION: Action.PUT_STEP,
        BODY: Body(request="OpenAIItemsCreate", reply="OpenAIResponseItemList", error_statuses=_ERRORS),
    },
    summary="Add items to a conversation",
    description=(
        "Up to 20 items at the end of the conversation, as the project's guardrail lets them through. System and "
        "developer messages that they begin with stand in for those of the conversation. A turn that is running is "
        "waited for."
    ),
    tags=["OpenAI"],
    operation_id="createConversationItems",
)
async def create_conversation_items(request: Request[Any, Any, Any], conversation_id: FromPath[str]) -> Response[bytes]:
    """Add items."""
    image_urls = _image_urls(request)
    sent = decode_items(await request.body())
    services, project, session = services_of(request), _project(request), _session(conversation_id)
    messages = await _admitted(services, project, sent)
    items = await _items(services).append(
        project, session, messages, call=call_id_of(request.scope), wait_s=services.settings.session_wait_s
    )
    return _json(whole_list(items, image_urls=image_urls))


@get(
    "/v1/conversations/{conversation_id:str}/items",
    opt={ACTION: Action.LIST_STEPS, BODY: Body(reply="OpenAIResponseItemList", error_statuses=_ERRORS)},
    summary="List a conversation's items",
    description="What was said, by whatever dialect. Steps that Bedrock's operations stored are opaque and not listed.",
    tags=["OpenAI"],
    operation_id="listConversationItems",
)
async def list_conversation_items(
    request: Request[Any, Any, Any],
    conversation_id: FromPath[str],
    after: Annotated[str | None, Parameter(description="Only items behind the one with this id")] = None,
    limit: Annotated[int, Parameter(ge=1, le=MAX_LISTED, description="Items on a page")] = 20,
    order: Annotated[Literal["asc", "desc"], Parameter(description="Newest first, or as they were said")] = "desc",
) -> Response[bytes]:
    """A page of items."""
    page = await list_items(
        services_of(request).sessions.reader,
        _project(request),
        _session(conversation_id),
        after=after,
        limit=limit,
        newest_first=order == "desc",
        image_urls=_image_urls(request),
    )
    return _json(page)


@get(
    "/v1/conversations/{conversation_id:str}/items/{item_id:str}",
    opt={ACTION: Action.READ_STEP, BODY: Body(reply="OpenAIListedMessage", error_statuses=_ERRORS)},
    summary="Read an item of a conversation",
    tags=["OpenAI"],
    operation_id="retrieveConversationItem",
)
async def retrieve_conversation_item(
    request: Request[Any, Any, Any], conversation_id: FromPath[str], item_id: FromPath[str]
) -> Response[bytes]:
    """One item."""
    item = await one_item(
        services_of(request).sessions.reader,
        _project(request),
        _session(conversation_id),
        item_id,
        image_urls=_image_urls(request),
    )
    return _json(item)


@delete(
    "/v1/conversations/{conversation_id:str}/items/{item_id:str}",
    status_code=200,
    opt={ACTION: Action.UPDATE_SESSION, BODY: Body(reply="OpenAIConversationObject", error_statuses=_ERRORS)},
    summary="Delete an item of a conversation",
    description="Destroys the item's content in the conversation. A stored response that it came with keeps its own.",
    tags=["OpenAI"],
    operation_id="deleteConversationItem",
)
async def delete_conversation_item(
    request: Request[Any, Any, Any], conversation_id: FromPath[str], item_id: FromPath[str]
) -> Response[bytes]:
    """Delete one item."""
    services, project, session = services_of(request), _project(request), _session(conversation_id)
    await delete_item(_items(services), project, session, item_id)
    return _json(conversation_object(await services.sessions.registry.get(project, session)))


async def _admitted(services: Services, project: ProjectId, messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The messages as they may be stored: their media looked at, their texts as the project's policy lets them through.

    Raises `InvalidRequest`, also for what the policy blocks, `UnsupportedFeature` and `GuardrailUnavailable`.
    """
    if not messages:
        return messages
    request = CanonicalRequest(model="", messages=messages)
    _MEDIA.check(request)
    guard = await services.engine.guard_of(project)
    if guard is None:
        return messages
    checked, blocked = await guard.check_input(request)
    if blocked is not None:
        raise InvalidRequest(f"items: the input was blocked by the guardrail: {blocked}", param="items")
    return checked.messages


def _items(services: Services) -> ConversationItems:
    return ConversationItems(services.database, services.locks, services.keys, services.sessions)


def _project(request: Request[Any, Any, Any]) -> ProjectId:
    return principal_of(request.scope).project


def _session(name: str) -> SessionId:
    """The session that a path names. Raises `NotFound` for what cannot be the id of one."""
    session = face_ids.session_of(name)
    if session is None:
        raise NotFound("There is no conversation with this id in your project.")
    return session


def _image_urls(request: Request[Any, Any, Any]) -> bool:
    includes = [value for name in _INCLUDE for value in request.query_params.getall(name, [])]
    refuse_includes(includes, (IMAGE_URLS,))
    return IMAGE_URLS in includes


def _json(value: msgspec.Struct) -> Response[bytes]:
    return Response(msgspec.json.encode(value), media_type="application/json")


CONVERSATION_ROUTES = (
    create_conversation,
    retrieve_conversation,
    update_conversation,
    delete_conversation,
    create_conversation_items,
    list_conversation_items,
    retrieve_conversation_item,
    delete_conversation_item,
)

__all__ = ["CONVERSATION_ROUTES"]
