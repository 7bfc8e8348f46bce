"""Every field of every body family is mapped, refused by name or ignored for a written reason, and does what its
category says; every header of the operations is checked; wrong bodies are refused in the client's own words.
"""

from __future__ import annotations

import json
from typing import Any

import botocore.session
import msgspec
import pytest

from bedplate_core.embeddings import Embeddings
from bedplate_core.errors import (
    GatewayError,
    InvalidRequest,
    PayloadTooLarge,
    UnsupportedFeature,
    UpstreamProtocolError,
)
from bedplate_core.events import StopReason
from bedplate_core.requests import Request
from bedplate_core.usage import Usage
from bedplate_gateway.dialects.anthropic.messages_wire import BODY_FIELDS
from bedplate_gateway.dialects.bedrock import guardrail_headers, invoke_request
from bedplate_gateway.dialects.bedrock import invoke_options as options
from bedplate_gateway.dialects.bedrock.cohere_embed import COHERE_FIELDS, INPUT_TYPES
from bedplate_gateway.dialects.bedrock.count_tokens import CONVERSE_INPUT
from bedplate_gateway.dialects.bedrock.families import FAMILIES, Family, Refusal, family_of
from bedplate_gateway.dialects.bedrock.family_messages import MESSAGES_FIELDS
from bedplate_gateway.dialects.bedrock.family_text import text_stop
from bedplate_gateway.dialects.bedrock.invoke_exchange import InvokeEmbedding, InvokeExchange, decode_invoke
from bedplate_gateway.dialects.bedrock.invoke_metrics import with_member
from bedplate_gateway.dialects.bedrock.invoke_native import server_sent_payloads
from bedplate_gateway.dialects.bedrock.llama_text import LLAMA_FIELDS
from bedplate_gateway.dialects.bedrock.mistral_text import MISTRAL_FIELDS
from bedplate_gateway.dialects.bedrock.titan_embed import TITAN_FIELDS
from bedplate_gateway.dialects.decoding import FieldRules

Body = dict[str, Any]
MESSAGES = [{"role": "user", "content": "hi"}]
ANTHROPIC: Body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": MESSAGES}
BASES: dict[Family, Body] = {
    Family.ANTHROPIC: ANTHROPIC,
    Family.OPENAI: {"messages": MESSAGES},
    Family.LLAMA: {"prompt": "hi", "max_gen_len": 9},
    Family.MISTRAL: {"prompt": "hi", "max_tokens": 9},
    Family.TITAN_EMBEDDING: {"inputText": "hi"},
    Family.COHERE_EMBEDDING: {"texts": ["hi"], "input_type": "search_query"},
}
# What AWS documents for each family, beside what is only refused here.
DOCUMENTED: dict[Family, tuple[FieldRules, set[str]]] = {
    Family.LLAMA: (LLAMA_FIELDS, {"prompt", "temperature", "top_p", "max_gen_len", "images"}),
    Family.MISTRAL: (MISTRAL_FIELDS, {"prompt", "max_tokens", "stop", "temperature", "top_p", "top_k"}),
    Family.TITAN_EMBEDDING: (
        TITAN_FIELDS,
        {"inputText", "dimensions", "normalize", "embeddingTypes", "inputImage", "embeddingConfig"},
    ),
    Family.COHERE_EMBEDDING: (
        COHERE_FIELDS,
        {"texts", "input_type", "truncate", "embedding_types", "output_dimension", "images", "inputs", "max_tokens"},
    ),
}
VALUES: dict[Family, Body] = {
    Family.LLAMA: {"prompt": "ho", "max_gen_len": 3, "temperature": 0.5, "top_p": 0.5},
    Family.MISTRAL: {"prompt": "ho", "max_tokens": 3, "temperature": 0.5, "top_p": 0.5, "top_k": 4, "stop": ["x"]},
    Family.TITAN_EMBEDDING: {"inputText": "ho", "dimensions": 3, "normalize": False, "embeddingTypes": ["binary"]},
    Family.COHERE_EMBEDDING: {"texts": ["ho"], "embedding_types": ["float"], "output_dimension": 3},
}
REFUSED: dict[Family, Body] = {
    Family.LLAMA: {"images": ["x"], "max_tokens": 3},
    Family.TITAN_EMBEDDING: {"inputImage": "x", "embeddingConfig": {}, "textGenerationConfig": {}},
    Family.COHERE_EMBEDDING: {
        "input_type": "image",
        "truncate": "END",
        "images": ["x"],
        "inputs": [{"content": []}],
        "max_tokens": 3,
    },
}


def decoded(
    body: Body | bytes, *, stream: bool = False, model_id: str = "m", continues: bool = False, **headers: str
) -> InvokeExchange | InvokeEmbedding:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return decode_invoke(data, model_id=model_id, header=sent.get, stream=stream, continues=continues, started_s=0.0)


def refusal(body: Body | bytes, **arguments: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        decoded(body, **arguments)
    return caught.value


def meaning(exchange: InvokeExchange | InvokeEmbedding) -> Any:
    """All that a body decides: the canonical request and what the answer is to look like."""
    native: Any = exchange.native
    return [native.request, *(getattr(native, name, None) for name in ("normalize", "types", "by_type"))]


@pytest.mark.parametrize("family", sorted(DOCUMENTED))
def test_every_documented_field_is_in_exactly_one_category(family: Family) -> None:
    rules, documented = DOCUMENTED[family]
    for field in documented:
        assert sum(field in category for category in (rules.mapped, rules.ignored, rules.refused)) == 1, field
    assert set(VALUES[family]) == set(rules.mapped)
    assert set(REFUSED.get(family, {})) == set(rules.refused)


@pytest.mark.parametrize(("family", "field"), [(family, field) for family in VALUES for field in VALUES[family]])
def test_mapped_fields_change_what_is_asked(family: Family, field: str) -> None:
    base = BASES[family]
    assert meaning(decoded({**base, field: VALUES[family][field]})) != meaning(decoded(base))


@pytest.mark.parametrize(("family", "field"), [(family, field) for family in REFUSED for field in REFUSED[family]])
def test_refused_fields_are_named(family: Family, field: str) -> None:
    error = refusal({**BASES[family], field: REFUSED[family][field]})
    assert isinstance(error, UnsupportedFeature)
    assert error.param == field
    assert field in error.message


def test_values_that_ask_for_nothing_are_accepted() -> None:
    base = meaning(decoded(BASES[Family.COHERE_EMBEDDING]))
    for kind in INPUT_TYPES:
        body = {**BASES[Family.COHERE_EMBEDDING], "input_type": kind, "truncate": "NONE", "images": []}
        assert meaning(decoded(body)) == base
    assert meaning(decoded({**BASES[Family.LLAMA], "images": []})) == meaning(decoded(BASES[Family.LLAMA]))


@pytest.mark.parametrize("kind", ["int8", "uint8", "binary", "ubinary"])
def test_other_types_of_coheres_embeddings_are_refused_by_name(kind: str) -> None:
    error = refusal({**BASES[Family.COHERE_EMBEDDING], "embedding_types": ["float", kind]})
    assert isinstance(error, UnsupportedFeature)
    assert kind in error.message


def test_an_unknown_field_is_an_extension_for_the_provider_to_judge() -> None:
    for family, base in BASES.items():
        request = decoded({**base, "min_p": 0.1}).request
        assert request.extensions == {"min_p": 0.1}, family


@pytest.mark.parametrize("field", ["cache_salt", "priority", "api_base", "apiKey", "callback_url"])
def test_what_only_the_gateway_sets_is_refused_in_every_family(field: str) -> None:
    for base in BASES.values():
        assert refusal({**base, field: "x"}).param == field


def test_messages_fields_are_anthropics_with_what_surrounds_them() -> None:
    added = {"anthropic_version", "anthropic_beta", "model", "stream"}
    assert MESSAGES_FIELDS.ignored.keys() - BODY_FIELDS.ignored.keys() == added
    assert MESSAGES_FIELDS.mapped == BODY_FIELDS.mapped
    assert MESSAGES_FIELDS.refused == BODY_FIELDS.refused
    base = meaning(decoded(ANTHROPIC))
    assert meaning(decoded({**ANTHROPIC, "anthropic_beta": ["x"], "model": "m", "stream": False})) == base


@pytest.mark.parametrize("version", ["2023-06-01", "", None, 3, ["bedrock-2023-05-31"]])
def test_another_version_of_the_messages_body_is_refused(version: Any) -> None:
    error = refusal({**ANTHROPIC, "anthropic_version": version})
    assert error.param == "anthropic_version"
    assert "bedrock-2023-05-31" in error.message


# Families.


@pytest.mark.parametrize(
    ("names", "family"),
    [
        ({"anthropic_version", "messages", "max_tokens"}, Family.ANTHROPIC),
        ({"anthropic_version", "prompt", "inputText"}, Family.ANTHROPIC),
        ({"messages"}, Family.OPENAI),
        ({"messages", "max_tokens", "prompt"}, Family.OPENAI),
        ({"prompt"}, Family.LLAMA),
        ({"prompt", "temperature", "top_p"}, Family.LLAMA),
        ({"prompt", "max_gen_len"}, Family.LLAMA),
        ({"prompt", "max_gen_len", "stop"}, Family.LLAMA),
        ({"prompt", "max_tokens"}, Family.MISTRAL),
        ({"prompt", "stop"}, Family.MISTRAL),
        ({"prompt", "top_k", "temperature"}, Family.MISTRAL),
        ({"inputText"}, Family.TITAN_EMBEDDING),
        ({"inputText", "textGenerationConfig"}, Family.TITAN_EMBEDDING),
        ({"texts"}, Family.COHERE_EMBEDDING),
        ({"texts", "input_type"}, Family.COHERE_EMBEDDING),
        ({"images", "input_type"}, Family.COHERE_EMBEDDING),
    ],
)
def test_the_body_decides_its_family(names: set[str], family: Family) -> None:
    assert family_of(names) is family


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"query": "q", "documents": ["d"], "api_version": 2}, "rerank"),
        ({"schemaVersion": "messages-v1", "messages": []}, "Nova"),
        ({"messages": [], "inferenceConfig": {}}, "Nova"),
        ({"prompt": "p", "max_tokens_to_sample": 3}, "text completion"),
        ({"taskType": "TEXT_IMAGE"}, "image generation"),
        ({"text_prompts": []}, "image generation"),
    ],
)
def test_known_bodies_that_are_not_served_are_refused_by_name(body: Body, named: str) -> None:
    error = refusal(body)
    assert isinstance(error, UnsupportedFeature)
    assert named in error.message


@pytest.mark.parametrize("body", [{}, {"max_tokens": 3}, {"input": "x"}, {"documents": []}])
def test_a_body_of_no_family_is_told_all_of_them(body: Body) -> None:
    error = refusal(body)
    assert type(error) is InvalidRequest
    for family in ("Anthropic", "OpenAI", "Llama", "Mistral", "Titan", "Cohere"):
        assert family in error.message


def test_the_table_lists_every_family_and_no_line_is_dead() -> None:
    assert {entry.leads_to for entry in FAMILIES if not isinstance(entry.leads_to, Refusal)} == set(Family)
    for number, entry in enumerate(FAMILIES):
        smallest = set(entry.every) | ({min(entry.some)} if entry.some else set())
        assert not any(earlier.fits(smallest) for earlier in FAMILIES[:number]), entry


@pytest.mark.parametrize("data", [b"", b"[]", b"1", b'"x"', b"{", b"\xff", b'{"prompt": "\xff"}', b"[" * 5000, b"null"])
def test_what_is_no_json_object_is_an_invalid_request(data: bytes) -> None:
    assert isinstance(refusal(data), InvalidRequest)


def test_a_body_over_the_wires_limit_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invoke_request, "MAX_BODY_BYTES", 100)
    assert isinstance(decoded({"prompt": "x" * 80}), InvokeExchange)
    assert isinstance(refusal({"prompt": "x" * 100}), PayloadTooLarge)


@pytest.mark.parametrize(
    ("family", "field", "value"),
    [
        (Family.LLAMA, "prompt", ""),
        (Family.LLAMA, "prompt", ["x"]),
        (Family.LLAMA, "max_gen_len", 0),
        (Family.LLAMA, "max_gen_len", 2**31),
        (Family.LLAMA, "max_gen_len", "3"),
        (Family.LLAMA, "temperature", 1.01),
        (Family.LLAMA, "temperature", -0.1),
        (Family.LLAMA, "top_p", 1.5),
        (Family.MISTRAL, "max_tokens", 0),
        (Family.MISTRAL, "stop", "x"),
        (Family.MISTRAL, "stop", [""]),
        (Family.MISTRAL, "stop", ["x"] * 11),
        (Family.MISTRAL, "top_k", -1),
        (Family.MISTRAL, "temperature", 2),
        (Family.TITAN_EMBEDDING, "inputText", ""),
        (Family.TITAN_EMBEDDING, "inputText", ["x"]),
        (Family.TITAN_EMBEDDING, "dimensions", 0),
        (Family.TITAN_EMBEDDING, "embeddingTypes", []),
        (Family.TITAN_EMBEDDING, "embeddingTypes", ["int8"]),
        (Family.TITAN_EMBEDDING, "normalize", "yes"),
        (Family.COHERE_EMBEDDING, "texts", []),
        (Family.COHERE_EMBEDDING, "texts", ["x"] * 97),
        (Family.COHERE_EMBEDDING, "texts", [""]),
        (Family.COHERE_EMBEDDING, "texts", "x"),
        (Family.COHERE_EMBEDDING, "embedding_types", []),
        (Family.COHERE_EMBEDDING, "embedding_types", ["float64"]),
        (Family.OPENAI, "messages", []),
        (Family.OPENAI, "temperature", 3),
        (Family.ANTHROPIC, "max_tokens", -1),
    ],
)
def test_values_out_of_range_are_refused_where_they_stand(family: Family, field: str, value: Any) -> None:
    error = refusal({**BASES[family], field: value})
    assert isinstance(error, InvalidRequest)
    assert error.param is not None
    assert error.param.startswith(field)


def test_defaults_bound_the_output_and_leave_the_rest_to_the_model() -> None:
    for body in ({"prompt": "p"}, {"prompt": "p", "stop": []}):
        request = decoded(body).request
        assert isinstance(request, Request)
        assert request.sampling.max_tokens == 512
        assert request.sampling.temperature is None
        assert request.sampling.top_p is None


def test_length_is_said_for_limits_only() -> None:
    assert {reason for reason in StopReason if text_stop(reason) == "length"} == {StopReason.LENGTH, StopReason.CONTEXT}


# The model and the stream that a body repeats.


@pytest.mark.parametrize("base", [BASES[Family.OPENAI], ANTHROPIC])
def test_a_body_may_repeat_the_calls_model_and_must_not_name_another(base: Body) -> None:
    arn = "arn:aws:bedrock:local::foundation-model/m"
    for named in ("m", arn, None):
        request = decoded({**base, "model": named}, model_id=arn).request
        assert request.model == "m"
    for named in ("other", "", 3, ["m"], {"m": 1}, True):
        error = refusal({**base, "model": named}, model_id=arn)
        assert error.param == "model"


@pytest.mark.parametrize("base", [BASES[Family.OPENAI], ANTHROPIC])
@pytest.mark.parametrize("stream", [False, True])
def test_the_operation_says_whether_the_answer_is_streamed(base: Body, stream: bool) -> None:
    for sent in ({}, {"stream": stream}, {"stream": None}):
        request = decoded({**base, **sent}, stream=stream).request
        assert isinstance(request, Request)
        assert request.stream is stream
    for wrong in (not stream, "true", 1, []):
        assert refusal({**base, "stream": wrong}, stream=stream).param == "stream"


@pytest.mark.parametrize("family", [Family.TITAN_EMBEDDING, Family.COHERE_EMBEDDING])
def test_embeddings_are_not_streamed(family: Family) -> None:
    assert isinstance(refusal(BASES[family], stream=True), UnsupportedFeature)


def test_a_conversation_that_goes_on_may_begin_with_a_tools_result() -> None:
    body = {"messages": [{"role": "tool", "tool_call_id": "c", "content": "x"}]}
    assert isinstance(refusal(body), InvalidRequest)
    assert decoded(body, continues=True)


@pytest.mark.parametrize("family", sorted(BASES))
@pytest.mark.parametrize("field", ["amazon-bedrock-guardrailConfigs", "amazon-bedrock-trace"])
def test_other_fields_to_bedrock_are_refused_and_never_dropped(family: Family, field: str) -> None:
    error = refusal({**BASES[family], field: {"tagSuffix": "x"}})
    assert isinstance(error, UnsupportedFeature)
    assert error.param == field


# Headers.


def test_every_header_of_the_operations_is_handled() -> None:
    model = botocore.session.get_session().get_service_model("bedrock-runtime")
    known = {
        options.CONTENT_TYPE,
        options.ACCEPT,
        options.STREAM_ACCEPT,
        guardrail_headers.TRACE_HEADER,
        guardrail_headers.IDENTIFIER_HEADER,
        guardrail_headers.VERSION_HEADER,
        options.LATENCY,
        options.TIER,
        options.METADATA,
        options.PROJECT,
    }
    sent: set[str] = set()
    for operation in ("InvokeModel", "InvokeModelWithResponseStream"):
        shape = model.operation_model(operation).input_shape
        members = shape.members.values()
        sent |= {
            member.serialization["name"].lower()
            for member in members
            if member.serialization.get("location") == "header"
        }
    assert sent == known
    enums = {"performanceConfigLatency": options.LATENCY, "serviceTier": options.TIER}
    members = model.operation_model("InvokeModel").input_shape.members
    for name, header in enums.items():
        assert set(members[name].enum) == set(options.ECHOED[header])
    assert set(members["trace"].enum) == set(guardrail_headers.TRACES)
    assert members["requestMetadata"].metadata["max"] == options.MAX_METADATA_CHARS
    assert members["body"].metadata["max"] == invoke_request.MAX_BODY_BYTES
    tokens = model.shape_for("ConverseTokensRequest")
    assert set(tokens.members) == CONVERSE_INPUT


@pytest.mark.parametrize("stream", [False, True])
def test_a_project_of_the_callers_choice_is_refused_by_name(stream: bool) -> None:
    error = refusal(BASES[Family.LLAMA], stream=stream, x_amzn_bedrock_projectidentifier="abc123")
    assert isinstance(error, UnsupportedFeature)
    assert error.param == "x-amzn-bedrock-projectidentifier"
    assert error.param in error.message


def test_headers_that_ask_for_nothing_are_accepted() -> None:
    exchange = decoded(
        BASES[Family.LLAMA],
        x_amzn_bedrock_guardrailidentifier="",
        x_amzn_bedrock_guardrailversion="",
        x_amzn_bedrock_trace="DISABLED",
        x_amzn_bedrock_projectidentifier="default",
    )
    assert exchange.guardrail is None


def test_latency_and_tier_are_checked_and_echoed() -> None:
    sent = {"x_amzn_bedrock_performanceconfig_latency": "optimized", "x_amzn_bedrock_service_tier": "flex"}
    echoed = {name.replace("_", "-"): value for name, value in sent.items()}
    exchange = decoded(BASES[Family.LLAMA], stream=True, **sent)
    assert isinstance(exchange, InvokeExchange)
    assert exchange.echoed == echoed
    assert exchange.stream_headers == {"x-amzn-bedrock-content-type": "application/json", **echoed}
    embedding = decoded(BASES[Family.TITAN_EMBEDDING], **sent)
    assert isinstance(embedding, InvokeEmbedding)
    reply = embedding.reply(Embeddings(model="u", vectors=((1.0,),), usage=Usage(input_tokens=1)))
    assert echoed.items() <= reply.headers.items()
    for name in sent:
        assert refusal(BASES[Family.LLAMA], **{name: "fast"}).param == name.replace("_", "-")


@pytest.mark.parametrize("value", ["application/json", "application/json; charset=utf-8", "Application/JSON", ""])
def test_json_is_the_only_content_type(value: str) -> None:
    assert decoded(BASES[Family.LLAMA], content_type=value)
    assert refusal(BASES[Family.LLAMA], content_type="text/plain").param == "content-type"


@pytest.mark.parametrize("value", ["*/*", "application/json", "application/*;q=0.5", "text/html, application/json"])
def test_an_answer_must_be_wanted_as_json(value: str) -> None:
    assert decoded(BASES[Family.LLAMA], accept=value)
    assert decoded(BASES[Family.LLAMA], stream=True, x_amzn_bedrock_accept=value)
    assert refusal(BASES[Family.LLAMA], accept="image/png").param == "accept"
    streamed = {"stream": True, "x_amzn_bedrock_accept": "image/png"}
    assert refusal(BASES[Family.LLAMA], **streamed).param == "x-amzn-bedrock-accept"
    assert decoded(BASES[Family.LLAMA], stream=True, accept="application/vnd.amazon.eventstream")


@pytest.mark.parametrize(
    "value",
    [
        "x",
        "[]",
        "{}",
        '{"a": 1}',
        '{"": "x"}',
        '{"a": "ü"}',
        '{"a!": "x"}',
        json.dumps({"a" * 257: "x"}),
        json.dumps({"a": "x" * 257}),
        json.dumps({str(number): "x" for number in range(17)}),
        json.dumps({str(number): "x" * 256 for number in range(16)}) + " " * 8500,
    ],
)
def test_request_metadata_is_checked(value: str) -> None:
    assert refusal(BASES[Family.LLAMA], x_amzn_bedrock_request_metadata=value).param == options.METADATA
    assert decoded(BASES[Family.LLAMA], x_amzn_bedrock_request_metadata='{"team": "a b", "cost:centre": ""}')


# Small parts.


def test_server_sent_payloads_are_the_data_lines_without_the_end_mark() -> None:
    frames = b'event: a\ndata: {"x":"data: \\n\\n[DONE]"}\n\n: keep-alive\n\ndata: {"y":1}\n\ndata: [DONE]\n\n'
    assert server_sent_payloads(frames) == [b'{"x":"data: \\n\\n[DONE]"}', b'{"y":1}']
    assert server_sent_payloads(b"") == []


@pytest.mark.parametrize(
    ("document", "result"), [(b"{}", b'{"n":1}'), (b'{"a":{}}', b'{"a":{},"n":1}'), (b"{ } ", b'{ "n":1}')]
)
def test_a_member_is_added_at_the_end(document: bytes, result: bytes) -> None:
    assert with_member(document, b"n", b"1") == result
    assert msgspec.json.decode(result)["n"] == 1


@pytest.mark.parametrize("family", [Family.TITAN_EMBEDDING, Family.COHERE_EMBEDDING])
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_vector_that_json_cannot_say_is_the_upstreams_fault(family: Family, number: float) -> None:
    exchange = decoded(BASES[family])
    assert isinstance(exchange, InvokeEmbedding)
    with pytest.raises(UpstreamProtocolError):
        exchange.reply(Embeddings(model="u", vectors=((1.0, number),), usage=Usage()))


@pytest.mark.parametrize(
    ("normalize", "vector", "expected"),
    [
        (None, (3.0, 4.0), [0.6, 0.8]),
        (True, (3.0, 4.0), [0.6, 0.8]),
        (False, (3.0, 4.0), [3.0, 4.0]),
        (True, (0.0, 0.0), [0.0, 0.0]),
    ],
)
def test_titans_vectors_have_length_one_unless_told_not_to(
    normalize: bool | None, vector: tuple[float, ...], expected: list[float]
) -> None:
    exchange = decoded({"inputText": "x", "normalize": normalize})
    assert isinstance(exchange, InvokeEmbedding)
    body = json.loads(exchange.reply(Embeddings(model="u", vectors=(vector,), usage=Usage())).body)
    assert body["embedding"] == pytest.approx(expected)
    assert body["embeddingsByType"] == {"float": body["embedding"]}
