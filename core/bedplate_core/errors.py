"""Everything that can go wrong in a way a client may be told about.

    GatewayError                            500 internal
    |- InvalidRequest                       400 invalid_request
    |  |- UnsupportedFeature                400 unsupported_feature
    |  \\- ContextLengthExceeded             400 context_length_exceeded
    |- Unauthenticated                      401 unauthenticated
    |  |- CredentialMissing                 401 credential_missing
    |  |- CredentialExpired                 401 credential_expired
    |  |- SignatureMismatch                 401 signature_mismatch
    |  \\- IncompleteSignature               400 incomplete_signature
    |- PermissionDenied                     403 permission_denied
    |- NotFound                             404 not_found
    |  \\- ModelNotFound                     404 model_not_found
    |- Conflict                             409 conflict
    |- PayloadTooLarge                      413 payload_too_large
    |- IdempotencyMismatch                  422 idempotency_mismatch
    |- QuotaExceeded                        429 quota_exceeded
    |- RateLimited                          429 rate_limited           retryable
    |- UpstreamRejected                     502 upstream_rejected
    |- UpstreamProtocolError                502 upstream_protocol
    |- UpstreamUnavailable                  503 upstream_unavailable   retryable
    |  \\- UpstreamLost                      503 upstream_unavailable   retryable, elsewhere
    |- UpstreamTimeout                      504 upstream_timeout       retryable
    |- GuardrailUnavailable                 503 guardrail_unavailable  (a policy fails closed)
    \\- StoreUnavailable                     503 store_unavailable

`status`, `code` and `retryable` are the only facts other code branches on. Each dialect has one table
from them to its wire error. The message of a `GatewayError` is written for the client: what was wrong,
where, and what would work; nothing internal. Any other exception is logged with its traceback and
reaches the client as a bare 500 without its message.
"""

from __future__ import annotations

from typing import ClassVar


class GatewayError(Exception):
    """An error whose message may be shown to the client.

    `param` names the offending field as the client spelt it; `retry_after_s` is how long a client
    should wait before it tries again. `retryable` says that another upstream, or the same one later,
    may succeed with the same request, so that failover before the first event is allowed.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, param: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s


class InvalidRequest(GatewayError):
    """The request itself is wrong; sending it again unchanged cannot work."""

    status = 400
    code = "invalid_request"


class UnsupportedFeature(InvalidRequest):
    """The request is well formed but asks for what this model, provider or policy cannot do."""

    code = "unsupported_feature"


class ContextLengthExceeded(InvalidRequest):
    """The input, with the answer asked for, does not fit the model's context."""

    code = "context_length_exceeded"


class Unauthenticated(GatewayError):
    """No credential, or one that is not valid (any more)."""

    status = 401
    code = "unauthenticated"


class CredentialMissing(Unauthenticated):
    """The request carries no credential at all."""

    code = "credential_missing"


class CredentialExpired(Unauthenticated):
    """The credential was valid once; a newer one is needed."""

    code = "credential_expired"


class SignatureMismatch(Unauthenticated):
    """A request's signature is not the one that its content, its time and the caller's secret give."""

    code = "signature_mismatch"


class IncompleteSignature(Unauthenticated):
    """A signed request lacks what a signature needs, or has it in a form that cannot be read."""

    status = 400
    code = "incomplete_signature"


class PermissionDenied(GatewayError):
    """The principal is known and may not do this."""

    status = 403
    code = "permission_denied"


class NotFound(GatewayError):
    """What the request names does not exist, or belongs to another project."""

    status = 404
    code = "not_found"


class ModelNotFound(NotFound):
    """No route has this model name."""

    code = "model_not_found"


class Conflict(GatewayError):
    """The request is at odds with the state it would change, such as a turn that is still running."""

    status = 409
    code = "conflict"


class PayloadTooLarge(GatewayError):
    """The body is over the limit."""

    status = 413
    code = "payload_too_large"


class IdempotencyMismatch(GatewayError):
    """The idempotency key was used for another request."""

    status = 422
    code = "idempotency_mismatch"


class QuotaExceeded(GatewayError):
    """A budget is spent; waiting a moment does not help."""

    status = 429
    code = "quota_exceeded"


class RateLimited(GatewayError):
    """Too much at once; `retry_after_s` says when to come back."""

    status = 429
    code = "rate_limited"
    retryable = True


class UpstreamRejected(GatewayError):
    """The upstream refused a request that we believed in. Ours to look into, not the client's."""

    status = 502
    code = "upstream_rejected"


class UpstreamProtocolError(GatewayError):
    """The upstream answered with something that is not its protocol, or broke off in the middle."""

    status = 502
    code = "upstream_protocol"


class UpstreamUnavailable(GatewayError):
    """No healthy upstream, or the connection failed before an answer began."""

    status = 503
    code = "upstream_unavailable"
    retryable = True


class UpstreamLost(UpstreamUnavailable):
    """The connection broke after the request was sent and before an answer began.

    The request itself may be the reason, so whoever retries it looks for another upstream first.
    """


class UpstreamTimeout(GatewayError):
    """The upstream did not answer, or went silent, for longer than its phase allows."""

    status = 504
    code = "upstream_timeout"
    retryable = True


class GuardrailUnavailable(GatewayError):
    """A policy that must run could not run. It fails closed: nothing unscanned is released."""

    status = 503
    code = "guardrail_unavailable"


class StoreUnavailable(GatewayError):
    """Postgres is away and the request needs it."""

    status = 503
    code = "store_unavailable"


__all__ = [
    "Conflict",
    "ContextLengthExceeded",
    "CredentialExpired",
    "CredentialMissing",
    "GatewayError",
    "GuardrailUnavailable",
    "IdempotencyMismatch",
    "IncompleteSignature",
    "InvalidRequest",
    "ModelNotFound",
    "NotFound",
    "PayloadTooLarge",
    "PermissionDenied",
    "QuotaExceeded",
    "RateLimited",
    "SignatureMismatch",
    "StoreUnavailable",
    "Unauthenticated",
    "UnsupportedFeature",
    "UpstreamLost",
    "UpstreamProtocolError",
    "UpstreamRejected",
    "UpstreamTimeout",
    "UpstreamUnavailable",
]
