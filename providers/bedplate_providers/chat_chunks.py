"""From the chunks of an OpenAI-shaped stream to our events: what vLLM and every compatible server share.

`ChatChunkReader` takes the payloads of one network read and gives the events they make, in one batch. It is
strict: a stream that does not end as OpenAI ends one (every choice with a finish reason, then `[DONE]`) is an
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
from bedplate_providers.upstream_errors import broke_off, not_protocol
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
"""The finish reasons that are an answer's. Others (vLLM's `abort` and `error`) are none: the answer broke off."""


class ChoiceState:
    """What is known of one choice while it streams."""

    __slots__ = (
        "early", "index", "kind", "logprobs", "next_part", "number", "output_tokens", "reasoning_tokens", "stop",
        "token_ids", "tool", "tool_id", "tools",
    )  # fmt: skip

    def __init__(self, number: int) -> None:
        self.number = number
        self.kind: type[Text | Reasoning | Refusal | ToolCall] | None = None
        self.index = -1
        self.next_part = 0
        self.tool = -1
        self.tool_id: str | None = None
        self.tools: set[int] = set()
        self.early: dict[int, tuple[str | None, str]] = {}
        self.stop: Stop | None = None
        self.output_tokens = 0
        self.reasoning_tokens = 0
        self.logprobs: tuple[TokenLogprob, ...] = ()
        self.token_ids: tuple[int, ...] = ()


class ChatChunkReader:
    """Reads the stream of one call; see `EventReader`. Payloads after `[DONE]` are not read.

    A kind of server says in a subclass what its usage means and what it may send after the end of a choice.
    """

    __slots__ = (
        "_choices", "_completion", "_counted", "_events", "_final", "_request", "_usages", "done", "failure", "started",
    )  # fmt: skip

    def __init__(self, request: Request) -> None:
        prompts = max(len(request.prompts), 1)
        self._request = request
        self._completion = bool(request.prompts)
        self._choices = tuple(ChoiceState(number) for number in range(prompts * request.choices))
        self._events: list[Event] = []
        self._usages: list[tuple[ChoiceState, UsageInfo]] = []
        self.failure: GatewayError | None = None
        self._final: UsageInfo | None = None
        self._counted = False
        self.started = False
        self.done = False

    def read(self, payloads: Sequence[bytes]) -> list[Event]:
        """See `EventReader.read`."""
        self._events = []
        try:
            self._chunks(payloads)
        except GatewayError as error:
            self.failure = error
        self._count()
        if self._counted and not self.done:
            self._counted = False
            self._events.append(Progress(self._usage()))
        return self._events

    def end(self) -> GatewayError:
        """See `EventReader.end`."""
        return self.failure or broke_off()

    # what kinds of servers differ in

    def _count(self) -> None:
        """Take over the usages in `_usages`, and empty it. Each is the latest count of the whole call."""
        if self._usages:
            self._final = self._usages[-1][1]
            self._usages.clear()

    def _usage(self) -> Usage:
        """What is known to be consumed."""
        final = self._final
        if final is None:
            return Usage()
        prompt, completion = final.prompt_tokens_details, final.completion_tokens_details
        written = 0
        if prompt is not None:
            written = prompt.created_cache_tokens or prompt.cache_write_tokens or 0
        return Usage(
            input_tokens=final.prompt_tokens,
            output_tokens=final.completion_tokens or 0,
            cached_input_tokens=(prompt.cached_tokens or 0) if prompt is not None else 0,
            cache_write_input_tokens=written,
            reasoning_tokens=(completion.reasoning_tokens or 0) if completion is not None else 0,
        )

    def _after_stop(self, choice: ChatChunkChoice | CompletionChunkChoice) -> bool:
        """Whether `choice`, which came after the end of its choice, says nothing and may be skipped."""
        return False

    def _met(self, stop: str | int) -> tuple[StopReason, str | None] | None:
        """The reason that a server's own `stop_reason` gives, with the text; `None` when it gives none."""
        return None

    # chunks

    def _chunks(self, payloads: Sequence[bytes]) -> None:
        """Read chunks in order. More text of an open text, which is what nearly all of them are, is read here
        without a call: this loop is what an event of a stream costs.
        """
        append, states, completion, usages = self._events.append, self._choices, self._completion, self._usages
        for payload in payloads:
            if payload == _DONE:
                self._count()
                self._finish()
                return
            try:
                chunk = _COMPLETION.decode(payload) if completion else _CHAT.decode(payload)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise not_protocol() from error
            choices, usage = chunk.choices, chunk.usage
            if choices is None:
                raise self._no_chunk(chunk.error)
            if not self.started:
                self._start(chunk.id, chunk.created)
            for choice in choices:
                number = choice.index
                if not 0 <= number < len(states):
                    raise UpstreamProtocolError("The model's upstream answered a choice that was not asked for.")
                state = states[number]
                if (
                    state.kind is Text
                    and type(choice) is ChatChunkChoice
                    and (text := (delta := choice.delta).content)
                    and not (delta.reasoning or delta.reasoning_content or delta.refusal or delta.tool_calls)
                    and not (choice.token_ids or state.token_ids or state.logprobs)
                    and choice.logprobs is None
                    and choice.finish_reason is None
                ):
                    append(Delta(number, state.index, text))
                else:
                    self._piece(state, choice)
                if usage is not None:
                    usages.append((state, usage))
            if usage is not None and not choices:
                self._count()
                self._final = usage

    def _no_chunk(self, error: ErrorInfo | None) -> GatewayError:
        return not_protocol() if error is None else from_event(error, started=self.started)

    def _start(self, id_: str, created: int) -> None:
        self.started = True
        self._events.append(
            Start(
                id=id_ or new_response_id(),
                model=self._request.model,
                created_s=created or int(time.time()),
                choices=len(self._choices),
            )
        )

    # choices

    def _piece(self, state: ChoiceState, choice: ChatChunkChoice | CompletionChunkChoice) -> None:
        """Any piece of a choice. One that has ended goes on with nothing, or with what is to be skipped."""
        if state.stop is None:
            self._take(state, choice)
        elif not self._after_stop(choice):
            raise UpstreamProtocolError("The model's upstream went on after the end of a choice.")

    def _take(self, state: ChoiceState, choice: ChatChunkChoice | CompletionChunkChoice) -> None:
        if choice.token_ids:
            state.token_ids += tuple(choice.token_ids)
        if isinstance(choice, ChatChunkChoice):
            if choice.logprobs is not None:
                state.logprobs += _chat_logprobs(choice.logprobs)
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
        else:
            if choice.logprobs is not None:
                state.logprobs += _completion_logprobs(choice.logprobs)
            if choice.text:
                self._say(state, Text, choice.text)
        if choice.finish_reason is not None:
            self._stop(state, choice.finish_reason, choice.stop_reason)

    def _say(self, state: ChoiceState, kind: type[Text | Reasoning | Refusal], text: str) -> None:
        """More text of the open part, or of a new one where the open one is of another kind."""
        if state.kind is not kind:
            self._open(state, kind(text=""))
        self._delta(state, text)

    def _delta(self, state: ChoiceState, text: str) -> None:
        """Log-probabilities and token ids that came without text (a character not yet whole, a control
        token) go with the next text of their choice."""
        self._events.append(Delta(state.number, state.index, text, state.logprobs, state.token_ids))
        state.logprobs = ()
        state.token_ids = ()

    def _call(self, state: ChoiceState, call: DeltaToolCall) -> None:
        """A piece of a tool call. The part opens with the name; what comes before it waits.

        A piece with a name and an id of its own begins a call whatever its index: some servers give every
        parallel call the index 0, and their arguments must not run together.
        """
        function = call.function
        arguments = (function.arguments or "") if function is not None else ""
        named = function is not None and bool(function.name)
        another = named and call.id is not None and call.id != state.tool_id
        if state.kind is ToolCall and call.index == state.tool and not another:
            if arguments:
                self._delta(state, arguments)
            return
        if call.index in state.tools and not another:
            raise UpstreamProtocolError("The model's upstream went on with a tool call that had ended.")
        early_id, early_arguments = state.early.pop(call.index, (None, ""))
        id_, arguments = call.id or early_id, early_arguments + arguments
        if function is None or not function.name:
            state.early[call.index] = (id_, arguments)
            return
        state.tools.add(call.index)
        state.tool = call.index
        state.tool_id = id_
        self._open(state, ToolCall(id=id_ or new_tool_call_id(), name=function.name, arguments=""))
        if arguments:
            self._delta(state, arguments)

    def _open(self, state: ChoiceState, part: Text | Reasoning | Refusal | ToolCall) -> None:
        self._close(state)
        state.kind = type(part)
        state.index = state.next_part
        state.next_part += 1
        self._events.append(PartStart(state.number, state.index, part))

    def _close(self, state: ChoiceState) -> None:
        if state.kind is not None:
            self._events.append(PartEnd(state.number, state.index))
            state.kind = None

    def _stop(self, state: ChoiceState, finish: str, stop: str | int | None) -> None:
        if state.early:
            raise UpstreamProtocolError("The model's upstream called a tool without its name.")
        reason = _STOPS.get(finish)
        if reason is None:
            raise broke_off()
        sequence = None
        if finish == "stop":
            met = None if stop is None else self._met(stop)
            if met is not None and met[1] is not None:
                reason, sequence = met
            elif state.tools:
                reason = StopReason.TOOL  # a named tool_choice ends with "stop"
            elif met is not None:
                reason = met[0]
            elif state.kind is Refusal:
                reason = StopReason.REFUSAL
        if state.logprobs or state.token_ids:
            if state.kind is None:
                self._open(state, Text(text=""))
            self._delta(state, "")
        self._close(state)
        state.stop = Stop(choice=state.number, reason=reason, sequence=sequence)

    def _finish(self) -> None:
        stops = tuple(state.stop for state in self._choices if state.stop is not None)
        if not self.started or len(stops) != len(self._choices):
            raise broke_off()
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
        for token in (*(logprobs.content or ()), *(logprobs.refusal or ()))
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


__all__ = ["ChatChunkReader", "ChoiceState"]
