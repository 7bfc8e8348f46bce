"""How Bedrock's Converse wants a request spelt.

Checked in November 2026 against botocore 1.44.8's model of `bedrock-runtime` (2023-09-30): `ConverseStreamRequest`,
`CountTokensRequest`. What Converse has no field for but models behind it do goes into `additionalModelRequestFields`,
spelt as Anthropic's models there take it: `top_k` and `thinking`.

Everything in a `Request` is sent, refused by name, or dropped for a reason that stands here:

- `Message.name`: the wire has no place for it.
- Empty texts: the API refuses them, and they say nothing. A message that has nothing else is left out.
- `Image.detail`: a hint of OpenAI's.
- `GuardContent`'s qualifiers: they are for a guardrail of Bedrock's, and none is asked for.
- `Reasoning` without a signature of this provider's own, and `RedactedReasoning` of another: only their maker can
  read them.
- A `CachePoint` with nothing before it, or right behind reasoning, which cannot carry one.
- `JsonSchemaFormat.strict`: the API always keeps to the schema.
- The tools, where the model is to call none: the API has no word for it.
- `parallel_tool_calls` that allows what the API does anyway, or without tools.
- A penalty of 0, which is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

import msgspec

from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_core.jsonvalue import JSON, JSONObject
from bedplate_core.requests import JsonSchemaFormat, NamedTool, Request, Tool, ToolMode
from bedplate_providers.bedrock_messages import add_messages
from bedplate_providers.block_wire import refuse_what_blocks_lack
from bedplate_providers.extensions import allowed_extensions

EFFORTS = ("low", "medium", "high", "xhigh", "max")
STOP_FIELD = "/stop_sequence"
"""Where Anthropic's models say which of several stop texts was met; the API passes over it for the others."""

_ANY = (bool, int, float, str, list, dict)
_NO_ARGUMENTS: JSONObject = {"type": "object", "properties": {}}


def model_path(model: str, operation: str) -> str:
    """The path of an operation on a model: its id or ARN is one segment, with all but unreserved characters encoded."""
    return f"/model/{quote(model, safe='')}/{operation}"


def render_request(request: Request, origin: str, extra_fields: Sequence[str] = ()) -> JSONObject:
    """The body for ConverseStream.

    `origin` is whose reasoning goes back, `extra_fields` the extensions that may be sent. Raises `UnsupportedFeature`
    or `InvalidRequest` naming the field.
    """
    body = _prompt(request, origin, extra_fields)
    inference = _inference(request)
    if inference:
        body["inferenceConfig"] = inference
    output = _output(request)
    if output:
        body["outputConfig"] = output
    if len(request.sampling.stop) > 1:
        body["additionalModelResponseFieldPaths"] = [STOP_FIELD]
    return body


def render_count(request: Request, origin: str, extra_fields: Sequence[str] = ()) -> JSONObject:
    """The body for CountTokens: what the model reads, without how it answers. Raises as `render_request`."""
    _output(request)  # refuses what the generation would refuse
    return {"input": {"converse": _prompt(request, origin, extra_fields)}}


def _prompt(request: Request, origin: str, extra_fields: Sequence[str]) -> JSONObject:
    _refuse(request)
    body: JSONObject = {}
    add_messages(body, request.messages, origin)
    _add_tools(body, request)
    additional = allowed_extensions(request, dict.fromkeys(extra_fields, _ANY))
    if request.sampling.top_k is not None:
        additional["top_k"] = request.sampling.top_k
    thinking = _thinking(request)
    if thinking is not None:
        additional["thinking"] = thinking
    if additional:
        body["additionalModelRequestFields"] = additional
    return body


def _refuse(request: Request) -> None:
    refuse_what_blocks_lack(request)
    sampling = request.sampling
    if sampling.temperature is not None and sampling.temperature > 1:
        raise UnsupportedFeature("temperature: at most 1 at this model's upstream", param="temperature")
    if request.parallel_tool_calls is False and request.tools:
        raise UnsupportedFeature(
            "parallel_tool_calls: this model's upstream cannot be held to one call at a time",
            param="parallel_tool_calls",
        )


def _inference(request: Request) -> JSONObject:
    sampling = request.sampling
    sent: JSONObject = {}
    for name, value in (
        ("maxTokens", sampling.max_tokens),
        ("temperature", sampling.temperature),
        ("topP", sampling.top_p),
    ):
        if value is not None:
            sent[name] = value
    if sampling.stop:
        sent["stopSequences"] = list(sampling.stop)
    return sent


def _add_tools(body: JSONObject, request: Request) -> None:
    choice = request.tool_choice
    if not request.tools:
        if choice not in (None, ToolMode.AUTO, ToolMode.NONE):
            raise InvalidRequest("tool_choice needs tools", param="tool_choice")
        return
    if choice is ToolMode.NONE:
        return
    config: JSONObject = {"tools": [_tool(tool) for tool in request.tools]}
    match choice:
        case NamedTool():
            if all(tool.name != choice.name for tool in request.tools):
                raise InvalidRequest("tool_choice names a tool that tools does not have", param="tool_choice")
            config["toolChoice"] = {"tool": {"name": choice.name}}
        case ToolMode.REQUIRED:
            config["toolChoice"] = {"any": {}}
        case ToolMode.AUTO:
            config["toolChoice"] = {"auto": {}}
        case None:
            pass
    body["toolConfig"] = config


def _tool(tool: Tool) -> JSONObject:
    spec: JSONObject = {
        "name": tool.name,
        "inputSchema": {"json": _NO_ARGUMENTS if not tool.parameters else tool.parameters},
    }
    if tool.description:
        spec["description"] = tool.description
    if tool.strict is not None:
        spec["strict"] = tool.strict
    return {"toolSpec": spec}


def _thinking(request: Request) -> JSONObject | None:
    """An effort alone leaves whether the model thinks to the model; it goes into `outputConfig`."""
    control = request.reasoning
    if control is None:
        return None
    if control.enabled is False or control.effort == "none":
        return {"type": "disabled"}
    if control.budget_tokens is not None:
        return {"type": "enabled", "budget_tokens": control.budget_tokens}
    return {"type": "adaptive"} if control.enabled else None


def _output(request: Request) -> JSONObject:
    output: dict[str, JSON] = {}
    wanted = request.response_format
    if isinstance(wanted, JsonSchemaFormat):
        schema: JSONObject = {"name": wanted.name, "schema": msgspec.json.encode(wanted.schema).decode()}
        if wanted.description:
            schema["description"] = wanted.description
        output["textFormat"] = {"type": "json_schema", "structure": {"jsonSchema": schema}}
    elif wanted is not None:
        raise UnsupportedFeature(
            "response_format: an object without a schema is not supported by this model's upstream; a schema is",
            param="response_format",
        )
    effort = request.reasoning.effort if request.reasoning is not None else None
    if effort is not None and effort != "none":
        if effort not in EFFORTS:
            raise UnsupportedFeature(
                f"reasoning_effort: this model's upstream takes {', '.join(EFFORTS)}", param="reasoning_effort"
            )
        output["effort"] = effort
    return output


__all__ = ["EFFORTS", "STOP_FIELD", "model_path", "render_count", "render_request"]
