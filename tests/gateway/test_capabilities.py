"""A capability that a model's profile lacks is refused by name, before anything is sent."""

from __future__ import annotations

import pytest

from bedplate_core.errors import UnsupportedFeature
from bedplate_core.messages import Image, MediaBytes, Message, Role, Text, ToolResult
from bedplate_core.requests import JsonObjectFormat, ReasoningControl, Request, Tool
from bedplate_gateway.engine.capabilities import require_capabilities
from bedplate_providers.base import Profile

PICTURE = Image(media=MediaBytes(b"x", "image/png"))
HELLO = Message(role=Role.USER, parts=(Text(text="hello"),))
NONE = Profile(
    generation=True,
    completions=False,
    tools=False,
    structured_output=False,
    logprobs=False,
    reasoning=False,
    vision=False,
)


@pytest.mark.parametrize(
    ("request_", "feature"),
    [
        (Request(model="m", prompts=("hello",)), "text completions"),
        (Request(model="m", messages=(HELLO,), tools=(Tool(name="f"),)), "tools"),
        (Request(model="m", messages=(HELLO,), response_format=JsonObjectFormat()), "response formats"),
        (Request(model="m", messages=(HELLO,), top_logprobs=0), "log-probabilities"),
        (Request(model="m", messages=(HELLO,), reasoning=ReasoningControl(effort="low")), "reasoning control"),
        (Request(model="m", messages=(Message(role=Role.USER, parts=(PICTURE,)),)), "pictures"),
        (
            Request(
                model="m",
                messages=(Message(role=Role.TOOL, parts=(ToolResult(call_id="c", parts=(PICTURE,)),)),),
            ),
            "pictures",
        ),
    ],
)
def test_what_the_profile_lacks_is_refused_by_name(request_: Request, feature: str) -> None:
    with pytest.raises(UnsupportedFeature, match=feature):
        require_capabilities(request_, NONE)
    everything = Profile(reasoning=True, vision=True)
    require_capabilities(request_, everything)


def test_a_model_that_only_embeds_does_not_generate() -> None:
    with pytest.raises(UnsupportedFeature, match="generation"):
        require_capabilities(Request(model="m", messages=(HELLO,)), Profile(generation=False, embeddings=True))
