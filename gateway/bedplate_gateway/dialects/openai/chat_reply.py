"""A whole chat completion.

Source: openai-python 2.54 (`ChatCompletion`), compared
November 2026; `reasoning` beside `content` is vLLM 0.32's field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal, assert_never

import msgspec
from msgspec import UNSET, UnsetType

from bedplate_core.messages import (
    Audio,
    CachePoint,
    Document,
    GuardContent,
    Image,
    Part,
    Reasoning,
    RedactedReasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
    Video,
)
from bedplate_core.response import Choice, Response
from bedplate_gateway.dialects.openai.answer_wire import (
    FINISH_REASONS,
    ChatTokenLogprob,
    CompletionUsage,
    chat_logprob,
    completion_usage,
    prefixed,
)

CHAT_ID_PREFIX: Final = "chatcmpl-"

UNSAID: Final[Mapping[type[Part], str]] = MappingProxyType(
    {
        RedactedReasoning: "opaque bytes for the provider that made them; this wire has no place for them",
        Image: "answers on this wire are text; requests for other modalities are refused",
        Audio: "answers on this wire are text; requests for other modalities are refused",
        Video: "answers on this wire are text; requests for other modalities are refused",
        Document: "answers on this wire are text; requests for other modalities are refused",
        ToolResult: "belongs to requests",
        CachePoint: "belongs to requests",
        GuardContent: "belongs to requests",
    }
)
"""Parts that an answer on this wire leaves out, whole and streamed alike, and why."""


class ChatFunction(msgspec.Struct, frozen=True, kw_only=True):
    """The function that the model calls, with the arguments in its own text."""

    name: str
    arguments: str


class ChatToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call that the model asks for."""

    id: str
    type: Literal["function"] = "function"
    function: ChatFunction


class ChatCompletionMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The answer. `content` is null when the model said nothing but called, refused or thought."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: str | None
    reasoning: str | UnsetType = UNSET
    tool_calls: tuple[ChatToolCall, ...] | UnsetType = UNSET


class ChatLogprobs(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens of all the answer's parts in order, under `content`."""

    content: tuple[ChatTokenLogprob, ...]
    refusal: None = None


class ChatChoice(msgspec.Struct, frozen=True, kw_only=True):
    """One answer. `token_ids` is vLLM's field, there when `return_token_ids` was asked for."""

    index: int
    message: ChatCompletionMessage
    logprobs: ChatLogprobs | None
    finish_reason: str
    token_ids: tuple[int, ...] | UnsetType = UNSET


class ChatCompletion(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a whole answer. `model` is the name that the client asked for."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: tuple[ChatChoice, ...]
    usage: CompletionUsage


def chat_completion(response: Response, model: str, *, token_ids: bool) -> ChatCompletion:
    """The wire form of `response`, under the client's name for the model."""
    return ChatCompletion(
        id=prefixed(CHAT_ID_PREFIX, response.id),
        created=response.created_s,
        model=model,
        choices=tuple(
            ChatChoice(
                index=number,
                message=_message(choice.parts),
                logprobs=_logprobs(choice),
                finish_reason=FINISH_REASONS[choice.stop.reason],
                token_ids=choice.token_ids if token_ids and choice.token_ids else UNSET,
            )
            for number, choice in enumerate(response.choices)
        ),
        usage=completion_usage(response.usage),
    )


def _logprobs(choice: Choice) -> ChatLogprobs | None:
    if not choice.logprobs:
        return None
    return ChatLogprobs(content=tuple(chat_logprob(token) for token in choice.logprobs))


def _message(parts: Sequence[Part]) -> ChatCompletionMessage:
    texts: list[str] = []
    refusals: list[str] = []
    thoughts: list[str] = []
    calls: list[ChatToolCall] = []
    for part in parts:
        match part:
            case Text():
                texts.append(part.text)
            case Refusal():
                refusals.append(part.text)
            case Reasoning():
                thoughts.append(part.text)
            case ToolCall():
                calls.append(ChatToolCall(id=part.id, function=ChatFunction(name=part.name, arguments=part.arguments)))
            case (
                RedactedReasoning()
                | Image()
                | Audio()
                | Video()
                | Document()
                | ToolResult()
                | CachePoint()
                | GuardContent()
            ):
                pass  # UNSAID
            case _:
                assert_never(part)
    text, thought = "".join(texts), "".join(thoughts)
    return ChatCompletionMessage(
        content=text if text or says_text(parts[0] if parts else None) else None,
        refusal="".join(refusals) or None,
        reasoning=thought or UNSET,
        tool_calls=tuple(calls) if calls else UNSET,
    )


def says_text(first: Part | None) -> bool:
    """Whether an answer that begins with this part has `content`, be it empty: with text, or with nothing."""
    return first is None or isinstance(first, Text)


__all__ = [
    "CHAT_ID_PREFIX",
    "UNSAID",
    "ChatChoice",
    "ChatCompletion",
    "ChatCompletionMessage",
    "ChatFunction",
    "ChatLogprobs",
    "ChatToolCall",
    "chat_completion",
    "says_text",
]
