"""The routes of Bedrock's control plane about guardrails.

A change is in force in this process when it is answered; other processes follow within a moment. Identifiers are one
segment of the path, in which the SDKs encode an ARN's slash. Tags here are guardrails': those of sessions belong to
another service and have paths of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from litestar import delete, get, post, put
from litestar.response import Response

from bedplate_core.assessment import GuardrailRef
from bedplate_core.errors import GatewayError, InvalidRequest
from bedplate_core.ids import ProjectId
from bedplate_core.jsonvalue import JSON
from bedplate_gateway.access.principal import Action
from bedplate_gateway.catalogue.guardrail_index import DRAFT
from bedplate_gateway.catalogue.guardrail_rows import VersionRow
from bedplate_gateway.catalogue.guardrail_store import Enforcement, GuardrailStore
from bedplate_gateway.catalogue.holds import models_of
from bedplate_gateway.dialects.bedrock import guardrails_decode as decode
from bedplate_gateway.dialects.bedrock import guardrails_reply as reply
from bedplate_gateway.dialects.bedrock.guardrails_errors import GUARDRAIL_ERROR_STATUSES, error_reply
from bedplate_gateway.dialects.bedrock.guardrails_ids import guardrail_id, guardrail_version, numbered_version
from bedplate_gateway.dialects.bedrock.sessions_tokens import Paging
from bedplate_gateway.dialects.decoding import clip, invalid
from bedplate_gateway.web.bedrock_operation import AnyRequest, body_of, documented, error_handlers, json_answer
from bedplate_gateway.web.edge import principal_of
from bedplate_gateway.web.incoming import Incoming
from bedplate_gateway.web.services import Services, services_of
from bedplate_guardrails.document import InvalidPolicy, convert_document
from bedplate_guardrails.evaluation import Capabilities
from bedplate_guardrails.policy import Policy, compile_policy

_IDENTIFIER = 1
_VERSION_QUERY = frozenset({"guardrailVersion"})
_TOKEN_QUERY = frozenset({"nextToken"})
_LIST_FILTER = "guardrailIdentifier"


_HANDLERS: Any = error_handlers(error_reply)


def _documented(
    action: Action, *, request: str | None = None, answer: str | None = None, status: int = 200
) -> dict[str, Any]:
    return documented(action, GUARDRAIL_ERROR_STATUSES, request=request, answer=answer, status=status)


@post(
    "/guardrails",
    status_code=202,
    opt=_documented(
        Action.CREATE_GUARDRAIL, request="CreateGuardrailRequest", answer="CreateGuardrailResponse", status=202
    ),
    exception_handlers=_HANDLERS,
    summary="Create a guardrail",
    description=(
        "A guardrail with its draft. What cannot be evaluated here is refused by name. The same `clientRequestToken` "
        "with the same request gives the same answer for a day."
    ),
    tags=["Bedrock guardrails"],
    operation_id="CreateGuardrail",
)
async def create_guardrail(request: AnyRequest) -> Response[bytes]:
    """CreateGuardrail."""
    principal, services = principal_of(request.scope), services_of(request)
    asked = decode.new_guardrail(await body_of(request))
    await _require_enforceable(services, asked.change.document)
    made = await _store(services).create(
        principal.project, asked.change, asked.tags, principal.key_id, asked.repeatable
    )
    await services.catalogue.reload()
    return json_answer(reply.created(made), 202)


@get(
    "/guardrails",
    opt=_documented(Action.LIST_GUARDRAILS, answer="ListGuardrailsResponse"),
    exception_handlers=_HANDLERS,
    summary="List guardrails",
    description=(
        "The drafts of the project's guardrails, newest first; with `guardrailIdentifier` the draft and the versions "
        "of one."
    ),
    tags=["Bedrock guardrails"],
    operation_id="ListGuardrails",
)
async def list_guardrails(request: AnyRequest) -> Response[bytes]:
    """ListGuardrails."""
    names = [name for name in request.query_params if name != _LIST_FILTER]
    paging = Paging.decode(names, request.query_params.get)
    identifier = request.query_params.get(_LIST_FILTER)
    if identifier is not None:
        return await _list_versions(request, guardrail_id(identifier), paging)
    services, project = services_of(request), _project(request)
    bound = ("ListGuardrails", project)
    place = None if paging.token is None else services.page_tokens.open(paging.token, bound, reply.Place)
    after = None if place is None else (place.created_at, place.id)
    rows = await _store(services).page(project, limit=paging.limit + 1, after=after)
    shown = rows[: paging.limit]
    token = None
    if len(rows) > len(shown):
        token = services.page_tokens.seal(reply.Place(shown[-1].created_at, shown[-1].id), bound)
    return json_answer(reply.drafts(shown, token))


async def _list_versions(request: AnyRequest, name: str, paging: Paging) -> Response[bytes]:
    services, project = services_of(request), _project(request)
    bound = ("ListGuardrails", project, name)
    before = None if paging.token is None else services.page_tokens.open(paging.token, bound, int)
    row, versions = await _store(services).versions(project, name)
    every: Sequence[VersionRow | None] = [None, *versions]
    if before is not None:
        every = [version for version in versions if version.version < before]
    shown = every[: paging.limit]
    token, last = None, shown[-1] if shown else None
    if len(every) > len(shown):
        next_before = row.next_version if last is None else last.version
        token = services.page_tokens.seal(next_before, bound)
    return json_answer(reply.versions(row, shown, token))


@get(
    "/guardrails/{guardrail_identifier:str}",
    opt=_documented(Action.READ_GUARDRAIL, answer="GetGuardrailResponse"),
    exception_handlers=_HANDLERS,
    summary="Describe a guardrail",
    description=(
        "The draft, or the version that `guardrailVersion` names in the query. The status is FAILED when it cannot be "
        "enforced as it stands; `statusReasons` says why. `bedplateHoldBack` is the most that it keeps back of answers "
        "while they are streamed: `bytes` of one text, null for all of it, and the `evaluationMs` that models may take."
    ),
    tags=["Bedrock guardrails"],
    operation_id="GetGuardrail",
)
async def get_guardrail(request: AnyRequest) -> Response[bytes]:
    """GetGuardrail."""
    decode.require_query(list(request.query_params), _VERSION_QUERY)
    name, version = _guardrail(request), guardrail_version(request.query_params.get("guardrailVersion"))
    services, project = services_of(request), _project(request)
    if version is None:
        row, shown = await _store(services).draft(project, name), None
    else:
        row, shown = await _store(services).version(project, name, version)
    document = row.document if shown is None else shown.document
    compiled = await asyncio.to_thread(_compiled, document, services.catalogue.capabilities)
    if isinstance(compiled, InvalidPolicy):
        return json_answer(reply.whole(row, shown, problem=str(compiled)))
    return json_answer(reply.whole(row, shown, hold_back=compiled.hold_back))


@put(
    "/guardrails/{guardrail_identifier:str}",
    status_code=202,
    opt=_documented(
        Action.UPDATE_GUARDRAIL, request="UpdateGuardrailRequest", answer="UpdateGuardrailResponse", status=202
    ),
    exception_handlers=_HANDLERS,
    summary="Update a guardrail",
    description="Replaces the draft whole: what is left out is gone. Versions stay as they are.",
    tags=["Bedrock guardrails"],
    operation_id="UpdateGuardrail",
)
async def update_guardrail(request: AnyRequest) -> Response[bytes]:
    """UpdateGuardrail."""
    principal, services = principal_of(request.scope), services_of(request)
    name, change = _guardrail(request), decode.new_draft(await body_of(request))
    await _require_enforceable(services, change.document)
    at = await _store(services).update(principal.project, name, change, principal.key_id)
    await services.catalogue.reload()
    return json_answer(reply.updated(name, at), 202)


@post(
    "/guardrails/{guardrail_identifier:str}",
    status_code=202,
    opt=_documented(
        Action.VERSION_GUARDRAIL,
        request="CreateGuardrailVersionRequest",
        answer="CreateGuardrailVersionResponse",
        status=202,
    ),
    exception_handlers=_HANDLERS,
    summary="Create a version of a guardrail",
    description="Freezes the draft under the next number. Numbers are never used again.",
    tags=["Bedrock guardrails"],
    operation_id="CreateGuardrailVersion",
)
async def create_guardrail_version(request: AnyRequest) -> Response[bytes]:
    """CreateGuardrailVersion."""
    services, name = services_of(request), _guardrail(request)
    asked = decode.new_version(await body_of(request), name)
    made = await _store(services).freeze(_project(request), name, asked.description, asked.repeatable)
    await services.catalogue.reload()
    return json_answer(reply.frozen(made), 202)


@delete(
    "/guardrails/{guardrail_identifier:str}",
    status_code=202,
    opt=_documented(Action.DELETE_GUARDRAIL, status=202),
    exception_handlers=_HANDLERS,
    summary="Delete a guardrail",
    description="The guardrail with all its versions, or the version that `guardrailVersion` names in the query.",
    tags=["Bedrock guardrails"],
    operation_id="DeleteGuardrail",
)
async def delete_guardrail(request: AnyRequest) -> Response[bytes]:
    """DeleteGuardrail."""
    decode.require_query(list(request.query_params), _VERSION_QUERY)
    principal, services, name = principal_of(request.scope), services_of(request), _guardrail(request)
    given = request.query_params.get("guardrailVersion")
    version = None if given is None else numbered_version(given)
    await _store(services).delete(principal.project, name, version, principal.key_id)
    await services.catalogue.reload()
    return json_answer(b"{}", 202)


@put(
    "/enforcedGuardrailsConfiguration",
    status_code=200,
    opt=_documented(
        Action.ENFORCE_GUARDRAIL,
        request="PutEnforcedGuardrailConfigurationRequest",
        answer="PutEnforcedGuardrailConfigurationResponse",
    ),
    exception_handlers=_HANDLERS,
    summary="Enforce a guardrail",
    description=(
        "Makes a version mandatory for every call of the project, or with `configId` changes what is. Models are named "
        "as in the catalogue."
    ),
    tags=["Bedrock guardrails"],
    operation_id="PutEnforcedGuardrailConfiguration",
)
async def put_enforced(request: AnyRequest) -> Response[bytes]:
    """PutEnforcedGuardrailConfiguration."""
    principal, services = principal_of(request.scope), services_of(request)
    asked = decode.new_enforcement(await body_of(request))
    if asked.config_id == reply.DECLARED:
        raise _declared()
    _require_models(services, asked.enforcement)
    stored = await _store(services).document(principal.project, asked.enforcement.id, asked.enforcement.version)
    await _require_enforceable(services, stored.document)
    row = await _store(services).enforce(principal.project, asked.config_id, asked.enforcement, principal.key_id)
    await services.catalogue.reload()
    return json_answer(reply.put_enforced(row))


@get(
    "/enforcedGuardrailsConfiguration",
    opt=_documented(Action.LIST_ENFORCED, answer="ListEnforcedGuardrailsConfigurationResponse"),
    exception_handlers=_HANDLERS,
    summary="List enforced guardrails",
    description=(
        "What is mandatory in the project: by its settings in the installation's files (`configId` is `declared`) and "
        "by PutEnforcedGuardrailConfiguration. What is mandatory in the whole installation is not shown."
    ),
    tags=["Bedrock guardrails"],
    operation_id="ListEnforcedGuardrailsConfiguration",
)
async def list_enforced(request: AnyRequest) -> Response[bytes]:
    """ListEnforcedGuardrailsConfiguration."""
    decode.require_query(list(request.query_params), _TOKEN_QUERY)
    if "nextToken" in request.query_params:  # the list has one page
        raise InvalidRequest("nextToken: is not a token of this list", param="nextToken")
    project = _project(request)
    return json_answer(reply.enforced(await _store(services_of(request)).enforced(project), project))


@delete(
    "/enforcedGuardrailsConfiguration/{config_id:str}",
    status_code=200,
    opt=_documented(Action.ENFORCE_GUARDRAIL),
    exception_handlers=_HANDLERS,
    summary="Stop enforcing a guardrail",
    description="Ends a configuration. What the installation's files declare can only be changed there.",
    tags=["Bedrock guardrails"],
    operation_id="DeleteEnforcedGuardrailConfiguration",
)
async def delete_enforced(request: AnyRequest) -> Response[bytes]:
    """DeleteEnforcedGuardrailConfiguration."""
    services, config_id = services_of(request), Incoming(request.scope, b"").segment(_IDENTIFIER)
    if config_id == reply.DECLARED:
        raise _declared()
    await _store(services).release(_project(request), config_id)
    await services.catalogue.reload()
    return json_answer(b"{}")


@post(
    "/tagResource",
    status_code=200,
    opt=_documented(Action.UPDATE_GUARDRAIL, request="TagGuardrailRequest"),
    exception_handlers=_HANDLERS,
    summary="Tag a guardrail",
    description="Sets these tags and keeps the others; at most 200.",
    tags=["Bedrock guardrails"],
    operation_id="TagGuardrail",
)
async def tag_guardrail(request: AnyRequest) -> Response[bytes]:
    """TagResource of the control plane."""
    name, arn, tags = decode.tags_to_add(await body_of(request))
    await _store(services_of(request)).add_tags(_project(request), name, tags, arn)
    return json_answer(b"{}")


@post(
    "/untagResource",
    status_code=200,
    opt=_documented(Action.UPDATE_GUARDRAIL, request="UntagGuardrailRequest"),
    exception_handlers=_HANDLERS,
    summary="Remove tags of a guardrail",
    description="Keys that it does not have are no error.",
    tags=["Bedrock guardrails"],
    operation_id="UntagGuardrail",
)
async def untag_guardrail(request: AnyRequest) -> Response[bytes]:
    """UntagResource of the control plane."""
    name, keys = decode.keys_to_remove(await body_of(request))
    await _store(services_of(request)).remove_tags(_project(request), name, keys)
    return json_answer(b"{}")


@post(
    "/listTagsForResource",
    status_code=200,
    opt=_documented(Action.READ_GUARDRAIL, request="ListGuardrailTagsRequest", answer="GuardrailTagsResponse"),
    exception_handlers=_HANDLERS,
    summary="List a guardrail's tags",
    description="All tags of one guardrail.",
    tags=["Bedrock guardrails"],
    operation_id="ListGuardrailTags",
)
async def list_guardrail_tags(request: AnyRequest) -> Response[bytes]:
    """ListTagsForResource of the control plane."""
    name = decode.tagged(await body_of(request))
    row = await _store(services_of(request)).draft(_project(request), name)
    return json_answer(reply.tags(row.tags))


def _store(services: Services) -> GuardrailStore:
    return GuardrailStore(services.database)


def _project(request: AnyRequest) -> ProjectId:
    return principal_of(request.scope).project


def _guardrail(request: AnyRequest) -> str:
    return guardrail_id(Incoming(request.scope, b"").segment(_IDENTIFIER))


async def _require_enforceable(services: Services, document: JSON) -> None:
    """Raise `InvalidRequest`, naming the member, for a document that nothing here could enforce as it is written."""
    compiled = await asyncio.to_thread(_compiled, document, services.catalogue.capabilities)
    if isinstance(compiled, InvalidPolicy):
        raise invalid(str(compiled))


def _compiled(document: JSON, able: Capabilities) -> Policy | InvalidPolicy:
    """The policy of a document, or why it cannot be enforced. Takes milliseconds."""
    try:
        return compile_policy(GuardrailRef(id="", name="", version=DRAFT), convert_document(document), able)
    except InvalidPolicy as error:
        return error


def _require_models(services: Services, enforcement: Enforcement) -> None:
    included, excluded = models_of(enforcement.model_enforcement)
    routes = services.catalogue.snapshot.routes
    for member, names in (("includedModels", included or ()), ("excludedModels", excluded)):
        for name in sorted(names):
            if name not in routes:
                param = f"guardrailInferenceConfig.modelEnforcement.{member}"
                raise InvalidRequest(f"{param}: there is no model {clip(name, 64)!r}", param=param)


def _declared() -> GatewayError:
    return InvalidRequest(
        "configId: the installation's files declare this guardrail for the project; it can be changed only there",
        param="configId",
    )


BEDROCK_GUARDRAIL_ROUTES = (
    create_guardrail,
    list_guardrails,
    get_guardrail,
    update_guardrail,
    create_guardrail_version,
    delete_guardrail,
    put_enforced,
    list_enforced,
    delete_enforced,
    tag_guardrail,
    untag_guardrail,
    list_guardrail_tags,
)

__all__ = ["BEDROCK_GUARDRAIL_ROUTES"]
