"""Errors, models and schemas of the Anthropic dialect, and the official SDK as the client that reads them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, get_args

import anthropic
import httpx2
import pytest
from anthropic.types import ModelInfo, RawMessageStartEvent
from anthropic.types.shared.error_type import ErrorType

from bedplate_core import errors
from bedplate_core.errors import GatewayError, InvalidRequest
from bedplate_core.events import Finish, PartStart, Start, Stop, StopReason
from bedplate_core.messages import Text
from bedplate_core.requests import Request
from bedplate_core.usage import Usage
from bedplate_gateway.dialects.anthropic import (
    MessagesExchange,
    ModelEntry,
    PageQuery,
    error_reply,
    model_body,
    model_page,
    openapi_schemas,
)
from bedplate_gateway.dialects.anthropic.errors import KINDS

ERRORS: list[type[GatewayError]] = [GatewayError]
for kind in ERRORS:
    ERRORS.extend(kind.__subclasses__())
CORE_ERRORS = [kind for kind in ERRORS if kind.__module__ == errors.__name__]

SDK_ERRORS = {
    400: anthropic.BadRequestError,
    401: anthropic.AuthenticationError,
    403: anthropic.PermissionDeniedError,
    404: anthropic.NotFoundError,
    409: anthropic.ConflictError,
    422: anthropic.UnprocessableEntityError,
    413: anthropic._exceptions.ContentTooLargeError,
    429: anthropic.RateLimitError,
    503: anthropic._exceptions.ServiceUnavailableError,
    504: anthropic._exceptions.GatewayTimeoutError,
}


def client(answer: Any) -> anthropic.Anthropic:
    transport = anthropic.DefaultHttpxClient(transport=httpx2.MockTransport(answer))
    return anthropic.Anthropic(api_key="k", base_url="https://gateway.example", http_client=transport, max_retries=1)


def test_the_table_names_every_error_and_nothing_else() -> None:
    assert {kind.code for kind in CORE_ERRORS} == set(KINDS)
    # The API's guide has `request_too_large` for 413; the SDK's list of types does not.
    assert {kind.type for kind in KINDS.values()} <= {*get_args(ErrorType), "request_too_large"}


@pytest.mark.parametrize("kind", CORE_ERRORS, ids=lambda kind: kind.__name__)
def test_the_sdk_raises_its_exception_for_each_error(kind: type[GatewayError]) -> None:
    reply = error_reply(kind("what and where", param="messages.0"))
    calls: list[Any] = []

    def answer(request: Any) -> Any:
        calls.append(request)
        return httpx2.Response(reply.status, headers={**reply.headers, "retry-after-ms": "1"}, content=reply.body)

    with pytest.raises(anthropic.APIStatusError) as caught:
        client(answer).models.list()
    raised = caught.value
    assert type(raised) is SDK_ERRORS.get(kind.status, anthropic.InternalServerError)
    assert (raised.status_code, raised.type) == (kind.status, KINDS[kind.code].type)
    assert (raised.api_message, raised.error_code) == ("what and where", kind.code)
    assert json.loads(reply.body)["error"]["details"] == {"error_code": kind.code, "param": "messages.0"}
    retried = (kind.status in (409, 429) or kind.status >= 500) and kind.code not in {
        "quota_exceeded",
        "upstream_rejected",
    }
    assert len(calls) == (2 if retried else 1)


def test_when_to_come_back_is_said_in_whole_seconds() -> None:
    assert error_reply(errors.RateLimited("x", retry_after_s=1.2)).headers["retry-after"] == "2"
    assert "retry-after" not in error_reply(errors.RateLimited("x")).headers


def test_an_unknown_error_reads_as_one_of_the_server() -> None:
    class Newer(GatewayError):
        code = "newer"

    body = json.loads(error_reply(Newer("x")).body)
    assert body == {
        "type": "error",
        "error": {"type": "api_error", "message": "x", "details": {"error_code": "newer"}},
    }


def test_the_sdk_raises_on_the_error_frame_and_skips_pings() -> None:
    encoder = MessagesExchange(request=Request(model="m", stream=True)).stream()
    start = Start(id="r", model="m", created_s=1)
    frames = [
        encoder.keep_alive(),
        encoder.encode([start, PartStart(0, 0, Text(text="Hi"))]),
        encoder.keep_alive(),
        encoder.error(errors.UpstreamUnavailable("went away")),
    ]

    def answer(request: Any) -> Any:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=b"".join(frames))

    message = {"role": "user", "content": "hi"}
    stream = client(answer).messages.create(model="m", max_tokens=3, messages=[message], stream=True)  # type: ignore[list-item]
    seen: list[str] = []
    with pytest.raises(anthropic.APIStatusError) as caught:
        seen.extend(event.type for event in stream)
    assert caught.value.type == "overloaded_error"
    assert seen == ["message_start", "content_block_start", "content_block_delta", "content_block_stop"]


def test_nothing_is_said_before_the_message_starts_but_the_error() -> None:
    encoder = MessagesExchange(request=Request(model="m", stream=True)).stream()
    assert encoder.encode([Start(id="r", model="m", created_s=1)]) == b""
    assert encoder.error(errors.UpstreamTimeout("x")).startswith(b"event: error\n")
    empty = MessagesExchange(request=Request(model="m", stream=True)).stream()
    finish = Finish(stops=(Stop(choice=0, reason=StopReason.END),), usage=Usage(input_tokens=2))
    frames = empty.encode([Start(id="r", model="m", created_s=1), finish])
    started = frames.split(b"\n\n")[0].split(b"data: ")[1]
    assert RawMessageStartEvent.model_validate_json(started, strict=True).message.id == "msg_r"
    assert frames.endswith(b'data: {"type":"message_stop"}\n\n')
    assert empty.end() == b""


MODELS = [ModelEntry(id=f"m{number}", created_s=1_700_000_000 + number // 2) for number in range(5)]
NEWEST_FIRST = ["m4", "m2", "m3", "m0", "m1"]


def page(**query: str) -> dict[str, Any]:
    return json.loads(model_page(MODELS, PageQuery.parse(list(query.items()))))


def test_models_come_newest_first_with_their_limits() -> None:
    listed = page()
    assert [model["id"] for model in listed["data"]] == NEWEST_FIRST
    assert (listed["has_more"], listed["first_id"], listed["last_id"]) == (False, "m4", "m1")
    entry = ModelEntry(id="a/b", created_s=1_700_000_000, context_tokens=8192, max_output_tokens=1024)
    parsed = ModelInfo.model_validate_json(model_body(entry), strict=True)
    assert parsed.created_at == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert (parsed.id, parsed.display_name, parsed.max_input_tokens, parsed.max_tokens) == ("a/b", "a/b", 8192, 1024)


@pytest.mark.parametrize(
    ("query", "ids", "has_more"),
    [
        ({"limit": "2"}, ["m4", "m2"], True),
        ({"limit": "5"}, NEWEST_FIRST, False),
        ({"limit": "2", "after_id": "m2"}, ["m3", "m0"], True),
        ({"limit": "2", "after_id": "m0"}, ["m1"], False),
        ({"limit": "2", "after_id": "m1"}, [], False),
        ({"limit": "2", "before_id": "m0"}, ["m2", "m3"], True),
        ({"limit": "2", "before_id": "m3"}, ["m4", "m2"], False),
        ({"before_id": "m4"}, [], False),
        ({"lifecycle": "retired"}, [], False),
        ({"lifecycle[]": "active"}, NEWEST_FIRST, False),
    ],
)
def test_pages(query: dict[str, str], ids: list[str], has_more: bool) -> None:
    found = page(**query)
    assert [model["id"] for model in found["data"]] == ids
    assert found["has_more"] is has_more
    assert (found["first_id"], found["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"limit": "٣"}, "limit"),
        ({"after_id": "nobody"}, "after_id"),
        ({"before_id": "nobody"}, "before_id"),
        ({"before_id": "m1", "after_id": "m0"}, "before_id"),
        ({"lifecycle": "young"}, "lifecycle"),
    ],
)
def test_pages_that_cannot_be(query: dict[str, str], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        page(**query)
    assert caught.value.param == param


def test_the_sdk_walks_the_pages() -> None:
    def answer(request: Any) -> Any:
        query = PageQuery.parse(list(request.url.params.multi_items()))
        return httpx2.Response(200, content=model_page(MODELS, query))

    sdk = client(answer)
    assert [model.id for model in sdk.models.list(limit=2)] == NEWEST_FIRST
    # Walking back, the SDK goes on from a page's first model: pages come backwards, each in its own order.
    assert [model.id for model in sdk.models.list(limit=2, before_id="m1")] == ["m3", "m0", "m4", "m2"]


def test_schemas_are_named_and_closed() -> None:
    schemas = openapi_schemas()
    assert all(name.startswith("Anthropic") for name in schemas)
    text = json.dumps(schemas)
    assert "(?!" not in text
    for reference in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert reference in schemas
    for name in ("MessagesRequest", "MessageReply", "MessageStreamEvent", "CountTokensRequest", "ErrorBody"):
        assert f"Anthropic{name}" in schemas
