"""The table from paths to dialects is complete."""

from __future__ import annotations

import botocore.session
import pytest

from bedplate_gateway.web.dialect_of import ANTHROPIC, BEDROCK, BEDROCK_ROOTS, OPENAI, dialect_of, path_by_segments

SERVICES = ("bedrock", "bedrock-runtime", "bedrock-agent", "bedrock-agent-runtime")


def test_every_path_of_bedrocks_services_is_bedrocks() -> None:
    session = botocore.session.get_session()
    paths = {
        model.operation_model(name).http["requestUri"]
        for model in (session.get_service_model(service) for service in SERVICES)
        for name in model.operation_names
    }
    roots = {path.partition("?")[0].split("/")[1] for path in paths}
    assert roots - {"v1"} == BEDROCK_ROOTS
    assert {dialect_of(path, []).name for path in paths if not path.startswith("/v1/")} == {"bedrock"}


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/docs", "/openapi.json", "/", "", "/x"])
def test_the_rest_is_openais(path: str) -> None:
    assert dialect_of(path, []) is OPENAI
    assert dialect_of(path, [(b"anthropic-version", b"2023-06-01")]) is OPENAI


def test_what_the_header_decides() -> None:
    version = [(b"accept", b"x"), (b"anthropic-version", b"2023-06-01")]
    assert dialect_of("/v1/models", version) is ANTHROPIC
    assert dialect_of("/v1/models", []) is OPENAI
    assert dialect_of("/v1/files", version) is ANTHROPIC
    assert dialect_of("/v1/files", []) is OPENAI
    assert dialect_of("/v1/messages/batches", []) is ANTHROPIC
    assert dialect_of("//model/x", []) is BEDROCK


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"/model/a%3Ab%2Fc/converse", "/model/a:b%2Fc/converse"),
        (b"/model/a%2fb", "/model/a%2Fb"),
        (b"/sessions/", "/sessions/"),
        (b"/model/%E2%82%AC", "/model/€"),
        (b"/model/%FF/\xff", "/model/\ufffd/\ufffd"),
        (b"/model/a%252Fb", "/model/a%2Fb"),
        (b"/model/a%2541", "/model/a%41"),
    ],
)
def test_segments_stay_segments(raw: bytes, path: str) -> None:
    assert path_by_segments(raw) == path
    assert path.count("/") == raw.count(b"/")
