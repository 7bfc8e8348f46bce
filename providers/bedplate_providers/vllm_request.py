"""How vLLM wants a request spelt: what it adds to `chat_request`.

The cache salt is the gateway's; the extensions are those on vLLM's list; a tool that must be called has its
arguments constrained, and reasoning of this provider's own goes back as `reasoning`.
"""

from __future__ import annotations

from types import MappingProxyType

from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_core.jsonvalue import JSONObject
from bedplate_core.requests import Dispatch, EmbedRequest, Request
from bedplate_providers.chat_request import (
    REASONING_EFFORTS,
    ChatSpelling,
    add_chat,
    add_completion,
    add_sampling,
    raw_prompts,
)
from bedplate_providers.extensions import forwarded_extensions

_AUDIO_FORMATS = MappingProxyType(
    {
        "audio/wav": "wav",
        "audio/x-wav": "wav",
        "audio/mpeg": "mp3",
        "audio/mp3": "mp3",
        "audio/flac": "flac",
    }
)
MAX_STOP_TEXTS = 64
"""vLLM looks for each of them after every token, in the loop that serves everybody."""
_STREAM_OPTIONS: JSONObject = {"include_usage": True, "continuous_usage_stats": True}


def render_request(request: Request, dispatch: Dispatch, origin: str) -> tuple[str, JSONObject]:
    """The path and the JSON body for `request`.

    Always streamed, with the usage in every chunk. `origin` is whose reasoning signatures are ours. The
    cache salt is the one of `dispatch`. Raises `UnsupportedFeature` or `InvalidRequest` naming the field.
    """
    body: JSONObject = {"model": request.model, "stream": True, "stream_options": _STREAM_OPTIONS}
    if len(request.sampling.stop) > MAX_STOP_TEXTS:
        raise UnsupportedFeature(f"this model's upstream takes at most {MAX_STOP_TEXTS} stop texts", param="stop")
    body.update(forwarded_extensions(request))
    add_sampling(body, request)
    if dispatch.cache_salt is not None:
        body["cache_salt"] = dispatch.cache_salt
    if request.prompts:
        add_completion(body, request)
        return "/v1/completions", body
    add_chat(body, request, _spelling(origin))
    return "/v1/chat/completions", body


def render_embedding(request: EmbedRequest, dispatch: Dispatch) -> JSONObject:
    """The body for `/v1/embeddings`. Raises `UnsupportedFeature` for a mix of texts and tokens or an
    extension.
    """
    body: JSONObject = {"model": request.model, "encoding_format": "base64"}
    for name, value in request.extensions.items():
        if name not in ("truncate_prompt_tokens", "truncation_side", "add_special_tokens"):
            raise UnsupportedFeature(f"{name} is not supported by this model's upstream", param=name)
        if value is not None:
            body[name] = value
    if not request.inputs:
        raise InvalidRequest("input must hold at least one text", param="input")
    body["input"] = raw_prompts(request.inputs, "input")
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    if dispatch.cache_salt is not None:
        body["cache_salt"] = dispatch.cache_salt
    return body


def _spelling(origin: str) -> ChatSpelling:
    """vLLM's. Without `strict` on a forced tool, vLLM 0.32 constrains the name of the function and lets the
    arguments be any JSON (`vllm/tool_parsers/structural_tag_registry.py`).
    """
    return ChatSpelling(
        origin=origin,
        budget="thinking_token_budget",
        audio=_AUDIO_FORMATS,
        video=True,
        media_in_results=True,
        strict_when_forced=True,
    )


__all__ = ["MAX_STOP_TEXTS", "REASONING_EFFORTS", "render_embedding", "render_request"]
