"""The cases in OpenAI's two dialects, by the official SDK."""

from __future__ import annotations

import base64
import json
from typing import Any

import openai

from tests.scenario.case import PNG, TOOLS, Case, Seen

STOPS = {"stop": "end", "length": "length", "tool_calls": "tool", "content_filter": "guardrail"}


def _image(media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(PNG).decode()}"


def code_of(error: openai.APIError) -> str:
    """Our code for an error, as the SDK's class and the body's code tell it."""
    known = {
        openai.RateLimitError: "rate_limited",
        openai.AuthenticationError: "unauthenticated",
        openai.PermissionDeniedError: "permission_denied",
    }
    return known.get(type(error)) or str(error.code)


class Chat:
    """Chat completions."""

    name = "chat"
    can_say_stop_sequence = False

    def __init__(self, base_url: str, key: str) -> None:
        self.client = openai.OpenAI(base_url=f"{base_url}/v1", api_key=key, max_retries=0)

    def speak(self, case: Case, *, stream: bool) -> Seen:
        body = self._body(case)
        seen = Seen()
        try:
            if stream:
                self._read(self.client.chat.completions.create(**body, stream=True), seen)
            else:
                self._whole(self.client.chat.completions.create(**body), seen)
        except openai.APIError as error:
            seen.error = code_of(error)
        return seen

    def _body(self, case: Case) -> dict[str, Any]:
        messages: list[Any] = [{"role": "system", "content": case.system}] if case.system else []
        for turn in case.turns:
            match turn:
                case {"user": str(text)}:
                    messages.append({"role": "user", "content": text})
                case {"user": list(parts)}:
                    content = [
                        {"type": "text", "text": part}
                        if isinstance(part, str)
                        else {"type": "image_url", "image_url": {"url": _image(part["image"])}}
                        for part in parts
                    ]
                    messages.append({"role": "user", "content": content})
                case {"assistant": text}:
                    messages.append({"role": "assistant", "content": text})
                case {"calls": calls}:
                    made = [
                        {
                            "id": call["id"],
                            "type": "function",
                            "function": {
                                "name": call["name"],
                                "arguments": json.dumps(call["arguments"], separators=(",", ":")),
                            },
                        }
                        for call in calls
                    ]
                    messages.append({"role": "assistant", "tool_calls": made})
                case {"results": results}:
                    messages += [
                        {"role": "tool", "tool_call_id": result["id"], "content": result["text"]} for result in results
                    ]
                case _:
                    raise AssertionError(turn)
        body: dict[str, Any] = {"model": case.model, "messages": messages, "max_completion_tokens": case.max_tokens}
        if case.tools:
            body["tools"] = [
                {"type": "function", "function": {"name": name, "parameters": TOOLS[name]}} for name in case.tools
            ]
        if case.tool_choice == "required":
            body["tool_choice"] = "required"
        elif case.tool_choice:
            body["tool_choice"] = {"type": "function", "function": {"name": case.tool_choice}}
        if case.stop_sequences:
            body["stop"] = case.stop_sequences
        if case.schema:
            body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": case.schema}}
        return body

    def _whole(self, completion: Any, seen: Seen) -> None:
        choice = completion.choices[0]
        message = choice.message
        for kind, text in (
            ("reasoning", getattr(message, "reasoning", None)),
            ("text", message.content),
            ("refusal", message.refusal),
        ):
            if text:
                seen.parts.append((kind, text))
        for call in message.tool_calls or ():
            seen.parts.append(("call", f"{call.function.name} {call.function.arguments}"))
        seen.stop = STOPS[choice.finish_reason]
        seen.input_tokens, seen.output_tokens = completion.usage.prompt_tokens, completion.usage.completion_tokens

    def _read(self, stream: Any, seen: Seen) -> None:
        texts: dict[str, str] = {}
        for chunk in stream:
            if not chunk.choices:
                continue
            choice = chunk.choices[0]
            delta = choice.delta
            for kind, text in (
                ("reasoning", getattr(delta, "reasoning", None)),
                ("text", delta.content),
                ("refusal", delta.refusal),
            ):
                if text:
                    texts[kind] = texts.get(kind, "") + text
            for call in delta.tool_calls or ():
                key = f"call {call.index}"
                texts[key] = texts.get(key, "") + (f"{call.function.name} " if call.function.name else "")
                texts[key] += call.function.arguments or ""
            if choice.finish_reason:
                seen.stop = STOPS[choice.finish_reason]
        seen.parts = [(key.split()[0], text) for key, text in texts.items()]


class Responses:
    """The Responses API, nothing stored."""

    name = "responses"
    can_say_stop_sequence = False

    def __init__(self, base_url: str, key: str) -> None:
        self.client = openai.OpenAI(base_url=f"{base_url}/v1", api_key=key, max_retries=0)

    def speak(self, case: Case, *, stream: bool) -> Seen:
        body = self._body(case)
        seen = Seen()
        try:
            if stream:
                self._read(self.client.responses.create(**body, stream=True), seen)
            else:
                self._whole(self.client.responses.create(**body), seen)
        except openai.APIError as error:
            seen.error = code_of(error)
        return seen

    def _body(self, case: Case) -> dict[str, Any]:
        items: list[Any] = []
        for turn in case.turns:
            match turn:
                case {"user": str(text)}:
                    items.append({"role": "user", "content": text})
                case {"user": list(parts)}:
                    content = [
                        {"type": "input_text", "text": part}
                        if isinstance(part, str)
                        else {"type": "input_image", "image_url": _image(part["image"]), "detail": "auto"}
                        for part in parts
                    ]
                    items.append({"role": "user", "content": content})
                case {"assistant": text}:
                    items.append({"role": "assistant", "content": text})
                case {"calls": calls}:
                    items += [
                        {
                            "type": "function_call",
                            "call_id": call["id"],
                            "name": call["name"],
                            "arguments": json.dumps(call["arguments"], separators=(",", ":")),
                        }
                        for call in calls
                    ]
                case {"results": results}:
                    items += [
                        {"type": "function_call_output", "call_id": result["id"], "output": result["text"]}
                        for result in results
                    ]
                case _:
                    raise AssertionError(turn)
        body: dict[str, Any] = {
            "model": case.model,
            "input": items,
            "max_output_tokens": case.max_tokens,
            "store": False,
        }
        if case.system:
            body["instructions"] = case.system
        if case.tools:
            body["tools"] = [
                {"type": "function", "name": name, "parameters": TOOLS[name], "strict": None} for name in case.tools
            ]
        if case.tool_choice == "required":
            body["tool_choice"] = "required"
        elif case.tool_choice:
            body["tool_choice"] = {"type": "function", "name": case.tool_choice}
        if case.schema:
            body["text"] = {"format": {"type": "json_schema", "name": "answer", "schema": case.schema}}
        return body

    def _whole(self, response: Any, seen: Seen) -> None:
        called = False
        for item in response.output:
            match item.type:
                case "reasoning":
                    seen.parts.append(("reasoning", "".join(part.text for part in item.content or item.summary)))
                case "function_call":
                    called = True
                    seen.parts.append(("call", f"{item.name} {item.arguments}"))
                case "message":
                    for part in item.content:
                        refusal = part.type == "refusal"
                        text = part.refusal if refusal else part.text
                        if text:
                            seen.parts.append(("refusal" if refusal else "text", text))
                case other:
                    raise AssertionError(other)
        if response.status == "incomplete":
            reasons = {"max_output_tokens": "length", "content_filter": "guardrail"}
            seen.stop = reasons[response.incomplete_details.reason]
        else:
            assert response.status == "completed"
            seen.stop = "tool" if called else "end"
        seen.input_tokens, seen.output_tokens = response.usage.input_tokens, response.usage.output_tokens

    def _read(self, stream: Any, seen: Seen) -> None:
        texts: dict[tuple[int, int], str] = {}
        last = None
        for event in stream:
            last = event
            match event.type:
                case "response.output_text.delta" | "response.refusal.delta" | "response.reasoning_text.delta":
                    key = (event.output_index, event.content_index)
                    texts[key] = texts.get(key, "") + event.delta
                case "response.function_call_arguments.delta":
                    key = (event.output_index, 0)
                    texts[key] = texts.get(key, "") + event.delta
                case "response.failed":
                    seen.error = event.response.error.code
                    return
                case _:
                    pass
        assert last is not None
        self._whole(last.response, seen)
        streamed = [text for _, text in sorted(texts.items()) if text]
        whole = [text.partition(" ")[2] if kind == "call" else text for kind, text in seen.parts]
        assert streamed == [text for text in whole if text]
