"""The body of `POST /v1/completions` and its answers as OpenAI defines them.

Source: openai-python 2.54 (`openai.types.completion_create_params`, `Completion`, `CompletionChoice`),
compared November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from bedplate_gateway.dialects.decoding import FieldRules
from bedplate_gateway.dialects.limits import MAX_TOKENS, MAX_TOP_LOGPROBS
from bedplate_gateway.dialects.openai.answer_wire import CompletionUsage
from bedplate_gateway.dialects.openai.chat_wire import (
    ChoiceCount,
    LogitBias,
    ModelName,
    Penalty,
    Seed,
    Stop,
    StreamOptions,
    Temperature,
    TopK,
    TopP,
)
from bedplate_gateway.dialects.openai.prompts import WirePrompt

DEFAULT_MAX_TOKENS: Final = 16
"""What the API reference gives for `max_tokens` when it is left out."""


class CompletionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that are mapped to the canonical request."""

    model: ModelName
    prompt: WirePrompt
    best_of: ChoiceCount | None = None
    echo: bool | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: LogitBias | None = None
    logprobs: Annotated[int, Meta(ge=0, le=MAX_TOP_LOGPROBS)] | None = None
    max_tokens: Annotated[int, Meta(ge=0, le=MAX_TOKENS)] | None = None
    n: ChoiceCount | None = None
    presence_penalty: Penalty | None = None
    seed: Seed | None = None
    stop: Stop | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    suffix: str | None = None
    temperature: Temperature | None = None
    top_k: TopK | None = None
    top_p: TopP | None = None


IGNORED: Final[Mapping[str, str]] = MappingProxyType(
    {"user": "who calls is known from the credential, not from the body"}
)
"""Top-level fields that are accepted and change nothing."""

COMPLETION_FIELDS: Final = FieldRules(
    mapped=frozenset(CompletionRequest.__struct_fields__), ignored=IGNORED, refused={}
)
"""`best_of` is read to refuse it: more candidates than answers are not generated."""


class Logprobs(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens of an answer, in parallel lists. `text_offset` counts characters from the answer's start.

    `token_logprobs` is null for a token that has none, such as the first of an echoed prompt.
    """

    tokens: tuple[str, ...]
    token_logprobs: tuple[float | None, ...]
    top_logprobs: tuple[dict[str, float], ...]
    text_offset: tuple[int, ...]


class CompletionChoice(msgspec.Struct, frozen=True, kw_only=True):
    """One answer, or what a chunk adds to it. `token_ids` is vLLM's field, there when it was asked for."""

    index: int
    text: str
    logprobs: Logprobs | None = None
    finish_reason: str | None = None
    token_ids: tuple[int, ...] | UnsetType = UNSET


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer, and each event of a streamed one."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: tuple[CompletionChoice, ...]
    usage: CompletionUsage | UnsetType | None = UNSET


__all__ = [
    "COMPLETION_FIELDS",
    "DEFAULT_MAX_TOKENS",
    "IGNORED",
    "Completion",
    "CompletionChoice",
    "CompletionRequest",
    "Logprobs",
]
