"""The gateway in front of a real vLLM: clients that leave, and an engine that dies."""

from __future__ import annotations

import json
import re
import socket
import time
import urllib.request

import openai
import pytest

from tests.fixtures.engine import EngineEndpoint
from tests.fixtures.gateway import RunningGateway

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1800)]


@pytest.fixture
def served(gateway: RunningGateway, engine_endpoint: EngineEndpoint) -> RunningGateway:
    gateway.add_engine(engine_endpoint)
    deadline = time.monotonic() + 5
    client = openai.OpenAI(base_url=f"{gateway.base_url}/v1", api_key=gateway.key, max_retries=0)
    while engine_endpoint.model not in [model.id for model in client.models.list().data]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return gateway


def running_requests(engine: EngineEndpoint) -> float:
    """What vLLM itself says it is working on, running and waiting together."""
    with urllib.request.urlopen(f"{engine.url}/metrics", timeout=5) as response:
        text = response.read().decode()
    return sum(
        float(value)
        for name in ("running", "waiting")
        for value in re.findall(rf"^vllm:num_requests_{name}\{{[^}}]*\}} ([0-9.e+]+)$", text, re.M)
    )


def post(gateway: RunningGateway, body: dict[str, object]) -> socket.socket:
    """Send a chat completion over a bare socket, which can be closed at any moment."""
    payload = json.dumps(body).encode()
    connection = socket.create_connection(("127.0.0.1", gateway.settings.port))
    connection.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        + f"authorization: Bearer {gateway.key}\r\ncontent-length: {len(payload)}\r\n\r\n".encode()
        + payload
    )
    return connection


def long_answer(model: str, *, stream: bool) -> dict[str, object]:
    return {
        "model": model,
        "stream": stream,
        "max_tokens": 2000,
        "ignore_eos": True,
        "messages": [{"role": "user", "content": "Tell a very long story."}],
    }


def wait_for(condition: object, within_s: float) -> float:
    began = time.monotonic()
    while not condition():  # type: ignore[operator]
        assert time.monotonic() - began < within_s, f"not within {within_s} s"
        time.sleep(0.02)
    return time.monotonic() - began


@pytest.fixture
def quiet(engine_endpoint: EngineEndpoint) -> None:
    """Each test starts with an idle engine."""
    wait_for(lambda: running_requests(engine_endpoint) == 0, 10)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("when", ["before", "during"])
@pytest.mark.usefixtures("quiet")
def test_a_client_that_leaves_frees_the_engine_within_a_second(
    served: RunningGateway, engine_endpoint: EngineEndpoint, when: str, stream: bool
) -> None:
    before = {row["id"] for row in served.records()}
    connection = post(served, long_answer(engine_endpoint.model, stream=stream))
    wait_for(lambda: running_requests(engine_endpoint) > 0, 5)
    if when == "during":
        if stream:
            assert b"200 OK" in connection.recv(256)
        time.sleep(0.5)
    connection.close()
    took_s = wait_for(lambda: running_requests(engine_endpoint) == 0, 1.0)
    print(f"{when}, stream={stream}: idle again after {took_s:.2f} s")
    wait_for(lambda: len(served.records()) > len(before), 1.0)
    records = [row for row in served.records() if row["id"] not in before]
    assert [row["outcome"] for row in records] == ["cancelled"]


@pytest.mark.usefixtures("quiet")
def test_a_client_that_leaves_after_the_stream_is_a_completed_call(
    served: RunningGateway, engine_endpoint: EngineEndpoint
) -> None:
    before = {row["id"] for row in served.records()}
    body = long_answer(engine_endpoint.model, stream=True) | {"max_tokens": 5}
    connection = post(served, body)
    received = b""
    while b"[DONE]" not in received:
        received += connection.recv(4096)
    connection.close()
    records = [row for row in served.records() if row["id"] not in before]
    assert [row["outcome"] for row in records] == ["completed"]
    assert records[0]["output_tokens"] == 5


def test_too_long_context_is_the_clients_bad_request(served: RunningGateway, engine_endpoint: EngineEndpoint) -> None:
    client = openai.OpenAI(base_url=f"{served.base_url}/v1", api_key=served.key, max_retries=0)
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(
            model=engine_endpoint.model, messages=[{"role": "user", "content": "word " * 6000}]
        )
    assert refused.value.code == "context_length_exceeded"
    assert served.records()[-1]["outcome"] == "context_length_exceeded"


def test_raw_completions_logprobs_and_several_choices(served: RunningGateway, engine_endpoint: EngineEndpoint) -> None:
    client = openai.OpenAI(base_url=f"{served.base_url}/v1", api_key=served.key, max_retries=0)
    completion = client.completions.create(
        model=engine_endpoint.model, prompt=["One two three", "Red green"], max_tokens=4, temperature=0, n=1
    )
    assert [choice.index for choice in completion.choices] == [0, 1]
    answer = client.chat.completions.create(
        model=engine_endpoint.model,
        messages=[{"role": "user", "content": "Hello"}],
        max_tokens=4,
        n=2,
        logprobs=True,
        top_logprobs=2,
        temperature=0.8,
        seed=5,
        extra_body={"ignore_eos": True},
    )
    assert len(answer.choices) == 2
    for choice in answer.choices:
        assert len(choice.logprobs.content) == 4
        assert all(len(token.top_logprobs) == 2 for token in choice.logprobs.content)


def test_tenants_share_no_cached_prefix(served: RunningGateway, engine_endpoint: EngineEndpoint) -> None:
    """The salt comes from the authenticated project: the same long text is cached for one and unknown to the other."""
    messages = [{"role": "user", "content": "A long common beginning. " * 20 + str(time.time())}]

    def cached_tokens(key: str) -> int:
        client = openai.OpenAI(base_url=f"{served.base_url}/v1", api_key=key, max_retries=0)
        usage = client.chat.completions.create(model=engine_endpoint.model, messages=messages, max_tokens=1).usage
        return usage.prompt_tokens_details.cached_tokens

    assert cached_tokens(served.key) == 0
    assert cached_tokens(served.key) > 0
    assert cached_tokens(served.other_key) == 0
