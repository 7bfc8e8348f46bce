"""The one way through a request: every text that reaches a model, in a fixed order, each where it can be replaced.

Whoever reads a request for a guardrail is a `Walk`: patterns mask as they go (`bedplate_guardrails.screen`), model
rules first collect and then replace (`bedplate_guardrails.passages`). None of them has a traversal of its own, so none
can miss a place that the others see.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import TypeVar

import msgspec

from bedplate_core.errors import UnsupportedFeature
from bedplate_core.jsonvalue import JSON, JSONObject
from bedplate_core.messages import (
    Audio,
    CachePoint,
    Document,
    GuardContent,
    GuardQualifier,
    Image,
    Media,
    MediaBytes,
    Message,
    Part,
    Reasoning,
    RedactedReasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
    ToolResultPart,
    Video,
)
from bedplate_core.requests import JsonSchemaFormat, NamedTool, Request, ResponseFormat, Tool
from bedplate_guardrails.arguments import MAX_DEPTH, is_json, number_or_text, tokens

T = TypeVar("T")

_TEXT_TYPES = frozenset(
    {
        "application/json",
        "application/x-ndjson",
        "application/xml",
        "application/yaml",
        "application/x-yaml",
        "application/javascript",
        "application/sql",
    }
)


class PassageKind(StrEnum):
    """What a text of a request is."""

    SAID = "said"
    """What a message says: text, reasoning, refusals, transcripts; raw prompts and their suffix."""
    TOOL_CALL = "tool_call"
    TOOL_RESULT = "tool_result"
    DOCUMENT = "document"
    """A document's text, name and context, and the fields that a dialect passed on."""
    DEFINITION = "definition"
    """Tools and schemas, as the application describes them."""


class Walk:
    """Goes through a request or a part of it and returns it with every text as the leaves return it.

    The leaves are `text`, `texts`, `name`, `number`, `across`, `broken` and `pass_media`; `role`, `kind` and `group`
    say where a leaf is called: texts of one group belong together (one message's texts, one tool call). What no leaf
    changed is returned as the same object.

    With `selective` only what is marked is read, where messages other than the system's mark anything.
    """

    def __init__(self, *, selective: bool = False) -> None:
        self._selective = selective
        self._marked = False
        self.role: Role | None = None
        self.kind = PassageKind.SAID
        self.group = 0

    def text(self, text: str) -> str:
        """A leaf: a text of its own."""
        raise NotImplementedError

    def name(self, name: str) -> None:
        """A leaf: a name, which stops naming anything when it is changed."""
        raise NotImplementedError

    def texts(self, texts: Sequence[str]) -> list[str]:
        """A leaf: texts that a reader may see one after the other."""
        return [self.text(text) for text in texts]

    def number(self, written: str) -> str:
        """A leaf: a number in a JSON value, as it is written."""
        return self.text(written)

    def across(self, written: str, places: list[tuple[int, int]]) -> None:
        """A leaf: a JSON text as written, after the values at `places` were read each by itself."""

    def broken(self, written: str) -> str:
        """A leaf: what should be JSON and is not."""
        return self.text(written)

    def pass_media(self) -> None:
        """A leaf: a picture, a sound, a film or a file that is not looked into."""

    def request(self, request: Request) -> Request:
        """All of a request that a model sees.

        Read are the messages with everything in them, raw prompts and the suffix, the tools' names, descriptions and
        parameter schemas, the response format's schema, and the fields that a dialect passed on. Not read is what no
        model sees: stop texts, the model's name, ids, addresses of media.
        """
        self._marked = self._selective and has_marks(request)
        if isinstance(request.tool_choice, NamedTool) and not self._marked:
            self._enter(PassageKind.DEFINITION)
            self.name(request.tool_choice.name)
        messages = self.messages(request.messages)
        if self._marked or not (
            request.prompts or request.suffix or request.tools or request.response_format or request.extensions
        ):
            return request if messages is request.messages else msgspec.structs.replace(request, messages=messages)
        rest = self._beside_messages(request)
        if messages is request.messages and not rest:
            return request
        return msgspec.structs.replace(request, messages=messages, **rest)

    def messages(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        """The messages of a request."""
        return _same([self.message(message) for message in messages], messages)

    def message(self, message: Message) -> Message:
        """A message with all its parts and its participant's name."""
        self.role = message.role
        self._enter(PassageKind.SAID)
        if self._marked:
            parts = self._marked_parts(message.parts)
            return message if parts is message.parts else msgspec.structs.replace(message, parts=parts)
        name = message.name
        if name is not None:
            name = self.text(name)
            self.group += 1
        parts = self.parts(message.parts)
        if parts is message.parts and name == message.name:
            return message
        return msgspec.structs.replace(message, parts=parts, name=name)

    def parts(self, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        """The parts of a message. Its texts are read together, and so is its reasoning."""
        if len(parts) == 1 and type(only := parts[0]) is Text:
            text = self.text(only.text)
            return parts if text == only.text else (Text(text=text),)
        changed: list[Part] = list(parts)
        self._shown([place for place, part in enumerate(parts) if _shown(part) is not None], changed)
        thought = [(place, part) for place, part in enumerate(parts) if isinstance(part, Reasoning)]
        if thought:
            self.group += 1
            for (place, part), text in zip(thought, self.texts([part.text for _, part in thought]), strict=True):
                if text != part.text:  # a signature over other text is worth nothing
                    changed[place] = msgspec.structs.replace(part, text=text, signature=None)
        for place, part in enumerate(parts):
            if _shown(part) is None and not isinstance(part, Reasoning):
                changed[place] = self.part(part)
        return _same(changed, parts)

    def _marked_parts(self, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        changed: list[Part] = list(parts)
        self._shown([place for place, part in enumerate(parts) if is_guarded(part)], changed)
        for part in parts:
            if isinstance(part, Image | Audio | Video | RedactedReasoning) or (
                isinstance(part, GuardContent) and isinstance(part.content, Image)
            ):
                self.pass_media()
        return _same(changed, parts)

    def _shown(self, places: list[int], parts: list[Part]) -> None:
        """Read the parts at `places`, which show text, together."""
        shown = [_shown(parts[place]) or "" for place in places]
        for place, before, text in zip(places, shown, self.texts(shown), strict=True):
            if text != before:
                parts[place] = _with_shown(parts[place], text)

    def part(self, part: Part) -> Part:
        """One part by itself."""
        match part:
            case Text() | Refusal():
                return _with_text(part, self.text(part.text))
            case Reasoning():
                text = self.text(part.text)
                return part if text == part.text else Reasoning(text=text)
            case ToolCall():
                self._enter(PassageKind.TOOL_CALL)
                self.name(part.name)
                arguments = self.arguments(part.arguments)
                self._enter(PassageKind.SAID)
                return part if arguments == part.arguments else msgspec.structs.replace(part, arguments=arguments)
            case ToolResult():
                self._enter(PassageKind.TOOL_RESULT)
                parts = self._tool_result(part)
                self._enter(PassageKind.SAID)
                return part if parts is part.parts else msgspec.structs.replace(part, parts=parts)
            case Document():
                return self._document(part)
            case GuardContent():
                content = part.content
                if isinstance(content, Text):
                    text = self.text(content.text)
                    return part if text == content.text else _with_shown(part, text)
                self.pass_media()
                return part
            case Audio():
                self.pass_media()
                if part.transcript is None:
                    return part
                transcript = self.text(part.transcript)
                return part if transcript == part.transcript else msgspec.structs.replace(part, transcript=transcript)
            case Image() | Video() | RedactedReasoning():
                self.pass_media()
                return part
            case CachePoint():
                return part

    def json_value(self, value: JSON) -> JSON:
        """A JSON value: texts and numbers are texts, keys are names."""
        match value:
            case str():
                return self.text(value)
            case bool() | None:
                return value
            case int() | float():
                written = json.dumps(value)
                text = self.number(written)
                return value if text == written else text
            case list():
                items = [self.json_value(item) for item in value]
                return value if all(map(_is, items, value)) else items
            case dict():
                return self.json_object(value)

    def json_object(self, value: JSONObject) -> JSONObject:
        """A JSON object, as `json_value`."""
        changed: JSONObject = {}
        for key, item in value.items():
            self.name(key)
            changed[key] = self.json_value(item)
        return value if all(map(_is, changed.values(), value.values())) else changed

    def schema(self, schema: JSONObject) -> JSONObject:
        """A JSON schema in a definition."""
        return self.json_object(schema)

    def arguments(self, arguments: str) -> str:
        """A tool call's arguments; `bedplate_guardrails.arguments` says how they are read."""
        if is_json(arguments):
            return self._json_text(arguments, MAX_DEPTH)
        return self.broken(arguments)

    def _json_text(self, written: str, depth: int) -> str:
        pieces: list[str] = []
        cursor = 0
        places = tokens(written)
        for start, end in places:
            text = number_or_text(written[start:end])
            nested = depth > 0 and text.lstrip()[:1] in ("{", "[") and is_json(text)
            changed = self._json_text(text, depth - 1) if nested else self.text(text)
            if changed != text:
                pieces += written[cursor:start], _quoted(changed)
                cursor = end
        self.across(written, places)
        return "".join([*pieces, written[cursor:]]) if pieces else written

    def _enter(self, kind: PassageKind) -> None:
        self.kind = kind
        self.group += 1

    def _beside_messages(self, request: Request) -> dict[str, object]:
        """What of a request beside its messages was changed, by field."""
        changed: dict[str, object] = {}
        self.role = Role.USER
        prompts = _same([self._prompt(prompt) if isinstance(prompt, str) else prompt for prompt in request.prompts],
                        request.prompts)  # fmt: skip
        if prompts is not request.prompts:
            changed["prompts"] = prompts
        if request.suffix is not None and (suffix := self._prompt(request.suffix)) != request.suffix:
            changed["suffix"] = suffix
        self.role = None
        tools = _same([self._tool(tool) for tool in request.tools], request.tools)
        if tools is not request.tools:
            changed["tools"] = tools
        response_format = self._format(request.response_format)
        if response_format is not request.response_format:
            changed["response_format"] = response_format
        self.role = Role.USER
        self._enter(PassageKind.DOCUMENT)
        extensions = {name: self.json_value(value) for name, value in request.extensions.items()}
        if not all(map(_is, extensions.values(), request.extensions.values())):
            changed["extensions"] = extensions
        return changed

    def _prompt(self, prompt: str) -> str:
        self._enter(PassageKind.SAID)
        return self.text(prompt)

    def _tool(self, tool: Tool) -> Tool:
        self._enter(PassageKind.DEFINITION)
        self.name(tool.name)
        description = tool.description if tool.description is None else self.text(tool.description)
        parameters = tool.parameters if tool.parameters is None else self.schema(tool.parameters)
        if description == tool.description and parameters is tool.parameters:
            return tool
        return msgspec.structs.replace(tool, description=description, parameters=parameters)

    def _format(self, response_format: ResponseFormat | None) -> ResponseFormat | None:
        if not isinstance(response_format, JsonSchemaFormat):
            return response_format
        self._enter(PassageKind.DEFINITION)
        self.name(response_format.name)
        schema = self.schema(response_format.schema)
        description = response_format.description and self.text(response_format.description)
        if schema is response_format.schema and description == response_format.description:
            return response_format
        return msgspec.structs.replace(response_format, schema=schema, description=description)

    def _tool_result(self, part: ToolResult) -> tuple[ToolResultPart, ...]:
        parts = part.parts
        if len(parts) == 1 and isinstance(only := parts[0], Text) and only.text.lstrip()[:1] in ("{", "["):
            text = self.arguments(only.text)
            return parts if text == only.text else (Text(text=text),)
        texts = iter(self.texts([inner.text for inner in parts if isinstance(inner, Text)]))
        changed: list[ToolResultPart] = []
        for inner in parts:
            if isinstance(inner, Text):
                text = next(texts)
                changed.append(inner if text == inner.text else Text(text=text))
                continue
            read = self.part(inner)
            if not isinstance(read, Image | Audio | Video | Document):
                raise TypeError(f"a {type(inner).__name__} became a {type(read).__name__}")
            changed.append(read)
        return _same(changed, parts)

    def _document(self, part: Document) -> Document:
        around = self.kind
        self._enter(PassageKind.DOCUMENT)
        media = self._document_media(part.media)
        self.group += 1
        name = part.name if part.name is None else self.text(part.name)
        self.group += 1
        context = part.context if part.context is None else self.text(part.context)
        self._enter(around)
        if media is part.media and name == part.name and context == part.context:
            return part
        return msgspec.structs.replace(part, media=media, name=name, context=context)

    def _document_media(self, media: Media) -> Media:
        """The content of a document: text is read, anything else passes without being looked into."""
        if not isinstance(media, MediaBytes):
            self.pass_media()
            return media
        kind, _, rest = media.media_type.partition(";")
        kind = kind.strip().lower()
        if not (kind.startswith("text/") or kind in _TEXT_TYPES or kind.endswith(("+json", "+xml"))):
            self.pass_media()
            return media
        charset = rest.partition("charset=")[2].partition(";")[0].strip(" \"'") or "utf-8"
        try:
            text = media.data.decode(charset)
            is_written_json = kind == "application/json" or kind.endswith("+json")
            changed = self.arguments(text) if is_written_json else self.text(text)
            return media if changed == text else msgspec.structs.replace(media, data=changed.encode(charset))
        except (LookupError, UnicodeError) as error:
            raise UnsupportedFeature(
                f"the guardrail cannot read a {kind} document that is not {charset} text; send it as UTF-8"
            ) from error


def has_marks(request: Request) -> bool:
    """Whether the messages, other than the system's, mark anything for guardrails."""
    return any(
        isinstance(part, GuardContent)
        for message in request.messages
        if message.role is not Role.SYSTEM
        for part in message.parts
    )


def is_guarded(part: Part) -> bool:
    """Whether a part is text marked to be guarded, not only to be a source or query for contextual grounding."""
    if not (isinstance(part, GuardContent) and isinstance(part.content, Text)):
        return False
    return not part.qualifiers or GuardQualifier.GUARD_CONTENT in part.qualifiers


def _is(one: object, other: object) -> bool:
    return one is other


def _same(changed: list[T], before: tuple[T, ...]) -> tuple[T, ...]:
    """`before` itself where nothing was changed."""
    return before if all(map(_is, changed, before)) else tuple(changed)


def _shown(part: Part) -> str | None:
    """The text that a part shows as plain content; None for other parts."""
    if isinstance(part, Text):
        return part.text
    return part.content.text if isinstance(part, GuardContent) and isinstance(part.content, Text) else None


def _with_shown(part: Part, text: str) -> Part:
    if isinstance(part, GuardContent):
        return msgspec.structs.replace(part, content=Text(text=text))
    return Text(text=text)


def _with_text(part: Text | Refusal, text: str) -> Text | Refusal:
    return part if text == part.text else msgspec.structs.replace(part, text=text)


def _quoted(text: str) -> str:
    """`text` as a JSON string; lone surrogates have no other form than their escapes."""
    quoted = json.dumps(text, ensure_ascii=False)
    return quoted if not any("\ud800" <= char <= "\udfff" for char in quoted) else json.dumps(text)


__all__ = ["PassageKind", "Walk", "has_marks", "is_guarded"]
