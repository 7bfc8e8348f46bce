"""The page on compatibility is what the code gives, and what it says by hand agrees with the vendors' own SDKs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

import anthropic
import botocore.session
import httpx
import openai
import pytest

from bedplate_core.errors import UnsupportedFeature
from bedplate_core.events import StopReason
from bedplate_core.requests import Dispatch, EmbedRequest
from bedplate_providers.endpoints import Endpoint
from bedplate_providers.vllm_request import render_embedding
from tests.docs import compatibility_notes as notes
from tests.docs.compatibility import (
    ANTHROPIC_OPERATIONS,
    BEDROCK_OPERATIONS,
    COMMAND,
    FORWARDED,
    OPENAI_OPERATIONS,
    PAGE,
    VERSION_HEADER,
    page,
)
from tests.docs.compatibility_tables import KINDS, Headers, Operation, Route, answer_to, routes
from tests.fixtures.asgi import in_process

BEDROCK_SERVICES = ("bedrock-runtime", "bedrock", "bedrock-agent", "bedrock-agent-runtime")
OPERATIONS = (*OPENAI_OPERATIONS, *ANTHROPIC_OPERATIONS, *BEDROCK_OPERATIONS)
_CALL = re.compile(r"""self\._(get|post|delete|patch|put|get_api_list)\(\s*(?:path_template\()?\s*f?"(/[^"]*)\"""")


def in_sdk(package: Any, prefix: str = "") -> set[str]:
    """Every endpoint that an SDK calls, as `METHOD /path` with `{}` for each parameter."""
    found: set[str] = set()
    for file in (Path(package.__file__).parent / "resources").rglob("*.py"):
        for method, path in _CALL.findall(file.read_text()):
            method = "GET" if method == "get_api_list" else method.upper()
            found.add(f"{method} {prefix}{without_names(path)}")
    return found


def in_botocore() -> set[str]:
    """Every endpoint of Bedrock's services."""
    session = botocore.session.get_session()
    models = [session.get_service_model(service) for service in BEDROCK_SERVICES]
    https = [model.operation_model(name).http for model in models for name in model.operation_names]
    return {f"{http['method']} {without_names(http['requestUri'])}" for http in https}


def without_names(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", path.partition("?")[0]).rstrip("/")


VENDORS: dict[str, tuple[set[str], Sequence[notes.Missing], Headers]] = {
    "openai": (in_sdk(openai, "/v1"), notes.NOT_OPENAI, ()),
    "anthropic": (in_sdk(anthropic), notes.NOT_ANTHROPIC, (VERSION_HEADER,)),
    "bedrock": (in_botocore(), notes.NOT_BEDROCK, ()),
}
ROUTES = routes()


def served(endpoint: str) -> bool:
    return endpoint in {f"{route.method} {without_names(route.path)}" for route in ROUTES}


def listed(endpoint: str, path: str) -> bool:
    """Whether `endpoint` is one that the line `path` of a table is about."""
    if " " in path:
        return endpoint == path
    own = endpoint.partition(" ")[2]
    return own == path.rstrip("/") or own.startswith(path.rstrip("/") + "/")


def test_the_page_is_what_the_code_gives() -> None:
    assert PAGE.read_text() == page(), f"{PAGE.name} is out of date; run: {COMMAND}"


def test_the_page_has_every_route() -> None:
    text = PAGE.read_text()
    for route in ROUTES:
        assert f"| `{route.method} {route.path}` | {route.summary} |" in text


@pytest.mark.parametrize("vendor", VENDORS)
def test_every_endpoint_of_the_vendors_sdk_is_served_or_listed_as_missing(vendor: str) -> None:
    endpoints, missing, _ = VENDORS[vendor]
    assert len(endpoints) > 40
    lines = [path for entry in missing for path in entry.paths]
    for endpoint in endpoints:
        assert served(endpoint) != any(listed(endpoint, path) for path in lines), endpoint
    for path in lines:
        assert any(listed(endpoint, path) for endpoint in endpoints), f"{path} is no endpoint of the vendor's"


def form_of(response: httpx.Response) -> str:
    """Whose form an error has."""
    if "x-amzn-errortype" in response.headers:
        return "Bedrock"
    return "Anthropic" if response.json().get("type") == "error" else "OpenAI"


@pytest.mark.anyio
async def test_a_missing_endpoint_answers_as_the_page_says(database_url: str, tmp_path: Path) -> None:
    asked = 0
    async with in_process(tmp_path, database_url) as gateway:
        transport = httpx.ASGITransport(app=gateway.application.asgi)  # type: ignore[arg-type] # Litestar's own types
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            client.headers["authorization"] = f"Bearer {gateway.key}"
            for endpoints, _, headers in VENDORS.values():
                for endpoint in sorted(name for name in endpoints if not served(name)):
                    method, _, path = endpoint.partition(" ")
                    sent = [(name.decode(), value.decode()) for name, value in headers]
                    response = await client.request(method, path.replace("{}", "x"), headers=sent)
                    assert (response.status_code, form_of(response)) == _said(endpoint, ROUTES, headers), endpoint
                    asked += 1
    assert asked > 600


@pytest.mark.anyio
async def test_a_session_goes_on_in_any_dialect(database_url: str, tmp_path: Path) -> None:
    said = [{"role": "user", "content": "one"}]
    block = [{"role": "user", "content": [{"text": "one"}]}]
    requests: list[tuple[str, dict[str, Any]]] = [
        ("/v1/chat/completions", {"model": "fake/echo", "messages": said}),
        ("/v1/responses", {"model": "fake/echo", "input": "one"}),
        ("/v1/messages", {"model": "fake/echo", "max_tokens": 9, "messages": said}),
        ("/model/fake%2Fecho/converse", {"messages": block}),
        ("/model/fake%2Fecho/invoke", {"messages": said}),
    ]
    async with in_process(tmp_path, database_url) as gateway:
        transport = httpx.ASGITransport(app=gateway.application.asgi)  # type: ignore[arg-type] # Litestar's own types
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            client.headers["authorization"] = f"Bearer {gateway.key}"
            session = "auto"
            for path, body in requests:
                response = await client.post(path, json=body, headers={"x-bedplate-session": session})
                assert response.status_code == 200, response.text
                assert session in ("auto", response.headers["x-bedplate-session"])
                session = response.headers["x-bedplate-session"]
            items = (await client.get(f"/v1/sessions/{session}/items")).json()["data"]
    assert [item["role"] for item in items] == ["user", "assistant"] * len(requests)


def _said(endpoint: str, here: Sequence[Route], headers: Headers) -> tuple[int, str]:
    """What the page says, which for a beginning of a path does not look at the method."""
    for _, missing, _ in VENDORS.values():
        for path in (path for entry in missing for path in entry.paths):
            if listed(endpoint, path):
                return answer_to(endpoint if " " in path else f"{endpoint.partition(' ')[2]}", here, headers)
    raise AssertionError(f"{endpoint} is on no table")


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.title)
def test_remarks_are_on_fields_that_exist(operation: Operation) -> None:
    assert operation.remarks.keys() <= operation.rules.mapped
    assert operation.echoed.keys() <= operation.rules.mapped
    assert not operation.remarks.keys() & operation.echoed.keys()


def test_every_stop_reason_is_explained() -> None:
    assert set(notes.STOPS) == set(StopReason)


def test_every_kind_of_provider_is_on_the_page() -> None:
    assert set(KINDS) == {kind.__struct_config__.tag for kind in get_args(Endpoint)}
    assert {name for kind, _, _ in FORWARDED for name in kind.split(", ")} <= set(KINDS)


def test_embeddings_forward_what_the_page_says() -> None:
    def render(names: Iterable[str]) -> dict[str, Any]:
        request = EmbedRequest(model="m", inputs=("x",), extensions=dict.fromkeys(names, 1))
        return dict(render_embedding(request, Dispatch(call_id="c")))

    (names,) = [names for kind, use, names in FORWARDED if (kind, use) == ("vllm", "embeddings")]
    assert set(names) <= render(names).keys()
    known = {name for _, _, names in FORWARDED for name in names}
    for name in known - set(names):
        with pytest.raises(UnsupportedFeature, match=name):
            render([name])
