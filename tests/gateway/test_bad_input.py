"""Whatever is wrong with a request, in every dialect: the status and body that its SDK turns into its own exception,
nothing internal in the message, no call of the upstream, and one record where the caller is known.

Each request is sent by the dialect's official SDK, which is handed the bytes under test in place of its own. So what
is asserted is what the SDK makes of the answer.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import anthropic
import openai
import pytest

from bedplate_providers.fake import EMBEDDING_MODEL
from bedplate_providers.fake_abilities import RANKING_MODEL
from tests.fixtures.aws import WireRequest, signed_request
from tests.fixtures.operations import GENERATING, Operation
from tests.fixtures.postgres import PostgresServer
from tests.fixtures.served import Served, serve
from tests.gateway.sdk_errors import SDKS, WIRES, Caught

MAX_BODY_BYTES = 30_000
MODELS = f"""
kind: Model
name: stray
spec: {{provider: fake, upstream_model: no-such-script, attempts: 1}}
---
kind: Model
name: {RANKING_MODEL}
spec: {{provider: fake, profile: {{ranking: true}}}}
"""
"""`stray` is a model that its upstream does not have."""
LEAKED = re.compile(
    r"msgspec|traceback|\.py\b|bedplate_|/(?:tmp|home|root|usr|var)/|127\.0\.0\.1|localhost|0x[0-9a-f]{6}|asyncpg|"
    r"sqlalchemy|litestar|postgres|stored_response|invocation|project_id|key_id|NoneType|<class|object at|"
    r"\bStruct|Exchange\b|\$\.|no-such-script",
    re.IGNORECASE,
)
"""What would tell of the inside: modules, paths, addresses, tables, names of Python."""


# Requests ------------------------------------------------------------------------------------------------------------


def _user(content: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content}]


def _said(text: str) -> list[dict[str, Any]]:
    return _user(text)


OTHERS = (
    Operation("embeddings", "openai", "embeddings", "/v1/embeddings", lambda text: {"input": text}, b'"embedding"'),
    Operation(
        "rerank",
        "openai",
        "rerank",
        "/v1/rerank",
        lambda text: {"query": text, "documents": ["one", "two"]},
        b'"relevance_score"',
    ),
    Operation(
        "count_tokens",
        "anthropic",
        "count_tokens",
        "/v1/messages/count_tokens",
        lambda text: {"messages": _said(text)},
        b'"input_tokens"',
    ),
    Operation(
        "count-tokens",
        "bedrock",
        "count_tokens",
        "/model/{model}/count-tokens",
        lambda text: {"input": {"converse": {"messages": _user([{"text": text}])}}},
        b'"inputTokens"',
    ),
)
"""Operations that generate nothing."""
OPERATIONS = {operation.name: operation for operation in (*GENERATING, *OTHERS)}


class Fault(NamedTuple):
    """Fields that replace those of a good body, and what the message must name. `code` is the error's."""

    fields: dict[str, Any]
    named: str
    code: str = "invalid_request"


NO_BASE64 = "data:image/png;base64,%%%"
NO_PICTURE = "data:text/plain;base64,aGVsbG8="
_CHAT = {
    "wrong type": Fault({"messages": _user([{"type": "text", "text": 3}])}, "messages[0].content[0].text"),
    "unknown value": Fault({"messages": [{"role": "boss", "content": "x"}]}, "messages[0].role"),
    "out of range": Fault({"temperature": 3}, "temperature"),
    "unsupported": Fault({"web_search_options": {}}, "web_search_options", "unsupported_feature"),
    "bad base64": Fault(
        {"messages": _user([{"type": "image_url", "image_url": {"url": NO_BASE64}}])},
        "messages[0].content[0].image_url.url",
    ),
    "bad media type": Fault(
        {"messages": _user([{"type": "image_url", "image_url": {"url": NO_PICTURE}}])},
        "messages[0].content[0].image_url.url",
    ),
}
_COMPLETION = {
    "wrong type": Fault({"prompt": {"text": "x"}}, "prompt"),
    "out of range": Fault({"temperature": 3}, "temperature"),
    "unsupported": Fault({"best_of": 3}, "best_of", "unsupported_feature"),
}
_RESPONSES = {
    "wrong type": Fault({"input": _user([{"type": "input_text", "text": 3}])}, "input[0].content[0].text"),
    "unknown value": Fault({"input": [{"role": "boss", "content": "x"}]}, "input[0].role"),
    "out of range": Fault({"temperature": 3}, "temperature"),
    "unsupported": Fault({"moderation": {"model": "m"}}, "moderation", "unsupported_feature"),
    "bad base64": Fault(
        {"input": _user([{"type": "input_image", "image_url": NO_BASE64}])}, "input[0].content[0].image_url"
    ),
    "bad media type": Fault(
        {"input": _user([{"type": "input_image", "image_url": NO_PICTURE}])}, "input[0].content[0].image_url"
    ),
}


def _anthropic_picture(media_type: str, data: str) -> list[dict[str, Any]]:
    return _user([{"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}])


_MESSAGES = {
    "wrong type": Fault({"messages": _user([{"type": "text", "text": 3}])}, "messages.0.content.0.text"),
    "unknown value": Fault({"messages": [{"role": "boss", "content": "x"}]}, "messages.0.role"),
    "out of range": Fault({"temperature": 3}, "temperature"),
    "unsupported": Fault(
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools.0.type", "unsupported_feature"
    ),
    "bad base64": Fault({"messages": _anthropic_picture("image/png", "%%%")}, "messages.0.content.0.source.data"),
    "bad media type": Fault(
        {"messages": _anthropic_picture("text/plain", "aGVsbG8=")}, "messages.0.content.0.source.media_type"
    ),
}


def _bedrock_picture(form: str, data: str) -> list[dict[str, Any]]:
    return _user([{"image": {"format": form, "source": {"bytes": data}}}])


_CONVERSE = {
    "wrong type": Fault({"messages": _user([{"text": 3}])}, "messages[0].content[0].text"),
    "unknown value": Fault({"messages": [{"role": "boss", "content": [{"text": "x"}]}]}, "messages[0].role"),
    "out of range": Fault({"inferenceConfig": {"temperature": 3}}, "inferenceConfig.temperature"),
    "unsupported": Fault(
        {"promptVariables": {"name": {"text": "x"}}},
        "promptVariables",
        "unsupported_feature",
    ),
    "bad base64": Fault({"messages": _bedrock_picture("png", "%%%")}, "messages[0].content[0].image.source.bytes"),
    "bad media type": Fault({"messages": _bedrock_picture("tiff", "aGVsbG8=")}, "messages[0].content[0].image.format"),
}
FAULTS: dict[str, dict[str, Fault]] = {
    "chat": _CHAT,
    "completion": _COMPLETION,
    "responses": _RESPONSES,
    "messages": _MESSAGES,
    "converse": _CONVERSE,
    "converse_stream": _CONVERSE,
    "invoke_model": _MESSAGES,
    "invoke_model_stream": _MESSAGES,
    "embeddings": {
        "wrong type": Fault({"input": 3}, "input"),
        "unknown value": Fault({"encoding_format": "hex"}, "encoding_format"),
        "out of range": Fault({"dimensions": 0}, "dimensions"),
    },
    "rerank": {
        "wrong type": Fault({"documents": 3}, "documents"),
        "out of range": Fault({"top_n": -1}, "top_n"),
        "unsupported": Fault({"padding": "max_length"}, "padding", "unsupported_feature"),
    },
    "count_tokens": {
        name: _MESSAGES[name] for name in ("wrong type", "unknown value", "unsupported", "bad base64", "bad media type")
    },
    "count-tokens": {
        "wrong type": Fault({"input": {"converse": {"messages": _user([{"text": 3}])}}}, "messages[0].content[0].text"),
        "unsupported": Fault({"input": {}}, "input"),
    },
}
"""What is wrong, by the operation's name on record, or its own."""

CASES = [
    (operation.name, fault)
    for operation in OPERATIONS.values()
    for fault in FAULTS.get(operation.name, FAULTS.get(operation.recorded, {}))
]
EVERY = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
GENERATION = pytest.mark.parametrize("operation", GENERATING, ids=[operation.name for operation in GENERATING])


@pytest.fixture(scope="module")
def served(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A gateway in this process, whose scripted provider counts what it is asked."""
    with serve(
        postgres_server, tmp_path_factory.mktemp("served"), resources=MODELS, max_body_bytes=MAX_BODY_BYTES
    ) as running:
        yield running


def model_of(operation: Operation) -> str:
    return {"embeddings": EMBEDDING_MODEL, "rerank": RANKING_MODEL}.get(operation.name, "fake/echo")


def body_of(operation: Operation, model: str | None = None, **fields: Any) -> bytes:
    return json.dumps({**operation.body(model or model_of(operation)), **fields}).encode()


def bearer(served: Served, operation: Operation, body: bytes, *, model: str | None = None) -> WireRequest:
    """The request with a key that is good."""
    headers = [
        (b"host", served.base_url.removeprefix("http://").encode()),
        (b"content-type", b"application/json"),
        (b"authorization", f"Bearer {served.key}".encode()),
    ]
    return WireRequest("POST", operation.path_of(model or model_of(operation)).encode(), b"", headers, body)


def signed(served: Served, operation: Operation, **how: Any) -> WireRequest:
    """The request with a signature that is good, unless `how` says otherwise."""
    given = {"key": served.access_key_id, "secret": served.secret_access_key, **how}
    url = served.base_url + operation.path_of(model_of(operation))
    return signed_request("POST", url, body_of(operation), headers={"content-type": "application/json"}, **given)


# What is promised of every refusal ------------------------------------------------------------------------------------


RECORD_STATUS = {
    "invalid_request": 400,
    "unsupported_feature": 400,
    "context_length_exceeded": 400,
    "model_not_found": 404,
    "not_found": 404,
    "payload_too_large": 413,
    "signature_mismatch": 401,
    "rate_limited": 429,
    "upstream_unavailable": 503,
    "upstream_rejected": 502,
}


def refused(
    served: Served,
    operation: Operation,
    request: WireRequest,
    code: str,
    *,
    recorded: str | None = "",
    upstream_calls: int = 0,
) -> Caught:
    """Send `request`; everything that is promised of its refusal as `code` holds.

    `recorded` is the operation on record, by default the operation's own; None where there is to be no record.
    """
    served.forget()
    caught = SDKS[operation.dialect](served.base_url, operation, request)
    wire = WIRES[operation.dialect][code]
    assert (caught.status, type(caught.error).__name__, caught.name, caught.code) == wire
    assert caught.message
    assert LEAKED.search(caught.message) is None, caught.message
    assert len(caught.message) < 1000
    assert caught.request_id is not None
    assert re.fullmatch(r"req_[0-9a-f]{32}", caught.request_id)
    assert caught.headers["x-request-id"] == caught.request_id
    assert served.upstream_calls == upstream_calls
    rows = served.take_records()
    if recorded is None:
        assert rows == []
    else:
        (row,) = rows
        assert (row["id"], row["outcome"], row["error_code"]) == (caught.request_id, code, code)
        assert (row["dialect"], row["operation"]) == (operation.dialect, recorded or operation.recorded)
        assert row["http_status"] == RECORD_STATUS[code]
    return caught


def param_of(caught: Caught) -> str | None:
    """The field that the body names for programs; Bedrock's bodies have none."""
    match caught.error:
        case openai.APIStatusError():
            return caught.error.param
        case anthropic.APIStatusError():
            return str(caught.error.response.json()["error"]["details"].get("param"))
        case _:
            return None


# The body ------------------------------------------------------------------------------------------------------------


@EVERY
def test_a_good_request_is_served(served: Served, operation: Operation) -> None:
    """What the others differ from in one thing."""
    served.forget()
    for request in (bearer(served, operation, body_of(operation)), signed(served, operation)):
        answer = served.send(request)
        assert answer.status_code == 200
        assert operation.ending in answer.content
    assert served.upstream_calls == 2
    assert [row["outcome"] for row in served.take_records()] == ["completed"] * 2


@EVERY
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not valid JSON"),
        (b'{"model": "fake/echo", ', "not valid JSON"),
        (b"{'model': 1}", "not valid JSON"),
        (b"[]", "object"),
        (b'"text"', "object"),
        (b"null", "object"),
        (b"[" * 10_000, ""),
    ],
    ids=["empty", "cut", "quotes", "list", "string", "null", "deep"],
)
def test_a_body_that_is_no_object(served: Served, operation: Operation, body: bytes, said: str) -> None:
    caught = refused(served, operation, bearer(served, operation, body), "invalid_request")
    assert said in caught.message


@EVERY
def test_a_body_that_is_no_text(served: Served, operation: Operation) -> None:
    body = body_of(operation).replace(b"three", b"\xff")
    caught = refused(served, operation, bearer(served, operation, body), "invalid_request")
    assert "not valid UTF-8" in caught.message


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_field_that_is_wrong_is_named(served: Served, name: str, kind: str) -> None:
    operation = OPERATIONS[name]
    fault = FAULTS.get(operation.name, FAULTS.get(operation.recorded, {}))[kind]
    request = bearer(served, operation, body_of(operation, **fault.fields))
    caught = refused(served, operation, request, fault.code)
    assert fault.named in caught.message
    if operation.dialect != "bedrock":
        assert param_of(caught) == fault.named


@EVERY
def test_no_error_carries_the_body_back(served: Served, operation: Operation) -> None:
    """A name or value that is wrong is quoted in part."""
    long = "k" * 3000
    for fields in ({long: 1}, {"messages": long}, {"messages": [{"role": long, "content": "x"}]}, {"input": {long: 1}}):
        body = {**operation.body(model_of(operation)), **fields}
        served.forget()
        answer = served.send(bearer(served, operation, json.dumps(body).encode()))
        assert answer.status_code == 400
        assert len(answer.content) < 1000
    unknown = bearer(served, operation, body_of(operation, **{long: 1}))
    refused(served, operation, unknown, "invalid_request")


def test_a_schema_that_is_none_is_refused(served: Served) -> None:
    """By the scripted provider, as by a real one: it cannot make the gateway fail."""
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "required": 7}}}
    operation = OPERATIONS["chat"]
    request = bearer(served, operation, body_of(operation, response_format=form))
    refused(served, operation, request, "unsupported_feature", upstream_calls=1)


@EVERY
def test_what_the_gateway_alone_sets_cannot_be_sent(served: Served, operation: Operation) -> None:
    """A client must not choose the machine that a provider's key is sent to."""
    request = bearer(served, operation, body_of(operation, api_base="https://elsewhere.example"))
    caught = refused(served, operation, request, "invalid_request")
    assert "api_base" in caught.message
    assert "elsewhere" not in caught.message


@GENERATION
def test_a_session_that_there_is_not(served: Served, operation: Operation) -> None:
    good = bearer(served, operation, body_of(operation))
    for session in ("sess_0123456789abcdef0123456789abcdef", "sess_x%00", "", "x" * 5000):
        caught = refused(served, operation, good.with_header("x-bedplate-session", session), "not_found")
        assert not session or session not in caught.message


@EVERY
def test_a_model_that_there_is_not(served: Served, operation: Operation) -> None:
    request = bearer(served, operation, body_of(operation, "no-such-model"), model="no-such-model")
    caught = refused(served, operation, request, "model_not_found")
    assert "no-such-model" in caught.message


@EVERY
def test_a_body_over_the_limit(served: Served, operation: Operation) -> None:
    """By its announced length, and by what comes, whether the caller has a key or signs."""
    body = body_of(operation) + b" " * MAX_BODY_BYTES
    caught = refused(served, operation, bearer(served, operation, body), "payload_too_large")
    assert str(MAX_BODY_BYTES) in caught.message
    refused(
        served, operation, signed(served, operation)._replace(body=body), "payload_too_large", recorded="authenticate"
    )


# The upstream --------------------------------------------------------------------------------------------------------


@GENERATION
def test_an_input_longer_than_the_model_takes(served: Served, operation: Operation) -> None:
    model = "fake/context-length"
    request = bearer(served, operation, body_of(operation, model), model=model)
    caught = refused(served, operation, request, "context_length_exceeded", upstream_calls=1)
    assert "context" in caught.message
    assert "x-should-retry" not in caught.headers


@GENERATION
@pytest.mark.parametrize(
    ("model", "code", "wait_s"), [("fake/rate-limited", "rate_limited", 2), ("fake/error", "upstream_unavailable", 1)]
)
def test_when_to_come_back_is_said_as_the_sdk_reads_it(
    served: Served, operation: Operation, model: str, code: str, wait_s: int
) -> None:
    request = bearer(served, operation, body_of(operation, model), model=model)
    caught = refused(served, operation, request, code, upstream_calls=1)
    expected = {"x-amz-retry-after": str(wait_s * 1000)} if operation.dialect == "bedrock" else {}
    expected |= {"retry-after": str(wait_s)} if operation.dialect != "bedrock" else {}
    assert {name: value for name, value in caught.headers.items() if "retry" in name.lower()} == expected


@GENERATION
def test_what_a_second_try_cannot_mend_is_not_tried_again(served: Served, operation: Operation) -> None:
    request = bearer(served, operation, body_of(operation, "stray"), model="stray")
    caught = refused(served, operation, request, "upstream_rejected", upstream_calls=1)
    # boto3 reads the status alone, which is one that it does not retry.
    assert caught.headers.get("x-should-retry") == (None if operation.dialect == "bedrock" else "false")


# The caller ----------------------------------------------------------------------------------------------------------


@EVERY
def test_a_key_that_is_not_valid(served: Served, operation: Operation) -> None:
    good = bearer(served, operation, body_of(operation))
    for header, value in (
        ("authorization", "Bearer bp_nothing"),
        ("authorization", f"Bearer {served.key}x"),
        ("authorization", f"Digest {served.key}"),
        ("authorization", "Basic %%%"),
        ("x-api-key", "bp_other"),
    ):
        caught = refused(served, operation, good.with_header(header, value), "unauthenticated", recorded=None)
        assert served.key not in caught.message
        assert value not in caught.message


@EVERY
def test_no_credential(served: Served, operation: Operation) -> None:
    request = bearer(served, operation, body_of(operation)).with_header("authorization", None)
    caught = refused(served, operation, request, "credential_missing", recorded=None)
    assert "x-api-key" in caught.message


@EVERY
def test_an_access_key_that_there_is_not(served: Served, operation: Operation) -> None:
    request = signed(served, operation, key="BPAK" + "A" * 16)
    refused(served, operation, request, "unauthenticated", recorded=None)


@EVERY
def test_a_signature_that_is_not_right(served: Served, operation: Operation) -> None:
    """The caller is known by name, so there is a record; but no operation of theirs was begun."""
    old = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=6)
    good = signed(served, operation)
    tampered = good._replace(body=good.body.replace(b"three", b"seven"))
    for request in (
        signed(served, operation, secret="x" * 40),
        tampered,
        signed(served, operation, at=old),
        good.with_header("x-amz-meta-more", "unsigned"),
    ):
        caught = refused(served, operation, request, "signature_mismatch", recorded="authenticate")
        assert served.secret_access_key not in caught.message


# The route -----------------------------------------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_a_method_that_the_path_does_not_have(served: Served, operation: Operation, method: str) -> None:
    request = bearer(served, operation, b"")._replace(method=method)
    caught = refused(served, operation, request, "method", recorded=None)
    assert "POST" in caught.headers["allow"]


@EVERY
def test_methods_without_an_answers_body(served: Served, operation: Operation) -> None:
    """HEAD is refused like any other method; OPTIONS, which no route declares, to everyone. No key, no word of it."""
    good = bearer(served, operation, b"")
    served.forget()
    head = served.send(good._replace(method="HEAD"))
    assert (head.status_code, head.content) == (405, b"")
    refused(served, operation, good._replace(method="OPTIONS"), "permission_denied", recorded=None)
    for method in ("HEAD", "OPTIONS"):
        unknown = served.send(good._replace(method=method).with_header("authorization", None))
        assert unknown.status_code == WIRES[operation.dialect]["credential_missing"].status
        assert "allow" not in unknown.headers
        assert unknown.headers["x-request-id"].startswith("req_")
    assert served.take_records() == []


@EVERY
def test_a_path_below_a_dialects_root_that_there_is_not(served: Served, operation: Operation) -> None:
    request = bearer(served, operation, body_of(operation))
    caught = refused(
        served, operation, request._replace(path=request.path + b"/no/such/nothing"), "not_found", recorded=None
    )
    assert "nothing" in caught.message
