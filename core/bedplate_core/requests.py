"""What a client asks for, after its dialect was decoded and before a provider spells it."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

import msgspec

from bedplate_core.jsonvalue import JSON, JSONObject
from bedplate_core.messages import Message


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """How tokens are chosen. `None` leaves the choice to the model's own default.

    `max_tokens` bounds the output of each choice, reasoning included. `stop` texts end an answer and are
    not part of it. `logit_bias` maps a token id (as text) to a value from -100 to 100.
    """

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    logit_bias: dict[str, float] | None = None


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A function that the model may call. `parameters` is a JSON schema.

    `strict` asks that the arguments are constrained to the schema while they are generated.
    """

    name: str
    description: str | None = None
    parameters: JSONObject | None = None
    strict: bool | None = None


class ToolMode(StrEnum):
    """Whether the model calls a tool: as it likes, never, or at least once."""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"


class NamedTool(msgspec.Struct, frozen=True):
    """The model must call this tool."""

    name: str


ToolChoice: TypeAlias = ToolMode | NamedTool


class JsonObjectFormat(msgspec.Struct, frozen=True, tag="json_object"):
    """The answer is some JSON object."""


class JsonSchemaFormat(msgspec.Struct, frozen=True, kw_only=True, tag="json_schema"):
    """The answer is JSON that the schema allows."""

    name: str
    schema: JSONObject
    description: str | None = None
    strict: bool | None = None


ResponseFormat: TypeAlias = JsonObjectFormat | JsonSchemaFormat


class ReasoningControl(msgspec.Struct, frozen=True, kw_only=True):
    """How much a model may think: a vendor's effort word, a budget, or switched off."""

    effort: str | None = None
    budget_tokens: int | None = None
    enabled: bool | None = None


class TokenPrompt(msgspec.Struct, frozen=True):
    """A raw prompt given as token ids of the target model."""

    token_ids: tuple[int, ...]


RawPrompt: TypeAlias = str | TokenPrompt


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One generation.

    Either `messages` (a chat) or `prompts` (raw text completion without a chat template) is filled, never
    both. `choices` answers are generated for the chat, or for each prompt: choice `p * choices + k` is the
    k-th answer to prompt p.

    `model` is the name the client used; the engine replaces it by the upstream's own when it has chosen a
    route. `top_logprobs` is None for no log-probabilities, else how many alternatives (0 is allowed).
    `extensions` holds fields of the inbound dialect that this model does not have; a provider forwards
    those on its allow-list and refuses the others by name.
    """

    model: str
    messages: tuple[Message, ...] = ()
    prompts: tuple[RawPrompt, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    sampling: Sampling = Sampling()
    response_format: ResponseFormat | None = None
    reasoning: ReasoningControl | None = None
    choices: int = 1
    top_logprobs: int | None = None
    echo: bool = False
    suffix: str | None = None
    stream: bool = False
    extensions: dict[str, JSON] = msgspec.field(default_factory=dict[str, JSON])


class Dispatch(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway, never the client, tells an upstream about a call.

    `call_id` correlates logs; `cache_salt` keeps one tenant's cached prefixes from another's, and is
    derived from the authenticated project; `affinity` is the key that keeps a conversation on one replica.
    """

    call_id: str
    cache_salt: str | None = None
    affinity: str | None = None


class EmbedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Texts, or token id sequences, to embed; one vector each, in order."""

    model: str
    inputs: tuple[RawPrompt, ...]
    dimensions: int | None = None
    extensions: dict[str, JSON] = msgspec.field(default_factory=dict[str, JSON])


__all__ = [
    "Dispatch",
    "EmbedRequest",
    "JsonObjectFormat",
    "JsonSchemaFormat",
    "NamedTool",
    "RawPrompt",
    "ReasoningControl",
    "Request",
    "ResponseFormat",
    "Sampling",
    "TokenPrompt",
    "Tool",
    "ToolChoice",
    "ToolMode",
]
