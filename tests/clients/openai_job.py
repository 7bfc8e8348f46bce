"""What an application does with the official `openai` client beyond the main job, on a real or the scripted model."""

from __future__ import annotations

import base64
import json
from typing import Any

import openai
from pydantic import BaseModel
from steps import FAKE, KEY, PERSON, PNG, URL, WEATHER, check, model, raises, within

client = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0, timeout=60)
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}
CLOCK: dict[str, Any] = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}
ASK: list[Any] = [{"role": "user", "content": "Count to three, please."}]


def texts() -> None:
    answer = client.chat.completions.create(
        model=model(),
        messages=[{"role": "system", "content": "Be brief."}, *ASK, {"role": "assistant", "content": "one"}, *ASK],
        max_completion_tokens=12,
        temperature=0,
        seed=1,
    )
    check(answer.choices[0].message.content, "system and turns", answer.choices[0].message.content)
    extra: dict[str, Any] = {} if FAKE else {"structured_outputs": {"regex": "one two three"}}
    with client.chat.completions.stream(model=model(), messages=ASK, extra_body=extra) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    check(final.choices[0].finish_reason == "stop", "streamed helper", final.choices[0].message.content)
    answer = client.chat.completions.create(model=model("fake/long"), messages=ASK, max_tokens=3)
    check(answer.usage and answer.usage.completion_tokens == 3, "max tokens", answer.usage)
    check(answer.choices[0].finish_reason == "length", "finish reason length")
    answer = client.chat.completions.create(model=model(), messages=ASK, n=2, max_tokens=8, temperature=1)
    check([choice.index for choice in answer.choices] == [0, 1], "n", len(answer.choices))


def stop_and_logprobs() -> None:
    extra: dict[str, Any] = {} if FAKE else {"structured_outputs": {"regex": "one two three"}}
    say = [{"role": "user", "content": "one two three"}]
    answer = client.chat.completions.create(model=model(), messages=say, stop=[" three"], extra_body=extra)
    check(answer.choices[0].message.content == "one two", "stop", answer.choices[0].message.content)
    check(answer.choices[0].finish_reason == "stop", "finish reason stop")
    if FAKE:
        return
    answer = client.chat.completions.create(model=model(), messages=ASK, logprobs=True, top_logprobs=2, max_tokens=4)
    tokens = answer.choices[0].logprobs.content
    check(len(tokens) == 4 and all(len(token.top_logprobs) == 2 for token in tokens), "logprobs", tokens[0].token)


def tools() -> None:
    forced: Any = {"type": "function", "function": {"name": "get_weather"}}
    answer = client.chat.completions.create(
        model=model(), messages=ASK, tools=[TOOL, CLOCK], tool_choice=forced, max_tokens=60
    )
    call = answer.choices[0].message.tool_calls[0]
    check(set(json.loads(call.function.arguments)) == {"city", "unit"}, "named tool", call.function.arguments)
    history = [
        *ASK,
        answer.choices[0].message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "Sunny."},
    ]
    answer = client.chat.completions.create(model=model(), messages=history, tools=[TOOL], max_tokens=20)
    check(answer.choices[0].finish_reason in ("stop", "length", "tool_calls"), "tool result", answer.choices[0].message)
    if FAKE:
        answer = client.chat.completions.create(model="fake/parallel-tools", messages=ASK, tools=[TOOL, CLOCK])
        names = [call.function.name for call in answer.choices[0].message.tool_calls]
        check(names == ["get_weather", "clock"], "parallel tools", names)


class Person(BaseModel):
    """What the model is to fill in."""

    name: str
    age: int


def schemas() -> None:
    answer = client.chat.completions.create(
        model=model(),
        messages=ASK,
        response_format={"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON, "strict": True}},
        max_tokens=60,
    )
    check(set(json.loads(answer.choices[0].message.content)) == {"name", "age"}, "JSON schema")
    if FAKE:
        parsed = client.chat.completions.parse(model=model(), messages=ASK, response_format=Person)
        check(isinstance(parsed.choices[0].message.parsed, Person), "parsed", parsed.choices[0].message.parsed)


def scripted() -> None:
    url = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    picture: Any = [{"type": "text", "text": "what is it"}, {"type": "image_url", "image_url": {"url": url}}]
    answer = client.chat.completions.create(model="fake/echo", messages=[{"role": "user", "content": picture}])
    check(answer.choices[0].message.content == "what is it", "image")
    answer = client.chat.completions.create(model="fake/reasoning", messages=ASK)
    check(answer.choices[0].message.reasoning, "reasoning", answer.choices[0].message.reasoning)
    answer = client.chat.completions.create(model="fake/refusal", messages=ASK)
    check(answer.choices[0].message.refusal, "refusal", answer.choices[0].message.refusal)
    vectors = client.embeddings.create(model="fake/embed", input=["one", "two"])
    check(len(vectors.data) == 2, "embeddings", len(vectors.data[0].embedding))


def responses() -> None:
    first = client.responses.create(model=model(), input="Remember the word plum.", max_output_tokens=16)
    check(first.status in ("completed", "incomplete") and first.output_text, "response", first.output_text)
    events = list(
        client.responses.create(
            model=model(), input="Which word?", previous_response_id=first.id, max_output_tokens=16, stream=True
        )
    )
    check(events[-1].type in ("response.completed", "response.incomplete"), "streamed response", events[-1].type)
    second = events[-1].response
    check(second.usage.input_tokens > first.usage.input_tokens, "previous response", second.usage.input_tokens)
    check(client.responses.retrieve(second.id).output_text == second.output_text, "retrieved")
    items = client.responses.input_items.list(second.id)
    check(len(items.data) >= 1, "input items", len(items.data))
    client.responses.delete(first.id)
    raises(openai.NotFoundError, "deleted", lambda: client.responses.retrieve(first.id))
    raises(openai.BadRequestError, "cancel of a finished response", lambda: client.responses.cancel(second.id))


def cancels() -> None:
    def leave() -> None:
        stream = client.chat.completions.create(model=model("fake/slow"), messages=ASK, stream=True, max_tokens=200)
        next(iter(stream))
        stream.close()

    within(10, "cancelled", leave)


def errors() -> None:
    def ask(name: str, **more: Any) -> Any:
        return lambda: client.chat.completions.create(model=name, messages=ASK, **more)

    error = raises(openai.NotFoundError, "unknown model", ask("no/such-model"))
    check(error.code == "model_not_found", "its code", error.code)
    error = raises(openai.BadRequestError, "wrong type", ask(model(), extra_body={"temperature": "hot"}))
    check(error.param == "temperature", "its param", error.param)
    raises(openai.BadRequestError, "unsupported feature", ask(model(), extra_body={"audio": {"voice": "a"}}))
    long = [{"role": "user", "content": "word " * 9000}]
    raises(
        openai.BadRequestError,
        "too long",
        lambda: client.chat.completions.create(model=model("fake/context-length"), messages=long, max_tokens=1),
    )
    stranger = client.with_options(api_key="bp_nobody")
    raises(openai.AuthenticationError, "unknown key", lambda: stranger.models.list())
    if not FAKE:
        return
    error = raises(openai.RateLimitError, "rate limited", ask("fake/rate-limited"))
    check(error.response.headers["retry-after"] == "2", "retry-after", error.response.headers["retry-after"])
    raises(openai.InternalServerError, "upstream away", ask("fake/error"))
    stream = client.chat.completions.create(model="fake/error-midstream", messages=ASK, stream=True)
    raises(openai.APIError, "failure in a stream", lambda: list(stream))


check([entry.id for entry in client.models.list()], "models")
for job in (texts, stop_and_logprobs, tools, schemas, responses, cancels, errors):
    job()
if FAKE:
    scripted()
print("openai job: passed")
