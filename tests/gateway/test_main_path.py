"""The gateway as the official client sees it, on the scripted provider."""

from __future__ import annotations

import openai
import pytest

from tests.fixtures.gateway import RunningGateway


@pytest.fixture
def client(gateway: RunningGateway) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway.base_url}/v1", api_key=gateway.key, max_retries=0)


def test_a_stream_equals_its_non_streamed_twin(client: openai.OpenAI) -> None:
    messages = [{"role": "user", "content": "one two three"}]
    whole = client.chat.completions.create(model="fake/echo", messages=messages)
    chunks = list(client.chat.completions.create(model="fake/echo", messages=messages, stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert whole.choices[0].message.content == text == "one two three"
