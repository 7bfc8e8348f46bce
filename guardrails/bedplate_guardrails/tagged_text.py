"""Bedrock's input tags: what an `InvokeModel` body marks for the guardrail within its texts.

A body says which suffix its tags have, and a text marks a piece with
`<amazon-bedrock-guardrails-guardContent_SUFFIX>...</amazon-bedrock-guardrails-guardContent_SUFFIX>`
(https://docs.aws.amazon.com/bedrock/latest/userguide/guardrails-tagging.html, read in November 2026). Here the piece
becomes a `GuardContent` part and no model sees the tags: they are for the guardrail, and a model that saw the suffix
could repeat it. A raw prompt cannot be taken apart; its tags are removed and all of it is evaluated.

Tags must come in pairs within one text and not one within another. In a tool result they are refused: its text is not
the caller's, so a tag there could only be meant to exempt something.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from bedplate_core.errors import InvalidRequest
from bedplate_core.messages import GuardContent, Message, Part, Text, ToolResult
from bedplate_core.requests import Request

_TAG = "amazon-bedrock-guardrails-guardContent_"


def with_tags(request: Request, suffix: str) -> Request:
    """`request` with what its tags mark as `GuardContent` parts; the same object where there is no tag.

    Raises `InvalidRequest` for tags that are not closed, not opened, nested, or stand where none can.
    """
    start, end = f"<{_TAG}{suffix}>", f"</{_TAG}{suffix}>"
    messages = tuple(_message(message, start, end) for message in request.messages)
    prompts = tuple(
        "".join(piece for piece, _ in _pieces(prompt, start, end)) if isinstance(prompt, str) else prompt
        for prompt in request.prompts
    )
    if prompts == request.prompts and all(one is other for one, other in zip(messages, request.messages, strict=True)):
        return request
    return msgspec.structs.replace(request, messages=messages, prompts=prompts)


def _message(message: Message, start: str, end: str) -> Message:
    parts: list[Part] = []
    for part in message.parts:
        if isinstance(part, ToolResult):
            if any(isinstance(inner, Text) and (start in inner.text or end in inner.text) for inner in part.parts):
                raise InvalidRequest("a guardrail's input tags cannot stand in a tool result")
        elif isinstance(part, Text) and (start in part.text or end in part.text):
            parts.extend(
                GuardContent(content=Text(text=piece)) if marked else Text(text=piece)
                for piece, marked in _pieces(part.text, start, end)
                if piece
            )
            continue
        parts.append(part)
    if len(parts) == len(message.parts) and all(one is other for one, other in zip(parts, message.parts, strict=True)):
        return message
    return msgspec.structs.replace(message, parts=tuple(parts) or (Text(text=""),))


def _pieces(text: str, start: str, end: str) -> Iterator[tuple[str, bool]]:
    """The pieces of a text between its tags, and whether they are marked."""
    rest = text
    while True:
        before, opened, rest = rest.partition(start)
        if end in before:
            raise InvalidRequest(f"an input tag {end} has nothing to close")
        yield before, False
        if not opened:
            return
        marked, closed, rest = rest.partition(end)
        if not closed:
            raise InvalidRequest(f"an input tag {start} is not closed in the text that it stands in")
        if start in marked:
            raise InvalidRequest(f"an input tag {start} stands within another")
        yield marked, True


__all__ = ["with_tags"]
