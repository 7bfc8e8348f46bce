"""The OpenAPI document describes every route there is, and the page that shows it loads nothing from elsewhere."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from bedplate_gateway.access.keyring import ensure_master_key
from bedplate_gateway.app import Application
from bedplate_gateway.settings import Settings
from bedplate_gateway.web.call_route import CallRoute
from bedplate_gateway.web.documentation import build_document
from bedplate_gateway.web.session_choice import SessionChoice
from bedplate_sessions.turn_options import OnBusy, OnInterrupted
from tests.fixtures.gateway import RunningGateway
from tests.gateway.support import CHAT, MESSAGES, http

METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}


@pytest.fixture(scope="module")
def document(gateway: RunningGateway) -> dict[str, Any]:
    with http(gateway, gateway.key) as client:
        response = client.get("/openapi.json")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("application/json")
    return response.json()


def _operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method, path): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }


def test_every_route_is_described(document: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("openapi")
    settings = Settings(home=folder, cache=folder, database_url="postgresql://nobody@/nothing?host=/nowhere")
    ensure_master_key(settings.master_key_path)
    app = Application(settings).litestar
    routes = {
        (str(method).lower(), route.path_format)
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        for method in handler.http_methods
        if method != "OPTIONS" and handler.resolve_include_in_schema()
    }
    assert set(_operations(document)) == routes
    assert {path for _, path in routes} >= {CHAT, "/v1/completions", "/v1/embeddings", "/v1/models", "/metrics"}
    for _ in range(2):
        assert json.loads(json.dumps(build_document(app))) == document


def test_it_is_openapi_3_1(document: dict[str, Any]) -> None:
    assert re.fullmatch(r"3\.1\.\d+", document["openapi"])
    assert document["info"]["title"] == "Bedplate"
    assert document["info"]["version"]
    assert set(document) <= {
        "openapi", "info", "jsonSchemaDialect", "servers", "paths", "webhooks", "components", "security", "tags",
        "externalDocs",
    }  # fmt: skip
    ids = [operation["operationId"] for operation in _operations(document).values()]
    assert len(ids) == len(set(ids))
    for (method, path), operation in _operations(document).items():
        assert path.startswith("/")
        assert operation["summary"]
        assert operation["responses"]
        for status, response in operation["responses"].items():
            assert re.fullmatch(r"[1-5]\d\d|default", status), (method, path)
            assert isinstance(response["description"], str)
        declared = {one["name"] for one in operation.get("parameters", []) if one["in"] == "path"}
        assert declared == set(re.findall(r"\{([^}]*)\}", path)), path
        for one in operation.get("parameters", []):
            assert one["in"] in {"path", "query", "header", "cookie"}
            assert "schema" in one or "content" in one
            assert one["in"] != "path" or one["required"] is True
    schemes = document["components"]["securitySchemes"]
    for requirement in document["security"]:
        assert set(requirement) <= set(schemes)


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [one for inner in value.values() for one in _references(inner)]
    return [one for inner in value for one in _references(inner)] if isinstance(value, list) else []


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    references = _references(document)
    assert len(references) > 20
    for reference in set(references):
        found: Any = document
        assert reference.startswith("#/"), reference
        for step in reference[2:].split("/"):
            assert step.replace("~1", "/").replace("~0", "~") in found, reference
            found = found[step.replace("~1", "/").replace("~0", "~")]


@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/embeddings"])
def test_bodies_of_the_openai_routes_are_described(document: dict[str, Any], path: str) -> None:
    operation = document["paths"][path]["post"]
    schemas = document["components"]["schemas"]

    def named(content: dict[str, Any]) -> dict[str, Any]:
        return schemas[content["schema"]["$ref"].rpartition("/")[2]]

    request = named(operation["requestBody"]["content"]["application/json"])
    assert "model" in request["required"]
    assert {"messages", "prompt", "input"} & set(request["properties"])
    reply = named(operation["responses"]["200"]["content"]["application/json"])
    assert "model" in reply["properties"]
    assert ("text/event-stream" in operation["responses"]["200"]["content"]) == (path != "/v1/embeddings")
    for status in ("400", "401", "404", "413", "429", "502", "503", "504"):
        error = named(operation["responses"][status]["content"]["application/json"])
        assert "error" in error["properties"]


def test_replies_have_the_fields_that_the_document_says(gateway: RunningGateway, document: dict[str, Any]) -> None:
    with http(gateway, gateway.key) as client:
        reply = client.post(CHAT, json={"model": "fake/echo", "messages": MESSAGES}).json()
        error = client.post(CHAT, json={"model": "no-such", "messages": MESSAGES}).json()
        models = client.get("/v1/models").json()
    schemas = document["components"]["schemas"]
    assert set(reply) <= set(schemas["OpenAIChatCompletion"]["properties"])
    assert set(error) <= set(schemas["OpenAIErrorBody"]["properties"])
    assert set(models) <= set(schemas["OpenAIModelList"]["properties"])


def test_the_page_loads_only_its_own_assets(gateway: RunningGateway) -> None:
    with http(gateway, gateway.key) as client:
        page = client.get("/docs")
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'"
        assert page.headers["x-content-type-options"] == "nosniff"
        assert not re.search(r"https?://|//[a-z]|<script(?![^>]*\ssrc=)|\son\w+=", page.text)
        assets = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert len(assets) == 4
        for asset in assets:
            response = client.get(f"/{asset}")
            assert response.status_code == 200, asset
            assert len(response.content) > 50
        script = client.get("/docs/start.js").text
        assert "openapi.json" in script
        for missing in ("index.html", "..%2f..%2fsettings.py", "swagger-ui.css.map", "%2e%2e"):
            assert client.get(f"/docs/{missing}").status_code == 404


def test_documentation_needs_a_key_and_asks_a_browser_for_it(gateway: RunningGateway) -> None:
    with http(gateway) as client:
        for path in ("/docs", "/openapi.json", "/docs/start.js", "/docs/swagger-ui-bundle.js"):
            response = client.get(path)
            assert response.status_code == 401
            assert response.headers["www-authenticate"].startswith("Basic ")
            assert client.get(path, auth=("anyone", gateway.key)).status_code == 200
        assert "www-authenticate" not in client.get("/v1/models").headers
        assert client.get("/metrics").status_code == 401


def _handlers(tmp_path: Path) -> list[tuple[str, str, HTTPRouteHandler]]:
    """Every documented handler of an application that is never started, with its method and path."""
    settings = Settings(home=tmp_path, cache=tmp_path, database_url="postgresql://nobody@/nothing?host=/nowhere")
    ensure_master_key(settings.master_key_path)
    return [
        (str(method).lower(), route.path_format, handler)
        for route in Application(settings).litestar.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        for method in handler.http_methods
        if method != "OPTIONS" and handler.resolve_include_in_schema()
    ]


def _parameters(operation: dict[str, Any], place: str) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in operation.get("parameters", []) if one["in"] == place}


def test_what_generates_has_an_idempotency_key_and_nothing_else_has(document: dict[str, Any], tmp_path: Path) -> None:
    """Read from what serves each operation: a route that takes the header or does not cannot be forgotten."""
    operations = _operations(document)
    asked = 0
    for method, path, handler in _handlers(tmp_path):
        served = handler.fn() if not inspect.signature(handler.fn).parameters else None
        if not isinstance(served, CallRoute):
            continue
        asked += 1
        operation = operations[method, path]
        keyed = "Idempotency-Key" in _parameters(operation, "header")
        assert keyed is served._keyed, path
        ok = operation["responses"]["200"].get("headers", {})
        assert ("idempotent-replayed" in ok) is keyed, path
        assert ("422" in operation["responses"]) is (keyed and not path.startswith("/model/")), path
        assert "409" in operation["responses"] or path.startswith(("/model/", "/guardrail/")), path
    assert asked > 15


def test_the_session_header_names_every_parameter(document: dict[str, Any]) -> None:
    described = [
        one
        for operation in _operations(document).values()
        for name, one in _parameters(operation, "header").items()
        if name == "x-bedplate-session"
    ]
    assert len(described) == 7
    for one in described:
        for field in SessionChoice.__struct_fields__:
            assert re.search(rf"`{field}[`=]", one["description"]), field
        for choices in (OnBusy, OnInterrupted):
            assert "|".join(choice.value for choice in choices) in one["description"]


def test_sessions_by_every_api_are_described(document: dict[str, Any]) -> None:
    operations = {one["operationId"]: one for one in _operations(document).values()}
    for name, tag in (
        ("CreateSession", "Bedrock sessions"),
        ("PutInvocationStep", "Bedrock sessions"),
        ("ListTagsForResource", "Bedrock sessions"),
        ("createConversation", "OpenAI"),
        ("createConversationItems", "OpenAI"),
        ("holdSession", "Sessions"),
        ("exportSession", "Sessions"),
        ("importSessions", "Sessions"),
    ):
        assert operations[name]["tags"] == [tag], name
        assert operations[name]["description"], name
        for status in ("400", "403", "404", "500", "503"):
            assert operations[name]["responses"][status]["content"]["application/json"]["schema"]["$ref"], name
    assert set(_parameters(operations["ListSessions"], "query")) == {"maxResults", "nextToken"}
    assert set(_parameters(operations["UntagResource"], "query")) == {"tagKeys"}
    assert {"stream", "starting_after"} <= set(_parameters(operations["retrieveResponse"], "query"))
    assert set(operations["exportSession"]["responses"]["200"]["content"]) == {"application/jsonl"}
    assert set(operations["importSessions"]["requestBody"]["content"]) == {"application/jsonl"}


def test_parameters_of_a_path_are_in_its_order(document: dict[str, Any]) -> None:
    for (_, path), operation in _operations(document).items():
        assert list(_parameters(operation, "path")) == re.findall(r"\{([^}]*)\}", path)
        names = [(one["name"], one["in"]) for one in operation.get("parameters", [])]
        assert len(names) == len(set(names)), path


def test_errors_of_sessions_have_the_form_that_the_document_says(
    gateway: RunningGateway, document: dict[str, Any]
) -> None:
    error = set(document["components"]["schemas"]["OpenAIErrorBody"]["properties"])
    with http(gateway, gateway.admin_key) as client:
        answers = [
            client.get("/v1/sessions/sess_none/items"),
            client.get("/v1/sessions/sess_none/items", params={"limit": 0}),
            client.put("/v1/sessions/sess_none/hold"),
            client.post("/v1/sessions/import", content=b"none"),
        ]
    assert [answer.status_code for answer in answers] == [404, 400, 404, 400]
    for answer in answers:
        assert set(answer.json()) == error
