"""How an OpenAI-compatible server other than vLLM wants a request spelt.

Checked in November 2026 against the types of openai 2.54.0 (`types/chat/completion_create_params.py`,
`types/completion_create_params.py`, `types/embedding_create_params.py`). What such a server takes beside OpenAI's own
fields is the operator's to say: `OpenAIEndpoint.extra_fields`.

Not forwarded although OpenAI has them: `service_tier` (the operator's money), `web_search_options`, `modalities` and
`audio` (what they make the server answer has no place in our events), `moderation` (guardrails are the gateway's).
The request id and the cache salt are vLLM's and are not sent.
"""

from __future__ import annotations

from types import MappingProxyType

from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_core.jsonvalue import JSONObject
from bedplate_core.requests import EmbedRequest, Request
from bedplate_providers.chat_request import ChatSpelling, add_chat, add_completion, add_sampling, raw_prompts
from bedplate_providers.endpoints import OpenAIEndpoint
from bedplate_providers.extensions import allowed_extensions

FORWARDED_CHAT: MappingProxyType[str, tuple[type, ...]] = MappingProxyType({"prediction": (dict,), "verbosity": (str,)})
"""OpenAI's own fields of the chat route beside the canonical request, with the JSON types they may hold."""

_ANY = (bool, int, float, str, list, dict)
_AUDIO_FORMATS = MappingProxyType({"audio/wav": "wav", "audio/x-wav": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"})
_STREAM_OPTIONS: JSONObject = {"include_usage": True}


def render_request(request: Request, endpoint: OpenAIEndpoint) -> tuple[str, JSONObject]:
    """The path behind the base URL and the JSON body for `request`.

    Always streamed, with the usage in the last chunk. Raises `UnsupportedFeature` or `InvalidRequest` naming the
    field.
    """
    extra = dict.fromkeys(endpoint.extra_fields, _ANY)
    body: JSONObject = {"model": request.model, "stream": True, "stream_options": _STREAM_OPTIONS}
    body.update(allowed_extensions(request, FORWARDED_CHAT if request.messages else None, extra))
    if request.sampling.top_k is not None and "top_k" not in extra:
        raise UnsupportedFeature("top_k is not supported by this model's upstream", param="top_k")
    add_sampling(body, request)
    if request.prompts:
        add_completion(body, request)
        return "/completions", body
    spelling = ChatSpelling(
        system_role=endpoint.system_role,
        max_tokens=endpoint.max_tokens_field,
        audio=_AUDIO_FORMATS,
        documents=True,
        image_detail=True,
    )
    add_chat(body, request, spelling)
    return "/chat/completions", body


def render_embedding(request: EmbedRequest) -> JSONObject:
    """The body for `/embeddings`. Raises `UnsupportedFeature` for a mix of texts and tokens or an extension."""
    for name in request.extensions:
        raise UnsupportedFeature(f"{name} is not supported by this model's upstream", param=name)
    if not request.inputs:
        raise InvalidRequest("input must hold at least one text", param="input")
    body: JSONObject = {
        "model": request.model,
        "encoding_format": "base64",
        "input": raw_prompts(request.inputs, "input"),
    }
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    return body


__all__ = ["FORWARDED_CHAT", "render_embedding", "render_request"]
