"""One conversation on every SDK: begun with boto3, gone on with by openai and anthropic, read on all three faces."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import boto3
import httpx
import openai
import pytest
from botocore.config import Config

from tests.fixtures.gateway import RunningGateway

TOOL = {"name": "weather", "description": "the weather", "parameters": {"type": "object", "properties": {}}}


@pytest.fixture(scope="module")
def boto(gateway: RunningGateway) -> Iterator[Any]:
    """Makes boto3's clients, signed with a key pair of the project."""
    pair = gateway.create_access_key("default")

    def made(service: str) -> Any:
        return boto3.client(
            service,
            region_name="eu-west-1",
            endpoint_url=gateway.base_url,
            aws_access_key_id=pair.access_key_id,
            aws_secret_access_key=pair.secret.reveal() if pair.secret is not None else None,
            config=Config(retries={"total_max_attempts": 1}),
        )

    return made


def with_session(client: Any, session: str) -> Any:
    """Converse through `client` as turns of the session; boto3 sends a header that it does not know by an event."""
    client.meta.events.register(
        "before-call.bedrock-runtime.*",
        lambda params, **_: params["headers"].update({"x-bedplate-session": session}),
    )
    return client


def test_it_goes_on_across_the_sdks_and_every_face_shows_the_same(gateway: RunningGateway, boto: Any) -> None:
    first = with_session(boto("bedrock-runtime"), "auto").converse(
        modelId="fake/echo", messages=[{"role": "user", "content": [{"text": "from boto3"}]}]
    )
    session = first["ResponseMetadata"]["HTTPHeaders"]["x-bedplate-session"]
    chat = openai.OpenAI(base_url=f"{gateway.base_url}/v1", api_key=gateway.key, max_retries=0)
    called = chat.chat.completions.create(
        model="fake/caller",
        messages=[{"role": "user", "content": 'weather {"city": "Paris"}'}],
        tools=[{"type": "function", "function": TOOL}],
        extra_body={"session": session},
    )
    [call] = called.choices[0].message.tool_calls or []
    claude = anthropic.Anthropic(base_url=gateway.base_url, api_key=gateway.key, max_retries=0)
    with claude.messages.stream(
        model="fake/echo",
        max_tokens=100,
        messages=[
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny there"}]}
        ],
        extra_headers={"x-bedplate-session": session},
    ) as stream:
        assert stream.get_final_text() == "sunny there"
    conversation = session.replace("sess_", "conv_")
    answered = chat.responses.create(model="fake/echo", input="from responses", conversation=conversation)
    assert answered.output_text == "from responses"

    said = own_items(gateway, session)
    assert [role for role, _ in said] == [
        "user",
        "assistant",
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
        "assistant",
    ]
    assert [text for _, text in said if text] == [
        "from boto3",
        "from boto3",
        'weather {"city": "Paris"}',
        "sunny there",
        "from responses",
        "from responses",
    ]
    assert bedrock_steps(boto("bedrock-agent-runtime"), session) == [
        *["from boto3"] * 2,
        'weather {"city": "Paris"}',
        ("weather", call.function.arguments),
        ("tool_result", call.id),
        "sunny there",
        *["from responses"] * 2,
    ]
    assert openai_items(chat, conversation) == [
        *[("message", "from boto3")] * 2,
        ("message", 'weather {"city": "Paris"}'),
        ("function_call", call.id),
        ("function_call_output", call.id),
        ("message", "sunny there"),
        *[("message", "from responses")] * 2,
    ]


def own_items(gateway: RunningGateway, session: str) -> list[tuple[str, str]]:
    headers = {"authorization": f"Bearer {gateway.key}"}
    page = httpx.get(f"{gateway.base_url}/v1/sessions/{session}/items", headers=headers, trust_env=False).json()
    return [
        (item["role"], "".join(part.get("text", "") for part in item["parts"] if part["kind"] == "text"))
        for item in page["data"]
    ]


def bedrock_steps(client: Any, session: str) -> list[Any]:
    """The steps, oldest first: their text, or what part of another kind they show."""
    name = session.removeprefix("sess_")
    uuid = f"{name[:8]}-{name[8:12]}-{name[12:16]}-{name[16:20]}-{name[20:]}"
    steps = []
    pages = client.get_paginator("list_invocation_steps").paginate(
        sessionIdentifier=uuid, PaginationConfig={"PageSize": 3}
    )
    for page in pages:
        for each in page["invocationStepSummaries"]:
            step = client.get_invocation_step(
                sessionIdentifier=uuid,
                invocationIdentifier=each["invocationId"],
                invocationStepId=each["invocationStepId"],
            )["invocationStep"]
            steps.append(shown(step["payload"]["contentBlocks"]))
    assert len(client.list_invocations(sessionIdentifier=uuid)["invocationSummaries"]) == 4
    return steps[::-1]


def shown(blocks: list[dict[str, Any]]) -> Any:
    [text] = [block["text"] for block in blocks]
    try:
        part = json.loads(text)
    except ValueError:
        return text
    if part.get("kind") == "tool_call":
        return part["name"], part["arguments"]
    if part.get("kind") == "tool_result":
        return "tool_result", part["call_id"]
    return text


def openai_items(client: openai.OpenAI, conversation: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for item in client.conversations.items.list(conversation, order="asc", limit=3):
        if item.type == "message":
            found.append((item.type, "".join(getattr(part, "text", "") for part in item.content)))
        else:
            found.append((item.type, item.call_id))
    return found
