"""Texts as tokens and back, as vLLM spells it: OpenAI has no such operation.

Source: vLLM 0.32.0, `vllm/entrypoints/serve/tokenize/protocol.py`, compared November 2026. Here `model` must be given,
because it decides which server answers. Messages and tools are those of a chat completion.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from bedplate_core.errors import InvalidRequest
from bedplate_core.jsonvalue import JSON
from bedplate_core.requests import Request
from bedplate_core.tokens import DetokenizeRequest, TokenizeRequest, Tokens
from bedplate_gateway.dialects.base import WireReply
from bedplate_gateway.dialects.decoding import FieldRules, Refused, decode_body
from bedplate_gateway.dialects.limits import MAX_TOKEN_IDS, MAX_TOOLS
from bedplate_gateway.dialects.openai.answer_wire import JSON_HEADERS
from bedplate_gateway.dialects.openai.chat_request import decode_chat
from bedplate_gateway.dialects.openai.chat_wire import ChatMessage, FunctionTool, ModelName
from bedplate_gateway.dialects.openai.prompts import TokenId


class TokenizeBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `POST /tokenize`: a `prompt`, or `messages` with `tools`.

    `add_special_tokens` is true for a prompt and false for messages unless it is given.
    """

    model: ModelName
    prompt: str | None = None
    messages: Annotated[list[ChatMessage], Meta(min_length=1)] | None = None
    tools: Annotated[list[FunctionTool], Meta(max_length=MAX_TOOLS)] | None = None
    add_special_tokens: bool | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    return_token_strs: bool | None = None


TOKENIZE_REFUSED: Final[Mapping[str, Refused]] = MappingProxyType(
    {
        "chat_template": Refused("A template is code; the model's own is used."),
        "media_io_kwargs": Refused("How media are loaded is the fleet's choice."),
        "mm_processor_kwargs": Refused("How media are loaded is the fleet's choice."),
    }
)
"""Fields that ask for what is not served."""

TOKENIZE_FIELDS: Final = FieldRules(
    mapped=frozenset(TokenizeBody.__struct_fields__), ignored={}, refused=TOKENIZE_REFUSED
)


class TokenizeReply(msgspec.Struct, frozen=True, kw_only=True):
    """The answer. `max_model_len` is left out where it is unknown; `token_strs` is null unless asked for."""

    count: int
    max_model_len: int | UnsetType = UNSET
    tokens: tuple[int, ...]
    token_strs: tuple[str, ...] | None = None


class DetokenizeBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `POST /detokenize`."""

    model: ModelName
    tokens: Annotated[list[TokenId], Meta(max_length=MAX_TOKEN_IDS)]


DETOKENIZE_FIELDS: Final = FieldRules(mapped=frozenset(DetokenizeBody.__struct_fields__), ignored={}, refused={})


class DetokenizeReply(msgspec.Struct, frozen=True, kw_only=True):
    """The answer."""

    prompt: str


_TOKENIZE: Final = msgspec.json.Decoder(TokenizeBody)
_DETOKENIZE: Final = msgspec.json.Decoder(DetokenizeBody)
_RENDERING: Final = ("add_special_tokens", "add_generation_prompt", "continue_final_message", "chat_template_kwargs")
_CHAT_ONLY: Final = ("tools", "add_generation_prompt", "continue_final_message", "chat_template_kwargs")


class TokenizeExchange(msgspec.Struct, frozen=True, kw_only=True):
    """One request of `POST /tokenize`."""

    request: TokenizeRequest

    @classmethod
    def decode(cls, body: bytes) -> TokenizeExchange:
        """Decode a request's body. Raises `InvalidRequest` or `UnsupportedFeature`, nothing else.

        Tool results may come first, as in a chat that goes on from a stored one.
        """
        sent, extensions = decode_body(_TOKENIZE, body, TOKENIZE_FIELDS)
        if (sent.prompt is None) == (sent.messages is None):
            raise InvalidRequest("prompt: send either prompt or messages", param="prompt")
        if sent.prompt is not None:
            for name in _CHAT_ONLY:
                if getattr(sent, name) is not None:
                    raise InvalidRequest(f"{name}: only allowed with messages", param=name)
            content = Request(model=sent.model, prompts=(sent.prompt,))
        else:
            chat = {"model": sent.model, "messages": sent.messages, "tools": sent.tools}
            content = decode_chat(msgspec.json.encode(chat), continues=True).request
        if sent.continue_final_message and sent.add_generation_prompt:
            raise InvalidRequest(
                "continue_final_message: cannot be true together with add_generation_prompt",
                param="continue_final_message",
            )
        given: dict[str, JSON] = {name: getattr(sent, name) for name in _RENDERING if getattr(sent, name) is not None}
        content = msgspec.structs.replace(content, extensions={**extensions, **given})
        return cls(request=TokenizeRequest(content=content, token_strings=bool(sent.return_token_strs)))

    def reply(self, tokens: Tokens) -> WireReply:
        """The answer."""
        body = TokenizeReply(
            count=len(tokens.token_ids),
            max_model_len=UNSET if tokens.context_tokens is None else tokens.context_tokens,
            tokens=tokens.token_ids,
            token_strs=tokens.strings,
        )
        return WireReply(status=200, body=msgspec.json.encode(body), headers=JSON_HEADERS)


class DetokenizeExchange(msgspec.Struct, frozen=True, kw_only=True):
    """One request of `POST /detokenize`."""

    request: DetokenizeRequest

    @classmethod
    def decode(cls, body: bytes) -> DetokenizeExchange:
        """Decode a request's body. Raises `InvalidRequest` or `UnsupportedFeature`, nothing else."""
        sent, extensions = decode_body(_DETOKENIZE, body, DETOKENIZE_FIELDS)
        for name in extensions:
            raise InvalidRequest(f"{name}: unknown field", param=name)
        return cls(request=DetokenizeRequest(model=sent.model, token_ids=tuple(sent.tokens)))

    def reply(self, text: str) -> WireReply:
        """The answer."""
        return WireReply(status=200, body=msgspec.json.encode(DetokenizeReply(prompt=text)), headers=JSON_HEADERS)


__all__ = [
    "DETOKENIZE_FIELDS",
    "TOKENIZE_FIELDS",
    "TOKENIZE_REFUSED",
    "DetokenizeBody",
    "DetokenizeExchange",
    "DetokenizeReply",
    "TokenizeBody",
    "TokenizeExchange",
    "TokenizeReply",
]
