"""vLLM's `/tokenize` and `/detokenize`, which lie beside `/v1`, and token counting with them.

Checked against vLLM 0.32.0, `vllm/entrypoints/serve/tokenize/protocol.py`. Every server has both, whatever its task.
"""

from __future__ import annotations

import msgspec

from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_core.jsonvalue import JSON, JSONObject
from bedplate_core.requests import Dispatch, Request, TokenPrompt
from bedplate_core.tokens import DetokenizeRequest, TokenizeRequest, Tokens
from bedplate_providers.upstream_errors import not_protocol
from bedplate_providers.vllm import VllmServer
from bedplate_providers.vllm_request import render_request

_BODY_BYTES = 128 * 1024 * 1024
_RENDERING_PROMPT = frozenset({"add_special_tokens"})
_RENDERING_CHAT = _RENDERING_PROMPT | {"add_generation_prompt", "chat_template_kwargs", "continue_final_message"}
"""Extensions that `/tokenize` has: they change how the content is rendered."""


class TokenizeBody(msgspec.Struct, frozen=True):
    """The answer of `/tokenize`; only the fields that are read."""

    tokens: list[int]
    count: int
    max_model_len: int | None = None
    token_strs: list[str] | None = None


class DetokenizeBody(msgspec.Struct, frozen=True):
    """The answer of `/detokenize`."""

    prompt: str


async def tokenize(server: VllmServer, request: TokenizeRequest, dispatch: Dispatch) -> Tokens:
    """See `Tokenizes.tokenize`. Fields of the content that do not change how it is rendered are refused by name."""
    content = request.content
    known = _RENDERING_CHAT if content.messages else _RENDERING_PROMPT
    for name in content.extensions:
        if name not in known:
            raise UnsupportedFeature(f"{name} is not supported by this model's upstream", param=name)
    if not content.messages and not (len(content.prompts) == 1 and isinstance(content.prompts[0], str)):
        raise InvalidRequest("prompt must be one text", param="prompt")
    body = _rendered(content, dispatch, server.origin_name)
    if request.token_strings:
        body["return_token_strs"] = True
    answer = await _ask(server, body, dispatch)
    if min(answer.tokens, default=0) < 0 or answer.count != len(answer.tokens):
        raise not_protocol()
    strings = None
    if request.token_strings:
        if answer.token_strs is None or len(answer.token_strs) != len(answer.tokens):
            raise not_protocol()
        strings = tuple(answer.token_strs)
    return Tokens(token_ids=tuple(answer.tokens), strings=strings, context_tokens=answer.max_model_len)


async def detokenize(server: VllmServer, request: DetokenizeRequest, dispatch: Dispatch) -> str:
    """See `Tokenizes.detokenize`."""
    body: JSONObject = {"model": request.model, "tokens": list(request.token_ids)}
    raw = await server.fetch("/detokenize", body, dispatch, _BODY_BYTES)
    try:
        return msgspec.json.decode(raw, type=DetokenizeBody).prompt
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise not_protocol() from error


async def count_tokens(server: VllmServer, request: Request, dispatch: Dispatch) -> int:
    """See `CountsTokens.count_tokens`: what vLLM would give as `usage.prompt_tokens`, several prompts together.

    What does not change the prompt, such as sampling, is checked as for a generation and then left out.
    """
    if request.messages:
        return (await _ask(server, _rendered(request, dispatch, server.origin_name), dispatch)).count
    count = 0
    for prompt in request.prompts:
        if isinstance(prompt, TokenPrompt):
            count += len(prompt.token_ids)
        else:
            single = msgspec.structs.replace(request, prompts=(prompt,))
            count += (await _ask(server, _rendered(single, dispatch, server.origin_name), dispatch)).count
    return count


def _rendered(content: Request, dispatch: Dispatch, origin: str) -> JSONObject:
    """The body of `/tokenize` for what a generation of `content` would send."""
    _, generation = render_request(content, dispatch, origin)
    names = {"model", "messages", "tools"} | _RENDERING_CHAT if content.messages else {"model", "prompt"}
    names |= _RENDERING_PROMPT
    body: JSONObject = {name: value for name, value in generation.items() if name in names}
    if body.get("continue_final_message") is True and "add_generation_prompt" not in body:
        body["add_generation_prompt"] = False
    extra = _template_kwargs(generation)
    if extra:
        body["chat_template_kwargs"] = extra
    return body


def _template_kwargs(generation: JSONObject) -> JSONObject:
    """The template's variables, with those that vLLM makes of a chat's own fields (`build_chat_params`)."""
    given = generation.get("chat_template_kwargs")
    variables: JSONObject = dict(given) if isinstance(given, dict) else {}
    effort: JSON = generation.get("reasoning_effort")
    if effort is not None:
        variables.setdefault("enable_thinking", effort != "none")
        variables["reasoning_effort"] = effort
    if generation.get("documents") is not None:
        variables["documents"] = generation["documents"]
    return variables


async def _ask(server: VllmServer, body: JSONObject, dispatch: Dispatch) -> TokenizeBody:
    raw = await server.fetch("/tokenize", body, dispatch, _BODY_BYTES)
    try:
        answer = msgspec.json.decode(raw, type=TokenizeBody)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise not_protocol() from error
    if answer.count < 0:
        raise not_protocol()
    return answer


__all__ = ["DetokenizeBody", "TokenizeBody", "count_tokens", "detokenize", "tokenize"]
