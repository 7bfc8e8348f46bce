"""The routes of OpenAI's responses: create, and what can be done with a stored one."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from litestar import delete, get, post
from litestar.connection import Request
from litestar.params import FromPath, Parameter
from litestar.response import Response, Stream
from litestar.types import ASGIApp

from bedplate_core.errors import InvalidRequest, NotFound, UnsupportedFeature
from bedplate_gateway.access.principal import Action
from bedplate_gateway.dialects.base import WireReply
from bedplate_gateway.dialects.openai.answer_wire import STREAM_MEDIA_TYPE
from bedplate_gateway.dialects.openai.errors import error_reply
from bedplate_gateway.dialects.openai.responses_exchange import ResponsesExchange, response_id_of
from bedplate_gateway.dialects.openai.responses_request import refuse_includes
from bedplate_gateway.dialects.openai.responses_stored import DeletedResponse, input_items, stored_response
from bedplate_gateway.dialects.openai.responses_wire import IMAGE_URLS
from bedplate_gateway.engine.call import Call
from bedplate_gateway.engine.conversation_memory import ConversationMemory
from bedplate_gateway.engine.memory import Memory
from bedplate_gateway.engine.response_memory import ResponseMemory
from bedplate_gateway.web.authorization import ACTION
from bedplate_gateway.web.background_responses import BackgroundResponses, NotWhileRunning
from bedplate_gateway.web.background_run import begun_in_background
from bedplate_gateway.web.call_response import Streamed
from bedplate_gateway.web.call_route import CallRoute
from bedplate_gateway.web.calls import decoded, generated, session_memory
from bedplate_gateway.web.documentation import BODY, Body
from bedplate_gateway.web.edge import principal_of
from bedplate_gateway.web.incoming import Incoming
from bedplate_gateway.web.running_reply import RunningReply
from bedplate_gateway.web.services import Services, services_of

DIALECT = "openai"
MAX_LISTED = 100
_INCLUDE = ("include", "include[]")
"""The SDKs repeat the name with brackets."""
_EVENT_STREAM = {"content-type": STREAM_MEDIA_TYPE, "cache-control": "no-store", "x-accel-buffering": "no"}


@post(
    "/v1/responses",
    status_code=200,
    opt={
        ACTION: Action.INVOKE_MODEL,
        BODY: Body(
            request="OpenAIResponsesRequest",
            reply="OpenAIResponseObject",
            event="OpenAIResponseCompleted",
            session_header=True,
        ),
    },
    summary="Create a response",
    description=(
        "OpenAI's responses, streamed or not. A response is stored unless `store` is false, for 30 days where the "
        "settings say nothing else, and the next request goes on from it with `previous_response_id`. With "
        "`conversation` it is a turn of that conversation and stored as a response as well, both or neither; "
        "`instructions` are for this turn only. With the header `x-bedplate-session` the request is a turn of a "
        "durable conversation instead: nothing is stored as a response, and `previous_response_id` is refused. A "
        "response whose input the project's policy blocked is not stored. With `background` the answer comes at "
        "once, and the response goes on without its client."
    ),
    tags=["OpenAI"],
    operation_id="createResponse",
    sync_to_thread=False,
)
def create_response() -> ASGIApp:
    """Responses."""
    return _RESPONSES


@get(
    "/v1/responses/{response_id:str}",
    opt={ACTION: Action.READ_SESSION, BODY: Body(reply="OpenAIResponseObject")},
    summary="Read a response",
    description=(
        "One of your project's stored responses. While a response in the background is made, its status says so. With "
        "`stream=true` the events of one that was begun with `stream` and `background`: those behind the sequence "
        "number `starting_after`. They are kept for a day."
    ),
    tags=["OpenAI"],
    operation_id="retrieveResponse",
)
async def retrieve_response(request: Request[Any, Any, Any], response_id: FromPath[str]) -> Response[Any]:
    """One response."""
    after = _starting_after(request)
    refuse_includes(_includes(request), (IMAGE_URLS,))  # a response shows no input, so it lacks no address
    services, project = services_of(request), principal_of(request.scope).project
    background = BackgroundResponses(services, project)
    streamed = request.query_params.get("stream", "false") not in ("false", "")
    try:
        stored = await services.stored_responses.read(project=project, response_id=response_id)
    except NotFound:
        if not streamed:
            return Response(await background.read(response_id), media_type="application/json")
    else:
        shown = stored_response(stored)
        if not streamed:
            return _json(shown)
        if not shown.background:
            raise UnsupportedFeature(
                "stream: only a response that was made in the background can be streamed again", param="stream"
            )
    return Stream(await background.events(response_id, after), headers=_EVENT_STREAM)


@delete(
    "/v1/responses/{response_id:str}",
    status_code=200,
    opt={ACTION: Action.INVOKE_MODEL, BODY: Body(reply="OpenAIDeletedResponse")},
    summary="Delete a response",
    description="Removes the response and its contents for good. Responses that build on it cannot be continued.",
    tags=["OpenAI"],
    operation_id="deleteResponse",
)
async def delete_response(request: Request[Any, Any, Any], response_id: FromPath[str]) -> Response[bytes]:
    """Delete one response."""
    services, project = services_of(request), principal_of(request.scope).project
    found = await BackgroundResponses(services, project).delete(response_id)
    try:
        await services.stored_responses.delete(project=project, response_id=response_id)
    except NotFound:
        if not found:
            raise
    return _json(DeletedResponse(id=response_id))


@post(
    "/v1/responses/{response_id:str}/cancel",
    status_code=200,
    opt={ACTION: Action.INVOKE_MODEL, BODY: Body(reply="OpenAIResponseObject")},
    summary="Cancel a response",
    description=(
        "Stops a response in the background. One that has ended already stays as it is; one that was not made in the "
        "background answers 400. To stop such a one while it is made, close its connection."
    ),
    tags=["OpenAI"],
    operation_id="cancelResponse",
)
async def cancel_response(request: Request[Any, Any, Any], response_id: FromPath[str]) -> Response[bytes]:
    """Cancel one response."""
    services, project = services_of(request), principal_of(request.scope).project
    try:
        ended = stored_response(await services.stored_responses.read(project=project, response_id=response_id))
    except NotFound:
        body = await BackgroundResponses(services, project).cancel(response_id)
        return Response(body, media_type="application/json")
    if not ended.background:
        raise InvalidRequest("a response that was not made in the background cannot be cancelled", param="response_id")
    return _json(ended)


@get(
    "/v1/responses/{response_id:str}/input_items",
    opt={ACTION: Action.READ_SESSION, BODY: Body(reply="OpenAIResponseItemList")},
    summary="List a response's input items",
    description="The items of the response's own request. What it builds on is listed by the responses before it.",
    tags=["OpenAI"],
    operation_id="listResponseInputItems",
)
async def list_response_input_items(
    request: Request[Any, Any, Any],
    response_id: FromPath[str],
    after: Annotated[str | None, Parameter(description="Only items behind the one with this id")] = None,
    limit: Annotated[int, Parameter(ge=1, le=MAX_LISTED, description="Items on a page")] = 20,
    order: Annotated[Literal["asc", "desc"], Parameter(description="Newest first, or as they were sent")] = "desc",
) -> Response[bytes]:
    """A page of items."""
    includes = _includes(request)
    refuse_includes(includes, (IMAGE_URLS,))
    stored = await services_of(request).stored_responses.read(
        project=principal_of(request.scope).project, response_id=response_id
    )
    page = input_items(
        stored, after=after, limit=limit, newest_first=order == "desc", image_urls=IMAGE_URLS in includes
    )
    return _json(page)


def _includes(request: Request[Any, Any, Any]) -> list[str]:
    return [value for name in _INCLUDE for value in request.query_params.getall(name, [])]


def _starting_after(request: Request[Any, Any, Any]) -> int | None:
    given = request.query_params.get("starting_after")
    if given is None:
        return None
    if request.query_params.get("stream", "false") in ("false", ""):
        raise UnsupportedFeature("starting_after: only allowed with stream=true", param="starting_after")
    if not given.isascii() or not given.isdigit() or len(given) > 9:
        raise InvalidRequest("starting_after: expected the sequence number of an event", param="starting_after")
    return int(given)


def _json(value: msgspec.Struct) -> Response[bytes]:
    return Response(msgspec.json.encode(value), media_type="application/json")


async def _responses(services: Services, call: Call, incoming: Incoming) -> WireReply | Streamed | RunningReply:
    decode = partial(
        ResponsesExchange.decode, response_id=response_id_of(call.id), in_session=incoming.session is not None
    )
    exchange = await decoded(services, call, decode, incoming.body)
    memory = (await session_memory(services, call, incoming)) or _response_memory(services, exchange)
    if memory is not None and exchange.previous_response_id is not None:
        memory = NotWhileRunning(memory, services, exchange.previous_response_id)
    if exchange.background and memory is not None:
        return await begun_in_background(services, call, exchange, memory)
    return await generated(services, call, exchange, memory)


def _response_memory(services: Services, exchange: ResponsesExchange) -> Memory | None:
    """Where the response is kept and what it builds on; None when it does neither."""
    if exchange.conversation is not None:
        return ConversationMemory(
            services.sessions,
            services.stored_responses,
            conversation=exchange.conversation,
            response_id=exchange.response_id,
            store=exchange.store,
            instructions=exchange.instructions,
            settings=exchange.stored_settings,
            wait_s=services.settings.session_wait_s,
        )
    if not exchange.store and exchange.previous_response_id is None:
        return None
    return ResponseMemory(
        services.stored_responses,
        response_id=exchange.response_id,
        previous=exchange.previous_response_id,
        store=exchange.store,
        instructions=exchange.instructions,
        settings=exchange.stored_settings,
    )


_RESPONSES = CallRoute(
    dialect=DIALECT, operation="responses", serve=_responses, error_reply=error_reply, remembers=True
)

RESPONSES_ROUTES = (
    create_response,
    retrieve_response,
    delete_response,
    cancel_response,
    list_response_input_items,
)

__all__ = ["RESPONSES_ROUTES"]
