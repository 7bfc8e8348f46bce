"""What vLLM and other OpenAI-compatible servers send, spelt as vLLM spells it; only the fields that are read.

Checked in November 2026 against the types of openai 2.54.0 and against vLLM 0.32.0:
`vllm/entrypoints/openai/chat_completion/protocol.py`,
`.../completion/protocol.py`, `vllm/entrypoints/generate/base/protocol.py` (deltas),
`vllm/entrypoints/serve/engine/protocol.py` (usage, errors), `vllm/entrypoints/pooling/embed/protocol.py`.
Older releases spell `reasoning` as `reasoning_content`. The server leaves out what was not set, so
everything has a default; unknown fields are skipped.
"""

from __future__ import annotations

import msgspec


class ErrorInfo(msgspec.Struct, frozen=True):
    """`error` of an error body, or of a stream's error event. vLLM's `code` is the HTTP status as a
    number.
    """

    message: str = ""
    type: str | None = None
    param: str | None = None
    code: int | str | None = None


class ErrorBody(msgspec.Struct, frozen=True):
    """An answer with a status of 400 or above; FastAPI's own errors carry `detail` and no `error`."""

    error: ErrorInfo | None = None


class PromptTokensDetails(msgspec.Struct, frozen=True):
    """vLLM sends it only with `--enable-prompt-tokens-details`. OpenAI spells `created_cache_tokens` as
    `cache_write_tokens`.
    """

    cached_tokens: int | None = None
    created_cache_tokens: int | None = None
    cache_write_tokens: int | None = None


class CompletionTokensDetails(msgspec.Struct, frozen=True):
    """Sent only by servers with a reasoning parser."""

    reasoning_tokens: int | None = None


class UsageInfo(msgspec.Struct, frozen=True):
    """Counts of one choice in a chunk that has choices, of the whole call in the chunk that has none."""

    prompt_tokens: int = 0
    completion_tokens: int | None = 0
    prompt_tokens_details: PromptTokensDetails | None = None
    completion_tokens_details: CompletionTokensDetails | None = None


class DeltaFunctionCall(msgspec.Struct, frozen=True):
    """A piece of a function call."""

    name: str | None = None
    arguments: str | None = None


class DeltaToolCall(msgspec.Struct, frozen=True):
    """A piece of the `index`-th tool call of a message; id and name come with its first piece."""

    index: int = 0
    id: str | None = None
    function: DeltaFunctionCall | None = None


class DeltaMessage(msgspec.Struct, frozen=True):
    """A piece of a message."""

    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: list[DeltaToolCall] | None = None


class ChatTopLogprob(msgspec.Struct, frozen=True):
    """A likely token at a position."""

    token: str
    logprob: float = -9999.0
    bytes: list[int] | None = None


class ChatTokenLogprob(msgspec.Struct, frozen=True):
    """A generated token."""

    token: str
    logprob: float = -9999.0
    bytes: list[int] | None = None
    top_logprobs: list[ChatTopLogprob] = []


class ChatLogprobs(msgspec.Struct, frozen=True):
    """The tokens of one chunk: of its text or of its refusal."""

    content: list[ChatTokenLogprob] | None = None
    refusal: list[ChatTokenLogprob] | None = None


class ChatChunkChoice(msgspec.Struct, frozen=True):
    """One choice of a chat chunk. `stop_reason` is the stop text, or the id of the stop token, that was
    met.
    """

    index: int = 0
    delta: DeltaMessage = DeltaMessage()
    logprobs: ChatLogprobs | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    token_ids: list[int] | None = None


class ChatChunk(msgspec.Struct, frozen=True):
    """`chat.completion.chunk`, or an error event. The last chunk has no choices and the usage of the call."""

    id: str = ""
    created: int = 0
    choices: list[ChatChunkChoice] | None = None
    usage: UsageInfo | None = None
    error: ErrorInfo | None = None


class CompletionLogprobs(msgspec.Struct, frozen=True):
    """The tokens of one chunk, by column. The first token of an echoed prompt has no log-probability."""

    tokens: list[str] = []
    token_logprobs: list[float | None] = []
    top_logprobs: list[dict[str, float] | None] = []


class CompletionChunkChoice(msgspec.Struct, frozen=True):
    """One choice of a completion chunk; choice `p * n + k` is the k-th answer to prompt p."""

    index: int = 0
    text: str = ""
    logprobs: CompletionLogprobs | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    token_ids: list[int] | None = None


class CompletionChunk(msgspec.Struct, frozen=True):
    """`text_completion`, or an error event."""

    id: str = ""
    created: int = 0
    choices: list[CompletionChunkChoice] | None = None
    usage: UsageInfo | None = None
    error: ErrorInfo | None = None


class EmbeddingItem(msgspec.Struct, frozen=True):
    """One vector: little-endian 32-bit floats in base64, as `encoding_format: base64` asks for, or a list from
    a server that knows no base64.
    """

    index: int
    embedding: str | list[float]


class EmbeddingBody(msgspec.Struct, frozen=True):
    """The answer of `/v1/embeddings`."""

    data: list[EmbeddingItem]
    usage: UsageInfo = UsageInfo()


class ModelCard(msgspec.Struct, frozen=True):
    """One served model; `parent` is set for a LoRA adapter."""

    id: str
    parent: str | None = None
    max_model_len: int | None = None


class ModelList(msgspec.Struct, frozen=True):
    """The answer of `/v1/models`."""

    data: list[ModelCard]


__all__ = [
    "ChatChunk",
    "ChatChunkChoice",
    "ChatLogprobs",
    "ChatTokenLogprob",
    "ChatTopLogprob",
    "CompletionChunk",
    "CompletionChunkChoice",
    "CompletionLogprobs",
    "DeltaMessage",
    "DeltaToolCall",
    "EmbeddingBody",
    "EmbeddingItem",
    "ErrorBody",
    "ErrorInfo",
    "ModelCard",
    "ModelList",
    "UsageInfo",
]
