"""Whole texts and parts, judged by the rules of one side: what a request is made of, and what does not stream."""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec

from bedplate_core.errors import UnsupportedFeature
from bedplate_core.jsonvalue import JSON, JSONObject
from bedplate_core.messages import (
    Audio,
    CachePoint,
    Document,
    GuardContent,
    Image,
    Media,
    MediaBytes,
    Message,
    Part,
    Reasoning,
    RedactedReasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
    Video,
)
from bedplate_guardrails.arguments import MAX_DEPTH, is_json, number_or_text, tokens, unescaped
from bedplate_guardrails.detector import DetectorFailure, Finding
from bedplate_guardrails.document import RuleAction
from bedplate_guardrails.lane import LanePlan
from bedplate_guardrails.run import TextRun
from bedplate_guardrails.scanner import Scanner
from bedplate_guardrails.tally import Tally

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


class Screen:
    """Masks texts in place and remembers in `blocked` the first finding that blocks.

    Every method returns what it was given, masked; once `blocked` is set what they return is of no use, but scanning
    further still counts findings. All raise `DetectorFailure` when a detector fails.
    """

    def __init__(self, plans: Sequence[LanePlan], tally: Tally) -> None:
        self._plans = plans
        self._tally = tally
        self.blocked: Finding | None = None

    def text(self, text: str) -> str:
        """A text of its own."""
        return self.texts([text])[0]

    def texts(self, texts: Sequence[str]) -> list[str]:
        """Texts that a reader may see one after the other: judged each by itself and joined."""
        if not texts or (len(texts) == 1 and self.quiet(texts)):
            return list(texts)
        run: TextRun[int] = TextRun(self._plans, self._tally.add)
        pieces: list[str | int] = []
        for number, text in enumerate(texts):
            if number:
                run.boundary()
                pieces += run.mark(number)
            pieces += run.append(text)
        pieces += run.close()
        if run.blocked is not None:
            self._block(run.blocked)
            return list(texts)
        masked = [""] * len(texts)
        number = 0
        for piece in pieces:
            if isinstance(piece, int):
                number = piece
            else:
                masked[number] += piece
        return masked

    def quiet(self, texts: Sequence[str]) -> bool:
        """Whether the gates say of complete texts, each by itself, that none holds a match.

        Most of what people write is, and then nothing has to be set up to say so.
        """
        for plan in self._plans:
            gate = plan.gate
            if gate is None:
                return False
            try:
                for text in [" ".join(texts)] if gate.joinable else texts:
                    if not gate.is_free_of_matches(plan.view.of(text)[0]):
                        return False
            except Exception as error:
                raise DetectorFailure("*") from error
        return True

    def name(self, name: str) -> None:
        """A name that stops naming anything when it is masked: a match blocks even where the rule would mask."""
        for finding in self._findings(name):
            if finding.action is RuleAction.NONE:
                self._tally.add(finding)
            else:
                self._block_as(finding)
                return

    def json_value(self, value: JSON) -> JSON:
        """A JSON value: texts and numbers are masked, keys are names."""
        match value:
            case str():
                return self.text(value)
            case bool() | None:
                return value
            case int() | float():
                written = json.dumps(value)
                masked = self.text(written)
                return value if masked == written else masked
            case list():
                return [self.json_value(item) for item in value]
            case dict():
                return self.json_object(value)

    def json_object(self, value: JSONObject) -> JSONObject:
        """A JSON object, as `json_value`."""
        masked: JSONObject = {}
        for key, item in value.items():
            self.name(key)
            masked[key] = self.json_value(item)
        return masked

    def arguments(self, arguments: str) -> str:
        """A tool call's arguments; `bedplate_guardrails.arguments` says how they are read."""
        if is_json(arguments):
            return self._json_text(arguments, MAX_DEPTH)
        return self._broken_json(arguments)

    def message(self, message: Message) -> Message:
        """A message with all its parts and its participant's name."""
        name = message.name if message.name is None else self.text(message.name)
        parts = self.parts(message.parts)
        if parts is message.parts and name == message.name:
            return message
        return msgspec.structs.replace(message, parts=parts, name=name)

    def parts(self, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        """The parts of a message. Its texts are judged joined as well, and so is its reasoning."""
        if len(parts) == 1 and type(only := parts[0]) is Text:
            text = self.text(only.text)
            return parts if text == only.text else (Text(text=text),)
        masked: list[Part] = list(parts)
        shown = [place for place, part in enumerate(parts) if _shown(part) is not None]
        for place, text in zip(shown, self.texts([_shown(parts[place]) or "" for place in shown]), strict=True):
            masked[place] = _with_shown(parts[place], text)
        thought = [(place, part) for place, part in enumerate(parts) if isinstance(part, Reasoning)]
        for (place, part), text in zip(thought, self.texts([part.text for _, part in thought]), strict=True):
            if text != part.text:  # a signature over other text is worth nothing
                masked[place] = msgspec.structs.replace(part, text=text, signature=None)
        for place, part in enumerate(parts):
            if _shown(part) is None and not isinstance(part, Reasoning):
                masked[place] = self.part(part)
        return tuple(masked)

    def part(self, part: Part) -> Part:
        """One part by itself."""
        match part:
            case Text() | Refusal():
                return msgspec.structs.replace(part, text=self.text(part.text))
            case Reasoning():
                text = self.text(part.text)
                return part if text == part.text else Reasoning(text=text)
            case ToolCall():
                self.name(part.name)
                return msgspec.structs.replace(part, arguments=self.arguments(part.arguments))
            case ToolResult():
                return msgspec.structs.replace(part, parts=self._tool_result(part))
            case Document():
                return self._document(part)
            case GuardContent():
                content = part.content
                if isinstance(content, Text):
                    return _with_shown(part, self.text(content.text))
                self._tally.pass_media()
                return part
            case Audio():
                self._tally.pass_media()
                if part.transcript is None:
                    return part
                return msgspec.structs.replace(part, transcript=self.text(part.transcript))
            case Image() | Video() | RedactedReasoning():
                self._tally.pass_media()
                return part
            case CachePoint():
                return part

    def _tool_result(self, part: ToolResult) -> tuple[Text | Image | Audio | Video | Document, ...]:
        if len(part.parts) == 1 and isinstance(text := part.parts[0], Text) and text.text.lstrip()[:1] in ("{", "["):
            return (Text(text=self.arguments(text.text)),)
        texts = iter(self.texts([inner.text for inner in part.parts if isinstance(inner, Text)]))
        masked: list[Text | Image | Audio | Video | Document] = []
        for inner in part.parts:
            screened = Text(text=next(texts)) if isinstance(inner, Text) else self.part(inner)
            if not isinstance(screened, Text | Image | Audio | Video | Document):
                raise TypeError(f"a {type(inner).__name__} became a {type(screened).__name__}")
            masked.append(screened)
        return tuple(masked)

    def _document(self, part: Document) -> Document:
        return msgspec.structs.replace(
            part,
            media=self._document_media(part.media),
            name=part.name if part.name is None else self.text(part.name),
            context=part.context if part.context is None else self.text(part.context),
        )

    def _document_media(self, media: Media) -> Media:
        """The content of a document: text is masked, anything else passes without being looked into."""
        if not isinstance(media, MediaBytes):
            self._tally.pass_media()
            return media
        kind, _, rest = media.media_type.partition(";")
        kind = kind.strip().lower()
        if not (kind.startswith("text/") or kind in _TEXT_TYPES or kind.endswith(("+json", "+xml"))):
            self._tally.pass_media()
            return media
        charset = rest.partition("charset=")[2].partition(";")[0].strip(" \"'") or "utf-8"
        try:
            text = media.data.decode(charset)
            is_written_json = kind == "application/json" or kind.endswith("+json")
            masked = self.arguments(text) if is_written_json else self.text(text)
            return media if masked == text else msgspec.structs.replace(media, data=masked.encode(charset))
        except (LookupError, UnicodeError) as error:
            raise UnsupportedFeature(
                f"the guardrail cannot read a {kind} document that is not {charset} text; send it as UTF-8"
            ) from error

    def _json_text(self, written: str, depth: int) -> str:
        pieces: list[str] = []
        cursor = 0
        places = tokens(written)
        for start, end in places:
            text = number_or_text(written[start:end])
            nested = depth > 0 and text.lstrip()[:1] in ("{", "[") and is_json(text)
            masked = self._json_text(text, depth - 1) if nested else self.text(text)
            if masked != text:
                pieces += written[cursor:start], _quoted(masked)
                cursor = end
        self._across(written, places)
        return "".join([*pieces, written[cursor:]])

    def _across(self, written: str, places: list[tuple[int, int]]) -> None:
        """Judge the JSON as written. What lies inside one value was judged there."""
        for finding in self._findings(written):
            if any(start <= finding.start and finding.end <= end for start, end in places):
                continue
            if finding.action is RuleAction.NONE:
                self._tally.add(finding)
            else:
                self._block_as(finding)
                return

    def _broken_json(self, written: str) -> str:
        decoded, places = unescaped(written)
        findings = self._findings(written)
        if decoded != written:
            for finding in self._findings(decoded):
                moved = finding._replace(start=places[finding.start], end=places[finding.end])
                if moved not in findings:
                    findings.append(moved)
        pieces: list[str] = []
        cursor = 0
        for finding in sorted(findings, key=lambda each: each.order):
            if finding.end <= cursor:
                continue
            if finding.action is RuleAction.BLOCK:
                self._block_as(finding)
                return written
            self._tally.add(finding)
            if finding.action is RuleAction.ANONYMIZE:
                pieces += written[cursor : max(cursor, finding.start)], finding.rule.mask
                cursor = finding.end
        return "".join([*pieces, written[cursor:]])

    def _findings(self, text: str) -> list[Finding]:
        scanner = Scanner(self._plans)
        found = [*scanner.append(text), *scanner.settle(), *scanner.ended()]
        return sorted(found, key=lambda each: each.order)

    def _block_as(self, finding: Finding) -> None:
        blocking = finding._replace(action=RuleAction.BLOCK)
        self._tally.add(blocking)
        self._block(blocking)

    def _block(self, finding: Finding) -> None:
        if self.blocked is None:
            self.blocked = finding


def _shown(part: Part) -> str | None:
    """The text that a part shows as plain content; None for other parts."""
    if isinstance(part, Text):
        return part.text
    return part.content.text if isinstance(part, GuardContent) and isinstance(part.content, Text) else None


def _with_shown(part: Part, text: str) -> Part:
    if isinstance(part, GuardContent):
        return msgspec.structs.replace(part, content=Text(text=text))
    return Text(text=text)


def _quoted(text: str) -> str:
    """`text` as a JSON string; lone surrogates have no other form than their escapes."""
    quoted = json.dumps(text, ensure_ascii=False)
    return quoted if not any("\ud800" <= char <= "\udfff" for char in quoted) else json.dumps(text)


__all__ = ["Screen"]
