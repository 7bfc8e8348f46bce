"""What the scripted provider is going to say: a plan made from the request alone, so that it is the same
every time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from types import MappingProxyType

import msgspec

from bedplate_core.errors import (
    ContextLengthExceeded,
    GatewayError,
    RateLimited,
    UpstreamProtocolError,
    UpstreamUnavailable,
)
from bedplate_core.events import StopReason
from bedplate_core.ids import new_tool_call_id
from bedplate_core.jsonvalue import JSON
from bedplate_core.messages import (
    GuardContent,
    Message,
    Part,
    Reasoning,
    Refusal,
    Role,
    Signature,
    Text,
    ToolCall,
    ToolResult,
)
from bedplate_core.requests import (
    JsonObjectFormat,
    JsonSchemaFormat,
    NamedTool,
    Request,
    Tool,
    ToolMode,
)
from bedplate_providers.schema_instance import minimal_instance

_TOKEN = re.compile(r"\s*\S+|\s+$")
_MANY = 100


class Pace(msgspec.Struct, frozen=True):
    """The pauses of the slow behaviours, in seconds."""

    delay_s: float = 0.05
    first_delay_s: float = 2.0


class Spoken(msgspec.Struct, frozen=True, kw_only=True):
    """One part of an answer: how it opens, the pieces of its text, one token each, and its signature."""

    part: Part
    pieces: tuple[str, ...]
    signature: Signature | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One choice: its parts in order and why it ends."""

    spoken: tuple[Spoken, ...]
    reason: StopReason = StopReason.END
    sequence: str | None = None


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """A whole call: one answer per choice, the pauses, and the error that ends it after `fail_after` batches.

    `first_delay_s` comes before `Start` and may be infinite, `delay_s` between batches. `burst` puts
    everything after `Start` into one batch.
    """

    answers: tuple[Answer, ...] = ()
    first_delay_s: float = 0.0
    delay_s: float = 0.0
    burst: bool = False
    error: GatewayError | None = None
    fail_after: int = 0


class Behaviour(msgspec.Struct, frozen=True):
    """What a model name does: said for people, and the function that plans it."""

    description: str
    plan: Callable[[Request, Pace], Script]


def words(text: str) -> tuple[str, ...]:
    """`text` cut into tokens: each word with the space before it. Joined they are `text` again."""
    return tuple(_TOKEN.findall(text))


def input_tokens(request: Request) -> int:
    """The whitespace-separated words of everything the request holds; a picture or file counts as one."""
    total = sum(len(prompt.split()) if isinstance(prompt, str) else len(prompt.token_ids) for prompt in request.prompts)
    for message in request.messages:
        total += sum(_part_tokens(part) for part in message.parts)
    for tool in request.tools:
        total += len(f"{tool.name} {tool.description or ''}".split())
    return total


def _part_tokens(part: Part) -> int:
    match part:
        case Text() | Reasoning() | Refusal():
            return len(part.text.split())
        case ToolCall():
            return len(f"{part.name} {part.arguments}".split())
        case ToolResult():
            return sum(_part_tokens(inner) for inner in part.parts)
        case GuardContent():
            return _part_tokens(part.content)
        case _:
            return 1


def _said(message: Message) -> str:
    """All text of a message, tool results and guarded text included."""
    texts: list[str] = []
    for part in message.parts:
        match part:
            case Text():
                texts.append(part.text)
            case GuardContent(content=Text(text=text)):
                texts.append(text)
            case ToolResult():
                texts.extend(inner.text for inner in part.parts if isinstance(inner, Text))
            case _:
                pass
    return "".join(texts)


def _answers_tool(request: Request) -> bool:
    return bool(request.messages) and any(isinstance(part, ToolResult) for part in request.messages[-1].parts)


def _last_results(request: Request) -> Sequence[Message]:
    """The messages at the end that answer tool calls; some wires have one for each result, others one for all."""
    count = 0
    for message in reversed(request.messages):
        if not any(isinstance(part, ToolResult) for part in message.parts):
            break
        count += 1
    return request.messages[len(request.messages) - count :]


def _heard(request: Request, prompt: int) -> str:
    """What there is to repeat: the last tool result or user text of a chat, or the prompt."""
    if request.prompts:
        raw = request.prompts[prompt]
        return raw if isinstance(raw, str) else " ".join(str(token) for token in raw.token_ids)
    if _answers_tool(request):
        return "".join(_said(message) for message in _last_results(request))
    for message in reversed(request.messages):
        if message.role is Role.USER:
            return _said(message)
    return _said(request.messages[-1]) if request.messages else ""


def _text_answer(request: Request, pieces: Sequence[str], before: tuple[Spoken, ...] = ()) -> Answer:
    """An answer of text with `stop` and `max_tokens` applied; `before` are parts that come first and count
    too.
    """
    budget = request.sampling.max_tokens
    used = sum(len(spoken.pieces) for spoken in before)
    left = math.inf if budget is None else budget - used
    if left <= 0 and before:
        return Answer(spoken=_clipped(before, budget or 0), reason=StopReason.LENGTH)
    kept = tuple(pieces) if left >= len(pieces) else tuple(pieces[: int(left)])
    text = "".join(kept)
    cuts = [(text.find(stop), stop) for stop in request.sampling.stop if stop and stop in text]
    if cuts:
        at, sequence = min(cuts)
        spoken = (*before, Spoken(part=Text(text=""), pieces=_prefix(kept, at)))
        return Answer(spoken=spoken, reason=StopReason.STOP_SEQUENCE, sequence=sequence)
    reason = StopReason.LENGTH if len(kept) < len(pieces) else StopReason.END
    return Answer(spoken=(*before, Spoken(part=Text(text=""), pieces=kept)), reason=reason)


def _prefix(pieces: tuple[str, ...], length: int) -> tuple[str, ...]:
    """The pieces of the first `length` characters."""
    kept: list[str] = []
    for piece in pieces:
        if length <= 0:
            break
        kept.append(piece[:length])
        length -= len(piece)
    return tuple(kept)


def _clipped(spoken: tuple[Spoken, ...], budget: int) -> tuple[Spoken, ...]:
    kept: list[Spoken] = []
    for part in spoken:
        if budget <= 0:
            break
        kept.append(msgspec.structs.replace(part, pieces=part.pieces[:budget]))
        budget -= len(part.pieces)
    return tuple(kept)


def _call(tool: Tool, pieces: Callable[[str], tuple[str, ...]], arguments: str | None = None) -> Spoken:
    if arguments is None:
        instance = minimal_instance(tool.parameters) if tool.parameters else {}
        arguments = msgspec.json.encode(instance).decode()
    part = ToolCall(id=new_tool_call_id(), name=tool.name, arguments="")
    return Spoken(part=part, pieces=pieces(arguments))


def _forced_tool(request: Request) -> Tool | None:
    """The tool that the request insists on."""
    match request.tool_choice:
        case NamedTool(name=name):
            return next((tool for tool in request.tools if tool.name == name), None)
        case ToolMode.REQUIRED:
            return request.tools[0] if request.tools else None
        case _:
            return None


def _tools_open(request: Request) -> bool:
    """Whether a behaviour that calls tools may do so now: tools given, not forbidden, no result just came."""
    return bool(request.tools) and request.tool_choice is not ToolMode.NONE and not _answers_tool(request)


def _answers(request: Request, make: Callable[[int], Answer]) -> tuple[Answer, ...]:
    """One answer per choice; `make` takes the number of the prompt it belongs to."""
    prompts = max(len(request.prompts), 1)
    return tuple(make(prompt) for prompt in range(prompts) for _ in range(request.choices))


def _echo_answer(request: Request, prompt: int, before: tuple[Spoken, ...] = ()) -> Answer:
    tool = _forced_tool(request)
    if tool is not None:
        return Answer(spoken=(*before, _call(tool, words)), reason=StopReason.TOOL)
    heard = _heard(request, prompt)
    match request.response_format:
        case JsonSchemaFormat(schema=schema):
            heard = msgspec.json.encode(minimal_instance(schema)).decode()
        case JsonObjectFormat():
            heard = msgspec.json.encode({"text": heard}).decode()
        case None:
            pass
    answer = _text_answer(request, words(heard), before)
    if request.echo and request.prompts:
        echoed = Spoken(part=Text(text=""), pieces=(*words(_heard(request, prompt)), *answer.spoken[0].pieces))
        return msgspec.structs.replace(answer, spoken=(echoed,))
    return answer


def _echo(request: Request, pace: Pace) -> Script:
    return Script(answers=_answers(request, lambda prompt: _echo_answer(request, prompt)))


def _slow(request: Request, pace: Pace) -> Script:
    return msgspec.structs.replace(_echo(request, pace), delay_s=pace.delay_s)


def _slow_first(request: Request, pace: Pace) -> Script:
    return msgspec.structs.replace(_echo(request, pace), first_delay_s=pace.first_delay_s)


def _hang(request: Request, pace: Pace) -> Script:
    return Script(first_delay_s=math.inf)


def _error(request: Request, pace: Pace) -> Script:
    return Script(error=UpstreamUnavailable("The model is not available at the moment.", retry_after_s=1.0))


def _error_midstream(request: Request, pace: Pace) -> Script:
    error = UpstreamUnavailable("The model failed while it answered.")
    return msgspec.structs.replace(_echo(request, pace), error=error, fail_after=3)


def _cut(request: Request, pace: Pace) -> Script:
    error = UpstreamProtocolError("The model's answer broke off.")
    return msgspec.structs.replace(_echo(request, pace), error=error, fail_after=3)


def _rate_limited(request: Request, pace: Pace) -> Script:
    return Script(error=RateLimited("The model has too much to do.", retry_after_s=2.0))


def _context_length(request: Request, pace: Pace) -> Script:
    return Script(error=ContextLengthExceeded("The input is longer than this model's context.", param="messages"))


def _characters(text: str) -> tuple[str, ...]:
    return tuple(text)


def _calling(request: Request, calls: Callable[[], tuple[Spoken, ...]]) -> Script:
    if not _tools_open(request):
        return _echo(request, Pace())
    return Script(
        answers=_answers(request, lambda _: Answer(spoken=calls(), reason=StopReason.TOOL)),
    )


def _wanted(request: Request) -> Tool:
    return _forced_tool(request) or request.tools[0]


def _split_tool_call(request: Request, pace: Pace) -> Script:
    return _calling(request, lambda: (_call(_wanted(request), _characters),))


def _parallel_tools(request: Request, pace: Pace) -> Script:
    def calls() -> tuple[Spoken, ...]:
        if isinstance(request.tool_choice, NamedTool):
            chosen = [_wanted(request)] * 2
        else:
            chosen = [request.tools[0], request.tools[min(1, len(request.tools) - 1)]]
        if request.parallel_tool_calls is False:
            chosen = chosen[:1]
        return tuple(_call(tool, words) for tool in chosen)

    return _calling(request, calls)


def _caller(request: Request, pace: Pace) -> Script:
    """The tool that the text names as `tool(1, 2)` with these arguments, else the first one.

    That one is given the quoted text, or all of it where nothing is quoted.
    """
    heard = _heard(request, 0)

    def call() -> tuple[Spoken, ...]:
        for tool in request.tools:
            said = re.search(rf"(?<!\w){re.escape(tool.name)}\(([^()]*)\)", heard)
            if said is not None:
                return (_call(tool, words, _positional(tool, said.group(1))),)
        tool = _wanted(request)
        quoted = re.search(r"['\"]([^'\"]+)['\"]", heard)
        return (_call(tool, words, _with_text(tool, heard if quoted is None else quoted.group(1))),)

    return _calling(request, call)


def _positional(tool: Tool, values: str) -> str | None:
    """The arguments that `values` (JSON, separated by commas) give to the tool's parameters in order."""
    try:
        given: list[JSON] = msgspec.json.decode(f"[{values}]")
    except msgspec.DecodeError:
        return None
    return msgspec.json.encode(dict(zip(_parameters(tool), given, strict=False))).decode()


def _with_text(tool: Tool, text: str) -> str:
    """The smallest arguments, with `text` in the place of every text among them."""
    instance = minimal_instance(tool.parameters) if tool.parameters else {}
    if isinstance(instance, dict):
        instance = {name: text if isinstance(value, str) else value for name, value in instance.items()}
    return msgspec.json.encode(instance).decode()


def _parameters(tool: Tool) -> Sequence[str]:
    properties = (tool.parameters or {}).get("properties")
    return tuple(properties) if isinstance(properties, dict) else ()


def _bad_tool_arguments(request: Request, pace: Pace) -> Script:
    return _calling(request, lambda: (_call(_wanted(request), words, '{"city": "Par'),))


def _reasoning(request: Request, pace: Pace) -> Script:
    thought = Spoken(
        part=Reasoning(text=""),
        pieces=words("The user wants to hear their words again."),
        signature=Signature(origin="fake", value="c2lnbmVk"),
    )
    return Script(answers=_answers(request, lambda prompt: _echo_answer(request, prompt, (thought,))))


def _refusal(request: Request, pace: Pace) -> Script:
    refused = Spoken(part=Refusal(text=""), pieces=words("I cannot help with that."))
    return Script(answers=_answers(request, lambda _: Answer(spoken=(refused,), reason=StopReason.REFUSAL)))


def _empty(request: Request, pace: Pace) -> Script:
    return Script(answers=_answers(request, lambda _: Answer(spoken=())))


def _long(request: Request, pace: Pace) -> Script:
    # One word more than the limit, so that an answer of just that length ends for the reason that it does.
    count = _MANY if request.sampling.max_tokens is None else request.sampling.max_tokens + 1
    pieces = tuple(f" word{number}" if number else "word0" for number in range(count))
    return Script(answers=_answers(request, lambda _: _text_answer(request, pieces)))


def _burst(request: Request, pace: Pace) -> Script:
    return msgspec.structs.replace(_long(request, pace), burst=True)


def _script(request: Request, pace: Pace) -> Script:
    def answer(prompt: int) -> Answer:
        heard = _heard(request, prompt)
        text = heard.partition("say:")[2].removeprefix(" ") if "say:" in heard else heard
        pieces: list[str] = []
        at = 0
        while at < len(text):
            size = len(pieces) % 4 + 1
            pieces.append(text[at : at + size])
            at += size
        return _text_answer(request, pieces)

    return Script(answers=_answers(request, answer))


BEHAVIOURS: MappingProxyType[str, Behaviour] = MappingProxyType(
    {
        "fake/echo": Behaviour("repeats the last user text, or tool result, word by word", _echo),
        "fake/slow": Behaviour("echo with a pause between events", _slow),
        "fake/slow-first": Behaviour("echo with a long pause before the first event", _slow_first),
        "fake/hang": Behaviour("never answers", _hang),
        "fake/error": Behaviour("503 before the first event", _error),
        "fake/error-midstream": Behaviour("503 after some words", _error_midstream),
        "fake/cut": Behaviour("the answer breaks off without an end", _cut),
        "fake/rate-limited": Behaviour("429 with a time to come back", _rate_limited),
        "fake/context-length": Behaviour("the input is too long", _context_length),
        "fake/split-tool-call": Behaviour("calls a tool, arguments one character at a time", _split_tool_call),
        "fake/parallel-tools": Behaviour("calls two tools", _parallel_tools),
        "fake/caller": Behaviour("calls the tool that the text names, with the arguments it gives", _caller),
        "fake/bad-tool-arguments": Behaviour("calls a tool with arguments that are no JSON", _bad_tool_arguments),
        "fake/reasoning": Behaviour("thinks, signs its thought, then echoes", _reasoning),
        "fake/refusal": Behaviour("refuses", _refusal),
        "fake/empty": Behaviour("answers with nothing", _empty),
        "fake/long": Behaviour("as many words as max_tokens says, 100 otherwise", _long),
        "fake/burst": Behaviour("like long, all in one batch", _burst),
        "fake/script": Behaviour('says what follows "say:", in pieces of 1 to 4 characters', _script),
    }
)
"""Every model that the scripted provider generates with."""


__all__ = ["BEHAVIOURS", "Answer", "Behaviour", "Pace", "Script", "Spoken", "input_tokens", "words"]
