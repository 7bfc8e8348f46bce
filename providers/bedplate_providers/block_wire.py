"""What Anthropic's wire and Bedrock's, which took after it, have in common for requests."""

from __future__ import annotations

from typing import Final

import msgspec

from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_core.jsonvalue import JSONObject
from bedplate_core.messages import ToolCall
from bedplate_core.requests import Request

_ARGUMENTS: Final = msgspec.json.Decoder(JSONObject)


def refuse_what_blocks_lack(request: Request) -> None:
    """Raise `UnsupportedFeature` naming the first thing asked for that neither wire has a field for."""
    sampling = request.sampling
    for param, asked in (
        ("prompt", bool(request.prompts)),
        ("echo", request.echo),
        ("suffix", request.suffix is not None),
        ("n", request.choices != 1),
        ("logprobs", request.top_logprobs is not None),
        ("seed", sampling.seed is not None),
        ("presence_penalty", bool(sampling.presence_penalty)),
        ("frequency_penalty", bool(sampling.frequency_penalty)),
        ("logit_bias", bool(sampling.logit_bias)),
    ):
        if asked:
            raise UnsupportedFeature(f"{param} is not supported by this model's upstream", param=param)


def call_arguments(part: ToolCall, where: str) -> JSONObject:
    """A call's arguments as the object that these wires want. Raises `InvalidRequest` when its text is none."""
    try:
        return _ARGUMENTS.decode(part.arguments or "{}")
    except msgspec.MsgspecError:
        raise InvalidRequest(
            f"{where}: the arguments of the call of {part.name!r} must be a JSON object for this model's upstream",
            param=where,
        ) from None


__all__ = ["call_arguments", "refuse_what_blocks_lack"]
