"""One durable conversation with every SDK: OpenAI's begins it, Anthropic's and AWS's go on, AWS's reads it back.

eval "$(bedplate env)"
python examples/any_sdk.py [MODEL]
"""

from __future__ import annotations

import sys
from uuid import UUID

import boto3
from anthropic import Anthropic
from openai import OpenAI

model = sys.argv[1] if len(sys.argv) > 1 else "smollm2"

first = OpenAI().chat.completions.with_raw_response.create(
    model=model,
    messages=[{"role": "user", "content": "My name is Ada."}],
    max_tokens=64,
    extra_headers={"x-bedplate-session": "auto"},
)
session = first.headers["x-bedplate-session"]

Anthropic().messages.create(
    model=model,
    max_tokens=64,
    messages=[{"role": "user", "content": "I live in London."}],
    extra_body={"session": {"id": session, "on_busy": "reject"}},
)

answer = boto3.client("bedrock-runtime").converse(
    modelId=model,
    messages=[{"role": "user", "content": [{"text": "What is my name, and where do I live?"}]}],
    inferenceConfig={"maxTokens": 64},
    additionalModelRequestFields={"session": session},
)
print(session, answer["output"]["message"]["content"][0]["text"])

# The conversation is a session of Bedrock's operations as well, under the same digits; each message is a step.
store = boto3.client("bedrock-agent-runtime")
identifier = str(UUID(session.removeprefix("sess_")))
steps = store.list_invocation_steps(sessionIdentifier=identifier)["invocationStepSummaries"]
for step in reversed(steps):
    read = store.get_invocation_step(
        sessionIdentifier=identifier,
        invocationIdentifier=step["invocationId"],
        invocationStepId=step["invocationStepId"],
    )
    for block in read["invocationStep"]["payload"]["contentBlocks"]:
        print(block["text"])
