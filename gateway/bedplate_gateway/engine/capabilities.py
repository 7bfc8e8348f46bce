"""What a model is declared to be able to do, against what a request asks for."""

from __future__ import annotations

from bedplate_core.errors import UnsupportedFeature
from bedplate_core.messages import GuardContent, Image, Text, ToolResult, Video
from bedplate_core.requests import Request
from bedplate_providers.base import Profile


def require_capabilities(request: Request, profile: Profile) -> None:
    """Raise `UnsupportedFeature` naming the first thing that the model's profile says it cannot do."""
    lacking = (
        (not profile.generation, "generation", "model"),
        (bool(request.prompts) and not profile.completions, "text completions", "prompt"),
        (bool(request.tools) and not profile.tools, "tools", "tools"),
        (request.response_format is not None and not profile.structured_output, "response formats", "response_format"),
        (request.top_logprobs is not None and not profile.logprobs, "log-probabilities", "logprobs"),
        (_controls_reasoning(request) and not profile.reasoning, "reasoning control", "reasoning_effort"),
        (not profile.vision and _has_pictures(request), "pictures", "messages"),
    )
    for missing, feature, param in lacking:
        if missing:
            raise UnsupportedFeature(f"model {request.model!r} does not support {feature}", param=param)


def can_serve(request: Request, profile: Profile) -> bool:
    """Whether a model of that profile is declared to be able to do what the request asks for."""
    try:
        require_capabilities(request, profile)
    except UnsupportedFeature:
        return False
    return True


def _controls_reasoning(request: Request) -> bool:
    """Whether thinking is asked for. A model that does not think has no trouble with not thinking."""
    return request.reasoning is not None and request.reasoning.enabled is not False


def _has_pictures(request: Request) -> bool:
    for message in request.messages:
        for part in message.parts:
            if type(part) is Text:
                continue  # what most parts are
            match part:
                case Image() | Video() | GuardContent(content=Image()):
                    return True
                case ToolResult() if any(isinstance(inner, Image | Video) for inner in part.parts):
                    return True
                case _:
                    pass
    return False


__all__ = ["can_serve", "require_capabilities"]
