"""The routes of Bedrock's session operations: sessions, invocations, steps and tags.

Identifiers are one segment of the path, in which the SDKs encode an ARN's slash. Every session of the project is here,
whichever API began it.
"""

from __future__ import annotations

from typing import Any

from litestar import delete, get, patch, post, put
from litestar.response import Response

from bedplate_core.ids import ProjectId, SessionId
from bedplate_gateway.access.principal import Action
from bedplate_gateway.dialects.bedrock import sessions_decode as decode
from bedplate_gateway.dialects.bedrock import sessions_reply as reply
from bedplate_gateway.dialects.bedrock.sessions_errors import SESSION_ERROR_STATUSES, error_reply
from bedplate_gateway.dialects.bedrock.sessions_ids import digits_of, session_identifier, tagged_session
from bedplate_gateway.dialects.bedrock.sessions_tokens import Paging
from bedplate_gateway.dialects.bedrock.tags import keys_to_remove, tags_body, tags_to_add
from bedplate_gateway.web.bedrock_operation import AnyRequest, body_of, documented, error_handlers, json_answer
from bedplate_gateway.web.edge import call_id_of, principal_of
from bedplate_gateway.web.incoming import Incoming
from bedplate_gateway.web.new_session import new_session
from bedplate_gateway.web.services import services_of
from bedplate_sessions.session import Face, SessionPlace
from bedplate_sessions.steps import StepPlace

ROLE_HEADER = "x-bedplate-role"
"""On GetInvocationStep's answer: who said it, when the step is an item of a chat. Bedrock has no place for it."""

_IDENTIFIER = 1
_STEP = 3


_HANDLERS: Any = error_handlers(error_reply)


def _documented(
    action: Action, *, request: str | None = None, answer: str | None = None, status: int = 200
) -> dict[str, Any]:
    return documented(action, SESSION_ERROR_STATUSES, request=request, answer=answer, status=status)


@put(
    "/sessions",
    status_code=201,
    opt=_documented(Action.CREATE_SESSION, request="CreateSessionRequest", answer="CreateSessionResponse", status=201),
    exception_handlers=_HANDLERS,
    summary="Create a session",
    description=(
        "A session that expires an hour after the last write to it, unless the installation says otherwise. "
        "`encryptionKeyArn` is kept and shown; what encrypts the content is the installation's own key."
    ),
    tags=["Bedrock sessions"],
    operation_id="CreateSession",
)
async def create_session(request: AnyRequest) -> Response[bytes]:
    """CreateSession."""
    principal, services = principal_of(request.scope), services_of(request)
    like = new_session(services, principal.project, Face.BEDROCK)
    new = decode.new_session(await body_of(request), like)
    session = await services.sessions.registry.create(principal.project, principal.key_id, new)
    return json_answer(reply.created_session(session), 201)


@post(
    "/sessions",
    status_code=200,
    opt=_documented(Action.LIST_SESSIONS, answer="ListSessionsResponse"),
    exception_handlers=_HANDLERS,
    summary="List sessions",
    description="The project's sessions, newest first. `maxResults` and `nextToken` are in the query.",
    tags=["Bedrock sessions"],
    operation_id="ListSessions",
)
async def list_sessions(request: AnyRequest) -> Response[bytes]:
    """ListSessions."""
    paging = _paging(request)
    decode.require_empty(await body_of(request))
    services, project = services_of(request), _project(request)
    bound = ("ListSessions", project)
    after = None if paging.token is None else services.page_tokens.open(paging.token, bound, SessionPlace)
    page = await services.sessions.registry.page(project, limit=paging.limit, after=after)
    token = None if page.next_after is None else services.page_tokens.seal(page.next_after, bound)
    return json_answer(reply.session_list(page, token))


@get(
    "/sessions/{session_identifier:str}",
    opt=_documented(Action.READ_SESSION, answer="GetSessionResponse"),
    exception_handlers=_HANDLERS,
    summary="Describe a session",
    description="One session, by its UUID or its ARN.",
    tags=["Bedrock sessions"],
    operation_id="GetSession",
)
async def get_session(request: AnyRequest) -> Response[bytes]:
    """GetSession."""
    session = _session(request)
    return json_answer(
        reply.whole_session(await services_of(request).sessions.registry.get(_project(request), session))
    )


@put(
    "/sessions/{session_identifier:str}",
    status_code=200,
    opt=_documented(Action.UPDATE_SESSION, request="UpdateSessionRequest", answer="SessionSummary"),
    exception_handlers=_HANDLERS,
    summary="Update a session",
    description="Replaces `sessionMetadata` when it is given, and counts as a write.",
    tags=["Bedrock sessions"],
    operation_id="UpdateSession",
)
async def update_session(request: AnyRequest) -> Response[bytes]:
    """UpdateSession."""
    session, metadata = _session(request), decode.new_metadata(await body_of(request))
    registry = services_of(request).sessions.registry
    return json_answer(reply.updated_session(await registry.replace_metadata(_project(request), session, metadata)))


@patch(
    "/sessions/{session_identifier:str}",
    status_code=200,
    opt=_documented(Action.END_SESSION, answer="EndSessionResponse"),
    exception_handlers=_HANDLERS,
    summary="End a session",
    description="From then on the session can only be read. Ending one that has ended or expired is no error.",
    tags=["Bedrock sessions"],
    operation_id="EndSession",
)
async def end_session(request: AnyRequest) -> Response[bytes]:
    """EndSession."""
    session = _session(request)
    decode.require_empty(await body_of(request))
    return json_answer(
        reply.ended_session(await services_of(request).sessions.registry.end(_project(request), session))
    )


@delete(
    "/sessions/{session_identifier:str}",
    status_code=200,
    opt=_documented(Action.DELETE_SESSION),
    exception_handlers=_HANDLERS,
    summary="Delete a session",
    description="Removes an ended or expired session with all its content for good.",
    tags=["Bedrock sessions"],
    operation_id="DeleteSession",
)
async def delete_session(request: AnyRequest) -> Response[bytes]:
    """DeleteSession."""
    session = _session(request)
    await services_of(request).sessions.registry.delete(_project(request), session, only_inactive=True)
    return json_answer(b"{}")


@put(
    "/sessions/{session_identifier:str}/invocations",
    status_code=201,
    opt=_documented(
        Action.CREATE_INVOCATION, request="CreateInvocationRequest", answer="InvocationSummary", status=201
    ),
    exception_handlers=_HANDLERS,
    summary="Create an invocation",
    description="A group of steps. An `invocationId` that the session has already is a conflict.",
    tags=["Bedrock sessions"],
    operation_id="CreateInvocation",
)
async def create_invocation(request: AnyRequest) -> Response[bytes]:
    """CreateInvocation."""
    session, new = _session(request), decode.new_invocation(await body_of(request))
    made = await services_of(request).sessions.steps.create_invocation(
        _project(request), session, call_id_of(request.scope), invocation=new.id, description=new.description
    )
    return json_answer(reply.created_invocation(session, made), 201)


@post(
    "/sessions/{session_identifier:str}/invocations",
    status_code=200,
    opt=_documented(Action.LIST_INVOCATIONS, answer="ListInvocationsResponse"),
    exception_handlers=_HANDLERS,
    summary="List invocations",
    description="Newest first: turns of the conversation, and what CreateInvocation made.",
    tags=["Bedrock sessions"],
    operation_id="ListInvocations",
)
async def list_invocations(request: AnyRequest) -> Response[bytes]:
    """ListInvocations."""
    session, paging = _session(request), _paging(request)
    decode.require_empty(await body_of(request))
    services, project = services_of(request), _project(request)
    bound = ("ListInvocations", project, session)
    before = None if paging.token is None else services.page_tokens.open(paging.token, bound, int)
    page = await services.sessions.steps.invocations(project, session, limit=paging.limit, before=before)
    token = None if page.next_before is None else services.page_tokens.seal(page.next_before, bound)
    return json_answer(reply.invocation_list(session, page, token))


@put(
    "/sessions/{session_identifier:str}/invocationSteps",
    status_code=201,
    opt=_documented(
        Action.PUT_STEP, request="PutInvocationStepRequest", answer="PutInvocationStepResponse", status=201
    ),
    exception_handlers=_HANDLERS,
    summary="Add a step to an invocation",
    description=(
        "A step is opaque: no model is told of it. Putting the same step again under its id changes nothing; another "
        "one under that id is a conflict."
    ),
    tags=["Bedrock sessions"],
    operation_id="PutInvocationStep",
)
async def put_invocation_step(request: AnyRequest) -> Response[bytes]:
    """PutInvocationStep."""
    session, new = _session(request), decode.new_step(await body_of(request))
    step = await services_of(request).sessions.steps.put(
        _project(request), session, invocation=new.invocation, step=new.id, time=new.time, blocks=new.blocks
    )
    return json_answer(reply.put_step(step), 201)


@post(
    "/sessions/{session_identifier:str}/invocationSteps",
    status_code=200,
    opt=_documented(Action.LIST_STEPS, request="ListInvocationStepsRequest", answer="ListInvocationStepsResponse"),
    exception_handlers=_HANDLERS,
    summary="List steps",
    description="Newest first, of one invocation or of the whole session: what was put, and the items of a chat.",
    tags=["Bedrock sessions"],
    operation_id="ListInvocationSteps",
)
async def list_invocation_steps(request: AnyRequest) -> Response[bytes]:
    """ListInvocationSteps."""
    session, paging = _session(request), _paging(request)
    invocation = decode.invocation_filter(await body_of(request))
    services, project = services_of(request), _project(request)
    bound = ("ListInvocationSteps", project, session, invocation or "")
    before = None if paging.token is None else services.page_tokens.open(paging.token, bound, StepPlace)
    page = await services.sessions.steps.page(
        project, session, limit=paging.limit, invocation=invocation, before=before
    )
    token = None if page.next_before is None else services.page_tokens.seal(page.next_before, bound)
    return json_answer(reply.step_list(session, page, token))


@post(
    "/sessions/{session_identifier:str}/invocationSteps/{invocation_step_id:str}",
    status_code=200,
    opt=_documented(Action.READ_STEP, request="GetInvocationStepRequest", answer="GetInvocationStepResponse"),
    exception_handlers=_HANDLERS,
    summary="Read a step",
    description=(
        "An item of a chat shows texts as `text`, pictures as `image`, and any other part as a `text` with the part's "
        f"JSON; the answer's header `{ROLE_HEADER}` says whose message it is."
    ),
    tags=["Bedrock sessions"],
    operation_id="GetInvocationStep",
)
async def get_invocation_step(request: AnyRequest) -> Response[bytes]:
    """GetInvocationStep."""
    session = _session(request)
    name = digits_of(Incoming(request.scope, b"").segment(_STEP), "invocationStepId")
    invocation = decode.invocation_of_step(await body_of(request))
    step = await services_of(request).sessions.steps.step(_project(request), session, invocation=invocation, step=name)
    headers = {} if step.message is None else {ROLE_HEADER: step.message.role.value}
    return json_answer(reply.whole_step(session, step), headers=headers)


@post(
    "/tags/{resource_arn:str}",
    status_code=200,
    opt=_documented(Action.TAG_RESOURCE, request="TagResourceRequest"),
    exception_handlers=_HANDLERS,
    summary="Tag a session",
    description="Sets these tags and keeps the others. The ARN is one segment of the path, its slash encoded.",
    tags=["Bedrock sessions"],
    operation_id="TagResource",
)
async def tag_resource(request: AnyRequest) -> Response[bytes]:
    """TagResource."""
    session, tags = _tagged(request), tags_to_add(await body_of(request))
    await services_of(request).sessions.tags.add(_project(request), session, tags)
    return json_answer(b"{}")


@delete(
    "/tags/{resource_arn:str}",
    status_code=200,
    opt=_documented(Action.UNTAG_RESOURCE),
    exception_handlers=_HANDLERS,
    summary="Remove tags of a session",
    description="The keys are in the query: `tagKeys`, once for each.",
    tags=["Bedrock sessions"],
    operation_id="UntagResource",
)
async def untag_resource(request: AnyRequest) -> Response[bytes]:
    """UntagResource."""
    session, keys = _tagged(request), keys_to_remove(request.query_params.getall("tagKeys", []))
    await services_of(request).sessions.tags.remove(_project(request), session, keys)
    return json_answer(b"{}")


@get(
    "/tags/{resource_arn:str}",
    opt=_documented(Action.LIST_TAGS, answer="ListTagsForResourceResponse"),
    exception_handlers=_HANDLERS,
    summary="List a session's tags",
    description="All tags of one session.",
    tags=["Bedrock sessions"],
    operation_id="ListTagsForResource",
)
async def list_tags_for_resource(request: AnyRequest) -> Response[bytes]:
    """ListTagsForResource."""
    session = await services_of(request).sessions.registry.get(_project(request), _tagged(request))
    return json_answer(tags_body(session.tags))


def _session(request: AnyRequest) -> SessionId:
    return session_identifier(Incoming(request.scope, b"").segment(_IDENTIFIER))


def _tagged(request: AnyRequest) -> SessionId:
    return tagged_session(Incoming(request.scope, b"").segment(_IDENTIFIER))


def _project(request: AnyRequest) -> ProjectId:
    return principal_of(request.scope).project


def _paging(request: AnyRequest) -> Paging:
    return Paging.decode(list(request.query_params), request.query_params.get)


BEDROCK_SESSION_ROUTES = (
    create_session,
    list_sessions,
    get_session,
    update_session,
    end_session,
    delete_session,
    create_invocation,
    list_invocations,
    put_invocation_step,
    list_invocation_steps,
    get_invocation_step,
    tag_resource,
    untag_resource,
    list_tags_for_resource,
)

__all__ = ["BEDROCK_SESSION_ROUTES", "ROLE_HEADER"]
