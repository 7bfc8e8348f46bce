"""From the chunks of a vLLM stream to our events.

`ChunkReader` takes the payloads of one network read and gives the events they make, in one batch. It is
strict: a stream that does not end as vLLM ends one (every choice with a finish reason, then `[DONE]`) is an
error, never a clean `Finish`. What came before an error in the same read is delivered first.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from types import MappingProxyType

import msgspec

from bedplate_core.errors import GatewayError, UpstreamProtocolError
from bedplate_core.events import (
    Delta,
    Event,
    Finish,
    PartEnd,
    PartStart,
    Progress,
    Start,
    Stop,
    StopReason,
    TokenLogprob,
)
from bedplate_core.ids import new_response_id, new_tool_call_id
from bedplate_core.messages import Reasoning, Refusal, Text, ToolCall
from bedplate_core.requests import Request
from bedplate_core.usage import Usage
from bedplate_providers.vllm_errors import from_event
from bedplate_providers.vllm_wire import (
    ChatChunk,
    ChatChunkChoice,
    ChatLogprobs,
    CompletionChunk,
    CompletionChunkChoice,
    CompletionLogprobs,
    DeltaToolCall,
    ErrorInfo,
    UsageInfo,
)

_CHAT = msgspec.json.Decoder(ChatChunk)
_COMPLETION = msgspec.json.Decoder(CompletionChunk)
_DONE = b"[DONE]"
_STOPS = MappingProxyType(
    {
        "stop": StopReason.END,
        "length": StopReason.LENGTH,
        "tool_calls": StopReason.TOOL,
        "content_filter": StopReason.CONTENT_FILTER,
    }
)
"""The finish reasons that are an answer's. vLLM's `abort` and `error` are none: the answer broke off."""


class _Choice:
    """What is known of one choice while it streams."""

    __slots__ = (
        "early", "index", "kind", "logprobs", "next_part", "number", "output_tokens", "reasoning_tokens", "stop",
        "token_ids", "tool", "tools",
    )  # fmt: skip

    def __init__(self, number: int) -> None:
        self.number = number
        self.kind: type[Text | Reasoning | Refusal | ToolCall] | None = None
        self.index = -1
        self.next_part = 0
        self.tool = -1
        self.tools: set[int] = set()
        self.early: dict[int, tuple[str | None, str]] = {}
        self.stop: Stop | None = None
        self.output_tokens = 0
        self.reasoning_tokens = 0
        self.logprobs: tuple[TokenLogprob, ...] = ()
        self.token_ids: tuple[int, ...] = ()


class ChunkReader:
    """Reads the stream of one call. `read` takes payloads in order until `done`."""

    __slots__ = (
        "_choices", "_counted", "_events", "_final", "_input_tokens", "_request", "done", "failure", "started",
    )  # fmt: skip

    def __init__(self, request: Request) -> None:
        prompts = max(len(request.prompts), 1)
        self._request = request
        self._choices = tuple(_Choice(number) for number in range(prompts * request.choices))
        self._input_tokens = [0] * prompts
        self._events: list[Event] = []
        self.failure: GatewayError | None = None
        self._final: UsageInfo | None = None
        self._counted = False
        self.started = False
        self.done = False

    def read(self, payloads: Sequence[bytes]) -> list[Event]:
        """The events that `payloads` make; may be empty. Payloads after `[DONE]` are not read.

        Never raises: what is wrong with the stream is then `failure`, and the events before it are returned.
        """
        self._events = []
        try:
            for payload in payloads:
                if payload == _DONE:
                    self._finish()
                    break
                if self._request.prompts:
                    self._completion_chunk(payload)
                else:
                    self._chat_chunk(payload)
        except GatewayError as error:
            self.failure = error
        if self._counted and not self.done:
            self._counted = False
            self._events.append(Progress(self._usage()))
        return self._events

    def end(self) -> GatewayError:
        """The error for a stream that ended although `done` is not set."""
        return self.failure or _broke_off()

    # chunks

    def _chat_chunk(self, payload: bytes) -> None:
        try:
            chunk = _CHAT.decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise _not_protocol() from error
        if chunk.choices is None:
            raise self._no_chunk(chunk.error)
        self._start(chunk.id, chunk.created)
        for choice in chunk.choices:
            state = self._state(choice.index)
            self._chat_choice(state, choice)
            if chunk.usage is not None:
                self._count(state, chunk.usage)
        if not chunk.choices and chunk.usage is not None:
            self._final = chunk.usage

    def _completion_chunk(self, payload: bytes) -> None:
        try:
            chunk = _COMPLETION.decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise _not_protocol() from error
        if chunk.choices is None:
            raise self._no_chunk(chunk.error)
        self._start(chunk.id, chunk.created)
        for choice in chunk.choices:
            state = self._state(choice.index)
            self._completion_choice(state, choice)
            if chunk.usage is not None:
                self._count(state, chunk.usage)
        if not chunk.choices and chunk.usage is not None:
            self._final = chunk.usage

    def _no_chunk(self, error: ErrorInfo | None) -> GatewayError:
        return _not_protocol() if error is None else from_event(error, started=self.started)

    def _start(self, id_: str, created: int) -> None:
        if self.started:
            return
        self.started = True
        self._events.append(
            Start(
                id=id_ or new_response_id(),
                model=self._request.model,
                created_s=created or int(time.time()),
                choices=len(self._choices),
            )
        )

    def _state(self, number: int) -> _Choice:
        """The open choice of that number."""
        if not 0 <= number < len(self._choices):
            raise UpstreamProtocolError("The model's upstream answered a choice that was not asked for.")
        state = self._choices[number]
        if state.stop is not None:
            raise UpstreamProtocolError("The model's upstream went on after the end of a choice.")
        return state

    # choices

    def _chat_choice(self, state: _Choice, choice: ChatChunkChoice) -> None:
        if choice.logprobs is not None:
            state.logprobs += _chat_logprobs(choice.logprobs)
        if choice.token_ids:
            state.token_ids += tuple(choice.token_ids)
        delta = choice.delta
        thought = delta.reasoning or delta.reasoning_content
        if thought:
            self._say(state, Reasoning, thought)
        if delta.content:
            self._say(state, Text, delta.content)
        if delta.refusal:
            self._say(state, Refusal, delta.refusal)
        if delta.tool_calls:
            for call in delta.tool_calls:
                self._call(state, call)
        if choice.finish_reason is not None:
            self._stop(state, choice.finish_reason, choice.stop_reason)

    def _completion_choice(self, state: _Choice, choice: CompletionChunkChoice) -> None:
        if choice.logprobs is not None:
            state.logprobs += _completion_logprobs(choice.logprobs)
        if choice.token_ids:
            state.token_ids += tuple(choice.token_ids)
        if choice.text:
            self._say(state, Text, choice.text)
        if choice.finish_reason is not None:
            self._stop(state, choice.finish_reason, choice.stop_reason)

    def _say(self, state: _Choice, kind: type[Text | Reasoning | Refusal], text: str) -> None:
        """More text of the open part, or of a new one where the open one is of another kind."""
        if state.kind is not kind:
            self._open(state, kind(text=""))
        self._delta(state, text)

    def _delta(self, state: _Choice, text: str) -> None:
        """Log-probabilities and token ids that came without text (a character not yet whole, a control
        token) go with the next text of their choice."""
        self._events.append(Delta(state.number, state.index, text, state.logprobs, state.token_ids))
        state.logprobs = ()
        state.token_ids = ()

    def _call(self, state: _Choice, call: DeltaToolCall) -> None:
        """A piece of a tool call. The part opens with the name; what comes before it waits."""
        function = call.function
        arguments = (function.arguments or "") if function is not None else ""
        if state.kind is ToolCall and call.index == state.tool:
            if arguments:
                self._delta(state, arguments)
            return
        if call.index in state.tools:
            raise UpstreamProtocolError("The model's upstream went on with a tool call that had ended.")
        early_id, early_arguments = state.early.pop(call.index, (None, ""))
        id_, arguments = call.id or early_id, early_arguments + arguments
        if function is None or not function.name:
            state.early[call.index] = (id_, arguments)
            return
        state.tools.add(call.index)
        state.tool = call.index
        self._open(state, ToolCall(id=id_ or new_tool_call_id(), name=function.name, arguments=""))
        if arguments:
            self._delta(state, arguments)

    def _open(self, state: _Choice, part: Text | Reasoning | Refusal | ToolCall) -> None:
        self._close(state)
        state.kind = type(part)
        state.index = state.next_part
        state.next_part += 1
        self._events.append(PartStart(state.number, state.index, part))

    def _close(self, state: _Choice) -> None:
        if state.kind is not None:
            self._events.append(PartEnd(state.number, state.index))
            state.kind = None

    def _stop(self, state: _Choice, finish: str, stop: str | int | None) -> None:
        if state.early:
            raise UpstreamProtocolError("The model's upstream called a tool without its name.")
        reason = _STOPS.get(finish)
        if reason is None:
            raise _broke_off()
        sequence = None
        if finish == "stop":
            if isinstance(stop, str):
                reason, sequence = StopReason.STOP_SEQUENCE, stop
            elif state.tools:
                reason = StopReason.TOOL  # a named tool_choice ends with "stop"
            elif isinstance(stop, int) and self._is_stop_token(stop):
                reason = StopReason.STOP_SEQUENCE
            elif state.kind is Refusal:
                reason = StopReason.REFUSAL
        if state.logprobs or state.token_ids:
            if state.kind is None:
                self._open(state, Text(text=""))
            self._delta(state, "")
        self._close(state)
        state.stop = Stop(choice=state.number, reason=reason, sequence=sequence)

    def _is_stop_token(self, token: int) -> bool:
        """Whether the request named `token`, as opposed to the model having several end tokens."""
        named = self._request.extensions.get("stop_token_ids")
        return isinstance(named, list) and token in named

    # usage and end

    def _count(self, state: _Choice, usage: UsageInfo) -> None:
        """A chunk's usage speaks for its choice alone, the input for that choice's prompt."""
        self._counted = True
        state.output_tokens = max(state.output_tokens, usage.completion_tokens or 0)
        prompt = state.number // self._request.choices
        self._input_tokens[prompt] = max(self._input_tokens[prompt], usage.prompt_tokens)
        details = usage.completion_tokens_details
        if details is not None:
            state.reasoning_tokens = max(state.reasoning_tokens, details.reasoning_tokens or 0)

    def _usage(self) -> Usage:
        final = self._final
        if final is None:
            return Usage(
                input_tokens=sum(self._input_tokens),
                output_tokens=sum(state.output_tokens for state in self._choices),
                reasoning_tokens=sum(state.reasoning_tokens for state in self._choices),
            )
        prompt, completion = final.prompt_tokens_details, final.completion_tokens_details
        return Usage(
            input_tokens=final.prompt_tokens,
            output_tokens=final.completion_tokens or 0,
            cached_input_tokens=(prompt.cached_tokens or 0) if prompt is not None else 0,
            cache_write_input_tokens=(prompt.created_cache_tokens or 0) if prompt is not None else 0,
            reasoning_tokens=(completion.reasoning_tokens or 0) if completion is not None else 0,
        )

    def _finish(self) -> None:
        stops = tuple(state.stop for state in self._choices if state.stop is not None)
        if not self.started or len(stops) != len(self._choices):
            raise _broke_off()
        self.done = True
        self._events.append(Finish(stops=stops, usage=self._usage()))


def _chat_logprobs(logprobs: ChatLogprobs) -> tuple[TokenLogprob, ...]:
    return tuple(
        TokenLogprob(
            token.token,
            token.logprob,
            None if token.bytes is None else tuple(token.bytes),
            tuple(
                TokenLogprob(other.token, other.logprob, None if other.bytes is None else tuple(other.bytes))
                for other in token.top_logprobs
            ),
        )
        for token in logprobs.content or ()
    )


def _completion_logprobs(logprobs: CompletionLogprobs) -> tuple[TokenLogprob, ...]:
    """The columns as tokens. The first token of an echoed prompt has no log-probability: NaN, which JSON
    shows as `null`."""
    tokens: list[TokenLogprob] = []
    for number, token in enumerate(logprobs.tokens):
        value = logprobs.token_logprobs[number] if number < len(logprobs.token_logprobs) else None
        others = logprobs.top_logprobs[number] if number < len(logprobs.top_logprobs) else None
        ranked = sorted((others or {}).items(), key=lambda item: -item[1])
        alternatives = tuple(TokenLogprob(name, logprob) for name, logprob in ranked)
        tokens.append(TokenLogprob(token, math.nan if value is None else value, None, alternatives))
    return tuple(tokens)


def _broke_off() -> UpstreamProtocolError:
    return UpstreamProtocolError("The model's answer broke off.")


def _not_protocol() -> UpstreamProtocolError:
    return UpstreamProtocolError("The model's upstream sent something that is not its protocol.")


__all__ = ["ChunkReader"]
