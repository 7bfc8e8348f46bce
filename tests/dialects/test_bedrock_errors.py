"""Errors of the Bedrock dialect, and boto3 as the client that reads them and decides whether to try again."""

from __future__ import annotations

import io
import json
from typing import Any

import boto3
import botocore
import botocore.endpoint
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

from bedplate_core import errors
from bedplate_core.errors import GatewayError
from bedplate_gateway.dialects.base import WireReply
from bedplate_gateway.dialects.bedrock.errors import (
    CONVERSE_STREAM_EXCEPTIONS,
    KINDS,
    RESPONSE_STREAM_EXCEPTIONS,
    error_reply,
    exception_frame,
)
from bedplate_providers.event_stream import FrameParser
from tests.dialects.bedrock_sdk import operation, read_stream

ERRORS: list[type[GatewayError]] = [GatewayError]
for kind in ERRORS:
    ERRORS.extend(kind.__subclasses__())
CORE_ERRORS = [kind for kind in ERRORS if kind.__module__ == errors.__name__]
TRIED_AGAIN = {
    "internal",
    "rate_limited",
    "upstream_unavailable",
    "guardrail_unavailable",
    "store_unavailable",
}
"""What may pass: a gateway that crashed once, or something that is away or busy for the moment."""

COMMON = {
    "UnrecognizedClientException",
    "MissingAuthenticationTokenException",
    "ExpiredTokenException",
    "InvalidSignatureException",
    "IncompleteSignature",
}
"""Errors that every AWS service has and no service's model lists."""


class Raw(io.BytesIO):
    def stream(self, **_: Any) -> Any:
        yield self.getvalue()


def client(reply: WireReply, sent: list[AWSPreparedRequest]) -> Any:
    config = Config(signature_version=botocore.UNSIGNED, retries={"mode": "standard"})
    made = boto3.client(
        "bedrock-runtime", region_name="eu-west-1", endpoint_url="http://gateway.example", config=config
    )

    def answer(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        sent.append(request)
        return AWSResponse(request.url, reply.status, dict(reply.headers), Raw(reply.body))

    made.meta.events.register("before-send.bedrock-runtime.*", answer)
    return made


def test_the_table_names_every_error_and_nothing_else() -> None:
    assert {kind.code for kind in CORE_ERRORS} == set(KINDS)


@pytest.mark.parametrize("kind", CORE_ERRORS, ids=lambda kind: kind.__name__)
def test_boto3_raises_the_named_exception_and_retries_only_what_may_pass(
    kind: type[GatewayError], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(botocore.endpoint.time, "sleep", waits.append)
    sent: list[AWSPreparedRequest] = []
    runtime = client(error_reply(kind("what and where", param="x", retry_after_s=1.4321)), sent)
    with pytest.raises(ClientError) as caught:
        runtime.converse(modelId="m", messages=[{"role": "user", "content": [{"text": "hi"}]}])
    name = KINDS[kind.code].name
    assert caught.value.response["Error"]["Code"] == name
    assert caught.value.response["Error"]["Message"] == "what and where"
    if name not in COMMON:
        assert isinstance(caught.value, getattr(runtime.exceptions, name))
        assert caught.value.response["message"] == "what and where"
    assert len(sent) == (3 if kind.code in TRIED_AGAIN else 1)
    assert all(1.433 <= wait < 7 for wait in waits)


def test_declared_statuses() -> None:
    modelled = {shape.name: shape.metadata for shape in operation("Converse").error_shapes}
    for kind in KINDS.values():
        if kind.name in modelled:
            assert kind.status == modelled[kind.name]["error"]["httpStatusCode"]


def test_without_a_time_to_wait_there_is_no_header() -> None:
    assert error_reply(errors.RateLimited("x")).headers == {
        "content-type": "application/json",
        "x-amzn-errortype": "ThrottlingException",
    }


def test_an_unknown_code_reads_as_an_error_of_the_server() -> None:
    class Odd(GatewayError):
        code = "odd"
        status = 418

    reply = error_reply(Odd("strange"))
    assert (reply.status, reply.headers["x-amzn-errortype"]) == (500, "InternalServerException")
    assert b"internalServerException" in exception_frame(Odd("strange"), CONVERSE_STREAM_EXCEPTIONS)


@pytest.mark.parametrize("kind", CORE_ERRORS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    ("name", "allowed"),
    [("ConverseStream", CONVERSE_STREAM_EXCEPTIONS), ("InvokeModelWithResponseStream", RESPONSE_STREAM_EXCEPTIONS)],
)
def test_a_stream_ends_with_an_exception_that_it_declares(
    kind: type[GatewayError], name: str, allowed: frozenset[str]
) -> None:
    shape = operation(name).output_shape
    union = next(
        member
        for member in shape.members.values()
        if getattr(member, "is_eventstream", False) or member.serialization.get("eventstream")
    )
    assert allowed == {name for name, member in union.members.items() if member.metadata.get("exception")}
    frame = exception_frame(kind('what "and" where'), allowed)
    (parsed,) = FrameParser().feed(frame)
    assert parsed.header(":message-type") == "exception"
    assert parsed.header(":exception-type") in allowed
    assert json.loads(parsed.payload) == {"message": 'what "and" where'}
    with pytest.raises(EventStreamError) as caught:
        list(read_stream(name, frame))
    assert caught.value.response["Error"] == {
        "Code": parsed.header(":exception-type"),
        "Message": 'what "and" where',
    }


def test_a_timeout_has_its_own_exception_where_the_stream_declares_one() -> None:
    error = errors.UpstreamTimeout("x")
    assert b"modelTimeoutException" in exception_frame(error, RESPONSE_STREAM_EXCEPTIONS)
    assert b"modelStreamErrorException" in exception_frame(error, CONVERSE_STREAM_EXCEPTIONS)
