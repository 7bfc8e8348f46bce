"""Signatures are those of botocore, bit for bit."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedplate_providers.credential import Credential
from bedplate_providers.sigv4 import SigningScope, body_hash, canonical_request, signing_headers
from tests.fixtures.aws import REGION, signed_request

KEY, SECRET = "AKIDEXAMPLE0000000", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
AT = datetime.datetime(2026, 11, 24, 13, 43, 35, tzinfo=datetime.UTC)
SCOPE = SigningScope(date="20261124", region=REGION)

_SEGMENT = st.text(st.sampled_from("abzAZ09-_.~%:+=@"), min_size=1, max_size=12).filter(
    lambda text: text not in (".", "..")
)
PATHS = st.lists(_SEGMENT, max_size=4).map(lambda segments: "/" + "/".join(_encoded(each) for each in segments))
QUERIES = st.lists(
    st.tuples(st.sampled_from(["tagKeys", "a", "A", "b", "maxResults"]), st.text("az09%20-_.~", max_size=6)), max_size=5
).map(lambda pairs: "&".join(f"{name}={_encoded(value)}" for name, value in pairs))
HEADERS = st.dictionaries(
    st.sampled_from(["content-type", "accept", "x-amzn-bedrock-accept", "x-amz-target", "x-custom"]),
    st.text("abc ,;=/-", max_size=20).map(str.strip),
    max_size=4,
)
BODIES = st.binary(max_size=60)
METHODS = st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH"])


def _encoded(text: str) -> str:
    return "".join(char if char.isalnum() or char in "-_.~" else f"%{ord(char):02X}" for char in text)


@given(method=METHODS, path=PATHS, query=QUERIES, headers=HEADERS, body=BODIES)
def test_what_we_sign_is_what_botocore_signs(
    method: str, path: str, query: str, headers: dict[str, str], body: bytes
) -> None:
    url = f"http://127.0.0.1:8080{path}" + (f"?{query}" if query else "")
    theirs = signed_request(method, url, body, key=KEY, secret=SECRET, headers=headers, at=AT)
    unsigned = [pair for pair in theirs.headers if pair[0] not in (b"authorization", b"x-amz-date")]
    ours = signing_headers(
        access_key_id=KEY,
        secret=Credential(SECRET),
        scope=SCOPE,
        timestamp="20261124T134335Z",
        method=method,
        raw_path=theirs.path,
        raw_query=theirs.query,
        headers=unsigned,
        body=body,
    )
    assert dict(ours) == {name: value for name, value in theirs.headers if name in (b"authorization", b"x-amz-date")}


def test_temporary_credentials_sign_their_token() -> None:
    theirs = signed_request("GET", "http://h/", key=KEY, secret=SECRET, token="the-token", at=AT)
    ours = signing_headers(
        access_key_id=KEY,
        secret=Credential(SECRET),
        session_token=Credential("the-token"),
        scope=SCOPE,
        timestamp="20261124T134335Z",
        method="GET",
        raw_path=b"/",
        raw_query=b"",
        headers=[(b"host", b"h")],
        body=b"",
    )
    assert (b"x-amz-security-token", b"the-token") in ours
    assert dict(ours)[b"authorization"] == theirs.header("authorization")


def test_a_request_that_names_no_host_is_not_signed() -> None:
    with pytest.raises(ValueError, match="host"):
        signing_headers(
            access_key_id=KEY,
            secret=Credential(SECRET),
            scope=SCOPE,
            timestamp="20261124T134335Z",
            method="GET",
            raw_path=b"/",
            raw_query=b"",
            headers=[],
            body=b"",
        )


def test_the_canonical_request() -> None:
    canonical = canonical_request(
        method="POST",
        raw_path=b"/model/arn%3Aaws%2Fab/converse",
        raw_query=b"tagKeys=b&tagKeys=a&flag&A=1",
        headers=[(b"host", b"h:1"), (b"x-a", b"  two   words "), (b"x-a", b"again"), (b"other", b"no")],
        signed=(b"host", b"x-a", b"x-none"),
        payload=body_hash(b""),
    )
    assert canonical.decode().split("\n") == [
        "POST",
        "/model/arn%253Aaws%252Fab/converse",
        "A=1&flag=&tagKeys=a&tagKeys=b",
        "host:h:1",
        "x-a:two words,again",
        "x-none:",
        "",
        "host;x-a;x-none",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ]


@pytest.mark.parametrize("path", [b"/a/../b", b"/./b", b"//b"])
def test_a_path_is_signed_as_it_stands(path: bytes) -> None:
    def canonical(raw_path: bytes) -> bytes:
        return canonical_request(
            method="GET", raw_path=raw_path, raw_query=b"", headers=[], signed=(b"host",), payload=""
        )

    assert canonical(path) != canonical(b"/b")
