"""What a request of Converse or InvokeModel says about guardrails, and how it is refused when it says it wrongly."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedplate_core.embeddings import Embeddings
from bedplate_core.errors import GatewayError, InvalidRequest, UnsupportedFeature
from bedplate_core.guardrail_choice import GuardrailChoice
from bedplate_core.usage import Usage
from bedplate_gateway.dialects.bedrock.converse import ConverseExchange
from bedplate_gateway.dialects.bedrock.converse_wire import GuardrailConfiguration
from bedplate_gateway.dialects.bedrock.families import Family
from bedplate_gateway.dialects.bedrock.guardrail_headers import choice_of_headers
from bedplate_gateway.dialects.bedrock.invoke_exchange import InvokeEmbedding, InvokeExchange, decode_invoke
from tests.dialects.bedrock_sdk import operation
from tests.dialects.test_bedrock_invoke_fields import BASES

CONFIG = "amazon-bedrock-guardrailConfig"
ARN = "arn:aws:bedrock:eu-central-1:123456789012:guardrail/abc123"
NAMED = {"x-amzn-bedrock-guardrailidentifier": "abc123", "x-amzn-bedrock-guardrailversion": "3"}
EMBEDDING = {Family.TITAN_EMBEDDING, Family.COHERE_EMBEDDING}


def converse(config: Any, *, stream: bool = False) -> GuardrailChoice | None:
    body = {"messages": [{"role": "user", "content": [{"text": "hi"}]}], "guardrailConfig": config}
    return ConverseExchange.decode(json.dumps(body).encode(), model="m", stream=stream, started_s=0.0).guardrail


def invoke(
    family: Family, headers: dict[str, str], config: Any = ..., *, stream: bool = False
) -> InvokeExchange | InvokeEmbedding:
    body = dict(BASES[family]) if config is ... else {CONFIG: config, **BASES[family]}
    return decode_invoke(
        json.dumps(body).encode(), model_id="m", header=headers.get, stream=stream, continues=False, started_s=0.0
    )


def choice(**fields: Any) -> GuardrailChoice:
    return GuardrailChoice(param="guardrailConfig.guardrailIdentifier", **fields)


# Converse.


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        (None, None),
        ({}, None),
        ({"guardrailIdentifier": "", "guardrailVersion": ""}, None),
        ({"guardrailIdentifier": "", "trace": "disabled"}, None),
        ({"guardrailIdentifier": "abc123", "guardrailVersion": "DRAFT"}, choice(identifier="abc123")),
        ({"guardrailIdentifier": ARN, "guardrailVersion": "99999999"}, choice(identifier=ARN, version="99999999")),
        ({"trace": "enabled"}, choice(trace=True)),
        ({"trace": "enabled_full"}, choice(trace=True, full=True)),
        (
            {"guardrailIdentifier": "abc123", "guardrailVersion": "1", "trace": "enabled_full"},
            choice(identifier="abc123", version="1", trace=True, full=True),
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_converse_says(config: Any, wanted: GuardrailChoice | None, stream: bool) -> None:
    assert converse(config, stream=stream) == wanted


def test_only_converse_stream_has_a_processing_mode() -> None:
    named = {"guardrailIdentifier": "abc123", "guardrailVersion": "1"}
    wanted = choice(identifier="abc123", version="1")
    assert converse({**named, "streamProcessingMode": "sync"}, stream=True) == wanted
    first = converse({**named, "streamProcessingMode": "async"}, stream=True)
    assert first == choice(identifier="abc123", version="1", releases_first=True)
    with pytest.raises(InvalidRequest) as caught:
        converse({**named, "streamProcessingMode": "sync"})
    assert caught.value.param == "guardrailConfig.streamProcessingMode"


@pytest.mark.parametrize(
    ("config", "param"),
    [
        ({"guardrailIdentifier": "abc123"}, "guardrailConfig.guardrailVersion"),
        ({"guardrailIdentifier": "abc123", "guardrailVersion": ""}, "guardrailConfig.guardrailVersion"),
        ({"guardrailVersion": "1"}, "guardrailConfig.guardrailIdentifier"),
        ({"guardrailIdentifier": "", "guardrailVersion": "1"}, "guardrailConfig.guardrailIdentifier"),
        ({"guardrailIdentifier": "a", "guardrailVersion": "0"}, "guardrailConfig.guardrailVersion"),
        ({"guardrailIdentifier": "a", "guardrailVersion": "1\n"}, "guardrailConfig.guardrailVersion"),
        ({"guardrailIdentifier": "a", "guardrailVersion": "draft"}, "guardrailConfig.guardrailVersion"),
        ({"guardrailIdentifier": "a", "guardrailVersion": "123456789"}, "guardrailConfig.guardrailVersion"),
        ({"guardrailIdentifier": "a" * 2049, "guardrailVersion": "1"}, "guardrailConfig.guardrailIdentifier"),
        ({"guardrailIdentifier": 1, "guardrailVersion": "1"}, "guardrailConfig.guardrailIdentifier"),
        ({"trace": "ENABLED"}, "guardrailConfig.trace"),
        ({"streamProcessingMode": "SYNCHRONOUS"}, "guardrailConfig.streamProcessingMode"),
        ({"tagSuffix": "x"}, "guardrailConfig.tagSuffix"),
        ([], "guardrailConfig"),
        ("abc123", "guardrailConfig"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_converse_cannot_say_is_named(config: Any, param: str, stream: bool) -> None:
    with pytest.raises(InvalidRequest) as caught:
        converse(config, stream=stream)
    assert caught.value.param == param
    assert param in caught.value.message


def test_traces_and_modes_are_those_of_botocores_model() -> None:
    shape = operation("ConverseStream").input_shape.members["guardrailConfig"]
    for trace in shape.members["trace"].enum:
        converse({"trace": trace})
    for mode in shape.members["streamProcessingMode"].enum:
        converse({"streamProcessingMode": mode}, stream=True)
    assert set(shape.members) == set(GuardrailConfiguration.__struct_fields__)


# InvokeModel.


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ({}, None),
        ({"x-amzn-bedrock-trace": "DISABLED"}, None),
        ({"x-amzn-bedrock-guardrailidentifier": "", "x-amzn-bedrock-guardrailversion": ""}, None),
        (NAMED, GuardrailChoice(identifier="abc123", version="3")),
        ({**NAMED, "x-amzn-bedrock-guardrailidentifier": ARN}, GuardrailChoice(identifier=ARN, version="3")),
        ({"x-amzn-bedrock-trace": "ENABLED"}, GuardrailChoice(trace=True)),
        (
            {**NAMED, "x-amzn-bedrock-trace": "ENABLED_FULL"},
            GuardrailChoice(identifier="abc123", version="3", trace=True, full=True),
        ),
    ],
)
def test_what_the_headers_say(headers: dict[str, str], wanted: GuardrailChoice | None) -> None:
    said = choice_of_headers(headers.get)
    assert said == (None if wanted is None else replaced(wanted, param="x-amzn-bedrock-guardrailidentifier"))


def replaced(value: GuardrailChoice, **fields: Any) -> GuardrailChoice:
    return GuardrailChoice(**{**{name: getattr(value, name) for name in value.__struct_fields__}, **fields})


@pytest.mark.parametrize(
    ("headers", "param"),
    [
        ({"x-amzn-bedrock-guardrailidentifier": "abc123"}, "x-amzn-bedrock-guardrailversion"),
        ({"x-amzn-bedrock-guardrailversion": "1"}, "x-amzn-bedrock-guardrailidentifier"),
        ({**NAMED, "x-amzn-bedrock-guardrailversion": "one"}, "x-amzn-bedrock-guardrailversion"),
        ({**NAMED, "x-amzn-bedrock-guardrailidentifier": "a" * 2049}, "x-amzn-bedrock-guardrailidentifier"),
        ({"x-amzn-bedrock-trace": "enabled"}, "x-amzn-bedrock-trace"),
    ],
)
def test_what_the_headers_cannot_say_is_named(headers: dict[str, str], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        choice_of_headers(headers.get)
    assert caught.value.param == param
    assert param in caught.value.message


@pytest.mark.parametrize("family", sorted(BASES))
def test_every_body_may_say_how_it_marks_content_and_the_model_is_not_told(family: Family) -> None:
    plain = invoke(family, NAMED)
    for config, suffix in ((None, None), ({}, None), ({"tagSuffix": "a1-B_"}, "a1-B_")):
        exchange = invoke(family, NAMED, config)
        assert exchange.request == plain.request
        assert exchange.guardrail is not None
        assert (exchange.guardrail.identifier, exchange.guardrail.tag_suffix) == ("abc123", suffix)


@pytest.mark.parametrize("family", sorted(set(BASES) - EMBEDDING))
def test_a_stream_may_be_released_first(family: Family) -> None:
    for mode, first in (("SYNCHRONOUS", False), ("ASYNCHRONOUS", True)):
        exchange = invoke(family, NAMED, {"streamProcessingMode": mode}, stream=True)
        assert exchange.guardrail is not None
        assert exchange.guardrail.releases_first is first
        with pytest.raises(InvalidRequest) as caught:
            invoke(family, NAMED, {"streamProcessingMode": mode})
        assert caught.value.param == f"{CONFIG}.streamProcessingMode"


@pytest.mark.parametrize(
    ("config", "param"),
    [
        ({"tagSuffix": ""}, f"{CONFIG}.tagSuffix"),
        ({"tagSuffix": "a" * 21}, f"{CONFIG}.tagSuffix"),
        ({"tagSuffix": "a\n"}, f"{CONFIG}.tagSuffix"),
        ({"tagSuffix": "a>b"}, f"{CONFIG}.tagSuffix"),
        ({"tagSuffix": 1}, f"{CONFIG}.tagSuffix"),
        ({"streamProcessingMode": "sync"}, f"{CONFIG}.streamProcessingMode"),
        ({"guardrailIdentifier": "abc123"}, f"{CONFIG}.guardrailIdentifier"),
        ([], CONFIG),
        ("x", CONFIG),
        (True, CONFIG),
    ],
)
@pytest.mark.parametrize("family", sorted(BASES))
def test_what_a_body_cannot_say_is_named(family: Family, config: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        invoke(family, NAMED, config)
    assert caught.value.param == param
    assert caught.value.message.startswith(f"{param}: ")


@given(config=st.recursive(st.booleans() | st.text() | st.integers() | st.floats(), lambda inner: st.lists(inner)))
def test_what_is_no_object_is_refused_whatever_it_is(config: Any) -> None:
    with pytest.raises(GatewayError) as caught:
        invoke(Family.LLAMA, NAMED, config)
    assert str(caught.value.param or CONFIG).startswith(CONFIG)


def test_a_config_that_is_spelt_with_escapes_is_not_passed_over() -> None:
    body = b'{"amazon-bedrock-guardrail\\u0043onfig": {"tagSuffix": "x"}, "prompt": "hi", "max_gen_len": 9}'
    with pytest.raises(UnsupportedFeature) as caught:
        decode_invoke(body, model_id="m", header=NAMED.get, stream=False, continues=False, started_s=0.0)
    assert caught.value.param == CONFIG


@pytest.mark.parametrize("family", sorted(EMBEDDING))
def test_an_embedding_has_a_guardrail_and_no_trace(family: Family) -> None:
    exchange = invoke(family, NAMED)
    assert isinstance(exchange, InvokeEmbedding)
    assert exchange.guardrail is not None
    body = json.loads(exchange.reply(Embeddings(model="u", vectors=((1.0,),), usage=Usage(input_tokens=1))).body)
    assert not any(name.startswith("amazon-bedrock-") for name in body)
    with pytest.raises(UnsupportedFeature) as caught:
        invoke(family, {**NAMED, "x-amzn-bedrock-trace": "ENABLED"})
    assert caught.value.param == "x-amzn-bedrock-trace"
