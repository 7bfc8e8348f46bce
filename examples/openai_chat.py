"""A conversation with the official `openai` client: plain, streamed, and as a durable session.

eval "$(bedplate env)"
python examples/openai_chat.py [MODEL]
"""

from __future__ import annotations

import sys

from openai import OpenAI

model = sys.argv[1] if len(sys.argv) > 1 else "smollm2"
client = OpenAI()  # reads OPENAI_BASE_URL and OPENAI_API_KEY

answer = client.chat.completions.create(
    model=model,
    messages=[{"role": "user", "content": "Say hello."}],
    max_tokens=64,
)
print(answer.choices[0].message.content)

for chunk in client.chat.completions.create(
    model=model,
    messages=[{"role": "user", "content": "Count to three."}],
    max_tokens=64,
    stream=True,
):
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
print()

first = client.chat.completions.with_raw_response.create(
    model=model,
    messages=[{"role": "user", "content": "My name is Ada."}],
    max_tokens=64,
    extra_headers={"x-bedplate-session": "auto"},
)
session = first.headers["x-bedplate-session"]
second = client.chat.completions.create(
    model=model,
    messages=[{"role": "user", "content": "What is my name?"}],
    max_tokens=64,
    extra_headers={"x-bedplate-session": session},
)
print(session, second.choices[0].message.content)
