"""The bodies of InvokeModel, case by case and family by family: fixtures in `tests/wire/bedrock_invoke`.

`requests/<case>.json` decodes to `<case>.canonical.json`. `responses/<case>.events.json` encodes, in each family, to
`<case>.<family>.json`: the whole answer with its headers, and the frames of the stream as botocore's own parser reads
them. Set `REGENERATE_WIRE=1` to write the outputs anew, then read the diff.
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from botocore.eventstream import EventStreamBuffer

from bedplate_core import errors
from bedplate_core.embeddings import Embeddings
from bedplate_core.events import Event
from bedplate_core.order import EventOrder
from bedplate_core.response import Fold
from bedplate_core.usage import Usage
from bedplate_gateway.dialects.bedrock.errors import RESPONSE_STREAM_EXCEPTIONS
from bedplate_gateway.dialects.bedrock.invoke_exchange import InvokeEmbedding, InvokeExchange, decode_invoke

WIRE = Path(__file__).parent.parent / "wire" / "bedrock_invoke"
REGENERATE = os.environ.get("REGENERATE_WIRE") == "1"
REQUEST_CASES = sorted(path.stem for path in (WIRE / "requests").glob("*.json") if not path.stem.endswith(".canonical"))
RESPONSE_CASES = sorted(path.name.split(".")[0] for path in (WIRE / "responses").glob("*.events.json"))
WHOLE_CASES = [case for case in RESPONSE_CASES if not case.startswith("error_")]
BODIES: dict[str, dict[str, Any]] = {
    "llama": {"prompt": "p", "max_gen_len": 9},
    "mistral": {"prompt": "p", "max_tokens": 9},
    "openai": {"messages": [{"role": "user", "content": "p"}]},
    "anthropic": {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "p"}],
    },
}
METRICS = "amazon-bedrock-invocationMetrics"
ACTIONS = {
    "guardrail": "INTERVENED",
    "guardrail_hidden": "INTERVENED",
    "guardrail_mask": "INTERVENED",
    "guardrail_quiet": "NONE",
    "guardrail_trace": "INTERVENED",
    "guardrail_twice": "INTERVENED",
}
TRACED = {"guardrail_mask", "guardrail_quiet", "guardrail_trace", "guardrail_twice"}


class Scripted(msgspec.Struct, forbid_unknown_fields=True):
    """A `.events.json` file."""

    events: list[Event]
    error: dict[str, Any] | None


def expect(path: Path, actual: Any) -> None:
    text = json.dumps(msgspec.to_builtins(actual), indent=2, ensure_ascii=False) + "\n"
    if REGENERATE:
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def load(case: str) -> Scripted:
    return msgspec.json.decode((WIRE / "responses" / f"{case}.events.json").read_bytes(), type=Scripted)


def decode(body: bytes, *, stream: bool) -> InvokeExchange | InvokeEmbedding:
    """Decoded as a call that began half a second before its answer is encoded."""
    exchange = decode_invoke(
        body, model_id="support-chat", header=lambda _: None, stream=stream, continues=False, started_s=10.0
    )
    return msgspec.structs.replace(exchange, clock=lambda: 10.5)


def exchange_of(family: str) -> InvokeExchange:
    exchange = decode(json.dumps(BODIES[family]).encode(), stream=True)
    assert isinstance(exchange, InvokeExchange)
    return exchange


def error_of(script: Scripted) -> errors.GatewayError:
    assert script.error is not None
    arguments = dict(script.error)
    return getattr(errors, arguments.pop("type"))(**arguments)


def streamed(family: str, script: Scripted, *, one_batch: bool = False) -> bytes:
    encoder = exchange_of(family).stream()
    batches: list[list[Event]] = [script.events] if one_batch else [[event] for event in script.events]
    data = b"".join(encoder.encode(batch) for batch in batches)
    return data + (encoder.end() if script.error is None else encoder.error(error_of(script)))


def frames(data: bytes) -> list[dict[str, Any]]:
    """What botocore's parser finds, with the vendor's JSON out of its base64."""
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    found: list[dict[str, Any]] = []
    read = 0
    for message in buffer:
        read += message.prelude.total_length
        payload = json.loads(message.payload)
        kind = message.headers[":message-type"]
        assert message.headers[":content-type"] == "application/json"
        if kind == "event":
            assert message.headers[":event-type"] == "chunk"
            assert list(payload) == ["bytes"]
            found.append({"chunk": json.loads(base64.b64decode(payload["bytes"], validate=True))})
        else:
            assert kind == "exception"
            found.append({message.headers[":exception-type"]: payload})
    assert read == len(data)
    return found


def said(family: str, document: dict[str, Any]) -> str:
    """The text of a chunk or a whole answer."""
    match family:
        case "llama":
            return document["generation"]
        case "mistral":
            return "".join(output["text"] for output in document["outputs"])
        case "openai":
            message = document["choices"][0].get("delta") or document["choices"][0].get("message") or {}
            return (message.get("content") or "") + (message.get("refusal") or "")
        case _:
            blocks = document.get("content", [])
            delta = document.get("delta", {})
            started = document.get("content_block", {})
            return "".join(b.get("text", "") for b in blocks) + delta.get("text", "") + started.get("text", "")


@pytest.mark.parametrize("case", REQUEST_CASES)
def test_request_decodes_to_its_canonical_form(case: str) -> None:
    body = (WIRE / "requests" / f"{case}.json").read_bytes()
    expect(WIRE / "requests" / f"{case}.canonical.json", decode(body, stream=False).request)


@pytest.mark.parametrize("family", sorted(BODIES))
@pytest.mark.parametrize("case", RESPONSE_CASES)
def test_answer_encodes_to_its_wire_form(case: str, family: str) -> None:
    script = load(case)
    actual: dict[str, Any] = {"stream": frames(streamed(family, script))}
    if script.error is None:
        fold = Fold()
        for event in script.events:
            fold.add(event)
        reply = exchange_of(family).reply(fold.response())
        assert reply.status == 200
        actual = {"headers": reply.headers, "body": json.loads(reply.body), **actual}
    expect(WIRE / "responses" / f"{case}.{family}.json", actual)


@pytest.mark.parametrize("family", sorted(BODIES))
@pytest.mark.parametrize("case", RESPONSE_CASES)
def test_batching_changes_no_byte(case: str, family: str) -> None:
    script = load(case)
    assert streamed(family, script, one_batch=True) == streamed(family, script)


@pytest.mark.parametrize("family", sorted(BODIES))
@pytest.mark.parametrize("case", WHOLE_CASES)
def test_a_stream_says_what_its_whole_twin_says(case: str, family: str) -> None:
    script = load(case)
    fold = Fold()
    for event in script.events:
        fold.add(event)
    reply = exchange_of(family).reply(fold.response())
    whole = json.loads(reply.body)
    chunks = [frame["chunk"] for frame in frames(streamed(family, script))]
    assert "".join(said(family, chunk) for chunk in chunks) == said(family, whole)
    assert [METRICS in chunk for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    metrics = chunks[-1][METRICS]
    assert reply.headers["x-amzn-bedrock-input-token-count"] == str(metrics["inputTokenCount"])
    assert reply.headers["x-amzn-bedrock-output-token-count"] == str(metrics["outputTokenCount"])
    assert reply.headers["x-amzn-bedrock-invocation-latency"] == str(metrics["invocationLatency"]) == "500"
    for kind in ("read", "write"):
        header = reply.headers.get(f"x-amzn-bedrock-cache-{kind}-input-token-count")
        count = metrics.get(f"cache{kind.title()}InputTokenCount")
        assert header == (None if count is None else str(count))
    for member in ("amazon-bedrock-guardrailAction", "amazon-bedrock-trace"):
        assert whole.get(member) == chunks[-1].get(member)
        assert not any(member in chunk for chunk in chunks[:-1])
    assert whole.get("amazon-bedrock-guardrailAction") == ACTIONS.get(case)
    assert ("amazon-bedrock-trace" in whole) is (case in TRACED)


@pytest.mark.parametrize("family", sorted(BODIES))
@pytest.mark.parametrize("kind", ["UpstreamUnavailable", "UpstreamTimeout", "RateLimited", "GatewayError", "NotFound"])
def test_a_broken_stream_ends_with_an_exception_that_the_union_declares(family: str, kind: str) -> None:
    script = load("error_midstream")
    script.error = {"type": kind, "message": "It broke."}
    found = frames(streamed(family, script))
    (name, payload), *more = found[-1].items()
    assert not more
    assert name in RESPONSE_STREAM_EXCEPTIONS
    assert payload == {"message": "It broke."}
    assert all(list(frame) == ["chunk"] for frame in found[:-1])
    assert not any(METRICS in frame["chunk"] for frame in found[:-1])


def test_a_keep_alive_is_an_event_that_the_stream_does_not_have() -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(exchange_of("llama").stream().keep_alive())
    (message,) = list(buffer)
    assert message.headers[":message-type"] == "event"
    assert message.headers[":event-type"] != "chunk"


@pytest.mark.parametrize("case", WHOLE_CASES)
def test_the_fixtures_keep_the_order_of_events(case: str) -> None:
    order = EventOrder()
    for event in load(case).events:
        order.add(event)
    order.end()


@pytest.mark.parametrize("case", [case for case in REQUEST_CASES if case.startswith(("titan", "cohere"))])
def test_embeddings_encode_to_their_wire_form(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bedplate_gateway.dialects.bedrock.cohere_embed.uuid4", lambda: "00000000-id")
    exchange = decode((WIRE / "requests" / f"{case}.json").read_bytes(), stream=False)
    assert isinstance(exchange, InvokeEmbedding)
    vectors = tuple((3.0, -4.0, 0.0) for _ in exchange.request.inputs)
    reply = exchange.reply(Embeddings(model="upstream", vectors=vectors, usage=Usage(input_tokens=4)))
    actual = {"headers": reply.headers, "body": json.loads(reply.body)}
    expect(WIRE / "responses" / f"{case}.embeddings.json", actual)
