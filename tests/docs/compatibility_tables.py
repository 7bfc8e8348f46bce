"""The tables of the page on compatibility, each from one table of the code."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

from bedplate_core import errors as core_errors
from bedplate_core.errors import GatewayError, NotFound, UnsupportedFeature
from bedplate_core.events import StopReason
from bedplate_gateway.access.keyring import ensure_master_key
from bedplate_gateway.app import Application
from bedplate_gateway.dialects.anthropic import errors as anthropic_errors
from bedplate_gateway.dialects.anthropic import messages_reply
from bedplate_gateway.dialects.base import ErrorRenderer
from bedplate_gateway.dialects.bedrock import errors as bedrock_errors
from bedplate_gateway.dialects.bedrock.family_text import text_stop
from bedplate_gateway.dialects.bedrock.stop_reasons import STOP_REASONS as CONVERSE_STOPS
from bedplate_gateway.dialects.decoding import FieldRules
from bedplate_gateway.dialects.openai import errors as openai_errors
from bedplate_gateway.dialects.openai import responses_reply
from bedplate_gateway.dialects.openai.answer_wire import FINISH_REASONS
from bedplate_gateway.dialects.openai.completion_answer import TEXT_FINISH_REASONS
from bedplate_gateway.settings import Settings
from bedplate_gateway.web.dialect_of import dialect_of
from bedplate_gateway.web.documentation import build_document
from bedplate_providers.endpoints import Endpoint, VllmEndpoint, VllmTask
from bedplate_providers.registry import build_provider
from tests.contract.test_provider import ABILITIES, ASKS, LACKS, Can
from tests.docs import compatibility_notes as notes

Headers = Sequence[tuple[bytes, bytes]]
PASSED_ON = "to the upstream, if that one takes it"


class Operation(NamedTuple):
    """One operation's fields. `prefix` is where the fields are in the body; `refused_below` maps fields below the top
    level to reasons; `fields` are those shown, all unless given."""

    title: str
    rules: FieldRules
    remarks: Mapping[str, str]
    ignored_below: Mapping[str, str] = {}
    refused_below: Mapping[str, str] = {}
    echoed: Mapping[str, str] = {}
    others: str = PASSED_ON


class Route(NamedTuple):
    """One route, as the OpenAPI document has it."""

    method: str
    path: str
    tag: str
    summary: str
    description: str


def routes() -> list[Route]:
    """Every route of an application that is never started."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        settings = Settings(home=home, cache=home, database_url="postgresql://nobody@/nothing?host=/nowhere")
        ensure_master_key(settings.master_key_path)
        document: Any = build_document(Application(settings).litestar)
    return [
        Route(method.upper(), path, said["tags"][0], said["summary"], said.get("description") or "")
        for path, operations in document["paths"].items()
        for method, said in operations.items()
        if isinstance(said, dict) and "operationId" in said
    ]


def code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, or nothing where there are no rows."""
    lines = ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return "\n".join([f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *lines]) if lines else ""


def _field(name: str) -> str:
    """A field, which may be followed by values that are already marked as code."""
    field, colon, values = name.partition(": ")
    return f"`{field}`{colon}{values}"


def sentence(text: str) -> str:
    """A reason as the end of a line: without what its column says, and without a full stop."""
    text = text.removeprefix("is not supported").lstrip(". ").removesuffix(".")
    first = text.partition(" ")[0]
    named = first.endswith("'s") or not (first[1:].islower() or first == "A")
    return text if named else text[:1].lower() + text[1:]


def fields(operation: Operation) -> str:
    """What becomes of every field of one operation."""
    rules = operation.rules
    plain = rules.mapped - operation.remarks.keys() - operation.echoed.keys()
    rows = [(f"`{name}`", "supported", "") for name in sorted(plain)]
    rows += [(f"`{name}`", "translated", operation.remarks[name]) for name in sorted(operation.remarks)]
    rows += [(f"`{name}`", "echoed", reason) for name, reason in sorted(operation.echoed.items())]
    for ignored in (rules.ignored, operation.ignored_below):
        rows += [(f"`{name}`", "ignored", reason) for name, reason in sorted(ignored.items())]
    for name, refused in sorted(rules.refused.items()):
        neutral = ", ".join(f"`{json.dumps(value)}`" for value in refused.neutral)
        rows.append((f"`{name}`", f"refused, unless {neutral}" if neutral else "refused", sentence(refused.reason)))
    rows += [(_field(name), "refused", sentence(reason)) for name, reason in operation.refused_below.items()]
    passed = operation.others == PASSED_ON
    rows.append(("any other", "extension" if passed else "refused", "" if passed else operation.others))
    return table(("field", "what becomes of it", "how, or why"), _merged(rows))


def _merged(rows: Iterable[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """One row for all fields of which the same is said."""
    fields_of: dict[tuple[str, str], list[str]] = {}
    for field, status, reason in rows:
        fields_of.setdefault((status, reason), []).append(field)
    return [(", ".join(names), status, reason) for (status, reason), names in fields_of.items()]


def missing(entries: Sequence[notes.Missing], here: Sequence[Route], headers: Headers) -> str:
    """The endpoints that are not there, with what a client gets."""
    rows: list[tuple[str, str, str, str]] = []
    for entry in entries:
        shapes: dict[str, set[int]] = {}
        for path in entry.paths:
            status, shape = answer_to(path, here, headers)
            shapes.setdefault(shape, set()).add(status)
        got = [f"{' or '.join(map(str, sorted(seen)))} in {shape}'s form" for shape, seen in sorted(shapes.items())]
        rows.append(
            (entry.what, code(path.replace("{}", "{id}") for path in entry.paths), "; ".join(got), entry.instead)
        )
    return table(("", "endpoints", "a client gets", "instead"), rows)


def answer_to(path: str, here: Sequence[Route], headers: Headers) -> tuple[int, str]:
    """The status of the error for an endpoint that is not there, and whose form it has."""
    method, _, rest = path.rpartition(" ")
    taken = [route for route in here if method and _pattern(route.path).fullmatch(rest)]
    dialect = dialect_of(rest.replace("{}", "x"), headers).name
    return 405 if taken else 404, {"openai": "OpenAI", "anthropic": "Anthropic", "bedrock": "Bedrock"}[dialect]


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{\w+\\\}", r"[^/]+", re.escape(path)))


_SESSIONS = re.compile(r"Send the header `x-bedplate-session: auto`.*? to go on\.")
_TAKES_SESSIONS = "Takes `x-bedplate-session`."


def endpoints(here: Sequence[Route], *tags: str) -> str:
    """The routes with one of these tags, in the tags' order."""
    rows = [
        (
            f"`{route.method} {route.path}`",
            route.summary,
            _SESSIONS.sub(_TAKES_SESSIONS, " ".join(route.description.split())),
        )
        for tag in tags
        for route in here
        if route.tag == tag
    ]
    return table(("endpoint", "", ""), rows)


def unsaid(parts: Mapping[type, str]) -> str:
    """What an answer leaves out, by the reason."""
    reasons: dict[str, list[str]] = {}
    for part, reason in parts.items():
        if reason != "belongs to requests":
            reasons.setdefault(reason, []).append(part.__name__)
    said = [f"{code(names)} ({reason})" for reason, names in reasons.items()]
    return f"An answer leaves out, if the model makes them: {'; '.join(said)}."


def example(render: ErrorRenderer, error: GatewayError, *headers: str) -> str:
    """An error as a client sees it."""
    reply = render(error)
    shown = "".join(f"{name}: {reply.headers[name]}\n" for name in headers)
    return f"```\nHTTP {reply.status}\n{shown}{reply.body.decode()}\n```"


REFUSED = UnsupportedFeature("FIELD: is not supported. WHY", param="FIELD")
NOWHERE = NotFound("there is no POST /v1/nowhere")


def stop_reasons() -> str:
    """Every stop reason in every dialect's word."""
    rows = [
        (
            f"`{reason.value}`",
            notes.STOPS[reason],
            f"`{FINISH_REASONS[reason]}`",
            f"`{TEXT_FINISH_REASONS[reason]}`",
            f"`incomplete`: `{responses_reply.INCOMPLETE[reason]}`"
            if reason in responses_reply.INCOMPLETE
            else "`completed`",
            f"`{messages_reply.STOP_REASONS[reason]}`",
            f"`{CONVERSE_STOPS[reason]}`",
            f"`{text_stop(reason)}`",
        )
        for reason in StopReason
    ]
    head = ("record", "when", "chat", "completions", "responses", "Messages", "Converse", "Llama, Mistral")
    return table(head, rows)


def all_errors(kind: type[GatewayError] = GatewayError) -> list[type[GatewayError]]:
    """Every class of error, by its code."""
    found = {kind.code: kind}
    for inner in kind.__subclasses__():
        if inner.__module__ == core_errors.__name__:
            for other in all_errors(inner):
                found.setdefault(other.code, other)
    return list(found.values())


def hopeless() -> set[str]:
    tables = (openai_errors.KINDS, anthropic_errors.KINDS)
    found, same = ({code for code, kind in kinds.items() if kind.retry is False} for kinds in tables)
    assert found == same
    return found


def error_table() -> str:
    """Every error in every dialect's words."""
    rows: list[tuple[str, ...]] = []
    for kind in all_errors():
        name = kind.code
        ours, theirs, aws = openai_errors.KINDS[name], anthropic_errors.KINDS[name], bedrock_errors.KINDS[name]
        rows.append(
            (
                f"`{name}`",
                f"{kind.status} `{ours.type}`" + (f", `{ours.code}`" if ours.code else ""),
                f"{kind.status} `{theirs.type}`",
                f"{aws.status} `{aws.name}`",
                code(dict.fromkeys(aws.frame)),
            )
        )
    head = ("error", "OpenAI: `type`, `code`", "Anthropic: `type`", "Bedrock", "in Bedrock's streams")
    return table(head, rows)


_CONTRACT = {"vllm": "wire"}
"""The name in the contract suite of a kind that has another one there."""

_ASKS = {Can.COMPLETIONS: "raw completions", Can.JSON_OBJECT: "`response_format` without a schema"}

KINDS: tuple[str, ...] = tuple(
    tag for tag in (str(kind.__struct_config__.tag) for kind in get_args(Endpoint)) if _CONTRACT.get(tag, tag) in LACKS
)
"""The kinds of providers whose abilities the contract suite states."""


def vllm_tasks(ability: type) -> str:
    """The tasks of a vLLM server that has this ability."""
    urls = ("http://127.0.0.1:1",)
    able = [task for task in VllmTask if isinstance(build_provider("p", VllmEndpoint(urls=urls, task=task)), ability)]
    return "yes" if len(able) == len(VllmTask) else code(f"task: {task.value}" for task in able) or "-"


def ability(kind: str, what: Can) -> str:
    """Whether a kind of provider can do this."""
    if kind == "vllm" and what in ABILITIES:
        return vllm_tasks(ABILITIES[what])
    if what not in LACKS[_CONTRACT.get(kind, kind)]:
        return "`embeddings: true`" if (kind, what) == ("openai", Can.EMBED) else "yes"
    if kind == "openai" and what not in LACKS["openai-engine"]:
        return "if `extra_fields` names it" if what in (Can.TOP_K, Can.IGNORE_EOS) else "if the server does"
    return "-"


def providers() -> str:
    """What each kind of provider can do."""
    rows = [
        (
            _ASKS.get(what) or (f"`{what.value}`" if what in ASKS else what.value),
            *(ability(kind, what) for kind in KINDS),
        )
        for what in Can
    ]
    return table(("", *(f"`{kind}`" for kind in KINDS)), rows)
