"""A provider's resource names its secrets; every kind that has some gets their values, and none without a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from bedplate_gateway.catalogue.compile import with_secrets
from bedplate_gateway.catalogue.secrets import SecretError, Secrets
from bedplate_providers.endpoints import Endpoint

KINDS: tuple[dict[str, Any], ...] = (
    {"kind": "vllm", "urls": ["https://h"]},
    {"kind": "openai", "base_url": "https://h/v1"},
    {"kind": "anthropic"},
)

NO_SECRETS = frozenset({"access_key_id", "max_output_tokens", "max_tokens_field"})
"""Fields that sound like one: a key's public name, and counts of tokens."""


def endpoint(value: dict[str, Any]) -> Endpoint:
    return msgspec.convert(value, Endpoint)  # type: ignore[arg-type]  # a union is no class to the type checker


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind["kind"])
def test_references_are_resolved(tmp_path: Path, kind: dict[str, Any]) -> None:
    (tmp_path / "key").write_text("sk-real\n")
    found = with_secrets(endpoint(kind | {"api_key": "file:key"}), Secrets(tmp_path))
    assert found == endpoint(kind | {"api_key": "sk-real"})
    assert with_secrets(endpoint(kind), Secrets(tmp_path)) == endpoint(kind)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind["kind"])
@pytest.mark.parametrize("reference", ["sk-real", "file:missing", "file:../key"])
def test_a_secret_that_is_not_a_file_of_the_operators_is_refused(
    tmp_path: Path, kind: dict[str, Any], reference: str
) -> None:
    with pytest.raises(SecretError):
        with_secrets(endpoint(kind | {"api_key": reference}), Secrets(tmp_path))


def test_every_secret_field_of_every_kind_is_named() -> None:
    for kind in Endpoint.__args__:  # type: ignore[attr-defined]  # the members of the union
        secret = {name for name in kind.__struct_fields__ if "key" in name or "secret" in name or "token" in name}
        assert secret - NO_SECRETS == set(kind.SECRETS), kind


def test_a_kind_without_secrets_is_left_alone(tmp_path: Path) -> None:
    fake = endpoint({"kind": "fake"})
    assert with_secrets(fake, Secrets(tmp_path)) is fake
