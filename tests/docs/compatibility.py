"""The page on compatibility, written from the code: `python -m tests.docs.compatibility` (or `make docs`) rewrites it.

Routes, fields, reasons, errors and stop reasons are read from the tables that the gateway itself works by; what only
people can say is in `compatibility_notes`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from bedplate_core.errors import UnsupportedFeature
from bedplate_gateway.dialects.anthropic import errors as anthropic_errors
from bedplate_gateway.dialects.anthropic import messages_reply, messages_wire
from bedplate_gateway.dialects.anthropic.messages import MessagesExchange
from bedplate_gateway.dialects.bedrock import converse_reply, converse_wire, guardrail_headers, invoke_options
from bedplate_gateway.dialects.bedrock import errors as bedrock_errors
from bedplate_gateway.dialects.bedrock.cohere_embed import COHERE_FIELDS
from bedplate_gateway.dialects.bedrock.count_tokens import CONVERSE_INPUT
from bedplate_gateway.dialects.bedrock.families import FAMILIES, Family, Refusal
from bedplate_gateway.dialects.bedrock.family_messages import MESSAGES_FIELDS as NATIVE_MESSAGES_FIELDS
from bedplate_gateway.dialects.bedrock.llama_text import LLAMA_FIELDS
from bedplate_gateway.dialects.bedrock.mistral_text import MISTRAL_FIELDS
from bedplate_gateway.dialects.bedrock.titan_embed import TITAN_FIELDS
from bedplate_gateway.dialects.decoding import GATEWAY_ONLY
from bedplate_gateway.dialects.openai import chat_reply, chat_wire, ranking, responses_reply, responses_wire, tokens
from bedplate_gateway.dialects.openai import errors as openai_errors
from bedplate_gateway.dialects.openai.chat import ChatExchange
from bedplate_gateway.dialects.openai.completion_wire import COMPLETION_FIELDS
from bedplate_gateway.dialects.openai.embeddings import EMBEDDINGS_FIELDS
from bedplate_gateway.dialects.openai.moderation import MODERATION_FIELDS
from bedplate_gateway.dialects.openai.transcription import TRANSCRIPTION_FIELDS, TRANSLATION_FIELDS
from bedplate_gateway.web.idempotency import REPLAYED_HEADER
from bedplate_gateway.web.incoming import SESSION_HEADER
from bedplate_gateway.web.operation_details import (
    ANSWER_HEADERS,
    KEY_ANSWER,
    KEY_PARAMETER,
    SESSION_ANSWER,
    SESSION_PARAMETER,
)
from bedplate_providers import extensions, openai_request, vllm_ranking
from tests.dialects import test_responses_fields
from tests.docs import compatibility_notes as notes
from tests.docs.compatibility_tables import (
    NOWHERE,
    PASSED_ON,
    REFUSED,
    Operation,
    Route,
    code,
    endpoints,
    error_table,
    example,
    fields,
    hopeless,
    missing,
    providers,
    routes,
    sentence,
    stop_reasons,
    table,
    unsaid,
)
from tests.docs.pages import ROOT

COMMAND = "python -m tests.docs.compatibility"
PAGE = ROOT / "docs" / "compatibility.md"

_SESSION_HEADERS = {SESSION_HEADER: SESSION_ANSWER, **ANSWER_HEADERS, REPLAYED_HEADER: KEY_ANSWER}

VERSION_HEADER = (b"anthropic-version", b"2023-06-01")


def refused_by(decode: Any, bodies: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """What the decoder says of each body, by the field that the body is about."""
    found: dict[str, str] = {}
    for field, body in bodies.items():
        try:
            decode(json.dumps(body).encode())
        except UnsupportedFeature as error:
            found[field] = error.message.partition(": ")[2]
        else:
            raise AssertionError(f"{field} is not refused")
    return found


def _responses_refused() -> dict[str, str]:
    base, seen = test_responses_fields.BASE, test_responses_fields.REFUSED_NESTED
    bodies = {re.sub(r"\[\d+\]", "[]", field): {**base, **body} for field, body in seen.items()}
    for listed in ("include", "tool_choice.type", "input[].type"):
        bodies.pop(listed)

    def decode(body: bytes) -> object:
        return test_responses_fields.decoded(json.loads(body))

    return {
        **refused_by(decode, bodies),
        **_by_value("include", responses_wire.UNSERVED_INCLUDES),
        **_by_value("input[].type", responses_wire.UNSERVED_ITEMS),
        **_by_value("tools[].type", responses_wire.UNSERVED_TOOLS),
        **_by_value("tool_choice.type", {"allowed_tools": responses_wire.UNSERVED_CHOICES["allowed_tools"]}),
    }


def _by_value(field: str, reasons: Mapping[str, str]) -> dict[str, str]:
    """One entry per reason, with all the values that have it."""
    values: dict[str, list[str]] = {}
    for value, reason in reasons.items():
        values.setdefault(reason, []).append(f"`{value}`")
    return {f"{field}: {', '.join(said)}": reason for reason, said in values.items()}


def _messages_refused() -> dict[str, str]:
    found = refused_by(MessagesExchange.decode, notes.MESSAGES_REFUSED)
    places = ("messages[].content[].type", "source.type", "caller.type", "thinking.type")
    for place, (_, reasons) in zip(places, messages_wire.REFUSED_TYPES, strict=True):
        found |= _by_value(place, reasons)
    return found


def _blocks(union: type[msgspec.Struct]) -> str:
    """The members of a union of Converse's that are not refused."""
    names = (name for name in union.__struct_fields__ if f"{union.__name__}.{name}" not in converse_wire.REFUSED_NESTED)
    return f"blocks: {code(names)}"


OPENAI_OPERATIONS = (
    Operation(
        "POST /v1/chat/completions",
        chat_wire.CHAT_FIELDS,
        notes.CHAT,
        ignored_below=chat_wire.IGNORED_NESTED,
        refused_below=refused_by(ChatExchange.decode, notes.CHAT_REFUSED),
    ),
    Operation("POST /v1/completions", COMPLETION_FIELDS, notes.COMPLETION),
    Operation("POST /v1/embeddings", EMBEDDINGS_FIELDS, notes.EMBEDDINGS),
    Operation("POST /v1/moderations", MODERATION_FIELDS, notes.MODERATION, others="no such field"),
    Operation(
        "POST /v1/responses",
        responses_wire.RESPONSES_FIELDS,
        notes.RESPONSES,
        ignored_below=responses_wire.IGNORED_NESTED,
        refused_below=_responses_refused(),
        echoed=responses_wire.ECHOED,
    ),
    Operation("POST /v1/audio/transcriptions", TRANSCRIPTION_FIELDS, notes.TRANSCRIPTION),
    Operation("POST /v1/audio/translations", TRANSLATION_FIELDS, notes.TRANSLATION),
    Operation("POST /tokenize", tokens.TOKENIZE_FIELDS, notes.TOKENIZE),
    Operation("POST /detokenize", tokens.DETOKENIZE_FIELDS, notes.DETOKENIZE, others="no such field"),
    Operation("POST /v1/rerank, POST /v2/rerank", ranking.RERANK_FIELDS, notes.RANKING),
    Operation("POST /v1/score", ranking.SCORE_FIELDS, notes.SCORE),
)
ANTHROPIC_OPERATIONS = (
    Operation(
        "POST /v1/messages",
        messages_wire.MESSAGES_FIELDS,
        notes.MESSAGES,
        ignored_below=messages_wire.IGNORED_NESTED,
        refused_below=_messages_refused(),
    ),
    Operation(
        "POST /v1/messages/count_tokens",
        messages_wire.COUNT_TOKENS_FIELDS,
        notes.COUNT_TOKENS,
    ),
)
BEDROCK_OPERATIONS = (
    Operation(
        "Converse, ConverseStream",
        converse_wire.CONVERSE_FIELDS,
        {**notes.CONVERSE, "messages": _blocks(converse_wire.ContentBlock)},
        ignored_below=converse_wire.IGNORED_NESTED,
        refused_below=converse_wire.REFUSED_NESTED,
        others="no such field; a model's own fields go into `additionalModelRequestFields`",
    ),
    Operation("additionalModelRequestFields", converse_wire.ADDITIONAL_FIELDS, {}, others=PASSED_ON),
    Operation("InvokeModel: Llama", LLAMA_FIELDS, notes.LLAMA),
    Operation("InvokeModel: Mistral", MISTRAL_FIELDS, notes.MISTRAL),
    Operation("InvokeModel: Titan embeddings", TITAN_FIELDS, notes.TITAN),
    Operation("InvokeModel: Cohere embeddings", COHERE_FIELDS, notes.COHERE),
)


FORWARDED: Sequence[tuple[str, str, Iterable[str]]] = (
    ("vllm", "chats and raw completions", extensions.FORWARDED),
    ("vllm", "chats", extensions.FORWARDED_CHAT),
    ("vllm", "embeddings", ("add_special_tokens", "truncate_prompt_tokens", "truncation_side")),
    ("vllm", "reranking, scoring", vllm_ranking.FORWARDED),
    ("openai", "chats", openai_request.FORWARDED_CHAT),
)


def families() -> str:
    """How a body of InvokeModel is told, first match first."""
    rows: list[tuple[str, str]] = []
    for entry in FAMILIES:
        conditions = [code(sorted(entry.every))] if entry.every else []
        if entry.some:
            conditions.append(("one of " if len(entry.some) > 1 else "") + code(sorted(entry.some)))
        leads = entry.leads_to
        said = f"refused: {leads.body} body. {leads.instead}" if isinstance(leads, Refusal) else _FAMILIES[leads]
        rows.append((" and ".join(conditions), said))
    return table(("the body has", "and is read as"), rows)


def invoke_headers() -> str:
    """What becomes of InvokeModel's headers."""
    rows = [(code(values), name) for name, values in invoke_options.ECHOED.items()]
    return table(
        ("header", "what becomes of it", "how, or why"),
        [
            *((f"`{name}`", "echoed", f"{values}; every call is served in the same way") for values, name in rows),
            (f"`{invoke_options.METADATA}`", "ignored", "checked; it labels entries in AWS's invocation logs"),
            (
                code((guardrail_headers.IDENTIFIER_HEADER, guardrail_headers.VERSION_HEADER)),
                "supported",
                "beside the guardrails that hold for every call",
            ),
            (f"`{guardrail_headers.TRACE_HEADER}`", "supported", "without `modelOutput`"),
            (f"`{invoke_options.PROJECT}`", "refused, unless `default`", "the project is the credential's"),
        ],
    )


_FAMILIES: Mapping[Family, str] = {
    Family.ANTHROPIC: "Anthropic's Messages: the fields of `POST /v1/messages`",
    Family.OPENAI: "OpenAI's chat: the fields of `POST /v1/chat/completions`",
    Family.LLAMA: "Llama's text completion",
    Family.MISTRAL: "Mistral's text completion",
    Family.TITAN_EMBEDDING: "Titan's embeddings (not streamed)",
    Family.COHERE_EMBEDDING: "Cohere's embeddings (not streamed)",
}


def page() -> str:
    """The whole page."""
    here = routes()
    return "\n\n".join([*_opening(), *_openai(here), *_anthropic(here), *_bedrock(here), *_common(here)]) + "\n"


def _opening() -> list[str]:
    return [
        "# Compatibility",
        "<!-- Written by `make docs` from the code; edit tests/docs/compatibility_notes.py instead. -->",
        "What each dialect takes, what becomes of it, and what it answers with. This page is written from the "
        "code's own tables, and a test fails when it is out of date.",
        table(
            ("word", "meaning"),
            (
                ("supported", "it does what the vendor's documentation says"),
                ("translated", "it is served in the way that the remark says"),
                ("echoed", "it reaches no model and is shown in the answer again"),
                ("ignored", "it is accepted and changes nothing, for the reason given"),
                ("refused", "it is an error that names the field; what asks for nothing is accepted"),
                ("extension", "it goes to the upstream if that one's list has it, and is refused by name if not: see "
                 "[extensions](#extensions)"),
            ),
        ),
        "The header `x-bedplate-session: auto` begins a durable conversation; the answer's header of the same name is "
        "its id. Send that id, with only the new messages, to go on, from any dialect. It is the same conversation as "
        "`conv_...` of `/v1/conversations` and as the session of Bedrock's operations: see "
        "[durable conversations](#durable-conversations).",
        "`null` is the same as leaving a field out. What only the gateway sets is refused in every dialect, however it "
        f"is spelt: {code(sorted(GATEWAY_ONLY))}, and everything that looks like an address, a header or a secret.",
    ]  # fmt: skip


def _openai(here: Sequence[Route]) -> list[str]:
    return [
        "## OpenAI",
        "Base URL: the gateway's with `/v1`. The last five endpoints are vLLM's, in OpenAI's manner; the OpenAI "
        "SDK has no methods for them.",
        endpoints(here, "OpenAI", "vLLM"),
        "A refused field:",
        example(openai_errors.error_reply, REFUSED),
        "An endpoint that is not there:",
        example(openai_errors.error_reply, NOWHERE),
        "### What OpenAI has and Bedplate has not",
        missing(notes.NOT_OPENAI, here, ()),
        "### OpenAI's fields",
        *_operations(OPENAI_OPERATIONS),
        "### OpenAI's answers",
        f"Chat completions: {sentence(unsaid(chat_reply.UNSAID))}",
        f"Responses: {sentence(unsaid(responses_reply.UNSAID))}",
        "Completions say texts and refusals, nothing else.",
    ]


def _anthropic(here: Sequence[Route]) -> list[str]:
    lists = [
        f"| `{route.method} {route.path}` | {route.summary} | For who sends the header `anthropic-version`. |"
        for route in here
        if route.path.startswith("/v1/models")
    ]
    headers = [(f"`{name}`", reason) for name, reason in messages_wire.IGNORED_HEADERS.items()]
    return [
        "## Anthropic",
        "Base URL: the gateway's, without `/v1`.",
        "\n".join([endpoints(here, "Anthropic"), *lists]),
        "A refused field:",
        example(anthropic_errors.error_reply, REFUSED),
        "An endpoint that is not there:",
        example(anthropic_errors.error_reply, NOWHERE),
        "### What Anthropic has and Bedplate has not",
        missing(notes.NOT_ANTHROPIC, here, (VERSION_HEADER,)),
        "The SDK chooses its exception by the status, so each of them is a `NotFoundError`.",
        "### Anthropic's fields",
        *_operations(ANTHROPIC_OPERATIONS),
        "Headers that are accepted and change nothing:",
        table(("header", "why"), headers),
        "### Anthropic's answers",
        unsaid(messages_reply.UNSAID),
        'A tool\'s input that is no JSON object is `{"INVALID_JSON": "..."}` in a whole answer; in a stream it is the '
        "model's own text. A `signature` says which provider made it and is shown to no other.",
    ]


def _bedrock(here: Sequence[Route]) -> list[str]:
    rest = "Converse's input: " + code(sorted(CONVERSE_INPUT))
    return [
        "## Bedrock",
        "Endpoint URL: the gateway's, for `bedrock-runtime`, `bedrock` and `bedrock-agent-runtime`. Requests are "
        "signed with a key pair, or carry an API key as a bearer token. Any region will do. A `modelId` is a name of "
        "the catalogue, or an ARN whose last part is one.",
        endpoints(here, "Bedrock", "Bedrock guardrails", "Bedrock sessions"),
        "A refused field:",
        example(bedrock_errors.error_reply, REFUSED, bedrock_errors.ERROR_TYPE_HEADER),
        "An endpoint that is not there:",
        example(bedrock_errors.error_reply, NOWHERE, bedrock_errors.ERROR_TYPE_HEADER),
        "### What Bedrock has and Bedplate has not",
        "Of the services `bedrock-runtime`, `bedrock`, `bedrock-agent` and `bedrock-agent-runtime`:",
        missing(notes.NOT_BEDROCK, here, ()),
        "### Bedrock's fields",
        "InvokeModel and InvokeModelWithResponseStream take the body of any of these vendors for any model: the body "
        "decides, never the model's name. The first line that fits counts.",
        families(),
        "`amazon-bedrock-guardrailConfig` (`tagSuffix`, `streamProcessingMode`) is taken in every body; other fields "
        "whose names begin with `amazon-bedrock-` are refused. An Anthropic body may leave out `model` and "
        "`stream`; it has besides:",
        table(
            ("field", "what becomes of it", "how, or why"),
            [
                (f"`{name}`", "ignored", reason)
                for name, reason in NATIVE_MESSAGES_FIELDS.ignored.items()
                if name not in messages_wire.IGNORED
            ],
        ),
        "Headers of InvokeModel:",
        invoke_headers(),
        *_operations(BEDROCK_OPERATIONS),
        f"CountTokens takes `input` with either `invokeModel` (any body above) or `converse` ({rest}).",
        "### Bedrock's answers",
        unsaid(converse_reply.UNSAID),
        "Converse ends with `malformed_tool_use` when the model ended its turn with a tool call whose arguments "
        "are no JSON; the arguments are then a string.",
    ]


def _operations(operations: Sequence[Operation]) -> list[str]:
    return [text for each in operations for text in (f"#### {each.title}", fields(each))]


def _common(here: Sequence[Route]) -> list[str]:
    return [
        "## What all dialects share",
        "### Durable conversations",
        f"`{SESSION_HEADER}`: {SESSION_PARAMETER}",
        table(("the answer's header", ""), [(f"`{name}`", said) for name, said in _SESSION_HEADERS.items()]),
        "One conversation has three names over the same digits: `sess_...`, `conv_...` and a UUID. Each is taken "
        "wherever the header or the field is, and every API shows every conversation of the project. Bedrock's "
        "operations and `/v1/conversations` show the branch 0.",
        "### Idempotency keys",
        f"`Idempotency-Key`: {KEY_PARAMETER} Another request under the key is an error (422; for Bedrock a "
        "`ConflictException`). An error is not kept: the same request under the key then runs anew. A call of an SDK "
        "for AWS that may be a turn of a conversation has a key of its own, `amz-sdk-invocation-id`, so that its "
        "retries are no second turn. Operations that do not generate refuse the header.",
        "### Stop reasons",
        "InvokeModel with a chat or Messages body answers in that vendor's words.",
        stop_reasons(),
        "### Errors",
        "The error's name in the first column is in the record of the call. An error after an answer has begun is the "
        "last event of the stream, in the same words, and never looks like a proper end. What cannot succeed on a "
        f"second try ({code(sorted(hopeless()))}) says so to OpenAI's and Anthropic's SDKs, which would try again, in "
        "the header `x-should-retry`; Bedrock's statuses are chosen for what the AWS SDKs do.",
        error_table(),
        "### Upstreams",
        "What the provider of a model can do. What it cannot is refused by name.",
        providers(),
        "### Extensions",
        table(
            ("provider", "for", "fields"),
            [(f"`{kind}`", use, code(sorted(names))) for kind, use, names in FORWARDED]
            + [
                ("`openai`", "chats and raw completions", "those that its `extra_fields` names"),
                ("`bedrock`", "chats", "those that its `extra_fields` names"),
                ("`fake`", "chats and raw completions", "as `vllm`"),
                ("everything else", "", "none"),
            ],
        ),
        "### Bedplate's own endpoints",
        endpoints(here, "Sessions", "Operations", "Documentation"),
    ]


def main() -> None:
    """Rewrite the page."""
    PAGE.write_text(page())
    print(f"{PAGE.relative_to(ROOT)} is up to date")


if __name__ == "__main__":
    main()
