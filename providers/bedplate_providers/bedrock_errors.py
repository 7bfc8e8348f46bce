"""What went wrong at Bedrock, as errors of ours.

By the error's name and the status (botocore 1.44.8's model of `bedrock-runtime`, November 2026; names of failed
authentication are AWS's common errors). The words of a message decide only between kinds of `ValidationException`, and
only here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from bedplate_core.errors import (
    ContextLengthExceeded,
    GatewayError,
    InvalidRequest,
    PayloadTooLarge,
    RateLimited,
    UpstreamProtocolError,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from bedplate_providers.bedrock_wire import ErrorBody
from bedplate_providers.event_stream import Frame
from bedplate_providers.upstream_errors import clean_message, failed_midway, retry_after_s

_BODY = msgspec.json.Decoder(ErrorBody)
_STATUS_OF: Mapping[str, int] = MappingProxyType(
    {
        "AccessDeniedException": 403,
        "ExpiredTokenException": 403,
        "IncompleteSignature": 403,
        "InternalServerException": 500,
        "InvalidSignatureException": 403,
        "MissingAuthenticationTokenException": 403,
        "ModelErrorException": 424,
        "ModelNotReadyException": 429,
        "ModelStreamErrorException": 424,
        "ModelTimeoutException": 408,
        "ResourceNotFoundException": 404,
        "ServiceQuotaExceededException": 402,
        "ServiceUnavailableException": 503,
        "ThrottlingException": 429,
        "UnrecognizedClientException": 403,
    }
)
"""The status that a name stands for: some services of AWS send 400 with any name, and a frame has no status."""

_VALIDATION = "ValidationException"
_CONTEXT = re.compile(
    r"(?:prompt|input) is (?:too long|longer)|too many input tokens|exceeds? (?:the )?(?:model's )?(?:maximum )?context"
    r"|context (?:length|limit|window) exceeded",
    re.IGNORECASE,
)
_NOT_SERVED = re.compile(
    r"model identifier is invalid|on-demand throughput|access to the model|end of its life", re.IGNORECASE
)
_QUOTED_FIELD = re.compile(r"\bat '([A-Za-z][\w.\[\]]{0,99})' failed to satisfy")
_LEADING_FIELD = re.compile(r"([a-z]\w*(?:\.\w+|\[\d+\])*): ")
_ARN = re.compile(r"\barn:aws\S*")
_PARAMS: Mapping[str, str] = MappingProxyType(
    {
        "inferenceConfig.maxTokens": "max_tokens",
        "inferenceConfig.stopSequences": "stop",
        "inferenceConfig.temperature": "temperature",
        "inferenceConfig.topP": "top_p",
    }
)


def refusal(status: int, body: bytes, headers: Mapping[str, str]) -> GatewayError:
    """The error for an answer whose status is not 200; see `Refusal`.

    `x-amz-retry-after` is in milliseconds, `retry-after` as everywhere.
    """
    said = _decoded(body)
    name = headers.get("x-amzn-errortype") or said.type or said.code or ""
    wait_s = retry_after_s(headers.get("retry-after"))
    own = headers.get("x-amz-retry-after", "")
    if own.isdigit() and len(own) < 10:
        wait_s = retry_after_s(str(int(own) / 1000))
    return _classified(status, _bare(name), said, wait_s)


def from_frame(frame: Frame, *, started: bool) -> GatewayError:
    """The error for a frame that is an exception, or an error that the service has no model of; `started` says
    whether an event of the answer came before it.
    """
    if started:
        return failed_midway()
    name = _bare(frame.header(":exception-type") or frame.header(":error-code") or "")
    name = name[:1].upper() + name[1:]
    said = _decoded(frame.payload)
    if name == "ModelStreamErrorException" and _is_retryable(said.original_status_code):
        return UpstreamUnavailable("The model failed.")  # "retry your request", says its documentation
    return _classified(400 if name == _VALIDATION else 500, name, said, None)


def _decoded(body: bytes) -> ErrorBody:
    try:
        return _BODY.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ErrorBody()


def _bare(name: str) -> str:
    """A name without its namespace and the address behind it."""
    return name.rpartition("#")[2].partition(":")[0].strip()


def _is_retryable(original_status: int | None) -> bool:
    return original_status is None or original_status in (408, 429) or original_status >= 500


def _classified(status: int, name: str, said: ErrorBody, wait_s: float | None) -> GatewayError:
    status = _STATUS_OF.get(name, status)
    if status == 429:
        wait_s = 1.0 if wait_s is None else wait_s
        return RateLimited("The model has too much to do at the moment.", retry_after_s=wait_s)
    if status in (503, 529):
        wait_s = 1.0 if wait_s is None else wait_s
        return UpstreamUnavailable("The model has too much to do at the moment.", retry_after_s=wait_s)
    if status in (408, 504):
        return UpstreamTimeout("The model did not answer in time.")
    if status >= 500 or (status == 424 and (said.original_status_code or 0) >= 500):
        return UpstreamUnavailable("The model failed.", retry_after_s=wait_s)
    if status == 413:
        return PayloadTooLarge("The request is too large for the model's upstream.")
    if status == 400 and name == _VALIDATION:
        return _client_error(said.message or "")
    if 300 <= status < 400 or status < 200:
        return UpstreamProtocolError("The model's upstream gave an answer that is not its protocol.")
    if status == 404:
        return UpstreamRejected("The model's upstream does not serve it.")
    if status == 402:
        return UpstreamRejected("The model's upstream takes no more calls on this gateway's account.")
    return UpstreamRejected("The model's upstream refused the request.")


def _client_error(said: str) -> GatewayError:
    if _NOT_SERVED.search(said):
        return UpstreamRejected("The model's upstream does not serve it.")
    message = clean_message(_ARN.sub("...", said)) or "The model's upstream found the request invalid."
    if _CONTEXT.search(said):
        return ContextLengthExceeded(message)
    named = _QUOTED_FIELD.search(said) or _LEADING_FIELD.match(said)
    param = None if named is None else named[1][:100]
    return InvalidRequest(message, param=_PARAMS.get(param, param) if param is not None else None)


__all__ = ["from_frame", "refusal"]
