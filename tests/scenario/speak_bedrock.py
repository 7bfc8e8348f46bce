"""The cases in Bedrock's dialects, by boto3."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import boto3
import botocore.config
import botocore.exceptions

from tests.scenario.case import PNG, TOOLS, Case, Seen
from tests.scenario.speak_anthropic import STOPS as MESSAGES_STOPS
from tests.scenario.speak_anthropic import messages_body, seen_in

STOPS = {
    "end_turn": "end",
    "max_tokens": "length",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool",
    "malformed_tool_use": "tool",
    "guardrail_intervened": "guardrail",
    "content_filtered": "guardrail",
}
CODES = {
    "throttlingexception": "rate_limited",
    "serviceunavailableexception": "upstream_unavailable",
    "resourcenotfoundexception": "model_not_found",
    "modelerrorexception": "upstream_protocol",
    "modelstreamerrorexception": "upstream_protocol",
}


def runtime(base_url: str, access_key: str, secret: str) -> Any:
    """A client of the runtime that signs its requests."""
    return boto3.client(
        "bedrock-runtime",
        endpoint_url=base_url,
        region_name="eu-central-1",
        aws_access_key_id=access_key,
        aws_secret_access_key=secret,
        config=botocore.config.Config(retries={"total_max_attempts": 1}),
    )


def code_of(error: botocore.exceptions.ClientError) -> str:
    """Our code for an error, as boto3 tells it."""
    name, message = error.response["Error"]["Code"], error.response["Error"]["Message"]
    if name == "ValidationException" and "context" in message:
        return "context_length_exceeded"
    return CODES.get(name.lower(), name)


class Converse:
    """Converse and ConverseStream."""

    name = "converse"
    can_say_stop_sequence = True

    def __init__(self, base_url: str, access_key: str, secret: str) -> None:
        self.client = runtime(base_url, access_key, secret)

    def speak(self, case: Case, *, stream: bool) -> Seen:
        body = self._body(case)
        seen = Seen()
        try:
            if stream:
                self._read(self.client.converse_stream(**body)["stream"], seen)
            else:
                self._whole(self.client.converse(**body), seen)
        except botocore.exceptions.ClientError as error:
            seen.error = code_of(error)
        return seen

    def _body(self, case: Case) -> dict[str, Any]:
        messages: list[Any] = []
        for turn in case.turns:
            match turn:
                case {"user": str(text)}:
                    messages.append({"role": "user", "content": [{"text": text}]})
                case {"user": list(parts)}:
                    content = [
                        {"text": part}
                        if isinstance(part, str)
                        else {"image": {"format": part["image"].split("/")[1], "source": {"bytes": PNG}}}
                        for part in parts
                    ]
                    messages.append({"role": "user", "content": content})
                case {"assistant": text}:
                    messages.append({"role": "assistant", "content": [{"text": text}]})
                case {"calls": calls}:
                    content = [
                        {"toolUse": {"toolUseId": call["id"], "name": call["name"], "input": call["arguments"]}}
                        for call in calls
                    ]
                    messages.append({"role": "assistant", "content": content})
                case {"results": results}:
                    content = [
                        {
                            "toolResult": {
                                "toolUseId": result["id"],
                                "content": [{"text": result["text"]}],
                                "status": "error" if result.get("error") else "success",
                            }
                        }
                        for result in results
                    ]
                    messages.append({"role": "user", "content": content})
                case _:
                    raise AssertionError(turn)
        inference: dict[str, Any] = {"maxTokens": case.max_tokens}
        if case.stop_sequences:
            inference["stopSequences"] = case.stop_sequences
        body: dict[str, Any] = {"modelId": case.model, "messages": messages, "inferenceConfig": inference}
        if case.system:
            body["system"] = [{"text": case.system}]
        if case.tools:
            specs = [{"toolSpec": {"name": name, "inputSchema": {"json": TOOLS[name]}}} for name in case.tools]
            body["toolConfig"] = {"tools": specs}
            if case.tool_choice == "required":
                body["toolConfig"]["toolChoice"] = {"any": {}}
            elif case.tool_choice:
                body["toolConfig"]["toolChoice"] = {"tool": {"name": case.tool_choice}}
        if case.schema:
            schema = {"name": "answer", "schema": json.dumps(case.schema)}
            body["outputConfig"] = {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": schema}}}
        return body

    def _whole(self, answer: Any, seen: Seen) -> None:
        for block in answer["output"]["message"]["content"]:
            match block:
                case {"text": text}:
                    if text:
                        seen.parts.append(("text", text))
                case {"reasoningContent": {"reasoningText": {"text": text}}}:
                    seen.parts.append(("reasoning", text))
                case {"toolUse": call}:
                    seen.parts.append(("call", f"{call['name']} {call['input']}"))
                case other:
                    raise AssertionError(other)
        seen.stop = STOPS[answer["stopReason"]]
        seen.input_tokens = answer["usage"]["inputTokens"]
        seen.output_tokens = answer["usage"]["outputTokens"]

    def _read(self, stream: Any, seen: Seen) -> None:
        kinds: dict[int, str] = {}
        texts: dict[int, str] = {}
        for event in stream:
            match event:
                case {"contentBlockStart": {"contentBlockIndex": index, "start": {"toolUse": call}}}:
                    kinds[index], texts[index] = "call", f"{call['name']} "
                case {"contentBlockDelta": {"contentBlockIndex": index, "delta": delta}}:
                    match delta:
                        case {"text": text}:
                            kinds[index] = "text"
                        case {"reasoningContent": {"text": text}}:
                            kinds[index] = "reasoning"
                        case {"toolUse": {"input": text}}:
                            pass
                        case {"reasoningContent": _}:
                            text = ""
                        case other:
                            raise AssertionError(other)
                    texts[index] = texts.get(index, "") + text
                case {"messageStop": {"stopReason": reason}}:
                    seen.stop = STOPS[reason]
                case {"metadata": metadata}:
                    seen.input_tokens = metadata["usage"]["inputTokens"]
                    seen.output_tokens = metadata["usage"]["outputTokens"]
                case _:
                    pass
        seen.parts = [(kinds[index], text) for index, text in sorted(texts.items()) if text]


class Invoke:
    """InvokeModel and its streamed twin with the Anthropic body family."""

    name = "invoke"
    can_say_stop_sequence = True

    def __init__(self, base_url: str, access_key: str, secret: str) -> None:
        self.client = runtime(base_url, access_key, secret)

    def speak(self, case: Case, *, stream: bool) -> Seen:
        body = json.dumps({"anthropic_version": "bedrock-2023-05-31", **messages_body(case)})
        seen = Seen()
        try:
            if stream:
                answer = self.client.invoke_model_with_response_stream(modelId=case.model, body=body)
                self._read(answer["body"], seen)
            else:
                answer = self.client.invoke_model(modelId=case.model, body=body)
                message = json.loads(answer["body"].read(), object_hook=lambda found: SimpleNamespace(**found))
                for block in message.content:
                    if block.type == "tool_use":
                        block.input = vars(block.input)
                seen_in(message, seen)
        except botocore.exceptions.ClientError as error:
            seen.error = code_of(error)
        return seen

    def _read(self, stream: Any, seen: Seen) -> None:
        kinds: dict[int, str] = {}
        texts: dict[int, str] = {}
        for event in stream:
            said = json.loads(event["chunk"]["bytes"])
            match said:
                case {"type": "content_block_start", "index": index, "content_block": block}:
                    kinds[index] = {"thinking": "reasoning", "tool_use": "call"}.get(block["type"], block["type"])
                    texts[index] = f"{block['name']} " if block["type"] == "tool_use" else ""
                case {"type": "content_block_delta", "index": index, "delta": delta}:
                    texts[index] += delta.get("text") or delta.get("thinking") or delta.get("partial_json") or ""
                case {"type": "message_delta", "delta": delta, "usage": usage}:
                    seen.stop = MESSAGES_STOPS[delta["stop_reason"]]
                    seen.output_tokens = usage["output_tokens"]
                case _:
                    pass
        seen.parts = [(kinds[index], text) for index, text in sorted(texts.items()) if text]
