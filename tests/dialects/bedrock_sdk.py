"""botocore as a reader and a judge: its parsers on our bytes, and its own model's rules on what they find."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import botocore.session
from botocore.eventstream import EventStream
from botocore.model import OperationModel, Shape
from botocore.parsers import create_parser
from botocore.validate import ParamValidator

_MODEL = botocore.session.Session().get_service_model("bedrock-runtime")


def operation(name: str) -> OperationModel:
    """An operation of the runtime's model."""
    return _MODEL.operation_model(name)


def read_reply(name: str, status: int, headers: dict[str, str], body: bytes) -> dict[str, Any]:
    """What boto3's client returns for a whole answer, without `ResponseMetadata`."""
    response = {"status_code": status, "headers": headers, "body": body, "context": {}}
    parsed = create_parser("rest-json").parse(response, operation(name).output_shape)
    parsed.pop("ResponseMetadata", None)
    return parsed


def read_stream(name: str, data: bytes) -> Iterator[dict[str, Any]]:
    """What boto3's client yields for a stream; raises as it does."""

    class Raw:
        def stream(self) -> Iterator[bytes]:
            for at in range(0, len(data), 7):
                yield data[at : at + 7]

        def close(self) -> None:
            pass

    shape = operation(name).output_shape
    member = shape.members[shape.serialization.get("payload") or shape.event_stream_name]
    parser = create_parser("rest-json")._event_stream_parser
    return iter(EventStream(Raw(), member, parser, name))


def judge(value: Any, shape: Shape) -> None:
    """Fail unless `value` is what the model says: required members, types, unions, no unknown members, enums."""
    report = ParamValidator().validate(value, shape)
    assert not report.has_errors(), report.generate_report()
    _check_enums(value, shape)


def _check_enums(value: Any, shape: Shape) -> None:
    match shape.type_name:
        case "structure" if not getattr(shape, "is_document_type", False):
            for name, inner in value.items():
                _check_enums(inner, shape.members[name])
        case "list":
            for inner in value:
                _check_enums(inner, shape.member)
        case "string" if shape.enum:
            assert value in shape.enum, (shape.name, value)
        case _:
            pass
