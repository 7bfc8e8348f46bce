"""The OpenAPI document and the page that shows it.

Litestar describes the routes; bodies are decoded by the dialects and not by the framework, so each route names the
schemas of its bodies and they are filled in here. The page is Swagger UI from its package: nothing is loaded from
elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import msgspec
import swagger_ui_bundle
from litestar import Litestar, get
from litestar.connection import Request
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from litestar.response import Response

from bedplate_core.jsonvalue import JSON, JSONObject
from bedplate_gateway.access.principal import Action
from bedplate_gateway.dialects.anthropic import openapi as anthropic
from bedplate_gateway.dialects.bedrock import openapi as bedrock
from bedplate_gateway.dialects.openai import openapi as openai
from bedplate_gateway.web.authorization import ACTION
from bedplate_gateway.web.idempotency import REPLAYED_HEADER
from bedplate_gateway.web.incoming import SESSION_HEADER
from bedplate_gateway.web.operation_details import (
    ANSWER_HEADERS,
    ARCHIVE_ERRORS,
    GENERATES,
    KEY_ANSWER,
    KEY_PARAMETER,
    MISMATCH,
    QUERIES,
    SESSION_ANSWER,
    SESSION_ERRORS,
    SESSION_PARAMETER,
)

_PATH_PARAMETER = re.compile(r"\{(\w+)\}")

_TEXT: JSONObject = {"type": "string"}

BODY = "body"
"""The key in a route's `opt` under which it names its bodies."""

_ASSETS = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
_SCRIPT = b"""window.ui = SwaggerUIBundle({url: "openapi.json", dom_id: "#ui", deepLinking: true, validatorUrl: null});
"""
_PAGE = b"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Bedplate API</title>
<link rel="icon" href="docs/favicon-32x32.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<main id="ui"></main>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
_PAGE_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
}
_ERRORS = MappingProxyType(
    {
        "400": "The request is wrong; `param` names the field",
        "401": "The API key is missing or not valid",
        "403": "The key does not permit this",
        "404": "There is no such model or session",
        "409": "Another turn of the session runs or came first, or the session has ended or expired",
        "413": "The body is too large",
        "429": "Too many requests",
        "500": "The gateway failed",
        "502": "The upstream answered with something unusable",
        "503": "An upstream or the database is away; `retry-after` says when to try again",
        "504": "The upstream was too slow",
    }
)


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """The names of a route's body schemas. `event` is one frame of the streamed answer, `error` the body of errors.

    `error_statuses` says which errors there are, by their status.
    """

    request: str | None = None
    request_type: str = "application/json"
    reply: str | None = None
    event: str | None = None
    event_media_type: str = "text/event-stream"
    status: int = 200
    error: str = "OpenAIErrorBody"
    error_statuses: Mapping[str, str] = _ERRORS
    session_header: bool = False


@get(
    "/openapi.json",
    opt={ACTION: Action.READ_DOCUMENTATION},
    summary="The OpenAPI document",
    tags=["Documentation"],
    operation_id="getOpenAPIDocument",
    sync_to_thread=False,
)
def openapi_document(request: Request[Any, Any, Any]) -> Response[bytes]:
    """This document."""
    return Response(msgspec.json.encode(build_document(request.app)), media_type="application/json")


@get(
    "/docs",
    opt={ACTION: Action.READ_DOCUMENTATION},
    summary="The documentation page",
    description="For a browser: give any user name, and an API key as the password.",
    tags=["Documentation"],
    operation_id="getDocumentationPage",
    media_type="text/html",
    sync_to_thread=False,
)
def documentation_page() -> Response[bytes]:
    """Swagger UI on the document."""
    return Response(_PAGE, media_type="text/html; charset=utf-8", headers=_PAGE_HEADERS)


@get("/docs/{name:str}", opt={ACTION: Action.READ_DOCUMENTATION}, include_in_schema=False, sync_to_thread=False)
def documentation_asset(name: FromPath[str]) -> Response[bytes]:
    """A file of Swagger UI; only those on the list exist."""
    if name == "start.js":
        return Response(_SCRIPT, media_type="text/javascript")
    if name not in _ASSETS:
        raise NotFoundException("there is no such file")
    content = (Path(swagger_ui_bundle.swagger_ui_path) / name).read_bytes()
    return Response(content, media_type=_ASSETS[name])


def build_document(app: Litestar) -> JSONObject:
    """The OpenAPI document of `app`, with the dialects' schemas and the errors that any route can answer with."""
    document = app.openapi_schema.to_schema()
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update(
        openai.openapi_schemas() | anthropic.openapi_schemas() | bedrock.openapi_schemas()
    )
    components["securitySchemes"] = {"apiKey": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"apiKey": []}]
    bodies = {
        (route.path_format, method.lower()): handler.opt.get(BODY)
        for route in app.routes
        for handler in getattr(route, "route_handlers", ())
        for method in getattr(handler, "http_methods", ())
    }
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if isinstance(operation, dict):
                _add_path_parameters(path, cast("dict[str, Any]", operation))
                described = bodies.get((path, method))
                _describe(cast("dict[str, Any]", operation), described if isinstance(described, Body) else None)
    return cast("JSONObject", document)


def _add_path_parameters(path: str, operation: dict[str, Any]) -> None:
    """Declare the path's parameters, in its order, also those that its function does not take: calls read them from
    the raw path.
    """
    given: list[Any] = operation.get("parameters") or []
    known = {parameter["name"]: parameter for parameter in given if parameter["in"] == "path"}
    plain = {"in": "path", "required": True, "schema": {"type": "string"}}
    parameters = [known.get(name) or {"name": name, **plain} for name in _PATH_PARAMETER.findall(path)]
    parameters += [parameter for parameter in given if parameter["in"] != "path"]
    if parameters:
        operation["parameters"] = parameters


def _describe(operation: dict[str, Any], body: Body | None) -> None:
    name = operation["operationId"]
    for query in QUERIES.get(name, ()):
        _add_parameter(operation, query.name, "query", query.schema, query.description)
    if body is None:
        if "Sessions" in operation["tags"]:
            _describe_own(operation)
        return
    responses = operation.setdefault("responses", {})
    if body.request is not None:
        operation["requestBody"] = {"required": True, "content": {body.request_type: {"schema": _ref(body.request)}}}
    content: dict[str, JSON] = {}
    if body.reply is not None:
        content["application/json"] = {"schema": _ref(body.reply)}
    if body.event is not None:
        content[body.event_media_type] = {"schema": _ref(body.event)}
    ok: dict[str, Any] = {"description": "The answer", "content": content}
    headers: dict[str, str] = {}
    if body.session_header:
        _add_parameter(operation, SESSION_HEADER, "header", _TEXT, SESSION_PARAMETER)
        headers = {SESSION_HEADER: SESSION_ANSWER, **ANSWER_HEADERS}
    errors = dict(body.error_statuses)
    if name in GENERATES:
        _add_parameter(
            operation, "Idempotency-Key", "header", {**_TEXT, "minLength": 1, "maxLength": 255}, KEY_PARAMETER
        )
        headers[REPLAYED_HEADER] = KEY_ANSWER
        if body.error_statuses is _ERRORS:  # Bedrock has no status of its own for it
            errors["422"] = MISMATCH
    if headers:
        ok["headers"] = {header: {"schema": _TEXT, "description": said} for header, said in headers.items()}
    responses[str(body.status)] = ok
    _add_errors(responses, errors, body.error)


def _describe_own(operation: dict[str, Any]) -> None:
    """Bedplate's own operations on sessions: what Litestar knows of them, and their errors, which it does not."""
    errors = dict(SESSION_ERRORS)
    if operation["operationId"] == "exportSession":
        operation["responses"]["200"]["content"] = {"application/jsonl": {"schema": _TEXT}}
    if operation["operationId"] == "importSessions":
        operation["requestBody"] = {"required": True, "content": {"application/jsonl": {"schema": _TEXT}}}
        errors |= ARCHIVE_ERRORS
    _add_errors(operation["responses"], errors, "OpenAIErrorBody")


def _add_parameter(operation: dict[str, Any], name: str, place: str, schema: JSONObject, description: str) -> None:
    operation.setdefault("parameters", []).append(
        {"name": name, "in": place, "required": False, "schema": schema, "description": description}
    )


def _add_errors(responses: dict[str, Any], errors: Mapping[str, str], body: str) -> None:
    for status, description in sorted(errors.items()):
        content = {"application/json": {"schema": _ref(body)}}
        responses[status] = {"description": description, "content": content}


def _ref(name: str) -> JSONObject:
    return {"$ref": f"#/components/schemas/{name}"}


DOCUMENTATION_ROUTES = (openapi_document, documentation_page, documentation_asset)

__all__ = ["BODY", "DOCUMENTATION_ROUTES", "Body", "build_document"]
