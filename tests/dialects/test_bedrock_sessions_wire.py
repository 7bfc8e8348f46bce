"""Bedrock's session bodies against botocore's own model, and the tokens of lists."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from typing import Any

import botocore.session
import msgspec
import pytest
from botocore.parsers import create_parser
from hypothesis import given, settings
from hypothesis import strategies as st

from bedplate_core.errors import Conflict, GatewayError, InvalidRequest, NotFound, QuotaExceeded, StoreUnavailable
from bedplate_core.ids import SessionId
from bedplate_core.messages import (
    Document,
    Image,
    MediaBytes,
    MediaUrl,
    Message,
    Part,
    Reasoning,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from bedplate_gateway.dialects.bedrock import sessions_reply as reply
from bedplate_gateway.dialects.bedrock import sessions_wire as wire
from bedplate_gateway.dialects.bedrock import tags
from bedplate_gateway.dialects.bedrock.sessions_decode import new_session, new_step
from bedplate_gateway.dialects.bedrock.sessions_errors import error_reply
from bedplate_gateway.dialects.bedrock.sessions_ids import session_arn, session_identifier, tagged_session
from bedplate_gateway.dialects.bedrock.sessions_tokens import MAX_TOKEN_CHARS, PageTokens, Paging
from bedplate_gateway.web.bedrock_session_routes import BEDROCK_SESSION_ROUTES
from bedplate_sessions.session import Face, NewSession, Session, SessionPage, SessionPlace
from bedplate_sessions.steps import Invocation, InvocationPage, Step, StepPage, StepPlace
from tests.dialects.bedrock_sdk import judge

MODEL = botocore.session.Session().get_service_model("bedrock-agent-runtime")
SESSION = SessionId("sess_" + "0123456789abcdef" * 2)
UUID = "01234567-89ab-cdef-0123-456789abcdef"
TIME = datetime(2026, 11, 24, 13, 0, 0, 250_000, tzinfo=UTC)

REQUESTS: list[tuple[str, type[msgspec.Struct]]] = [
    ("CreateSession", wire.CreateSessionRequest),
    ("UpdateSession", wire.UpdateSessionRequest),
    ("EndSession", wire.EmptyRequest),
    ("ListSessions", wire.EmptyRequest),
    ("CreateInvocation", wire.CreateInvocationRequest),
    ("ListInvocations", wire.EmptyRequest),
    ("PutInvocationStep", wire.PutInvocationStepRequest),
    ("GetInvocationStep", wire.GetInvocationStepRequest),
    ("ListInvocationSteps", wire.ListInvocationStepsRequest),
    ("TagResource", tags.TagResourceRequest),
]
REPLIES: list[tuple[str, type[msgspec.Struct]]] = [
    ("CreateSession", wire.CreateSessionResponse),
    ("GetSession", wire.GetSessionResponse),
    ("UpdateSession", wire.SessionSummary),
    ("EndSession", wire.EndSessionResponse),
    ("ListSessions", wire.ListSessionsResponse),
    ("CreateInvocation", wire.InvocationSummary),
    ("ListInvocations", wire.ListInvocationsResponse),
    ("PutInvocationStep", wire.PutInvocationStepResponse),
    ("GetInvocationStep", wire.GetInvocationStepResponse),
    ("ListInvocationSteps", wire.ListInvocationStepsResponse),
    ("ListTagsForResource", tags.ListTagsForResourceResponse),
]
NESTED: list[tuple[str, type[msgspec.Struct]]] = [
    ("InvocationStepPayload", wire.InvocationStepPayload),
    ("BedrockSessionContentBlock", wire.StepContentBlock),
    ("ImageBlock", wire.StepImageBlock),
    ("ImageSource", wire.StepImageSource),
    ("S3Location", wire.S3ObjectLocation),
    ("InvocationStepPayload", wire.ReplyPayload),
    ("BedrockSessionContentBlock", wire.ReplyContentBlock),
    ("ImageBlock", wire.ReplyImageBlock),
    ("ImageSource", wire.ReplyImageSource),
    ("InvocationStep", wire.InvocationStep),
    ("InvocationStepSummary", wire.InvocationStepSummary),
    ("InvocationSummary", wire.InvocationSummary),
    ("SessionSummary", wire.SessionSummary),
]


def members(struct: type[msgspec.Struct]) -> dict[str, bool]:
    return {field.encode_name: field.required for field in msgspec.structs.fields(struct)}


@pytest.mark.parametrize(("operation", "struct"), REQUESTS)
def test_requests_have_botocores_members(operation: str, struct: type[msgspec.Struct]) -> None:
    shape = MODEL.operation_model(operation).input_shape
    required = set(shape.metadata.get("required", ()))
    body = {name: name in required for name, member in shape.members.items() if "location" not in member.serialization}
    assert members(struct) == body


@pytest.mark.parametrize(("operation", "struct"), REPLIES)
def test_replies_have_botocores_members(operation: str, struct: type[msgspec.Struct]) -> None:
    shape = MODEL.operation_model(operation).output_shape
    ours = members(struct)
    assert set(ours) == set(shape.members)
    assert {name for name, required in ours.items() if required} >= set(shape.metadata.get("required", ()))


@pytest.mark.parametrize(("name", "struct"), NESTED)
def test_structures_have_botocores_members(name: str, struct: type[msgspec.Struct]) -> None:
    assert set(members(struct)) == set(MODEL.shape_for(name).members)


def test_every_session_operation_has_its_path() -> None:

    ours = {}
    for handler in BEDROCK_SESSION_ROUTES:
        [path] = handler.paths
        [method] = handler.http_methods
        segments = re.sub(r"\{[^}]*\}", "{}", path)
        ours[handler.operation_id] = (str(method), segments, handler.status_code)
    theirs = {}
    for name in MODEL.operation_names:
        http = MODEL.operation_model(name).http
        path = http["requestUri"]
        if path.startswith(("/sessions", "/tags/")):
            segments = re.sub(r"\{[^}]*\}", "{}", path).rstrip("/")
            theirs[name] = (http["method"], segments, http["responseCode"])
    assert ours == theirs
    assert len(ours) == 14


def test_patterns_and_lengths_are_botocores() -> None:
    def bounds(name: str) -> tuple[Any, Any]:
        metadata = MODEL.shape_for(name).metadata
        return metadata.get("min"), metadata.get("max")

    assert bounds("SessionMetadataMap") == (0, 50)
    assert bounds("SessionMetadataKey") == (1, 100)
    assert bounds("SessionMetadataValue") == (0, 5000)
    assert bounds("TagsMap") == (1, 200)
    assert bounds("TagKey") == (1, 128)
    assert bounds("TagValue") == (0, 256)
    assert bounds("NextToken") == (1, MAX_TOKEN_CHARS)
    assert bounds("MaxResults") == (1, 1000)
    assert bounds("InvocationDescription") == (1, 200)
    assert MODEL.shape_for("Uuid").metadata["pattern"].strip("^$") == wire.UUID_PATTERN
    arn = session_arn(SESSION)
    assert re.fullmatch(MODEL.shape_for("SessionArn").metadata["pattern"], arn)
    assert re.fullmatch(MODEL.shape_for("TaggableResourcesArn").metadata["pattern"], arn)


def parsed(operation: str, body: bytes) -> dict[str, Any]:
    """What boto3 makes of an answer; fails unless its model allows it."""
    shape = MODEL.operation_model(operation).output_shape
    response = {"status_code": 200, "headers": {}, "body": body, "context": {}}
    found = create_parser("rest-json").parse(response, shape)
    found.pop("ResponseMetadata")
    judge(found, shape)
    return dict(found)


def item(*parts: Part) -> dict[str, Any]:
    step = Step(id="a" * 32, invocation_id="b" * 32, time=TIME, message=Message(role=Role.USER, parts=parts))
    return parsed("GetInvocationStep", reply.whole_step(SESSION, step))["invocationStep"]


PNG = MediaBytes(data=b"\x89PNG", media_type="image/png")
AS_JSON: list[Part] = [
    ToolCall(id="call_1", name="weather", arguments='{"city": "\0'),
    ToolResult(call_id="call_1", parts=(Text(text="rain"), Image(media=PNG)), is_error=True),
    Reasoning(text="hm"),
    Document(media=MediaBytes(data=b"%PDF", media_type="application/pdf"), name="a"),
    Image(media=MediaUrl(url="https://example.com/a.png")),
    Image(media=MediaBytes(data=b"BM", media_type="image/bmp")),
    Image(media=PNG, detail="low"),
    Text(text=""),
]


def test_an_items_parts_are_blocks_and_none_is_dropped() -> None:
    found = item(Text(text="see \0"), Image(media=PNG), *AS_JSON)
    assert found["sessionId"] == UUID
    blocks = found["payload"]["contentBlocks"]
    assert blocks[:2] == [{"text": "see \0"}, {"image": {"format": "png", "source": {"bytes": b"\x89PNG"}}}]
    assert [msgspec.json.decode(block["text"], type=Part) for block in blocks[2:]] == AS_JSON
    [block] = item()["payload"]["contentBlocks"]
    assert msgspec.json.decode(block["text"], type=Message) == Message(role=Role.USER, parts=())


def test_what_was_put_is_read_back() -> None:
    blocks = [
        {"text": "x"},
        {"image": {"format": "jpeg", "source": {"bytes": base64.b64encode(b"\0\xff").decode()}}},
        {"image": {"format": "gif", "source": {"s3Location": {"uri": "s3://a-bucket/a/key"}}}},
    ]
    body = msgspec.json.encode(
        {
            "invocationIdentifier": UUID,
            "invocationStepTime": "2026-11-24T15:00:00.25+02:00",
            "payload": {"contentBlocks": blocks},
        }
    )
    new = new_step(body)
    assert (new.id, new.time) == (None, TIME)
    step = Step(id="a" * 32, invocation_id=new.invocation, time=new.time, blocks=new.blocks)
    raw = msgspec.json.decode(reply.whole_step(SESSION, step))["invocationStep"]
    assert raw["payload"] == {"contentBlocks": blocks}
    assert raw["invocationStepTime"] == "2026-11-24T13:00:00.250000Z"


def test_lists_are_what_boto3_reads() -> None:
    session = Session(
        id=SESSION,
        face="chat",  # type: ignore[arg-type]
        status="expired",  # type: ignore[arg-type]
        created_at=TIME,
        updated_at=TIME,
        metadata={},
        tags={},
    )
    page = SessionPage(sessions=(session,), next_after=None)
    assert parsed("ListSessions", reply.session_list(page, "token"))["nextToken"] == "token"
    assert "nextToken" not in parsed("ListSessions", reply.session_list(page, None))
    assert parsed("ListSessions", reply.session_list(SessionPage(sessions=(), next_after=None), None)) == {
        "sessionSummaries": []
    }
    invocation = Invocation(id="b" * 32, number=1, description=None, created_at=TIME)
    invocations = InvocationPage(invocations=(invocation,), next_before=None)
    [one] = parsed("ListInvocations", reply.invocation_list(SESSION, invocations, None))["invocationSummaries"]
    assert one["sessionId"] == UUID
    steps = StepPage(steps=(Step(id="a" * 32, invocation_id="b" * 32, time=TIME),), next_before=None)
    assert parsed("ListInvocationSteps", reply.step_list(SESSION, steps, None))["invocationStepSummaries"]
    got = parsed("GetSession", reply.whole_session(session))
    assert (got["sessionMetadata"], got["sessionStatus"]) == ({}, "EXPIRED")
    assert "encryptionKeyArn" not in got


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [
        (Conflict("x"), 409, "ConflictException"),
        (NotFound("x"), 404, "ResourceNotFoundException"),
        (InvalidRequest("x"), 400, "ValidationException"),
        (QuotaExceeded("x"), 400, "ServiceQuotaExceededException"),
        (StoreUnavailable("x", retry_after_s=5.0), 503, "ServiceUnavailableException"),
        (GatewayError("x"), 500, "InternalServerException"),
    ],
)
def test_errors_have_the_services_statuses(error: GatewayError, status: int, name: str) -> None:
    answer = error_reply(error)
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (status, name)
    assert msgspec.json.decode(answer.body) == {"message": "x"}
    if name in MODEL.shape_names:
        assert MODEL.shape_for(name).metadata["error"]["httpStatusCode"] == status


@pytest.mark.parametrize("partition", ["aws", "aws-cn", "aws-us-gov", "aws-eusc"])
def test_a_session_is_named_by_its_uuid_or_any_arn_of_it(partition: str) -> None:
    arn = f"arn:{partition}:bedrock:any-place-9:999999999999:session/{UUID}"
    assert session_identifier(UUID) == session_identifier(arn) == tagged_session(arn) == SESSION
    assert tagged_session(session_arn(SESSION)) == SESSION


WRONG = [
    "",
    UUID.upper(),
    UUID.replace("-", ""),
    f"{UUID} ",
    f"{UUID}\n",
    f"urn:uuid:{UUID}",
    SESSION,
    f"conv_{SESSION[5:]}",
    f"arn:aws:bedrock::999999999999:session/{UUID}",
    f"arn:aws:bedrock:r:99999999999:session/{UUID}",
    f"arn:aws:bedrock:r:999999999999:session/{UUID}/x",
    f"arn:aws:bedrock:r:999999999999:session/{SESSION}",
    f"arn:aws:s3:r:999999999999:session/{UUID}",
    f"arn:aws:bedrock:r:999999999999:guardrail/{UUID}",
]


@pytest.mark.parametrize("text", WRONG)
def test_nothing_else_names_a_session(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        session_identifier(text)
    assert caught.value.param == "sessionIdentifier"
    with pytest.raises(NotFound if text.startswith("arn:") else InvalidRequest):
        tagged_session(text)


def test_a_session_is_made_as_asked() -> None:
    body = {
        "encryptionKeyArn": f"arn:aws:kms:r:999999999999:key/{UUID}",
        "sessionMetadata": {"a": ""},
        "tags": {"b": "c"},
    }
    made = new_session(msgspec.json.encode(body), NewSession(face=Face.BEDROCK, idle_timeout_s=60.0))
    assert (made.metadata, made.tags, made.idle_timeout_s) == ({"a": ""}, {"b": "c"}, 60.0)
    assert made.face.value == "bedrock"
    assert new_session(b"", NewSession(face=Face.BEDROCK, idle_timeout_s=60.0)).metadata == {}


TOKENS = PageTokens(bytes(range(32)))
_place = st.builds(StepPlace, st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
_bound = st.lists(st.text(max_size=8), max_size=4).map(tuple)


@settings(deadline=None)
@given(place=_place, bound=_bound)
def test_a_token_opens_where_it_was_made(place: StepPlace, bound: tuple[str, ...]) -> None:
    token = TOKENS.seal(place, bound)
    assert re.fullmatch(r"\S{1,2048}", token)
    assert TOKENS.open(token, bound, StepPlace) == place


@settings(deadline=None)
@given(place=_place, bound=_bound, other=_bound)
def test_a_token_opens_nowhere_else(place: StepPlace, bound: tuple[str, ...], other: tuple[str, ...]) -> None:
    token = TOKENS.seal(place, bound)
    if other != bound:
        with pytest.raises(InvalidRequest):
            TOKENS.open(token, other, StepPlace)
    with pytest.raises(InvalidRequest):
        PageTokens(bytes(32)).open(token, bound, StepPlace)


@settings(deadline=None)
@given(place=_place, at=st.integers(0, 300), letter=st.characters(codec="utf-8"))
def test_a_changed_token_opens_nothing(place: StepPlace, at: int, letter: str) -> None:
    token = TOKENS.seal(place, ("a",))
    at %= len(token)
    changed = token[:at] + letter + token[at + 1 :]
    if changed != token:
        with pytest.raises(InvalidRequest):
            TOKENS.open(changed, ("a",), StepPlace)


@settings(deadline=None)
@given(text=st.text(max_size=60))
def test_any_text_is_a_token_or_an_error(text: str) -> None:
    with pytest.raises(InvalidRequest):
        TOKENS.open(text, ("a",), StepPlace)


@pytest.mark.parametrize("place", [1, 12, 123])
def test_a_place_has_one_token(place: int) -> None:
    token = TOKENS.seal(place, ())
    for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_":
        if letter != token[-1]:
            with pytest.raises(InvalidRequest):
                TOKENS.open(token[:-1] + letter, (), int)
    with pytest.raises(InvalidRequest):
        TOKENS.open(token + "=", (), int)


def test_a_time_is_a_place_too() -> None:
    place = SessionPlace(TIME, SESSION)
    assert TOKENS.open(TOKENS.seal(place, ()), (), SessionPlace) == place


@pytest.mark.parametrize("value", ["0", "1001", "-1", "1.0", "x", "", "٣", "1" * 5000])
def test_a_page_has_a_length_within_bounds(value: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Paging.decode(["maxResults"], {"maxResults": value}.get)
    assert caught.value.param == "maxResults"
    assert Paging.decode([], {}.get) == Paging(limit=100, token=None)
    assert Paging.decode(["maxResults"], {"maxResults": "1000"}.get).limit == 1000
