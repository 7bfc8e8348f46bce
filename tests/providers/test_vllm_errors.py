"""vLLM's errors as ours: by status first, and with nothing internal in a message."""

from __future__ import annotations

import json

import pytest

from bedplate_core.errors import (
    ContextLengthExceeded,
    GatewayError,
    InvalidRequest,
    PayloadTooLarge,
    RateLimited,
    UnsupportedFeature,
    UpstreamProtocolError,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from bedplate_providers.http_connection import HttpBusy, HttpClosed, HttpConnectError, HttpProtocolError, HttpTimeout
from bedplate_providers.upstream_errors import ReplicaLost
from bedplate_providers.vllm_errors import MESSAGE_LIMIT, ReplicaUnreachable, clean_message, from_http, from_status


def body(message: str, param: str | None = None) -> bytes:
    return json.dumps({"error": {"message": message, "type": "X", "param": param, "code": 400}}).encode()


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (400, body("temperature must be non-negative, got -3.0."), InvalidRequest),
        (422, body("no"), InvalidRequest),
        (400, body("This model's maximum context length is 4096 tokens. You requested 9000."), ContextLengthExceeded),
        (400, body("The prompt (length 9) is longer than the maximum model length of 8."), ContextLengthExceeded),
        (400, body("max_tokens=9 cannot be greater than max_model_len=4."), ContextLengthExceeded),
        (400, body('"auto" tool choice requires --enable-auto-tool-choice to be set'), UnsupportedFeature),
        (400, body('tool_choice=function "f" requires --tool-call-parser to be set'), UnsupportedFeature),
        (400, b"<html>", UpstreamRejected),
        (401, b'{"error":"Unauthorized"}', UpstreamRejected),
        (403, b"", UpstreamRejected),
        (404, body("The model `x` does not exist."), UpstreamRejected),
        (404, b'{"detail":"Not Found"}', UpstreamRejected),
        (405, b"", UpstreamRejected),
        (408, b"", UpstreamTimeout),
        (413, b"", PayloadTooLarge),
        (429, b"", RateLimited),
        (500, body("a context length policy of 400"), UpstreamUnavailable),
        (501, b"", UnsupportedFeature),
        (502, b"", UpstreamUnavailable),
        (503, b"", UpstreamUnavailable),
        (504, b"", UpstreamTimeout),
        (301, b"", UpstreamProtocolError),
        (204, b"", UpstreamRejected),
    ],
)  # fmt: skip
def test_the_status_decides_first(status: int, said: bytes, kind: type[GatewayError]) -> None:
    error = from_status(status, said, None)
    assert type(error) is kind
    assert "--" not in error.message


@pytest.mark.parametrize(
    ("header", "seconds"), [("5", 5.0), (None, 1.0), ("x", 1.0), ("-3", 1.0), ("999999", 3600.0), ("9" * 400, 1.0)]
)
def test_when_to_come_back(header: str | None, seconds: float) -> None:
    for status in (429, 503):
        assert from_status(status, b"", header).retry_after_s == seconds


def test_a_message_for_the_user_shows_nothing_of_the_server() -> None:
    said = (
        'Bad: "/usr/lib/python3/x.py" http://10.0.0.1:8000/v1 at 192.168.3.4:80 0xdeadbeef --enable-x \n\x00 and/or 3/4'
    )
    cleaned = clean_message(said)
    for secret in ("usr", "10.0", "192.168", "dead", "enable", "\n", "\x00"):
        assert secret not in cleaned
    assert "and/or 3/4" in cleaned
    assert len(clean_message("word " * 1000)) == MESSAGE_LIMIT


def test_the_field_is_named() -> None:
    assert from_status(400, body("no", "top_logprobs"), None).param == "top_logprobs"


@pytest.mark.parametrize(
    ("error", "started", "kind"),
    [
        (HttpTimeout("x"), False, UpstreamTimeout),
        (HttpTimeout("x"), True, UpstreamTimeout),
        (HttpBusy("x"), False, UpstreamUnavailable),
        (HttpConnectError("x"), False, ReplicaUnreachable),
        (HttpClosed("x", begun=False), False, ReplicaLost),
        (HttpClosed("x", begun=True), False, UpstreamProtocolError),
        (HttpClosed("x", begun=True), True, UpstreamProtocolError),
        (HttpProtocolError("x"), True, UpstreamProtocolError),
    ],
)
def test_failures_of_the_exchange(error: Exception, started: bool, kind: type[GatewayError]) -> None:
    assert type(from_http(error, started=started)) is kind  # type: ignore[arg-type]
