"""The inbound fields beside the canonical request that are forwarded to vLLM.

A field that is not in the table is refused by name. A field is in it only if vLLM 0.32 has it with this
meaning (`vllm/entrypoints/openai/chat_completion/protocol.py` and `.../completion/protocol.py`), if what it
makes vLLM answer has a place in our events, and if a client may set it. So `priority`, `cache_salt`,
`request_id`, `session_id`, `kv_transfer_params`, `ec_transfer_params` and `vllm_xargs` (an upstream's
resources or another tenant's data), `chat_template`, `media_io_kwargs` and `mm_processor_kwargs` (code or
loaders), `use_beam_search` (does not stream) and `prompt_logprobs` (nowhere to put it) are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_core.jsonvalue import JSON, JSONObject
from bedplate_core.requests import Request

_NUMBER = (int, float)
_INTEGER = (int,)
_FLAG = (bool,)
_LIST = (list,)
_OBJECT = (dict,)

FORWARDED: MappingProxyType[str, tuple[type, ...]] = MappingProxyType(
    {
        "add_special_tokens": _FLAG,
        "allowed_token_ids": _LIST,
        "bad_words": _LIST,
        "ignore_eos": _FLAG,
        "include_stop_str_in_output": _FLAG,
        "min_p": _NUMBER,
        "min_tokens": _INTEGER,
        "repetition_penalty": _NUMBER,
        "return_token_ids": _FLAG,
        "return_tokens_as_token_ids": _FLAG,
        "skip_special_tokens": _FLAG,
        "spaces_between_special_tokens": _FLAG,
        "stop_token_ids": _LIST,
        "structured_outputs": _OBJECT,
        "top_k": _INTEGER,
        "truncate_prompt_tokens": _INTEGER,
        "truncation_side": (str,),
    }
)
"""Fields that both routes have, with the JSON types they may hold; `null` means the field was not set."""

FORWARDED_CHAT: MappingProxyType[str, tuple[type, ...]] = MappingProxyType(
    {
        "add_generation_prompt": _FLAG,
        "chat_template_kwargs": _OBJECT,
        "continue_final_message": _FLAG,
        "documents": _LIST,
        "include_reasoning": _FLAG,
        "thinking_token_budget": _INTEGER,
    }
)
"""Fields that only the chat route has."""

MAX_ITEMS: MappingProxyType[str, int] = MappingProxyType({"bad_words": 256, "documents": 256, "stop_token_ids": 256})
"""Of the lists that vLLM goes through for every token, or puts into the prompt."""
MAX_INTEGER = 2**31 - 1
"""Either side of zero: vLLM keeps these in 32 bits, and what does not fit may end its engine."""

TEMPLATE_RESERVED = frozenset(
    {"add_generation_prompt", "chat_template", "continue_final_message", "conversation", "documents",
    "messages",
     "padding", "return_dict", "return_tensors", "tokenize", "tools", "truncation"}
)  # fmt: skip
"""Names inside `chat_template_kwargs` that would replace the template or what it renders, not parametrise
it.
"""


def forwarded_extensions(request: Request) -> JSONObject:
    """The extensions to put into vLLM's body.

    Raises `UnsupportedFeature` naming the first field that is not forwarded on the route that `request`
    takes, and `InvalidRequest` for a value of the wrong JSON type.
    """
    body = allowed_extensions(request, FORWARDED, FORWARDED_CHAT if request.messages else None)
    _check_template_kwargs(body.get("chat_template_kwargs"))
    return body


def allowed_extensions(request: Request, *tables: Mapping[str, tuple[type, ...]] | None) -> JSONObject:
    """The extensions that one of `tables` has, with a value that is not `null`.

    Raises `UnsupportedFeature` naming the first that none has, and `InvalidRequest` for a value of the wrong JSON
    type or out of bounds.
    """
    body: JSONObject = {}
    for name, value in request.extensions.items():
        kinds = next((table[name] for table in tables if table is not None and name in table), None)
        if kinds is None:
            raise UnsupportedFeature(f"{name} is not supported by this model's upstream", param=name)
        if value is None:
            continue
        if not _is_of(value, kinds):
            wanted = " or ".join(_JSON_NAMES[kind] for kind in kinds)
            raise InvalidRequest(f"{name} must be of type {wanted}", param=name)
        _check_bounds(name, value)
        body[name] = value
    return body


_JSON_NAMES = MappingProxyType(
    {bool: "boolean", dict: "object", float: "number", int: "integer", list: "array", str: "string"}
)


def _is_of(value: JSON, kinds: tuple[type, ...]) -> bool:
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, kinds)


def _check_bounds(name: str, value: JSON) -> None:
    if isinstance(value, int) and not -MAX_INTEGER <= value <= MAX_INTEGER:
        raise InvalidRequest(f"{name} must be between {-MAX_INTEGER} and {MAX_INTEGER}", param=name)
    most = MAX_ITEMS.get(name)
    if most is not None and isinstance(value, list) and len(value) > most:
        raise InvalidRequest(f"{name} must have at most {most} items", param=name)


def _check_template_kwargs(value: JSON) -> None:
    if not isinstance(value, dict):
        return
    for name in value:
        if name in TEMPLATE_RESERVED:
            raise UnsupportedFeature(f"chat_template_kwargs.{name} cannot be set", param=f"chat_template_kwargs.{name}")


__all__ = [
    "FORWARDED",
    "FORWARDED_CHAT",
    "MAX_INTEGER",
    "MAX_ITEMS",
    "TEMPLATE_RESERVED",
    "allowed_extensions",
    "forwarded_extensions",
]
