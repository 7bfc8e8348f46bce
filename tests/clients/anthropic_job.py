"""What an application does with the official `anthropic` client, on a real or the scripted model."""

from __future__ import annotations

import base64
import json
from typing import Any

import anthropic
from steps import FAKE, KEY, PERSON, PNG, URL, WEATHER, check, model, raises, within

client = anthropic.Anthropic(base_url=URL, api_key=KEY, max_retries=0, timeout=60)
TOOL: dict[str, Any] = {"name": "get_weather", "description": "The weather", "input_schema": WEATHER}
CLOCK: dict[str, Any] = {"name": "clock", "input_schema": {"type": "object", "properties": {}}}
ASK: list[Any] = [{"role": "user", "content": "Count to three, please."}]


def texts() -> None:
    message = client.messages.create(
        model=model(),
        max_tokens=12,
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        messages=[*ASK, {"role": "assistant", "content": "one"}, *ASK],
        extra_body={"temperature": 0, "top_k": 5},  # this SDK has no arguments for them any more, the wire has them
    )
    check(message.content[0].text, "system and turns", message.content[0].text)
    check(message.usage.input_tokens > 0 and message.usage.output_tokens > 0, "usage", message.usage)
    with client.messages.stream(model=model(), max_tokens=12, messages=ASK) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    check(final.content[0].text == text and final.stop_reason in ("end_turn", "max_tokens"), "streamed", text)
    message = client.messages.create(model=model("fake/long"), max_tokens=3, messages=ASK)
    check(message.stop_reason == "max_tokens" and message.usage.output_tokens == 3, "max tokens", message.usage)
    say = [{"role": "user", "content": "one two three"}]
    extra: dict[str, Any] = {} if FAKE else {"structured_outputs": {"regex": "one two three"}}
    message = client.messages.create(
        model=model(), max_tokens=20, messages=say, stop_sequences=[" three"], extra_body=extra
    )
    check(message.stop_reason == "stop_sequence", "stop", message.stop_reason)
    check(message.content[0].text == "one two", "text before the stop", message.content[0].text)


def tools() -> None:
    choice: Any = {"type": "tool", "name": "get_weather"}
    message = client.messages.create(
        model=model(), max_tokens=60, messages=ASK, tools=[TOOL, CLOCK], tool_choice=choice
    )
    call = message.content[-1]
    check(call.type == "tool_use" and set(call.input) == {"city", "unit"}, "named tool", call.input)
    check(message.stop_reason == "tool_use", "stop reason", message.stop_reason)
    result: Any = {"type": "tool_result", "tool_use_id": call.id, "content": "No such city.", "is_error": True}
    history = [*ASK, {"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]
    message = client.messages.create(model=model(), max_tokens=20, messages=history, tools=[TOOL])
    check(message.content, "tool result", message.content[0])
    with client.messages.stream(
        model=model("fake/split-tool-call"), max_tokens=60, messages=ASK, tools=[TOOL], tool_choice={"type": "any"}
    ) as stream:
        final = stream.get_final_message()
    check(final.content[-1].type == "tool_use", "streamed tool", final.content[-1])
    if FAKE:
        message = client.messages.create(model="fake/parallel-tools", max_tokens=60, messages=ASK, tools=[TOOL, CLOCK])
        check([block.name for block in message.content] == ["get_weather", "clock"], "parallel tools")


def schemas() -> None:
    wanted: Any = {"format": {"type": "json_schema", "schema": PERSON}}
    message = client.messages.create(model=model(), max_tokens=60, messages=ASK, output_config=wanted)
    check(set(json.loads(message.content[0].text)) == {"name", "age"}, "JSON schema", message.content[0].text)


def counts() -> None:
    counted = client.messages.count_tokens(model=model(), messages=ASK, system="Be brief.")
    check(counted.input_tokens > 3, "count tokens", counted.input_tokens)
    check([entry.id for entry in client.models.list()], "models")


def scripted() -> None:
    source: Any = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PNG).decode()}
    picture: Any = [{"type": "text", "text": "what is it"}, {"type": "image", "source": source}]
    message = client.messages.create(model="fake/echo", max_tokens=20, messages=[{"role": "user", "content": picture}])
    check(message.content[0].text == "what is it", "image")
    message = client.messages.create(
        model="fake/reasoning", max_tokens=2000, messages=ASK, thinking={"type": "enabled", "budget_tokens": 1024}
    )
    check(message.content[0].type == "thinking" and message.content[0].signature, "thinking", message.content[0])
    again = [*ASK, {"role": "assistant", "content": message.content}, *ASK]
    message = client.messages.create(model="fake/echo", max_tokens=20, messages=again)
    check(message.content[0].text, "thinking sent back")


def cancels() -> None:
    def leave() -> None:
        stream = client.messages.create(model=model("fake/slow"), max_tokens=200, messages=ASK, stream=True)
        next(iter(stream))
        stream.close()

    within(10, "cancelled", leave)


def errors() -> None:
    def ask(name: str, **more: Any) -> Any:
        return lambda: client.messages.create(model=name, max_tokens=10, messages=ASK, **more)

    error = raises(anthropic.NotFoundError, "unknown model", ask("no/such-model"))
    check(error.body["error"]["type"] == "not_found_error" and error.request_id, "its body", error.body)
    error = raises(anthropic.BadRequestError, "wrong type", ask(model(), extra_body={"temperature": "hot"}))
    check("temperature" in str(error), "its path")
    raises(anthropic.BadRequestError, "unsupported feature", ask(model(), extra_body={"mcp_servers": [{"a": 1}]}))
    stranger = client.with_options(api_key="bp_nobody")
    raises(anthropic.AuthenticationError, "unknown key", lambda: stranger.models.list())
    if not FAKE:
        return
    raises(anthropic.BadRequestError, "too long", ask("fake/context-length"))
    error = raises(anthropic.RateLimitError, "rate limited", ask("fake/rate-limited"))
    check(error.response.headers["retry-after"] == "2", "retry-after", error.response.headers["retry-after"])
    try:
        ask("fake/error")()
    except anthropic.APIStatusError as error:
        check(error.status_code in (503, 529), "upstream away", f"{type(error).__name__} {error.status_code}")
    stream = client.messages.create(model="fake/error-midstream", max_tokens=10, messages=ASK, stream=True)
    try:
        list(stream)
        check(False, "failure in a stream", "no error")
    except anthropic.APIError as error:
        check(True, "failure in a stream", repr(error))


for job in (texts, tools, schemas, counts, cancels, errors):
    job()
if FAKE:
    scripted()
print("anthropic job: passed")
