"""The cases in Anthropic's dialect, by the official SDK."""

from __future__ import annotations

import base64
from typing import Any

import anthropic

from tests.scenario.case import PNG, TOOLS, Case, Seen

STOPS = {
    "end_turn": "end",
    "max_tokens": "length",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool",
    "refusal": "guardrail",
}


def messages_body(case: Case) -> dict[str, Any]:
    """The body without a model, as the Anthropic body family of Bedrock has it too."""
    messages: list[Any] = []
    for turn in case.turns:
        match turn:
            case {"user": str(text)}:
                messages.append({"role": "user", "content": text})
            case {"user": list(parts)}:
                messages.append({"role": "user", "content": [_part(part) for part in parts]})
            case {"assistant": text}:
                messages.append({"role": "assistant", "content": text})
            case {"calls": calls}:
                content = [
                    {"type": "tool_use", "id": call["id"], "name": call["name"], "input": call["arguments"]}
                    for call in calls
                ]
                messages.append({"role": "assistant", "content": content})
            case {"results": results}:
                content = [
                    {
                        "type": "tool_result",
                        "tool_use_id": result["id"],
                        "content": result["text"],
                        "is_error": bool(result.get("error")),
                    }
                    for result in results
                ]
                messages.append({"role": "user", "content": content})
            case _:
                raise AssertionError(turn)
    body: dict[str, Any] = {"messages": messages, "max_tokens": case.max_tokens}
    if case.system:
        body["system"] = case.system
    if case.tools:
        body["tools"] = [{"name": name, "input_schema": TOOLS[name]} for name in case.tools]
    if case.tool_choice == "required":
        body["tool_choice"] = {"type": "any"}
    elif case.tool_choice:
        body["tool_choice"] = {"type": "tool", "name": case.tool_choice}
    if case.stop_sequences:
        body["stop_sequences"] = case.stop_sequences
    if case.schema:
        body["output_config"] = {"format": {"type": "json_schema", "schema": case.schema}}
    return body


def _part(part: str | dict[str, str]) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    data = base64.b64encode(PNG).decode()
    return {"type": "image", "source": {"type": "base64", "media_type": part["image"], "data": data}}


def seen_in(message: Any, seen: Seen) -> None:
    """Note what a whole message says; its usage and stop too."""
    for block in message.content:
        match block.type:
            case "text":
                if block.text:
                    seen.parts.append(("text", block.text))
            case "thinking":
                seen.parts.append(("reasoning", block.thinking))
            case "tool_use":
                seen.parts.append(("call", f"{block.name} {block.input}"))
            case other:
                raise AssertionError(other)
    seen.stop = STOPS[message.stop_reason]
    seen.input_tokens, seen.output_tokens = message.usage.input_tokens, message.usage.output_tokens


class Messages:
    """Anthropic's messages."""

    name = "messages"
    can_say_stop_sequence = True

    def __init__(self, base_url: str, key: str) -> None:
        self.client = anthropic.Anthropic(base_url=base_url, api_key=key, max_retries=0)

    def speak(self, case: Case, *, stream: bool) -> Seen:
        body = {"model": case.model, **messages_body(case)}
        seen = Seen()
        try:
            if stream:
                with self.client.messages.stream(**body) as events:
                    for _ in events:
                        pass
                    seen_in(events.get_final_message(), seen)
            else:
                seen_in(self.client.messages.create(**body), seen)
        except anthropic.APIError as error:
            seen.error = _code(error)
        return seen


def _code(error: anthropic.APIError) -> str:
    body = error.body
    assert isinstance(body, dict), error
    kind, message = body["error"]["type"], body["error"]["message"]
    if kind == "invalid_request_error" and "context" in message:
        return "context_length_exceeded"
    codes = {
        "rate_limit_error": "rate_limited",
        "overloaded_error": "upstream_unavailable",
        "not_found_error": "model_not_found",
        "api_error": "upstream_protocol",
    }
    return codes.get(kind, kind)
