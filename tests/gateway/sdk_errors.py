"""What the official SDKs make of an answer that is an error, and what that must be in each dialect.

An SDK is given the bytes of a request to send in place of its own, so that its own reading of the answer is what a
test sees of any request at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import anthropic
import boto3
import botocore
import botocore.exceptions
import httpx
import httpx2
import openai
import pytest
from botocore.config import Config

from tests.fixtures.aws import WireRequest
from tests.fixtures.operations import Operation


class Caught(NamedTuple):
    """An SDK's exception and the answer that it read: `name` and `code` are the wire's words for what happened."""

    error: Exception
    status: int
    headers: Mapping[str, str]
    name: str | None
    code: str | None
    message: str
    request_id: str | None


def instead(http: Any, base_url: str, request: WireRequest) -> Any:
    """A client of the package `http` (httpx, or its successor) that sends `request` whatever it is asked to send."""
    url = http.URL(base_url, raw_path=request.path + (b"?" + request.query if request.query else b""))

    class Substitute(http.HTTPTransport):  # type: ignore[misc]  # the package is chosen by the SDK
        def handle_request(self, asked: Any) -> Any:
            sent = http.Request(
                request.method, url, headers=request.headers, content=request.body, extensions=asked.extensions
            )
            return super().handle_request(sent)

    return http.Client(transport=Substitute())


def caught_by_openai(base_url: str, operation: Operation, request: WireRequest) -> Caught:
    with instead(httpx, base_url, request) as http:
        client = openai.OpenAI(base_url=base_url + "/v1", api_key="unused", max_retries=0, http_client=http)
        with pytest.raises(openai.APIStatusError) as caught:
            _ask_openai(client, operation)
    error = caught.value
    assert set(error.response.json()) == {"error"}
    assert set(error.response.json()["error"]) == {"message", "type", "param", "code"}
    said = error.body if isinstance(error.body, dict) else {}
    return Caught(
        error,
        error.status_code,
        error.response.headers,
        error.type,
        error.code,
        str(said.get("message", "")),
        error.request_id,
    )


def caught_by_anthropic(base_url: str, operation: Operation, request: WireRequest) -> Caught:
    with instead(httpx2, base_url, request) as http:
        client = anthropic.Anthropic(base_url=base_url, api_key="unused", max_retries=0, http_client=http)
        with pytest.raises(anthropic.APIStatusError) as caught:
            _ask_anthropic(client, operation)
    error = caught.value
    body = error.response.json()
    assert set(body) == {"type", "error"}
    assert body["type"] == "error"
    assert set(body["error"]) == {"type", "message", "details"}
    return Caught(
        error,
        error.status_code,
        error.response.headers,
        error.type,
        error.error_code,
        body["error"]["message"],
        error.request_id,
    )


_NO_CREDENTIALS = Config(signature_version=botocore.UNSIGNED, retries={"total_max_attempts": 1}, read_timeout=20)


def caught_by_boto3(base_url: str, operation: Operation, request: WireRequest) -> Caught:
    client = boto3.client("bedrock-runtime", endpoint_url=base_url, region_name="eu-central-1", config=_NO_CREDENTIALS)

    def substitute(request: Any, sent: WireRequest = request, **_: Any) -> None:
        request.method, request.url, request.body = sent.method, base_url + sent.path.decode(), sent.body
        for name in list(request.headers):
            del request.headers[name]
        for name, value in sent.headers:
            request.headers[name.decode()] = value.decode("latin-1")
        request.headers["content-length"] = str(len(sent.body))

    client.meta.events.register("before-send.bedrock-runtime.*", substitute)
    try:
        with pytest.raises(botocore.exceptions.ClientError) as caught:
            _ask_boto3(client, operation)
        name = caught.value.response["Error"]["Code"]
        declared = client.meta.service_model.shape_names
        assert type(caught.value).__name__ == (name if name in declared else "ClientError")
    finally:
        client.close()
    response: Any = caught.value.response
    metadata = response["ResponseMetadata"]
    assert metadata["RetryAttempts"] == 0
    return Caught(
        caught.value,
        metadata["HTTPStatusCode"],
        metadata["HTTPHeaders"],
        name,
        None,
        response["Error"]["Message"],
        metadata["RequestId"],
    )


def _ask_openai(client: openai.OpenAI, operation: Operation) -> None:
    match operation.recorded:
        case "chat":
            client.chat.completions.create(model="x", messages=[], stream=operation.streams)
        case "completion":
            client.completions.create(model="x", prompt="x", stream=operation.streams)
        case "responses":
            client.responses.create(model="x", input="x", stream=operation.streams)
        case "embeddings":
            client.embeddings.create(model="x", input="x")
        case _:
            client.post("/rerank", body={}, cast_to=object)


def _ask_anthropic(client: anthropic.Anthropic, operation: Operation) -> None:
    if operation.recorded == "messages":
        client.messages.create(model="x", max_tokens=1, messages=[], stream=operation.streams)
    else:
        client.messages.count_tokens(model="x", messages=[])


def _ask_boto3(client: Any, operation: Operation) -> None:
    message = {"role": "user", "content": [{"text": "x"}]}
    match operation.recorded:
        case "converse":
            client.converse(modelId="x", messages=[message])
        case "converse_stream":
            client.converse_stream(modelId="x", messages=[message])
        case "invoke_model":
            client.invoke_model(modelId="x", body=b"{}")
        case "invoke_model_stream":
            client.invoke_model_with_response_stream(modelId="x", body=b"{}")
        case _:
            client.count_tokens(modelId="x", input={"converse": {"messages": [message]}})


class Wire(NamedTuple):
    """How an error reads in one dialect: status, the SDK's exception, the wire's name and code."""

    status: int
    raised: str
    name: str
    code: str | None = None


def _openai(status: int, raised: str, code: str | None, name: str = "invalid_request_error") -> Wire:
    return Wire(status, raised, name, code)


def _aws(status: int, name: str, *, declared: bool = True) -> Wire:
    return Wire(status, name if declared else "ClientError", name)


WIRES: dict[str, dict[str, Wire]] = {
    "openai": {
        "invalid_request": _openai(400, "BadRequestError", None),
        "unsupported_feature": _openai(400, "BadRequestError", "unsupported_parameter"),
        "context_length_exceeded": _openai(400, "BadRequestError", "context_length_exceeded"),
        "model_not_found": _openai(404, "NotFoundError", "model_not_found"),
        "not_found": _openai(404, "NotFoundError", "not_found"),
        "method": _openai(405, "APIStatusError", None),
        "permission_denied": _openai(403, "PermissionDeniedError", "permission_denied", "permission_denied"),
        "payload_too_large": _openai(413, "APIStatusError", "payload_too_large"),
        "unauthenticated": _openai(401, "AuthenticationError", "invalid_api_key"),
        "credential_missing": _openai(401, "AuthenticationError", "invalid_api_key"),
        "signature_mismatch": _openai(401, "AuthenticationError", "invalid_api_key"),
        "rate_limited": _openai(429, "RateLimitError", "rate_limit_exceeded", "rate_limit_exceeded"),
        "upstream_unavailable": _openai(503, "InternalServerError", "upstream_unavailable", "server_error"),
        "upstream_rejected": _openai(502, "InternalServerError", "upstream_rejected", "server_error"),
    },
    "anthropic": {
        "invalid_request": Wire(400, "BadRequestError", "invalid_request_error", "invalid_request"),
        "unsupported_feature": Wire(400, "BadRequestError", "invalid_request_error", "unsupported_feature"),
        "context_length_exceeded": Wire(400, "BadRequestError", "invalid_request_error", "context_length_exceeded"),
        "model_not_found": Wire(404, "NotFoundError", "not_found_error", "model_not_found"),
        "not_found": Wire(404, "NotFoundError", "not_found_error", "not_found"),
        "method": Wire(405, "APIStatusError", "invalid_request_error", "invalid_request"),
        "permission_denied": Wire(403, "PermissionDeniedError", "permission_error", "permission_denied"),
        "payload_too_large": Wire(413, "ContentTooLargeError", "request_too_large", "payload_too_large"),
        "unauthenticated": Wire(401, "AuthenticationError", "authentication_error", "unauthenticated"),
        "credential_missing": Wire(401, "AuthenticationError", "authentication_error", "credential_missing"),
        "signature_mismatch": Wire(401, "AuthenticationError", "authentication_error", "signature_mismatch"),
        "rate_limited": Wire(429, "RateLimitError", "rate_limit_error", "rate_limited"),
        "upstream_unavailable": Wire(503, "ServiceUnavailableError", "overloaded_error", "upstream_unavailable"),
        "upstream_rejected": Wire(502, "InternalServerError", "api_error", "upstream_rejected"),
    },
    "bedrock": {
        "invalid_request": _aws(400, "ValidationException"),
        "unsupported_feature": _aws(400, "ValidationException"),
        "context_length_exceeded": _aws(400, "ValidationException"),
        "model_not_found": _aws(404, "ResourceNotFoundException"),
        "not_found": _aws(404, "ResourceNotFoundException"),
        "method": _aws(405, "ValidationException"),
        "permission_denied": _aws(403, "AccessDeniedException"),
        "payload_too_large": _aws(400, "ValidationException"),
        "unauthenticated": _aws(403, "UnrecognizedClientException", declared=False),
        "credential_missing": _aws(403, "MissingAuthenticationTokenException", declared=False),
        "signature_mismatch": _aws(403, "InvalidSignatureException", declared=False),
        "rate_limited": _aws(429, "ThrottlingException"),
        "upstream_unavailable": _aws(503, "ServiceUnavailableException"),
        "upstream_rejected": _aws(424, "ModelErrorException"),
    },
}
SDKS = {"openai": caught_by_openai, "anthropic": caught_by_anthropic, "bedrock": caught_by_boto3}
