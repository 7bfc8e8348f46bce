"""ListFoundationModels and GetFoundationModel as boto3 sees them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import botocore
import botocore.session
import msgspec
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from bedplate_core.errors import InvalidRequest
from bedplate_gateway.dialects.bedrock import foundation_models
from bedplate_gateway.dialects.bedrock.foundation_models import FoundationModelSummary, ModelFilter
from bedplate_providers.fake_script import BEHAVIOURS
from tests.fixtures.gateway import RunningGateway
from tests.gateway.support import eventually, http

MORE = """
kind: Provider
name: other-upstream
spec: {kind: fake}
---
kind: Model
name: Qwen/Qwen3-VL-8B
spec: {provider: other-upstream, upstream_model: fake/echo, profile: {vision: true}}
---
kind: Model
name: only-vectors
spec: {provider: other-upstream, upstream_model: fake/embed, profile: {generation: false, embeddings: true}}
"""


def control(gateway: RunningGateway, key: str) -> Any:
    """boto3's client with a bearer key, without retries."""
    client = boto3.client(
        "bedrock",
        endpoint_url=gateway.base_url,
        region_name="local",
        config=Config(signature_version=botocore.UNSIGNED, retries={"total_max_attempts": 1}),
    )

    def authorize(request: Any, **_: Any) -> None:
        request.headers["authorization"] = f"Bearer {key}"

    client.meta.events.register("before-send.bedrock", authorize)
    return client


@pytest.fixture(scope="module")
def client(gateway: RunningGateway) -> Iterator[Any]:
    gateway.apply_text(MORE)
    client = control(gateway, gateway.key)
    eventually(lambda: "only-vectors" in names(client.list_foundation_models()), within_s=5)
    yield client
    client.close()


def names(answer: dict[str, Any]) -> list[str]:
    return [summary["modelId"] for summary in answer["modelSummaries"]]


def test_the_list_is_the_catalogue_in_order(client: Any) -> None:
    found = names(client.list_foundation_models())
    assert found == sorted(found)
    assert {*BEHAVIOURS, "Qwen/Qwen3-VL-8B", "only-vectors"} <= set(found)


def test_a_model_is_described_by_its_name_and_by_its_arn(client: Any) -> None:
    details = client.get_foundation_model(modelIdentifier="Qwen/Qwen3-VL-8B")["modelDetails"]
    assert details == {
        "modelArn": "arn:aws:bedrock:local::foundation-model/Qwen/Qwen3-VL-8B",
        "modelId": "Qwen/Qwen3-VL-8B",
        "modelName": "Qwen3-VL-8B",
        "providerName": "other-upstream",
        "inputModalities": ["TEXT", "IMAGE"],
        "outputModalities": ["TEXT"],
        "responseStreamingSupported": True,
        "customizationsSupported": [],
        "inferenceTypesSupported": ["ON_DEMAND"],
        "modelLifecycle": {"status": "ACTIVE"},
    }
    assert client.get_foundation_model(modelIdentifier=details["modelArn"])["modelDetails"] == details
    assert details in client.list_foundation_models()["modelSummaries"]
    vectors = client.get_foundation_model(modelIdentifier="only-vectors")["modelDetails"]
    assert (vectors["inputModalities"], vectors["outputModalities"]) == (["TEXT"], ["EMBEDDING"])
    assert vectors["responseStreamingSupported"] is False


def test_filters_narrow_the_list(client: Any) -> None:
    def listed(**filters: str) -> set[str]:
        return set(names(client.list_foundation_models(**filters)))

    everything = listed()
    assert listed(byProvider="OTHER-upstream") == {"Qwen/Qwen3-VL-8B", "only-vectors"}
    assert listed(byProvider="nobody") == set()
    assert "only-vectors" in listed(byOutputModality="EMBEDDING")
    assert "Qwen/Qwen3-VL-8B" not in listed(byOutputModality="EMBEDDING")
    assert listed(byOutputModality="TEXT") == everything - {"only-vectors"}
    assert listed(byOutputModality="IMAGE") == set()
    assert listed(byInferenceType="ON_DEMAND") == everything
    assert listed(byInferenceType="PROVISIONED") == set()
    assert listed(byCustomizationType="FINE_TUNING") == set()
    assert listed(byProvider="other-upstream", byOutputModality="TEXT") == {"Qwen/Qwen3-VL-8B"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("byProvider", ""),
        ("byProvider", "a_b"),
        ("byProvider", "a" * 64),
        ("byProvider", "a\n"),
        ("byCustomizationType", "TUNING"),
        ("byOutputModality", "text"),
        ("byOutputModality", ""),
        ("byInferenceType", "BATCH"),
    ],
)
def test_a_filter_that_the_wire_does_not_have_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ModelFilter.decode({name: value}.get)
    assert caught.value.param == name
    assert name in caught.value.message


def test_refusals_are_bedrocks_own(gateway: RunningGateway, client: Any) -> None:
    with pytest.raises(client.exceptions.ValidationException, match="byOutputModality"):
        client.list_foundation_models(byOutputModality="SOUND")
    assert client.list_foundation_models(projectIdentifier="default")["modelSummaries"]
    with pytest.raises(client.exceptions.ValidationException, match="projectIdentifier"):
        client.list_foundation_models(projectIdentifier="other")
    with pytest.raises(client.exceptions.ValidationException, match="projectIdentifier"):
        client.get_foundation_model(modelIdentifier="fake/echo", projectIdentifier="other")
    for missing in ("none", "Qwen/none", "arn:aws:bedrock:local::foundation-model/none"):
        with pytest.raises(client.exceptions.ResourceNotFoundException, match="none"):
            client.get_foundation_model(modelIdentifier=missing)
    with pytest.raises(client.exceptions.ValidationException, match="prompt"):
        client.get_foundation_model(modelIdentifier="arn:aws:bedrock:local:123456789012:prompt/ABCDEFGHIJ")
    with pytest.raises(ClientError) as caught:
        control(gateway, "bp_wrong").list_foundation_models()
    assert caught.value.response["Error"]["Code"] == "UnrecognizedClientException"
    with http(gateway, gateway.key) as plain:
        answer = plain.get("/foundation-models/none")
        assert answer.headers["x-amzn-errortype"] == "ResourceNotFoundException"
        assert answer.headers["x-amzn-requestid"] == answer.headers["x-request-id"]


def test_the_shapes_are_botocores() -> None:
    model = botocore.session.get_session().get_service_model("bedrock")
    for shape in ("FoundationModelSummary", "FoundationModelDetails"):
        ours = {field.encode_name for field in msgspec.structs.fields(FoundationModelSummary)}
        assert ours == set(model.shape_for(shape).members)
    query = model.operation_model("ListFoundationModels").input_shape.members
    handled = {*foundation_models._FILTERS, "byProvider", "projectIdentifier"}
    assert {name for name, shape in query.items() if shape.serialization.get("location") == "querystring"} == handled
    for name, values in foundation_models._FILTERS.items():
        assert set(query[name].enum) == set(values)
