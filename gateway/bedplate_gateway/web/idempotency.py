"""Which requests are the same: the key that a client gives them, and what they ask for."""

from __future__ import annotations

import hashlib
import re
from typing import Final, cast

from bedplate_core.errors import InvalidRequest
from bedplate_core.ids import ProjectId
from bedplate_gateway.web.incoming import Incoming
from bedplate_store.locks import key_bytes

REPLAYED_HEADER: Final = "idempotent-replayed"
SDK_HEADER: Final = "amz-sdk-invocation-id"
"""Made anew by the SDKs for AWS for every call, and kept for its retries (botocore 1.44.8, read November 2026)."""

_KEY: Final = re.compile(r"[\x20-\x7e]{1,255}")
_MENTIONS_SESSION: Final = b'"session"'
_NEW: Final = "auto"
_MEANINGFUL: Final = (b"x-bedplate-", b"x-amzn-bedrock-")
"""Headers that begin so are part of what a request asks for."""


def may_have_key(incoming: Incoming, dialect: str) -> bool:
    """Whether it is worth asking `idempotency_key`: most requests have none and are spared that."""
    return incoming.idempotency_key is not None or dialect == "bedrock"


def idempotency_key(incoming: Incoming, dialect: str) -> str | None:
    """The request's key in a form that no other source of keys has; None for a request without one.

    The SDKs' own header counts only where the request may be a turn of a session. Raises `InvalidRequest` for a key
    that is not 1 to 255 printable ASCII characters.
    """
    given = incoming.idempotency_key
    if given is not None:
        if _KEY.fullmatch(given) is None:
            raise InvalidRequest(
                "Idempotency-Key: expected 1 to 255 printable ASCII characters", param="Idempotency-Key"
            )
        return f"key:{given}"
    if dialect != "bedrock" or (incoming.session is None and _MENTIONS_SESSION not in incoming.body):
        return None
    made = incoming.header(SDK_HEADER)
    return f"sdk:{made}" if made else None


def may_begin_session(incoming: Incoming) -> bool:
    """Whether the request may begin a session, as far as its header and the words of its body tell."""
    if incoming.session is not None:
        return incoming.session.startswith(_NEW)
    return _MENTIONS_SESSION in incoming.body


def key_name(project: ProjectId, key: str) -> str:
    """What the key is called where it is stored and locked: a hash, from which the key cannot be read."""
    digest = hashlib.blake2b(key_bytes((project, key)), digest_size=32, person=b"bedplate-reply")
    return digest.hexdigest()


def request_hash(incoming: Incoming, operation: str) -> bytes:
    """A hash of all that decides what the request asks for. Another principal of the project may send the same."""
    scope = incoming.scope
    headers = sorted((name, value) for name, value in scope["headers"] if name.startswith(_MEANINGFUL))
    method = str(cast("dict[str, object]", scope)["method"])
    parts = [method.encode(), operation.encode(), scope["raw_path"], scope["query_string"]]
    parts += [part for pair in headers for part in pair]
    digest = hashlib.blake2b(digest_size=32, person=b"bedplate-request")
    for part in parts:
        digest.update(len(part).to_bytes(4, "big"))
        digest.update(part)
    digest.update(incoming.body)
    return digest.digest()


__all__ = [
    "REPLAYED_HEADER",
    "SDK_HEADER",
    "idempotency_key",
    "key_name",
    "may_begin_session",
    "may_have_key",
    "request_hash",
]
