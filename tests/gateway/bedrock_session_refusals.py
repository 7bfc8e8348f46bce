"""Parameters of Bedrock's session operations that are refused, each with what the error names."""

from __future__ import annotations

import datetime
import uuid
from typing import Any, TypeAlias

Bad: TypeAlias = tuple[str, dict[str, Any], str]
"""An operation, its parameters, and what the message names."""

NOW = datetime.datetime(2026, 11, 24, 13, 0, tzinfo=datetime.UTC)
UNKNOWN = "00000000-0000-4000-8000-000000000000"
KMS = f"arn:aws:kms:eu-central-1:111122223333:key/{UNKNOWN}"
PICTURE: dict[str, Any] = {"format": "png", "source": {"bytes": b"1"}}
PUT = "PutInvocationStep"
BLOCKS = "payload.contentBlocks"


def arn_of(session: str) -> str:
    """The ARN that the gateway gives."""
    return f"arn:aws:bedrock:local:000000000000:session/{session}"


def unknown_things(session: str, invocation: str) -> list[Bad]:
    """Well formed, and there is no such thing."""
    of: dict[str, Any] = {"sessionIdentifier": session}
    put: dict[str, Any] = {**of, "invocationStepTime": NOW, "payload": {"contentBlocks": [{"text": "x"}]}}
    get: dict[str, Any] = {**of, "invocationIdentifier": invocation, "invocationStepId": UNKNOWN}
    agent = arn_of(session).replace("session/", "agent/")
    return [
        ("GetSession", {"sessionIdentifier": UNKNOWN}, "session"),
        (PUT, {**put, "invocationIdentifier": UNKNOWN}, "invocation"),
        ("ListInvocationSteps", {**of, "invocationIdentifier": UNKNOWN}, "invocation"),
        ("GetInvocationStep", get, "step"),
        ("TagResource", {"resourceArn": agent, "tags": {"a": ""}}, "resourceArn"),
        ("ListTagsForResource", {"resourceArn": "arn:aws:bedrock:l:1:session/x"}, "resourceArn"),
    ]


def bad_steps(session: str, invocation: str) -> list[Bad]:
    """Steps with content that the wire or the limits do not allow."""
    step: dict[str, Any] = {
        "sessionIdentifier": session,
        "invocationIdentifier": invocation,
        "invocationStepTime": NOW,
    }

    def of(*blocks: Any, **more: Any) -> dict[str, Any]:
        return {**step, "payload": {"contentBlocks": list(blocks)}, **more}

    def image(**source: Any) -> dict[str, Any]:
        return {"image": {"format": "png", "source": source}}

    text = {"text": "x"}
    return [
        (PUT, of(*[{"image": PICTURE}] * 21), f"{BLOCKS}[20].image"),
        (PUT, of(text, image(bytes=bytes(3_750_001))), f"{BLOCKS}[1].image.source.bytes"),
        (PUT, of({"image": {**PICTURE, "format": "tiff"}}), f"{BLOCKS}[0].image.format"),
        (PUT, of(image(s3Location={"uri": "https://a/b"})), f"{BLOCKS}[0].image.source.s3Location.uri"),
        (PUT, of({"text": ""}), f"{BLOCKS}[0].text"),
        (PUT, of(), BLOCKS),
        (PUT, of(*[text] * 10_001), BLOCKS),
        (PUT, {**step, "payload": {}}, "payload"),
        (PUT, of(text, invocationStepId="1"), "invocationStepId"),
        (PUT, of(text, invocationIdentifier=arn_of(invocation)), "invocationIdentifier"),
    ]


def bad_names(session: str, invocation: str) -> list[Bad]:
    """Identifiers in a wrong form."""
    of: dict[str, Any] = {"sessionIdentifier": session}
    arn, digits = arn_of(session), uuid.UUID(session).hex
    wrong = [session.upper().replace("-", "A", 1), digits, f"sess_{digits}", "x", f"{session}\n", f"{{{session}}}"]
    wrong += [arn.replace("session/", "agent/"), arn.replace("bedrock", "s3"), arn.upper()]
    get = "GetInvocationStep"
    return [
        *(("GetSession", {"sessionIdentifier": each}, "sessionIdentifier") for each in wrong),
        ("CreateInvocation", {**of, "invocationId": digits}, "invocationId"),
        ("CreateInvocation", {**of, "invocationId": "ABCDEF00-0000-4000-8000-000000000000"}, "invocationId"),
        (get, {**of, "invocationIdentifier": invocation, "invocationStepId": "1"}, "invocationStepId"),
        (get, {**of, "invocationIdentifier": "x", "invocationStepId": UNKNOWN}, "invocationIdentifier"),
        ("ListInvocationSteps", {**of, "invocationIdentifier": ""}, "invocationIdentifier"),
        ("TagResource", {"resourceArn": session, "tags": {"a": ""}}, "resourceArn"),
        ("ListTagsForResource", {"resourceArn": "arn:aws"}, "resourceArn"),
    ]


def bad_values(session: str) -> list[Bad]:
    """Metadata, tags, descriptions, keys and lengths of pages out of bounds."""
    of: dict[str, Any] = {"sessionIdentifier": session}
    arn = {"resourceArn": arn_of(session)}
    many = {f"k{number}": "" for number in range(51)}
    metadata: list[dict[str, str]] = [many, {"": "x"}, {"k" * 101: "x"}, {"k": "x" * 5001}, {"k": "a\0b"}, {"a\0": ""}]
    tags: list[dict[str, str]] = [
        {},
        {f"k{number}": "" for number in range(201)},
        {"k" * 129: ""},
        {"": ""},
        {"a\0": ""},
        {"a": "v" * 257},
        {"a": "no*star"},
        {"é": ""},
    ]
    return [
        *(("CreateSession", {"sessionMetadata": each}, "sessionMetadata") for each in metadata),
        *(("UpdateSession", {**of, "sessionMetadata": each}, "sessionMetadata") for each in metadata),
        *(("CreateSession", {"tags": each}, "tags") for each in tags),
        *(("TagResource", {**arn, "tags": each}, "tags") for each in tags),
        *(("UntagResource", {**arn, "tagKeys": each}, "tagKeys") for each in (["a*"], [])),
        *(("CreateSession", {"encryptionKeyArn": each}, "encryptionKeyArn") for each in ("alias/mine", f"{KMS}\n")),
        *(("CreateInvocation", {**of, "description": each}, "description") for each in ("", "d" * 201, "a\0b")),
        *(("ListSessions", {"maxResults": each}, "maxResults") for each in (0, -1, 1001, 10**12, "x", "1.5")),
    ]


__all__ = ["KMS", "NOW", "UNKNOWN", "Bad", "arn_of", "bad_names", "bad_steps", "bad_values", "unknown_things"]
