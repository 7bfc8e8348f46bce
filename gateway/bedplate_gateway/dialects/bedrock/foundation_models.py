"""The control plane's list of models.

Source: botocore 1.44.8's model of `bedrock` (2023-04-20, `FoundationModelSummary`, `FoundationModelDetails`), compared
November 2026. Names are the catalogue's: the pattern and the 20 characters that the model states for AWS's own names
do not bind them. A summary and the details have the same fields.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

import msgspec

from bedplate_core.errors import InvalidRequest, NotFound, UnsupportedFeature
from bedplate_gateway.dialects.decoding import clip

REGION: Final = "local"
"""The region in ARNs: an installation is one."""

Modality: TypeAlias = Literal["TEXT", "IMAGE", "EMBEDDING"]

_FILTERS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "byCustomizationType": ("FINE_TUNING", "CONTINUED_PRE_TRAINING", "DISTILLATION"),
        "byOutputModality": ("TEXT", "IMAGE", "EMBEDDING"),
        "byInferenceType": ("ON_DEMAND", "PROVISIONED"),
    }
)
_PROVIDER: Final = re.compile(r"[A-Za-z0-9- ]{1,63}")


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the catalogue knows of a model. `provider` is the name of the upstream that serves it."""

    name: str
    provider: str
    generates: bool
    embeds: bool
    sees: bool


class Lifecycle(msgspec.Struct, frozen=True, kw_only=True):
    """A model that is in the catalogue is active."""

    status: Literal["ACTIVE", "LEGACY"] = "ACTIVE"


class FoundationModelSummary(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One model."""

    model_arn: str
    model_id: str
    model_name: str
    provider_name: str
    input_modalities: tuple[Modality, ...]
    output_modalities: tuple[Modality, ...]
    response_streaming_supported: bool
    customizations_supported: tuple[str, ...] = ()
    inference_types_supported: tuple[Literal["ON_DEMAND", "PROVISIONED"], ...] = ("ON_DEMAND",)
    model_lifecycle: Lifecycle = Lifecycle()


class ListFoundationModelsResponse(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The body of ListFoundationModels' answer."""

    model_summaries: tuple[FoundationModelSummary, ...]


class GetFoundationModelResponse(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The body of GetFoundationModel's answer."""

    model_details: FoundationModelSummary


class ModelFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which models a list has; None for a filter that was not sent."""

    provider: str | None = None
    customization: str | None = None
    output: str | None = None
    inference: str | None = None

    @classmethod
    def decode(cls, query: Callable[[str], str | None]) -> ModelFilter:
        """From the query's values by name. Raises `InvalidRequest` naming the one that the wire does not have."""
        for name, values in _FILTERS.items():
            value = query(name)
            if value is not None and value not in values:
                raise InvalidRequest(
                    f"{name}: expected one of {', '.join(values)}, got {clip(value, 64)!r}", param=name
                )
        provider = query("byProvider")
        if provider is not None and _PROVIDER.fullmatch(provider) is None:
            raise InvalidRequest("byProvider: must be 1 to 63 letters, digits, spaces and hyphens", param="byProvider")
        return cls(
            provider=provider,
            customization=query("byCustomizationType"),
            output=query("byOutputModality"),
            inference=query("byInferenceType"),
        )

    def fits(self, summary: FoundationModelSummary) -> bool:
        """Whether `summary` is in the list. Letter case does not count in a provider's name."""
        return (
            (self.provider is None or self.provider.lower() == summary.provider_name.lower())
            and (self.customization is None or self.customization in summary.customizations_supported)
            and (self.output is None or self.output in summary.output_modalities)
            and (self.inference is None or self.inference in summary.inference_types_supported)
        )


def list_body(models: Sequence[ModelFacts], wanted: ModelFilter) -> bytes:
    """The body of a list, in the order of `models`."""
    summaries = (_summary(facts) for facts in models)
    return msgspec.json.encode(
        ListFoundationModelsResponse(model_summaries=tuple(one for one in summaries if wanted.fits(one)))
    )


def details_body(facts: ModelFacts) -> bytes:
    """The body of one model's details."""
    return msgspec.json.encode(GetFoundationModelResponse(model_details=_summary(facts)))


def check_project(query: Callable[[str], str | None]) -> None:
    """Raise `UnsupportedFeature` for a project that is named in the query, unless it is the default one."""
    if query("projectIdentifier") not in (None, "default"):
        raise UnsupportedFeature("projectIdentifier: the project is that of the credential", param="projectIdentifier")


def no_such_model(identifier: str) -> NotFound:
    """The error for a model that is not in the catalogue."""
    return NotFound(f"the model {clip(identifier, 128)!r} does not exist or you do not have access to it")


def model_arn(name: str) -> str:
    """The ARN of the model with this name."""
    return f"arn:aws:bedrock:{REGION}::foundation-model/{name}"


def _summary(facts: ModelFacts) -> FoundationModelSummary:
    pictures: tuple[Modality, ...] = ("IMAGE",) if facts.sees else ()
    text: tuple[Modality, ...] = ("TEXT",) if facts.generates else ()
    vectors: tuple[Modality, ...] = ("EMBEDDING",) if facts.embeds else ()
    return FoundationModelSummary(
        model_arn=model_arn(facts.name),
        model_id=facts.name,
        model_name=facts.name.rpartition("/")[2],
        provider_name=facts.provider,
        input_modalities=("TEXT", *pictures),
        output_modalities=text + vectors,
        response_streaming_supported=facts.generates,
    )


__all__ = [
    "FoundationModelSummary",
    "GetFoundationModelResponse",
    "Lifecycle",
    "ListFoundationModelsResponse",
    "ModelFacts",
    "ModelFilter",
    "check_project",
    "details_body",
    "list_body",
    "model_arn",
    "no_such_model",
]
