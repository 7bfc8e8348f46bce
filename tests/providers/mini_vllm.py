"""A small model behind vLLM's wire: says `one two three ...`, keeps to the request's limits, calls tools."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.providers.vllm_streams import DONE, call_piece, chat_chunk, text_chunk
from tests.providers.wire_server import Received, Wire

WORDS = ["one", " two", " three", " four", " five", " six", " seven"]
MODEL = "m"


async def mini_vllm(wire: Wire, request: Received) -> None:
    """Answers as vLLM 0.32 would, one network write per chunk."""
    if request.path == "/health":
        await wire.reply("200 OK", b"")
        return
    body = request.json
    if body["model"] != MODEL:
        error = {"message": f"The model `{body['model']}` does not exist.", "type": "NotFoundError", "code": 404}
        await wire.reply("404 Not Found", {"error": error})
        return
    if (body.get("temperature") or 0) < 0:
        error = {"message": "temperature must be non-negative", "type": "X", "param": "temperature", "code": 400}
        await wire.reply("400 Bad Request", {"error": error})
        return
    tokens = _prompt_tokens(body)
    if tokens > 4096:
        error = {"message": "This model's maximum context length is 4096 tokens.", "type": "X", "code": 400}
        await wire.reply("400 Bad Request", {"error": error})
        return
    await wire.stream(end=False)
    chunks = _chat(body, tokens) if request.path == "/v1/chat/completions" else _completions(body)
    for chunk in chunks:
        await wire.chunk(chunk)
        await asyncio.sleep(0.001)
    await wire.chunk(DONE)
    await wire.raw(b"0\r\n\r\n")


def _prompt_tokens(body: Any) -> int:
    return len(json.dumps(body.get("messages") or body.get("prompt")).split())


def _said(body: Any, limit: int | None) -> tuple[list[str], str, str | None]:
    """The words of one answer, its finish reason and its stop text."""
    words = WORDS if limit is None else (WORDS * (limit // len(WORDS) + 1) if body.get("ignore_eos") else WORDS)[:limit]
    finish = "stop" if words == WORDS else "length"
    for stop in body.get("stop", []):
        for number in range(len(words) + 1):
            if stop in "".join(words[:number]):
                text = "".join(words[:number])
                return [text[: text.index(stop)]], "stop", stop
    return words, finish, None


def _logprobs(word: str, body: Any) -> dict[str, Any] | None:
    if not body.get("logprobs"):
        return None
    one = {"token": word, "logprob": -0.5, "bytes": list(word.encode())}
    return {"content": [{**one, "top_logprobs": [one] * body.get("top_logprobs", 0)}]}


def _chat(body: Any, prompt: int) -> list[bytes]:
    count = body.get("n", 1)
    chunks = [chat_chunk({"role": "assistant", "content": ""}, index=n, usage=(prompt, 0)) for n in range(count)]
    choice = body.get("tool_choice", "auto")
    if body.get("tools") and choice != "auto":
        function = body["tools"][0]["function"]
        arguments = json.dumps({"city": "Paris"})
        for n in range(count):
            chunks.append(chat_chunk(call_piece(0, id_=f"call_{n}", name=function["name"]), index=n, usage=(prompt, 2)))
            chunks.append(chat_chunk(call_piece(0, arguments=arguments[:5]), index=n, usage=(prompt, 3)))
            chunks.append(chat_chunk(call_piece(0, arguments=arguments[5:]), index=n, usage=(prompt, 4)))
            finish = "tool_calls" if choice == "required" else "stop"
            chunks.append(chat_chunk({}, index=n, finish=finish, usage=(prompt, 5)))
        return [*chunks, chat_chunk(None, usage=(prompt, 5 * count))]
    words, finish, stop = _said(body, body.get("max_completion_tokens"))
    if "response_format" in body:
        words, finish, stop = ['{"city"', ': "Paris"}'], "stop", None
    for number, word in enumerate(words, start=1):
        for n in range(count):
            delta = {"content": word}
            chunks.append(chat_chunk(delta, index=n, usage=(prompt, number), logprobs=_logprobs(word, body)))
    for n in range(count):
        chunks.append(chat_chunk({"content": ""}, index=n, finish=finish, stop=stop, usage=(prompt, len(words))))
    return [*chunks, chat_chunk(None, usage=(prompt, len(words) * count))]


def _completions(body: Any) -> list[bytes]:
    prompts = body["prompt"] if isinstance(body["prompt"], list) else [body["prompt"]]
    count = body.get("n", 1)
    chunks: list[bytes] = []
    words, finish, stop = _said(body, body.get("max_tokens", 16))
    for number, word in enumerate(words, start=1):
        for p, prompt in enumerate(prompts):
            for k in range(count):
                text = (prompt if body.get("echo") and number == 1 else "") + word
                last = number == len(words)
                chunks.append(
                    text_chunk(
                        text,
                        index=p * count + k,
                        finish=finish if last else None,
                        stop=stop if last else None,
                        usage=(len(prompt.split()), number),
                    )
                )
    total = sum(len(prompt.split()) for prompt in prompts)
    return [*chunks, text_chunk(None, usage=(total, len(words) * len(prompts) * count))]
