"""Raw completions: one request and its answer, whole or streamed."""

from __future__ import annotations

from typing import Final

import msgspec

from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_core.requests import Request, Sampling
from bedplate_core.response import Response
from bedplate_gateway.dialects.base import StreamEncoder, WireReply
from bedplate_gateway.dialects.decoding import decode_body
from bedplate_gateway.dialects.limits import MAX_COMPLETION_CHOICES, MAX_PROMPTS
from bedplate_gateway.dialects.openai.answer_wire import JSON_HEADERS, STREAM_MEDIA_TYPE
from bedplate_gateway.dialects.openai.completion_answer import CompletionStream, completion
from bedplate_gateway.dialects.openai.completion_wire import (
    COMPLETION_FIELDS,
    DEFAULT_MAX_TOKENS,
    CompletionRequest,
)
from bedplate_gateway.dialects.openai.prompts import raw_prompts
from bedplate_gateway.dialects.openai.sampling import include_usage, stop_texts

_DECODER: Final = msgspec.json.Decoder(CompletionRequest)


class CompletionExchange(msgspec.Struct, frozen=True, kw_only=True):
    """An `Exchange` of `POST /v1/completions`; choices are numbered as the canonical `Request` says."""

    request: Request
    include_usage: bool = False

    @classmethod
    def decode(cls, body: bytes) -> CompletionExchange:
        """Decode a request's body. Raises `InvalidRequest` or `UnsupportedFeature`, nothing else."""
        sent, extensions = decode_body(_DECODER, body, COMPLETION_FIELDS)
        choices = sent.n or 1
        if sent.best_of is not None and sent.best_of > choices:
            raise UnsupportedFeature("best_of: more than n is not supported; send n", param="best_of")
        prompts = raw_prompts(sent.prompt, "prompt", MAX_PROMPTS)
        if len(prompts) * choices > MAX_COMPLETION_CHOICES:
            raise InvalidRequest(
                f"n: {len(prompts)} prompts times {choices} answers exceed {MAX_COMPLETION_CHOICES}",
                param="n",
            )
        request = Request(
            model=sent.model,
            prompts=prompts,
            sampling=_sampling(sent),
            choices=choices,
            top_logprobs=sent.logprobs,
            echo=bool(sent.echo),
            suffix=sent.suffix,
            stream=bool(sent.stream),
            extensions=extensions,
        )
        return cls(request=request, include_usage=include_usage(sent.stream_options, sent.stream))

    @property
    def stream_media_type(self) -> str:
        """Server-sent events."""
        return STREAM_MEDIA_TYPE

    def reply(self, response: Response) -> WireReply:
        """The whole answer."""
        whole = completion(response, self.request.model, token_ids=self._token_ids)
        return WireReply(status=200, body=msgspec.json.encode(whole), headers=JSON_HEADERS)

    def stream(self) -> StreamEncoder:
        """A fresh encoder."""
        return CompletionStream(self.request.model, include_usage=self.include_usage, token_ids=self._token_ids)

    @property
    def _token_ids(self) -> bool:
        """vLLM's `return_token_ids`, which a provider forwards as an extension."""
        return self.request.extensions.get("return_token_ids") is True


def _sampling(sent: CompletionRequest) -> Sampling:
    return Sampling(
        max_tokens=DEFAULT_MAX_TOKENS if sent.max_tokens is None else sent.max_tokens,
        temperature=sent.temperature,
        top_p=sent.top_p,
        top_k=sent.top_k,
        presence_penalty=sent.presence_penalty,
        frequency_penalty=sent.frequency_penalty,
        stop=stop_texts(sent.stop),
        seed=sent.seed,
        logit_bias=sent.logit_bias,
    )


__all__ = ["CompletionExchange"]
