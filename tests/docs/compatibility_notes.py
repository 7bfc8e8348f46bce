"""What the page on compatibility says beyond what the code can tell: words for people.

Tests hold every line of it to the code and to the vendors' own SDKs: a field, an endpoint or a reason that does not
exist fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from bedplate_core.events import StopReason


class Missing(NamedTuple):
    """Endpoints of a vendor's that are not here.

    `paths` are beginnings of paths, or one method and path (`DELETE /v1/models/{}`) beside one that is here.
    """

    paths: tuple[str, ...]
    what: str
    instead: str


NOT_OPENAI = (
    Missing(("/v1/assistants", "/v1/threads"), "Assistants", "`/v1/conversations` and `/v1/responses`"),
    Missing(("/v1/audio/speech",), "Text to speech", "none: models answer in text"),
    Missing(("/v1/batches",), "Batches", "none"),
    Missing(
        ("GET /v1/chat/completions", "/v1/chat/completions/{}"),
        "Stored chat completions",
        "`store` is refused; a session keeps a conversation, `/v1/responses` a response",
    ),
    Missing(("/v1/chatkit",), "ChatKit", "none"),
    Missing(("/v1/containers", "/v1/skills"), "Code that runs at OpenAI", "none: tools run at the client"),
    Missing(("/v1/content_provenance_checks",), "Provenance of media", "none"),
    Missing(("/v1/evals",), "Evaluations", "none"),
    Missing(("/v1/files", "/v1/uploads"), "Files", "send the data with the request"),
    Missing(("/v1/fine_tuning",), "Fine-tuning", "serve the trained model with vLLM and declare it"),
    Missing(("/v1/images", "/v1/videos"), "Pictures and films", "none: models answer in text"),
    Missing(("DELETE /v1/models/{}",), "Deleting a model", "take it out of the resource file and `bedplate apply`"),
    Missing(("/v1/organization/", "/v1/projects"), "Administration", "`bedplate keys` and `bedplate apply`"),
    Missing(("/v1/realtime",), "Realtime sessions", "none"),
    Missing(
        ("POST /v1/responses/compact",), "Compaction", "a history that is too long is cut, or summarised when asked to"
    ),
    Missing(("POST /v1/responses/input_tokens",), "Token counts", "`/tokenize`, or Anthropic's `count_tokens`"),
    Missing(("/v1/vector_stores",), "Vector stores", "none; `/v1/embeddings` makes the vectors"),
)

NOT_ANTHROPIC = (
    Missing(("/v1/messages/batches",), "Batches", "none"),
    Missing(("/v1/files",), "Files", "send the data with the request"),
    Missing(("/v1/skills",), "Skills", "none: tools run at the client"),
    Missing(
        ("/v1/agents", "/v1/deployment_runs", "/v1/deployments", "/v1/dreams", "/v1/environments", "/v1/memory_stores",
         "/v1/sessions", "/v1/tunnels", "/v1/vaults"),
        "Managed agents",
        "none; the header `x-bedplate-session` keeps a conversation",
    ),
    Missing(("/v1/organizations", "/v1/user_profiles"), "Administration", "`bedplate keys` and `bedplate apply`"),
)  # fmt: skip

NOT_BEDROCK = (
    Missing(("/model/{}/invoke-with-bidirectional-stream",), "Speech in both directions", "none"),
    Missing(("/async-invoke", "/model-invocation-job", "/model-invocation-jobs"), "Batches and the like", "none"),
    Missing(
        ("/guardrail-checks", "/automated-reasoning-policies"),
        "Checks without a guardrail, automated reasoning",
        "a guardrail and `ApplyGuardrail`",
    ),
    Missing(
        ("/rerank", "/knowledgebases", "/retrieveAndGenerate", "/retrieveAndGenerateStream", "/agenticRetrieveStream",
         "/generateQuery", "/retrievalinstructions"),
        "Knowledge bases and reranking",
        "`/v2/rerank` reranks",
    ),
    Missing(("/agents", "/flows"), "Agents and flows", "none"),
    Missing(("/prompts", "/prompt-routers", "/optimize-prompt"), "Stored prompts and routers", "send the messages"),
    Missing(
        ("/custom-models", "/imported-models", "/model-copy-jobs", "/model-customization", "/model-customization-jobs",
         "/model-import-jobs", "/marketplace-model", "/provisioned-model-throughput", "/provisioned-model-throughputs",
         "/inference-profiles", "/evaluation-job", "/evaluation-jobs", "/advanced-prompt-optimization-job",
         "/advanced-prompt-optimization-jobs"),
        "Making, buying and judging models",
        "`bedplate apply` declares models",
    ),
    Missing(
        ("/create-foundation-model-agreement", "/delete-foundation-model-agreement", "/foundation-model-availability",
         "/list-foundation-model-agreement-offers", "/trusted-access-programs", "/use-case-for-model-access"),
        "Agreements with vendors",
        "none are needed",
    ),
    Missing(
        ("/data-retention", "/v1/", "/logging",
         "/resource-policy", "/resourcepolicy", "/projects"),
        "Administration",
        "`bedplate keys` and `bedplate apply`; every call has its record",
    ),
)  # fmt: skip

CHAT: Mapping[str, str] = {
    "max_tokens": "the older spelling of `max_completion_tokens`, from which it must not differ",
    "messages": "`developer` is read as `system`; `reasoning` and `reasoning_content` of an assistant are its "
    "thoughts; vLLM's `video_url` and `audio_url` parts are read",
    "reasoning_effort": "`none` switches thinking off",
    "stream_options": "`include_usage`",
    "tool_choice": "`allowed_tools` leaves the model only those tools",
    "top_k": "vLLM's field",
}
COMPLETION: Mapping[str, str] = {
    "best_of": "more than `n` is refused: candidates that nobody sees are not generated",
    "max_tokens": "16 when it is left out, as at OpenAI",
    "prompt": "texts or token ids, several at once",
    "top_k": "vLLM's field",
}
EMBEDDINGS: Mapping[str, str] = {"encoding_format": "vectors are numbers or base64, whatever the upstream says"}
RESPONSES: Mapping[str, str] = {
    "include": "`message.output_text.logprobs`; `message.input_image.image_url` where a stored input is listed",
    "instructions": "a system message before everything else; not kept for the next response",
    "background": "the answer comes at once and is read, followed or cancelled later; not with `store: false`, nor "
    "with `x-bedplate-session`; it ends with the time of a call (`BEDPLATE_RESPONSE_TIMEOUT_S`)",
    "conversation": "an id or an object with `id`: the response is a turn of that conversation; not together with "
    "`previous_response_id` or `x-bedplate-session`",
    "previous_response_id": "the conversation so far, out of the database; not together with `conversation` or "
    "`x-bedplate-session`",
    "prompt_cache_options": "checked; it asks for what happens anyway",
    "reasoning": "`effort`",
    "store": "true when it is left out, as at OpenAI; false keeps nothing",
    "text": "`format`; `verbosity` is passed on to upstreams that know it",
    "top_k": "vLLM's field",
    "top_logprobs": "only where `include` asks for them",
}
MESSAGES: Mapping[str, str] = {
    "cache_control": "a cache point behind the last block",
    "messages": "a last message of the assistant (prefill) is refused",
    "output_config": "`effort`, and `format` as a JSON schema",
    "output_format": "the older spelling of `output_config.format`",
    "thinking": "`adaptive` is thinking without a budget; `display: omitted` leaves the thoughts out of the answer",
}
COUNT_TOKENS: Mapping[str, str] = {name: MESSAGES[name] for name in ("cache_control", "output_config", "output_format")}
MODERATION: Mapping[str, str] = {
    "input": "texts; pictures are refused. Five of the thirteen categories are evaluated, and "
    "`category_applied_input_types` says which",
    "model": "OpenAI's names all mean the local content model",
}
CONVERSE: Mapping[str, str] = {
    "additionalModelRequestFields": "see below",
    "guardrailConfig": "`streamProcessingMode: async` where the guardrail allows it; traces have no `modelOutput`",
    "outputConfig": "`textFormat` as a JSON schema, and `effort`",
    "performanceConfig": "repeated in the answer; every call is served in the same way",
    "serviceTier": "repeated in the answer; every call is served in the same way",
}
TRANSCRIPTION: Mapping[str, str] = {
    "hotwords": "vLLM's field",
    "response_format": "`json`, `text`, `verbose_json`",
    "timestamp_granularities[]": "`segment`, with `verbose_json`",
}
TRANSLATION: Mapping[str, str] = {
    "hotwords": "vLLM's field",
    "language": "vLLM's field: the language of the sound",
    "response_format": "`json`, `text`, `verbose_json`",
}
TOKENIZE: Mapping[str, str] = {
    "messages": "instead of `prompt`: those of a chat completion",
    "model": "must be given, because it decides which server answers",
    "return_token_strs": "refused where a guardrail reads the output: no rule can judge text in such pieces",
}
DETOKENIZE: Mapping[str, str] = {"model": "must be given, because it decides which server answers"}
RANKING: Mapping[str, str] = {"documents": "texts; pictures are refused", "top_n": "0 is all documents"}
SCORE: Mapping[str, str] = {
    "items": "instead of `documents`",
    "data_1": "instead of `queries`",
    "data_2": "instead of `documents`",
    "text_1": "instead of `queries`",
    "text_2": "instead of `documents`",
}
LLAMA: Mapping[str, str] = {"max_gen_len": "512 when it is left out, as at AWS"}
MISTRAL: Mapping[str, str] = {"max_tokens": "512 when it is left out, as at AWS", "top_k": "0 switches it off"}
TITAN: Mapping[str, str] = {"dimensions": "what the model behind allows, not only Titan's three"}
COHERE: Mapping[str, str] = {"embedding_types": "`float`"}

_TOOL = {"type": "function", "function": {"name": "f"}}
_CHAT: Mapping[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def _said(**message: Any) -> dict[str, Any]:
    return {**_CHAT, "messages": [*_CHAT["messages"], message, *_CHAT["messages"]]}


CHAT_REFUSED: Mapping[str, Mapping[str, Any]] = {
    "tools[].type": {**_CHAT, "tools": [{"type": "custom", "custom": {"name": "f"}}]},
    "tool_choice.type": {**_CHAT, "tools": [_TOOL], "tool_choice": {"type": "custom", "custom": {"name": "f"}}},
    "messages[].role": _said(role="function", name="f", content="x"),
    "messages[].audio": _said(role="assistant", audio={"id": "a"}),
    "messages[].function_call": _said(role="assistant", function_call={"name": "f", "arguments": "{}"}),
    "messages[].content[].file.file_id": _said(role="user", content=[{"type": "file", "file": {"file_id": "file_1"}}]),
}
"""What a chat refuses below the top level: the field, and a body that has it."""

_MESSAGES: Mapping[str, Any] = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
_CUSTOM = {"name": "f", "input_schema": {"type": "object"}}
_PICTURE = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
_FILE = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}


def _block(block: Mapping[str, Any]) -> dict[str, Any]:
    return {**_MESSAGES, "messages": [{"role": "user", "content": [block]}]}


MESSAGES_REFUSED: Mapping[str, Mapping[str, Any]] = {
    "max_tokens: `0`": {**_MESSAGES, "max_tokens": 0},
    "messages[]": {**_MESSAGES, "messages": [*_MESSAGES["messages"], {"role": "assistant", "content": "So"}]},
    "tools[].type": {**_MESSAGES, "tools": [{**_CUSTOM, "type": "web_search_20250305"}]},
    "tools[].allowed_callers": {**_MESSAGES, "tools": [{**_CUSTOM, "allowed_callers": ["code_execution_20250825"]}]},
    "tools[].defer_loading": {**_MESSAGES, "tools": [{**_CUSTOM, "defer_loading": True}]},
    "tools[].input_examples": {**_MESSAGES, "tools": [{**_CUSTOM, "input_examples": [{}]}]},
    "messages[].content[].citations": _block({**_FILE, "citations": {"enabled": True}}),
}
"""What Messages refuses below the top level: the field, and a body that has it."""

STOPS: Mapping[StopReason, str] = {
    StopReason.END: "the model is done",
    StopReason.LENGTH: "the bound on the output was met",
    StopReason.CONTEXT: "the model's context is full",
    StopReason.STOP_SEQUENCE: "a stop text of the client's",
    StopReason.TOOL: "the model calls a tool",
    StopReason.GUARDRAIL: "a guardrail blocked",
    StopReason.CONTENT_FILTER: "the upstream's own filter blocked",
    StopReason.REFUSAL: "the model refused",
    StopReason.PAUSE: "the upstream paused a long turn",
}
