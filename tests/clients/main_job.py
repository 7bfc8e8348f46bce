"""What an application does with the official `openai` client: every step of the main job, on whatever model there is.

Run with OPENAI_BASE_URL and OPENAI_API_KEY as `bedplate env` prints them, after `bedplate apply -f policy.yaml`. Needs
nothing of Bedplate's: only the client. Prints one line a step; exits with the first failure.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import openai

SESSION = "x-bedplate-session"


def says(text: str) -> dict[str, Any]:
    """Make a vLLM model say exactly this, token by token, so that what the policy does with it can be asserted.

    Spelt as a pattern of single characters, because the policy also reads the request, and would stop it there.
    """
    return {"structured_outputs": {"regex": "".join(letter if letter == " " else f"[{letter}]" for letter in text)}}


def check(condition: bool, step: str, detail: object) -> None:
    print(f"{'ok  ' if condition else 'FAIL'} {step}: {detail}")
    if not condition:
        sys.exit(1)


def streamed(client: openai.OpenAI, **request: Any) -> tuple[str, str | None, list[Any]]:
    """The text and finish reason of a stream, and its chunks."""
    chunks = list(client.chat.completions.create(stream=True, **request))
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    text = "".join(choice.delta.content or "" for choice in choices)
    reasons = [choice.finish_reason for choice in choices if choice.finish_reason]
    return text, reasons[-1] if reasons else None, chunks


def plain_and_streamed(client: openai.OpenAI, model: str) -> None:
    messages = [{"role": "user", "content": "Say something short about rivers."}]
    request = {"model": model, "messages": messages, "max_tokens": 24, "temperature": 0, "seed": 7}
    answer = client.chat.completions.create(**request)
    text = answer.choices[0].message.content
    check(bool(text) and answer.usage.completion_tokens > 0, "plain", repr(text))
    streamed_text, reason, chunks = streamed(client, **request, stream_options={"include_usage": True})
    check(reason in ("stop", "length") and len(chunks) > 5, "streamed", repr(streamed_text))
    check(chunks[-1].usage is not None and chunks[-1].usage.completion_tokens > 0, "usage", chunks[-1].usage)


def tool_call(client: openai.OpenAI, model: str) -> None:
    parameters = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "unit": {"enum": ["celsius", "fahrenheit"]}},
        "required": ["city", "unit"],
        "additionalProperties": False,
    }
    answer = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "What is the weather in Paris?"}],
        tools=[{"type": "function", "function": {"name": "get_weather", "parameters": parameters}}],
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
        max_tokens=60,
    )
    call = answer.choices[0].message.tool_calls[0]
    arguments = json.loads(call.function.arguments)
    check(
        call.function.name == "get_weather"
        and set(arguments) == {"city", "unit"}
        and arguments["unit"] in ("celsius", "fahrenheit"),
        "tool call",
        call.function,
    )


def json_schema(client: openai.OpenAI, model: str) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "maximum": 99}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    answer = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "Invent a person."}],
        response_format={"type": "json_schema", "json_schema": {"name": "person", "schema": schema, "strict": True}},
        max_tokens=60,
    )
    person = json.loads(answer.choices[0].message.content)
    check(isinstance(person["name"], str) and isinstance(person["age"], int), "JSON schema", person)


def session(client: openai.OpenAI, model: str) -> None:
    # Sampled, a small model now and then says nothing at all, and then there is nothing to compare.
    said = {"model": model, "max_tokens": 16, "temperature": 0, "extra_body": {"min_tokens": 4}}
    first = client.chat.completions.with_raw_response.create(
        **said,
        messages=[{"role": "user", "content": "Remember the number four hundred and eleven."}],
        extra_headers={SESSION: "auto"},
    )
    session_id = first.headers[SESSION]
    usage = first.parse().usage
    messages = [{"role": "user", "content": "Go on."}]
    alone = client.chat.completions.create(**said, messages=messages).usage
    text, _, chunks = streamed(
        client,
        **said,
        messages=messages,
        stream_options={"include_usage": True},
        extra_headers={SESSION: session_id},
    )
    second = chunks[-1].usage
    check(
        second.prompt_tokens >= usage.total_tokens and second.prompt_tokens > alone.prompt_tokens,
        "second turn remembers",
        f"{second.prompt_tokens} prompt tokens, {alone.prompt_tokens} without the session",
    )
    items = client.get(f"/sessions/{session_id}/items", cast_to=object)
    roles = [item["role"] for item in items["data"]]
    check(roles == ["user", "assistant", "user", "assistant"], "session read back", roles)
    check(
        items["data"][3]["parts"] == [{"kind": "text", "text": text}], "what was streamed is what is kept", repr(text)
    )


def guardrail(client: openai.OpenAI, model: str) -> None:
    messages = [{"role": "user", "content": "Recommend a dessert."}]
    text, reason, _ = streamed(
        client, model=model, messages=messages, max_tokens=60, extra_body=says("I would take the pineapple cake today.")
    )
    check(
        reason == "content_filter" and text.startswith("I would take the") and "pineapple" not in text.lower(),
        "blocked word in a stream",
        repr(text),
    )
    twin = client.chat.completions.create(
        model=model, messages=messages, max_tokens=60, extra_body=says("I would take the pineapple cake today.")
    )
    check(twin.choices[0].message.content == text, "its twin says the same", repr(twin.choices[0].message.content))
    refused = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "More PineApple!"}])
    check(
        refused.choices[0].finish_reason == "content_filter",
        "blocked word in the input",
        refused.choices[0].message.content,
    )

    said = "Write to anna.kovacs@example.org or call +1 415 555 0132 today."
    text, reason, _ = streamed(client, model=model, messages=messages, max_tokens=80, extra_body=says(said))
    check(text == "Write to {EMAIL} or call {PHONE} today.", "masked e-mail and phone in a stream", repr(text))
    first = client.chat.completions.with_raw_response.create(
        model=model,
        messages=[{"role": "user", "content": "My address is anna.kovacs@example.org, please remember it."}],
        max_tokens=8,
        extra_headers={SESSION: "auto"},
    )
    items = client.get(f"/sessions/{first.headers[SESSION]}/items", cast_to=object)["data"]
    check(
        items[0]["parts"][0]["text"] == "My address is {EMAIL}, please remember it.",
        "masked e-mail in the input",
        items[0]["parts"][0]["text"],
    )


def main() -> None:
    client = openai.OpenAI(max_retries=0, timeout=120)
    model = client.models.list().data[0].id
    print(f"openai {openai.__version__}, model {model}")
    for step in (plain_and_streamed, tool_call, json_schema, session, guardrail):
        step(client, model)
    print("main job: passed")


if __name__ == "__main__":
    main()
