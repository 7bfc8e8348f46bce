"""G1: a seeded violation is stopped in every cell: dialect x streamed or not x place x block or mask.

On the way in, the model must not be sent the seed, wherever in the request it stands. On the way out, no byte that the
client is sent may hold it, whichever kind of part it came in. What cannot be said in a dialect is listed with its
reason in `CANNOT`; every other combination is run.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import pytest

from bedplate_core.requests import Request
from bedplate_guardrails.evaluation import (
    Capabilities,
    ContentTask,
    EntitiesTask,
    EvaluationFailed,
    Result,
    Scores,
    Spans,
    Task,
)
from bedplate_guardrails.pool.pool import WorkerPool
from bedplate_providers.fake import FakeProvider
from tests.fixtures.asgi import Exchange, InProcess, in_process
from tests.fixtures.postgres import PostgresServer

pytestmark = pytest.mark.anyio

Body = dict[str, Any]

SEED = "tulip-4711"
THOUGHT = "hear their words"
REFUSED = "cannot help"
INPUT_PLACES = ("system", "user", "said_before", "thought_before", "tool_call", "tool_result", "document", "tool")
OUTPUT_PLACES = ("text", "reasoning", "refusal", "arguments")
ACTIONS = ("block", "mask")

HOWS = ("pattern", "model")
PATTERN = re.compile(f"{SEED[:-4]}[0-9]{{4}}|{THOUGHT}|{REFUSED}")


def rule(side: str, action: str, how: str) -> Body:
    """A rule of each kind that finds the seeds on one side: a regular expression; a content filter or names."""
    sides = {"inputEnabled": side == "input", "outputEnabled": side == "output"}
    if how == "pattern":
        does = "BLOCK" if action == "block" else "ANONYMIZE"
        regex = {"name": "secret", "pattern": PATTERN.pattern, "action": does, **sides}
        return {"sensitiveInformationPolicyConfig": {"regexesConfig": [regex]}}
    if action == "mask":
        entity = {"type": "NAME", "action": "ANONYMIZE", **sides}
        return {"sensitiveInformationPolicyConfig": {"piiEntitiesConfig": [entity]}}
    filter_ = {"type": "VIOLENCE", "inputStrength": "LOW", "outputStrength": "LOW", **sides}
    return {"contentPolicyConfig": {"filtersConfig": [filter_]}}


MESSAGES = {"blockedInputMessaging": "Input stopped.", "blockedOutputsMessaging": "Answer stopped."}
RESOURCES = "---\n".join(
    json.dumps({"kind": "Guardrail", "name": f"{side}-{action}-{how}", "spec": {**MESSAGES, **rule(side, action, how)}})
    + "\n"
    for side in ("input", "output")
    for action in ACTIONS
    for how in HOWS
)
RULES = {
    ("pattern", "block"): "regex:secret",
    ("pattern", "mask"): "regex:secret",
    ("model", "block"): "content:VIOLENCE",
    ("model", "mask"): "NAME",
}
MASKS = {"pattern": "{secret}", "model": "{NAME}"}


class Reader(WorkerPool):
    """The pool with a model in this process that finds the seeds, and takes them for violence and for names."""

    def capabilities(self) -> Capabilities:
        return Capabilities(models=frozenset({"content", "entities"}))

    async def evaluate(self, tenant: str, tasks: Sequence[Task], *, timeout_s: float) -> Sequence[Result]:
        return [self._read(task) for task in tasks]

    def _read(self, task: Task) -> Result:
        match task:
            case ContentTask(text=text, types=types):
                return Scores(scores=dict.fromkeys(types, 1.0 if PATTERN.search(text) else 0.0))
            case EntitiesTask(text=text):
                return Spans(spans=tuple((*found.span(), "NAME") for found in PATTERN.finditer(text)))
            case _:
                raise EvaluationFailed("not asked for here")


TOOL: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
DATA = base64.b64encode(f"a file about {SEED}, read it".encode()).decode()


class Asked:
    """A request in the making: what each place holds, in no dialect yet."""

    def __init__(self, place: str, model: str, *, stream: bool) -> None:
        self.model = model
        self.stream = stream
        self.place = place
        self.with_tools = place in ("tool_call", "tool_result", "tool", "arguments")

    def at(self, place: str, otherwise: str) -> str:
        """The seed in a sentence where it belongs, and something harmless elsewhere."""
        return f"about {SEED}, please" if place == self.place else otherwise

    @property
    def user(self) -> str:
        """The last user's text."""
        match self.place:
            case "text":
                return f"say: it is {SEED}, so there"
            case "arguments":
                return f"look up '{SEED}' for me"
            case _:
                return self.at("user", "hello there")


def chat(asked: Asked) -> tuple[str, Body]:
    messages: list[Body] = [{"role": "system", "content": asked.at("system", "be brief")}]
    if asked.place in ("said_before", "thought_before"):
        said: Body = {"role": "assistant", "content": asked.at("said_before", "well")}
        if asked.place == "thought_before":
            said["reasoning_content"] = asked.at("thought_before", "hm")
        messages += [{"role": "user", "content": "hi"}, said]
    if asked.place in ("tool_call", "tool_result"):
        call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": arguments(asked)}}
        messages += [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": asked.at("tool_result", "rain")},
        ]
    content: Any = asked.user
    if asked.place == "document":
        file = {"filename": "a.txt", "file_data": f"data:text/plain;base64,{DATA}"}
        content = [{"type": "text", "text": "read"}, {"type": "file", "file": file}]
    messages.append({"role": "user", "content": content})
    body: Body = {"model": asked.model, "stream": asked.stream, "messages": messages}
    if asked.with_tools:
        function = {"name": "look", "description": asked.at("tool", "looks"), "parameters": TOOL}
        body["tools"] = [{"type": "function", "function": function}]
    return "/v1/chat/completions", body


def responses(asked: Asked) -> tuple[str, Body]:
    items: list[Body] = []
    if asked.place == "said_before":
        text = {"type": "output_text", "text": asked.at("said_before", "")}
        items += [
            {"role": "user", "content": "hi"},
            {"type": "message", "role": "assistant", "content": [text]},
        ]
    if asked.place == "thought_before":
        thought = {"type": "reasoning_text", "text": asked.at("thought_before", "")}
        items += [
            {"role": "user", "content": "hi"},
            {"type": "reasoning", "id": "rs_1", "summary": [], "content": [thought]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "well"}]},
        ]
    if asked.place in ("tool_call", "tool_result"):
        items += [
            {"role": "user", "content": "hi"},
            {"type": "function_call", "call_id": "c1", "name": "look", "arguments": arguments(asked)},
            {"type": "function_call_output", "call_id": "c1", "output": asked.at("tool_result", "rain")},
        ]
    content: Any = asked.user
    if asked.place == "document":
        file = {"type": "input_file", "filename": "a.txt", "file_data": f"data:text/plain;base64,{DATA}"}
        content = [{"type": "input_text", "text": "read"}, file]
    items.append({"role": "user", "content": content})
    body: Body = {
        "model": asked.model,
        "stream": asked.stream,
        "store": False,
        "instructions": asked.at("system", "be brief"),
        "input": items,
    }
    if asked.with_tools:
        body["tools"] = [
            {"type": "function", "name": "look", "description": asked.at("tool", "looks"), "parameters": TOOL}
        ]
    return "/v1/responses", body


def messages(asked: Asked) -> tuple[str, Body]:
    return "/v1/messages", {"model": asked.model, "stream": asked.stream, **anthropic(asked)}


def invoke(asked: Asked) -> tuple[str, Body]:
    action = "invoke-with-response-stream" if asked.stream else "invoke"
    path = f"/model/{asked.model.replace('/', '%2F')}/{action}"
    return path, {"anthropic_version": "bedrock-2023-05-31", **anthropic(asked)}


def anthropic(asked: Asked) -> Body:
    said: list[Body] = []
    if asked.place in ("said_before", "thought_before"):
        before: list[Body] = [{"type": "text", "text": asked.at("said_before", "well")}]
        if asked.place == "thought_before":
            before.insert(0, {"type": "thinking", "thinking": asked.at("thought_before", "hm"), "signature": "c2ln"})
        said += [{"role": "user", "content": "hi"}, {"role": "assistant", "content": before}]
    if asked.place in ("tool_call", "tool_result"):
        use = {"type": "tool_use", "id": "c1", "name": "look", "input": json.loads(arguments(asked))}
        result = {"type": "tool_result", "tool_use_id": "c1", "content": asked.at("tool_result", "rain")}
        said += [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [use]},
            {"role": "user", "content": [result, {"type": "text", "text": asked.user}]},
        ]
    elif asked.place == "document":
        source = {"type": "text", "media_type": "text/plain", "data": base64.b64decode(DATA).decode()}
        said.append(
            {"role": "user", "content": [{"type": "document", "source": source}, {"type": "text", "text": "read"}]}
        )
    else:
        said.append({"role": "user", "content": asked.user})
    body: Body = {"max_tokens": 200, "system": asked.at("system", "be brief"), "messages": said}
    if asked.with_tools:
        body["tools"] = [{"name": "look", "description": asked.at("tool", "looks"), "input_schema": TOOL}]
    return body


def converse(asked: Asked) -> tuple[str, Body]:
    said: list[Body] = []
    if asked.place in ("said_before", "thought_before"):
        before: list[Body] = [{"text": asked.at("said_before", "well")}]
        if asked.place == "thought_before":
            thought = {"text": asked.at("thought_before", "hm"), "signature": "c2ln"}
            before.insert(0, {"reasoningContent": {"reasoningText": thought}})
        said += [{"role": "user", "content": [{"text": "hi"}]}, {"role": "assistant", "content": before}]
    if asked.place in ("tool_call", "tool_result"):
        use = {"toolUseId": "c1", "name": "look", "input": json.loads(arguments(asked))}
        result = {"toolUseId": "c1", "content": [{"text": asked.at("tool_result", "rain")}]}
        said += [
            {"role": "user", "content": [{"text": "hi"}]},
            {"role": "assistant", "content": [{"toolUse": use}]},
            {"role": "user", "content": [{"toolResult": result}, {"text": asked.user}]},
        ]
    elif asked.place == "document":
        file = {"document": {"format": "txt", "name": "a", "source": {"bytes": DATA}}}
        said.append({"role": "user", "content": [{"text": "read"}, file]})
    else:
        said.append({"role": "user", "content": [{"text": asked.user}]})
    body: Body = {"system": [{"text": asked.at("system", "be brief")}], "messages": said}
    if asked.with_tools:
        spec = {"name": "look", "description": asked.at("tool", "looks"), "inputSchema": {"json": TOOL}}
        body["toolConfig"] = {"tools": [{"toolSpec": spec}]}
    action = "converse-stream" if asked.stream else "converse"
    return f"/model/{asked.model.replace('/', '%2F')}/{action}", body


def completion(asked: Asked) -> tuple[str, Body]:
    return "/v1/completions", {"model": asked.model, "stream": asked.stream, "prompt": asked.user}


def arguments(asked: Asked) -> str:
    return json.dumps({"city": asked.at("tool_call", "Paris")})


DIALECTS: Mapping[str, Callable[[Asked], tuple[str, Body]]] = {
    "chat": chat,
    "completion": completion,
    "responses": responses,
    "messages": messages,
    "converse": converse,
    "invoke": invoke,
}
CANNOT = {
    ("completion", place): "the wire has one text in and one text out"
    for place in (*INPUT_PLACES, *OUTPUT_PLACES)
    if place not in ("user", "text")
}
BLOCKED = {
    "chat": b'"finish_reason":"content_filter"',
    "completion": b'"finish_reason":"content_filter"',
    "responses": b"content_filter",
    "messages": b'"stop_reason":"refusal"',
    "converse": b'"stopReason":"guardrail_intervened"',
    "invoke": b'"amazon-bedrock-guardrailAction":"INTERVENED"',
}
MODELS = {
    "text": "fake/script",
    "reasoning": "fake/reasoning",
    "refusal": "fake/refusal",
    "arguments": "fake/caller",
}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def app(tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer) -> AsyncIterator[InProcess]:
    name = postgres_server.create_database()
    url = postgres_server.url(name)
    folder = tmp_path_factory.mktemp("matrix")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bedplate_gateway.app.guardrail_pool", lambda _: Reader())
        async with in_process(folder, url, resources=RESOURCES) as running:
            yield running
    postgres_server.drop_database(name)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """What reached the provider."""
    requests: list[Request] = []
    generate = FakeProvider.generate

    def noting(self: FakeProvider, request: Request, dispatch: Any) -> Any:
        requests.append(request)
        return generate(self, request, dispatch)

    monkeypatch.setattr(FakeProvider, "generate", noting)
    return requests


def shown(exchange: Exchange) -> bytes:
    """Every byte of the body that the client was sent, base64 of event streams decoded besides."""
    body = b"".join(message.get("body", b"") for message in exchange.sent if message["type"] == "http.response.body")
    decoded = [base64.b64decode(piece) for piece in _base64_pieces(body)]
    return body + b"\n" + b"".join(decoded)


def _base64_pieces(body: bytes) -> list[bytes]:
    pieces = [piece.split(b'"', 1)[0] for piece in body.split(b'{"bytes":"')[1:]]
    return [piece for piece in pieces if piece]


def joined(body: bytes) -> str:
    """The text of a streamed answer put together again, so that a seed cut into deltas shows."""
    texts: list[str] = []
    for line in body.replace(b"}{", b"}\n{").splitlines():
        at = line.find(b"{")
        while at >= 0:
            try:
                value, _ = json.JSONDecoder().raw_decode(line[at:].decode("utf-8", "replace"))
            except ValueError:
                at = line.find(b"{", at + 1)
                continue
            collect(value, texts)
            break
    return "".join(texts)


def collect(value: Any, texts: list[str]) -> None:
    """The texts of a frame's deltas, in order."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, str) and key in (
                "content", "text", "delta", "arguments", "partial_json", "thinking", "reasoning_content", "refusal",
                "input", "reasoning",
            ):  # fmt: skip
                texts.append(inner)
            else:
                collect(inner, texts)
    elif isinstance(value, list):
        for inner in value:
            collect(inner, texts)


CELLS = [
    (dialect, stream, place, action, how)
    for dialect in DIALECTS
    for stream in (False, True)
    for place in (*INPUT_PLACES, *OUTPUT_PLACES)
    for action in ACTIONS
    for how in HOWS
    if (dialect, place) not in CANNOT
]


@pytest.mark.parametrize(("dialect", "stream", "place", "action", "how"), CELLS)
async def test_the_seed_is_stopped(
    app: InProcess, sent: list[Request], dialect: str, stream: bool, place: str, action: str, how: str
) -> None:
    side = "input" if place in INPUT_PLACES else "output"
    asked = Asked(place, MODELS.get(place, "fake/echo"), stream=stream)
    path, body = DIALECTS[dialect](asked)
    exchange = await app.post(path, body, {"x-bedplate-guardrail": f"{side}-{action}-{how}"})
    said = shown(exchange)
    assert exchange.status == 200, said
    seed = {"reasoning": THOUGHT, "refusal": REFUSED}.get(place, SEED)
    if side == "output":
        assert sent, "the model was not asked"
        assert seed.encode() not in said, said
        assert seed not in joined(said), said
    elif action == "block":
        assert not sent, "a blocked request reached the model"
    else:
        assert len(sent) == 1
        request = repr(sent[0])
        assert SEED not in request
        assert DATA not in request
        assert MASKS[how] in request
    if action == "block":
        assert BLOCKED[dialect] in said.replace(b'": "', b'":"'), said
        assert (b"Input stopped." if side == "input" else b"Answer stopped.") in said or joined(said), said
    records = await app.records()
    verdicts = json.loads(records[-1]["verdicts"])
    wanted = "block" if action == "block" else "mask"
    assert {"side": side, "rule": RULES[how, action], "action": wanted}.items() <= verdicts[0].items(), verdicts
