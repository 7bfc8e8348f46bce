"""Requests to the Bedrock provider, and its answers as recorded."""

from __future__ import annotations

import base64
from typing import Any

from bedplate_core.messages import (
    Message,
    Part,
    Role,
    Text,
)
from bedplate_core.requests import (
    Request,
    Sampling,
)
from bedplate_providers.bedrock import BedrockProvider
from bedplate_providers.bedrock_request import render_request
from bedplate_providers.endpoints import BedrockEndpoint
from tests.providers.drive import DISPATCH, Run, chat, run
from tests.providers.recorded import Replay
from tests.providers.wire_server import WireServer

US = "bedrock"
MODEL = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
ARN = "arn:aws:bedrock:eu-central-1:111122223333:application-inference-profile/ab12cd34ef56"
SIGNATURE = "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pk="
REDACTED = base64.b64decode("EmwKAhgBEgy3va3pzix/LafPsn4aDFIT2Xlxh0L5L8rLVyIwxtE3rAFBa8cr3qpP")
COUNTED = "One two three four five six."


def body(request: Request) -> Any:
    return render_request(request, US)


def messages(*sent: Message) -> Any:
    return body(Request(model="m", messages=sent))["messages"]


def said(role: Role, *parts: str | Part) -> Message:
    return Message(role=role, parts=tuple(Text(text=part) if isinstance(part, str) else part for part in parts))


def asked(text: str = "Count: one two three four five six", **fields: Any) -> Request:
    fields.setdefault("sampling", Sampling(max_tokens=24, temperature=0))
    return chat(text, model=MODEL, **fields)


async def played(case: str, request: Request) -> Run:
    replay = Replay("bedrock", pause_s=0)
    async with WireServer(replay) as server:
        provider = BedrockProvider(US, BedrockEndpoint(region="eu-central-1", base_url=server.url, api_key="k3y"))
        result = await run(provider.generate(request, DISPATCH))
        await provider.aclose()
    assert replay.asked == [case]
    assert result.error is None
    return result


# what is sent
