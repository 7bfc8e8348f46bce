"""How Anthropic's Messages API wants a request spelt.

Checked in November 2026 against the types of anthropic 2.13.0 (`types/message_create_params.py`,
`types/message_count_tokens_params.py`) and https://platform.claude.com/docs/en/api/messages. `temperature`, `top_p`
and `top_k` are no longer in those types; the API takes them for the models that have them and refuses them for the
others, and so they are sent.

Everything in a `Request` is sent, refused by name, or dropped for a reason that stands here:

- `Message.name`: the wire has no place for it.
- Empty texts: the API refuses them, and they say nothing. A message that has nothing else is left out.
- `Image.detail`: a hint of OpenAI's.
- `Reasoning` without a signature of this provider's own, and `RedactedReasoning` of another: only their maker can
  read them.
- A `CachePoint` with nothing before it, or right behind reasoning, which cannot carry one.
- `JsonSchemaFormat.name`, `.description` and `.strict`: the API always keeps to the schema and knows no name.
- A penalty of 0, which is none.
"""

from __future__ import annotations

from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_core.jsonvalue import JSON, JSONObject
from bedplate_core.requests import JsonSchemaFormat, NamedTool, Request, Tool, ToolMode
from bedplate_providers.anthropic_messages import add_messages
from bedplate_providers.block_wire import refuse_what_blocks_lack

EFFORTS = ("low", "medium", "high", "xhigh", "max")
_NO_ARGUMENTS: JSONObject = {"type": "object", "properties": {}}


def render_request(request: Request, origin: str, max_output_tokens: int) -> JSONObject:
    """The body for `/v1/messages`, always streamed.

    `origin` is whose reasoning goes back. `max_output_tokens` is sent where the request has no bound. Raises
    `UnsupportedFeature` or `InvalidRequest` naming the field.
    """
    sampling = request.sampling
    body = render_prompt(request, origin)
    body["stream"] = True
    body["max_tokens"] = max_output_tokens if sampling.max_tokens is None else sampling.max_tokens
    for name, value in (
        ("temperature", sampling.temperature),
        ("top_p", sampling.top_p),
        ("top_k", sampling.top_k),
    ):
        if value is not None:
            body[name] = value
    if sampling.stop:
        body["stop_sequences"] = list(sampling.stop)
    return body


def render_prompt(request: Request, origin: str) -> JSONObject:
    """The body for `/v1/messages/count_tokens`: what the model reads, without how it answers. Raises as
    `render_request`.
    """
    _refuse(request)
    body: JSONObject = {"model": request.model}
    add_messages(body, request.messages, origin)
    _add_tools(body, request)
    _add_output(body, request)
    return body


def _refuse(request: Request) -> None:
    refuse_what_blocks_lack(request)
    for name in request.extensions:
        raise UnsupportedFeature(f"{name} is not supported by this model's upstream", param=name)


def _add_tools(body: JSONObject, request: Request) -> None:
    choice = request.tool_choice
    if not request.tools:
        if choice not in (None, ToolMode.AUTO, ToolMode.NONE):
            raise InvalidRequest("tool_choice needs tools", param="tool_choice")
        return
    body["tools"] = [_tool(tool) for tool in request.tools]
    sent: JSONObject
    match choice:
        case NamedTool():
            if all(tool.name != choice.name for tool in request.tools):
                raise InvalidRequest("tool_choice names a tool that tools does not have", param="tool_choice")
            sent = {"type": "tool", "name": choice.name}
        case ToolMode.REQUIRED:
            sent = {"type": "any"}
        case ToolMode.NONE:
            body["tool_choice"] = {"type": "none"}
            return
        case _:
            sent = {"type": "auto"}
    if request.parallel_tool_calls is not None:
        sent["disable_parallel_tool_use"] = not request.parallel_tool_calls
    if choice is not None or request.parallel_tool_calls is not None:
        body["tool_choice"] = sent


def _tool(tool: Tool) -> JSONObject:
    sent: JSONObject = {"name": tool.name, "input_schema": _NO_ARGUMENTS if not tool.parameters else tool.parameters}
    if tool.description is not None:
        sent["description"] = tool.description
    if tool.strict is not None:
        sent["strict"] = tool.strict
    return sent


def _add_output(body: JSONObject, request: Request) -> None:
    """The format and the reasoning. An effort alone leaves whether the model thinks to the model."""
    output: dict[str, JSON] = {}
    wanted = request.response_format
    if isinstance(wanted, JsonSchemaFormat):
        output["format"] = {"type": "json_schema", "schema": wanted.schema}
    elif wanted is not None:
        raise UnsupportedFeature(
            "response_format: an object without a schema is not supported by this model's upstream; a schema is",
            param="response_format",
        )
    control = request.reasoning
    if control is not None:
        off = control.enabled is False or control.effort == "none"
        if off:
            body["thinking"] = {"type": "disabled"}
        elif control.budget_tokens is not None:
            body["thinking"] = {
                "type": "enabled", "budget_tokens": control.budget_tokens, "display": "summarized"
            }  # fmt: skip
        elif control.enabled:
            body["thinking"] = {"type": "adaptive", "display": "summarized"}
        if control.effort is not None and control.effort != "none":
            if control.effort not in EFFORTS:
                raise UnsupportedFeature(
                    f"reasoning_effort: this model's upstream takes {', '.join(EFFORTS)}", param="reasoning_effort"
                )
            output["effort"] = control.effort
    if output:
        body["output_config"] = output


__all__ = ["EFFORTS", "render_prompt", "render_request"]
