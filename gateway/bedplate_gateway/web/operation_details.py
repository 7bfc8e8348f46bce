"""What the OpenAPI document says of operations beyond their bodies: headers, queries that are read raw, and errors."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from bedplate_core.jsonvalue import JSONObject


class QueryParameter(msgspec.Struct, frozen=True, kw_only=True):
    """One parameter in the query of an operation that reads its query itself."""

    name: str
    schema: JSONObject
    description: str


SESSION_PARAMETER: Final = (
    "`auto` begins a durable conversation; the id of one (`sess_...`, `conv_...` or a UUID) goes on with it. "
    "Parameters follow behind semicolons: `branch=N`; `fork_at=ITEM`, a new branch behind that item; "
    "`on_busy=wait|reject|branch`, when another turn runs; `on_interrupted=drop|continue`, an earlier turn that broke "
    "off; `pin`, what this turn says is never left out of what a model is told; `context=truncate|summarize|none`, a "
    "history that is too long; `context_tokens=N`, a bound on the history; `summary_model=NAME`. Unknown ones are "
    "refused. In chat completions, Messages and Converse (there in `additionalModelRequestFields`) the body's field "
    "`session` does the same: an id, or an object with `id` and the same parameters."
)
SESSION_ANSWER: Final = "The session's id"
ANSWER_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "x-bedplate-branch": "The branch that the turn is in, where it is another than 0",
        "x-bedplate-context": "What was done to a history that was too long",
    }
)
"""Headers of the answer to a turn of a conversation, beside its id."""

KEY_PARAMETER: Final = (
    "1 to 255 printable ASCII characters. The same request under the same key is answered once: one that is sent again "
    "gets the first one's bytes, while it runs and for a day afterwards."
)
KEY_ANSWER: Final = "`true` on an answer that another request has been given before, or is being given"
MISMATCH: Final = "The idempotency key was used for another request"

GENERATES: Final = frozenset(
    {
        "createChatCompletion",
        "createCompletion",
        "createResponse",
        "createMessage",
        "converse",
        "converseStream",
        "InvokeModel",
        "InvokeModelWithResponseStream",
    }
)
"""Operations that are turns of a conversation where the request says so, and are answered once for a key."""

SESSION_ERRORS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "400": "The request is wrong; `param` names the field",
        "401": "The API key is missing or not valid",
        "403": "The key does not permit this",
        "404": "There is no such session in your project",
        "500": "The gateway failed, or what is stored cannot be read",
        "503": "The database is away; `retry-after` says when to try again",
    }
)
"""Errors of Bedplate's own operations on sessions."""

ARCHIVE_ERRORS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "409": "A session or a response of the archive exists already",
        "413": "The archive is larger than a body may be",
    }
)

_TEXT: Final[JSONObject] = {"type": "string"}
_FLAG: Final[JSONObject] = {"type": "boolean", "default": False}
_MAX_RESULTS: Final = QueryParameter(
    name="maxResults", schema={"type": "integer", "minimum": 1, "maximum": 1000}, description="Entries on a page"
)
_NEXT_TOKEN: Final = QueryParameter(name="nextToken", schema=_TEXT, description="Where the page before ended")
_PAGES: Final = (_MAX_RESULTS, _NEXT_TOKEN)
_INCLUDE: Final = QueryParameter(
    name="include",
    schema={"type": "array", "items": {"type": "string"}},
    description="`message.input_image.image_url`; others are refused by name",
)

QUERIES: Final[Mapping[str, tuple[QueryParameter, ...]]] = MappingProxyType(
    {
        "ListSessions": _PAGES,
        "ListInvocations": _PAGES,
        "ListInvocationSteps": _PAGES,
        "UntagResource": (
            QueryParameter(
                name="tagKeys", schema={"type": "array", "items": {"type": "string"}}, description="Once for each key"
            ),
        ),
        "retrieveResponse": (
            QueryParameter(name="stream", schema=_FLAG, description="The events of a response in the background"),
            QueryParameter(
                name="starting_after",
                schema={"type": "integer", "minimum": 0},
                description="With `stream`: only events behind the one with this sequence number",
            ),
            _INCLUDE,
        ),
        "listResponseInputItems": (_INCLUDE,),
        "listConversationItems": (_INCLUDE,),
        "createConversationItems": (_INCLUDE,),
        "retrieveConversationItem": (_INCLUDE,),
    }
)
"""What operations read from their query without telling Litestar, by the operation's id."""

__all__ = [
    "ANSWER_HEADERS",
    "ARCHIVE_ERRORS",
    "GENERATES",
    "KEY_ANSWER",
    "KEY_PARAMETER",
    "MISMATCH",
    "QUERIES",
    "SESSION_ANSWER",
    "SESSION_ERRORS",
    "SESSION_PARAMETER",
    "QueryParameter",
]
