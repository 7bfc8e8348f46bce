"""Addresses of media become data through a guarded fetch, or are refused; pictures have a bounded size.

The servers are on this machine, so the tests say which addresses count as public; everything else is as it is served.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bedplate_core.errors import GatewayError, InvalidRequest, UnsupportedFeature
from bedplate_core.messages import (
    Audio,
    Document,
    GuardContent,
    Image,
    MediaBytes,
    MediaUrl,
    Message,
    Part,
    Role,
    Text,
    ToolResult,
    Video,
)
from bedplate_core.requests import Request
from bedplate_gateway import app
from bedplate_gateway.engine.guarded_fetch import GuardedFetch
from bedplate_gateway.engine.media import MediaGuard, MediaLimits
from bedplate_gateway.local.certificates import Certificates, ensure_certificates
from bedplate_providers.fake import FakeProvider
from tests.fixtures.asgi import Exchange, in_process
from tests.fixtures.pictures import gif, jpeg, png, webp
from tests.scenario.case import PNG

HOST = "media.example"
LOOPBACK = "127.0.0.1"
INSIDE = "127.0.0.2"
"""Where the guard must not go, though something listens there."""
NOT_FETCHED = "messages[0].content[0]: what the address names could not be fetched; give the media as data"

Answers = Callable[[asyncio.StreamReader, asyncio.StreamWriter, str], Awaitable[None]]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return ensure_certificates(tmp_path_factory.mktemp("tls"), (HOST, "other.example", INSIDE))


def reply(body: bytes, content_type: str = "image/png", status: str = "200 OK", **headers: str) -> bytes:
    named = {"content-type": content_type, "content-length": str(len(body)), "connection": "close"}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items() if value)
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


class Site:
    """A TLS server on loopback, at `LOOPBACK` and at `INSIDE`. `pages` are whole answers by path."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes | Answers] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.connections: list[str] = []
        self.open = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        at = writer.get_extra_info("sockname")[0]
        self.connections.append(at)
        self.open += 1
        try:
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            path = lines[0].split(" ")[1]
            self.requests.append((at, path, dict(line.lower().split(": ", 1) for line in lines[1:] if line)))
            page = self.pages.get(path, reply(b"", status="404 Not Found"))
            if isinstance(page, bytes):
                writer.write(page)
                await writer.drain()
            else:
                await page(reader, writer, path)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()

    def url(self, path: str, host: str = HOST) -> str:
        return f"https://{host}:{self.port}{path}"


@contextlib.asynccontextmanager
async def site(certificates: Certificates) -> AsyncGenerator[Site, None]:
    served = Site()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.server, certificates.server_key)
    first = await asyncio.start_server(served.serve, LOOPBACK, 0, ssl=context)
    served.port = first.sockets[0].getsockname()[1]
    second = await asyncio.start_server(served.serve, INSIDE, served.port, ssl=context)
    async with first, second:
        yield served


class Names:
    """A name server: each host's answers in turn, the last one for ever."""

    def __init__(self, **hosts: Sequence[Sequence[str]]) -> None:
        self.hosts = {name.replace("_", "."): list(answers) for name, answers in hosts.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        answers = self.hosts.get(host)
        if answers is None:
            if host[0].isdigit():
                return [host]
            raise socket.gaierror("no such host")
        return answers.pop(0) if len(answers) > 1 else answers[0]


def local_fetch(served: Site, certificates: Certificates, names: Names | None = None) -> GuardedFetch:
    return GuardedFetch(
        resolve=names or Names(media_example=[[LOOPBACK]], other_example=[[LOOPBACK]]),
        is_allowed=lambda address: address == LOOPBACK,
        ports=frozenset({served.port}),
        ssl_context=ssl.create_default_context(cafile=certificates.authority),
    )


@contextlib.contextmanager
def guarded(served: Site, certificates: Certificates, names: Names | None = None, **limits: Any) -> Any:
    guard = MediaGuard(local_fetch(served, certificates, names), MediaLimits(**limits))
    try:
        yield guard
    finally:
        guard.close()


def asking(*parts: Part) -> Request:
    return Request(model="m", messages=(Message(role=Role.USER, parts=parts),))


def picture(url: str) -> Request:
    return asking(Image(media=MediaUrl(url)))


async def refusal(guard: MediaGuard, request: Request) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await guard.admitted(request)
    return caught.value


@pytest.mark.anyio
async def test_every_address_becomes_data_in_its_place(certificates: Certificates) -> None:
    async with site(certificates) as served:
        served.pages = {
            "/p.png?size=1": reply(PNG),
            "/j": reply(jpeg((3, 4)), "image/png"),
            "/a.wav": reply(b"RIFF\0\0\0\0WAVEfmt ", "audio/x-wav"),
            "/v.mp4": reply(b"\0\0\0\x20ftypisom", "video/mp4"),
            "/d.pdf": reply(b"%PDF-1.7", "application/pdf; charset=binary"),
        }
        url = served.url
        same = Image(media=MediaBytes(PNG, "image/png"), detail="low")
        request = asking(
            Text(text="look"),
            Image(media=MediaUrl(url("/p.png?size=1")), detail="low"),
            Audio(media=MediaUrl(url("/a.wav"))),
            Video(media=MediaUrl(url("/v.mp4"))),
            Document(media=MediaUrl(url("/d.pdf")), name="d"),
            GuardContent(content=Image(media=MediaUrl(url("/j")))),
            ToolResult(call_id="c", parts=(Text(text="x"), Image(media=MediaUrl(url("/p.png?size=1"))))),
            same,
        )
        with guarded(served, certificates) as guard:
            fetched = await guard.admitted(request)
        assert fetched.messages[0].parts == (
            Text(text="look"),
            same,
            Audio(media=MediaBytes(b"RIFF\0\0\0\0WAVEfmt ", "audio/wav")),
            Video(media=MediaBytes(b"\0\0\0\x20ftypisom", "video/mp4")),
            Document(media=MediaBytes(b"%PDF-1.7", "application/pdf"), name="d"),
            GuardContent(content=Image(media=MediaBytes(jpeg((3, 4)), "image/jpeg"))),
            ToolResult(call_id="c", parts=(Text(text="x"), Image(media=MediaBytes(PNG, "image/png")))),
            same,
        )
        assert sorted(path for _, path, _ in served.requests) == sorted(served.pages)  # each once
        for _, _, headers in served.requests:
            assert headers.keys() == {"host", "accept", "accept-encoding", "user-agent"}
            assert headers["host"] == f"{HOST}:{served.port}"
            assert headers["accept-encoding"] == "identity"


@pytest.mark.anyio
async def test_a_request_without_addresses_is_the_same_object() -> None:
    request = asking(Text(text="x"), Image(media=MediaBytes(PNG, "image/png")))
    assert await MediaGuard().admitted(request) is request


@pytest.mark.anyio
@pytest.mark.parametrize("url", ["https://media.example/x.png", "s3://bucket/key"])
@pytest.mark.parametrize("holder", [Image, Audio, Video, Document])
async def test_without_fetching_every_address_is_refused_by_name(url: str, holder: type[Image]) -> None:
    part = holder(media=MediaUrl(url))
    for request in (asking(Text(text="x"), part), asking(Text(text="x"), ToolResult(call_id="c", parts=(part,)))):
        with pytest.raises(UnsupportedFeature) as caught:
            await MediaGuard().fetched(request)
        error = caught.value
        assert error.param is not None
        assert error.param.startswith("messages[0].content[1]")
        assert "not as an address" in error.message


@pytest.mark.anyio
async def test_an_earlier_message_with_an_address_goes_nowhere() -> None:
    with pytest.raises(UnsupportedFeature, match="not as an address"):
        MediaGuard().check(picture("https://media.example/x"))


@pytest.mark.anyio
async def test_the_form_is_refused_before_anything_is_asked(certificates: Certificates) -> None:
    async with site(certificates) as served:
        names = Names(media_example=[[LOOPBACK]])
        with guarded(served, certificates, names) as guard:
            for url in (
                "http://media.example/",
                "https://u:p@media.example/",
                "https://media.example:22/",
                "https://127.1/",
            ):
                error = await refusal(guard, picture(url))
                assert type(error) is InvalidRequest
                assert error.param == "messages[0].content[0]"
            assert isinstance(await refusal(guard, picture("s3://bucket/key")), UnsupportedFeature)
        assert not names.asked
        assert not served.connections


@pytest.mark.anyio
@pytest.mark.parametrize(
    "answers", [[INSIDE], ["10.0.0.1"], [LOOPBACK, INSIDE], ["::ffff:127.0.0.1"], ["64:ff9b::7f00:1"], ["::1%lo"], []]
)
async def test_a_name_with_an_address_that_is_not_public_is_never_connected_to(
    certificates: Certificates, answers: list[str]
) -> None:
    async with site(certificates) as served:
        served.pages["/x"] = reply(PNG)
        with guarded(served, certificates, Names(media_example=[answers])) as guard:
            error = await refusal(guard, picture(served.url("/x")))
        assert error.message == NOT_FETCHED
        assert not served.connections


@pytest.mark.anyio
async def test_the_real_rules_refuse_this_machine(certificates: Certificates) -> None:
    async with site(certificates) as served:
        served.pages["/x"] = reply(PNG)
        fetch = GuardedFetch(ports=frozenset({served.port}))
        guard = MediaGuard(fetch)
        try:
            for host in ("localhost", LOOPBACK, "[::1]", "[::ffff:7f00:1]"):
                error = await refusal(guard, picture(served.url("/x", host)))
                assert error.message == NOT_FETCHED
        finally:
            guard.close()
        assert not served.connections


@pytest.mark.anyio
async def test_a_name_that_changes_its_address_is_connected_where_it_was_checked(certificates: Certificates) -> None:
    async with site(certificates) as served:
        served.pages["/x"] = reply(PNG)
        names = Names(media_example=[[LOOPBACK], [INSIDE]])
        with guarded(served, certificates, names) as guard:
            await guard.admitted(picture(served.url("/x")))
            assert names.asked == [HOST]
            assert served.connections == [LOOPBACK]
            error = await refusal(guard, picture(served.url("/x")))
        assert error.message == NOT_FETCHED
        assert served.connections == [LOOPBACK]


@pytest.mark.anyio
async def test_redirects_are_followed_each_checked_anew(certificates: Certificates) -> None:
    async with site(certificates) as served:

        def to(place: str, status: str = "302 Found") -> bytes:
            return reply(b"", "", status, location=place)

        served.pages = {
            "/1": to("2"),
            "/2": to(served.url("/3", "other.example"), "307 Temporary Redirect"),
            "/3": to(f"//media.example:{served.port}/4", "301 Moved Permanently"),
            "/4": reply(PNG),
            "/0": to("/1"),
        }
        with guarded(served, certificates) as guard:
            await guard.admitted(picture(served.url("/1")))
            assert [path for _, path, _ in served.requests] == ["/1", "/2", "/3", "/4"]
            assert served.requests[2][2]["host"] == f"other.example:{served.port}"
            error = await refusal(guard, picture(served.url("/0")))
        assert error.message == NOT_FETCHED


@pytest.mark.anyio
@pytest.mark.parametrize(
    "place",
    [
        "https://inside.example:{port}/secret",
        f"https://{INSIDE}:{{port}}/secret",
        "http://media.example:{port}/secret",
        "https://u@media.example:{port}/secret",
        "https://media.example:22/secret",
        "https://[::1]:{port}/secret",
        "https://[/secret",
        "file:///secret",
        "s3://bucket/secret",
        "",
    ],
)
async def test_a_redirect_leads_nowhere_that_an_address_may_not(certificates: Certificates, place: str) -> None:
    async with site(certificates) as served:
        served.pages = {
            "/x": reply(b"", "", "302 Found", location=place.format(port=served.port)),
            "/secret": reply(PNG),
        }
        names = Names(media_example=[[LOOPBACK]], inside_example=[[INSIDE]])
        with guarded(served, certificates, names) as guard:
            error = await refusal(guard, picture(served.url("/x")))
        assert error.message == NOT_FETCHED
        assert [path for _, path, _ in served.requests] == ["/x"]
        assert served.connections == [LOOPBACK]


@pytest.mark.anyio
async def test_the_server_has_to_prove_its_name(certificates: Certificates, tmp_path: Path) -> None:
    async with site(certificates) as served:
        served.pages["/x"] = reply(PNG)
        names = Names(media_example=[[LOOPBACK]], impostor_example=[[LOOPBACK]])
        with guarded(served, certificates, names) as guard:
            error = await refusal(guard, picture(served.url("/x", "impostor.example")))
            assert error.message == NOT_FETCHED
        with guarded(served, ensure_certificates(tmp_path), names) as stranger:
            error = await refusal(stranger, picture(served.url("/x")))
        assert error.message == NOT_FETCHED
        assert not served.requests


@pytest.mark.anyio
async def test_every_reason_why_nothing_came_sounds_the_same(certificates: Certificates) -> None:
    async def vanish(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: str) -> None:
        writer.transport.abort()

    async with site(certificates) as served:
        served.pages = {
            "/500": reply(PNG, status="500 Oops"),
            "/204": reply(b"", status="204 No Content"),
            "/206": reply(PNG, status="206 Partial Content"),
            "/coded": reply(PNG, content_encoding="gzip"),
            "/short": reply(PNG, content_length="9999"),
            "/broken": b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
            "/gone": vanish,
        }
        names = Names(media_example=[[LOOPBACK]], inside_example=[[INSIDE]])
        with guarded(served, certificates, names) as guard:
            urls = [served.url(path) for path in (*served.pages, "/404")]
            urls += [served.url("/x", host) for host in ("nowhere.example", "inside.example", "10.1.2.3")]
            for url in urls:
                error = await refusal(guard, picture(url))
                assert type(error) is InvalidRequest
                assert (url, error.message) == (url, NOT_FETCHED)


@pytest.mark.anyio
async def test_sizes_are_bounded_whether_announced_or_not(certificates: Certificates) -> None:
    sent = 0

    async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: str) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"1000\r\n" + bytes(0x1000) + b"\r\n")
            await writer.drain()
            sent += 0x1000

    async with site(certificates) as served:
        served.pages = {
            "/announced": reply(b"", content_length="10001"),
            "/endless": endless,
            "/fits": reply(png(1, 1).ljust(10_000, b"\0")),
        }
        with guarded(served, certificates, fetched_bytes=10_000, fetched_request_bytes=50_000_000) as guard:
            await guard.admitted(picture(served.url("/fits")))
            for path in ("/announced", "/endless"):
                error = await refusal(guard, picture(served.url(path)))
                assert type(error) is InvalidRequest
                assert "larger than 10000 bytes" in error.message
            assert sent < 20_000_000
        with guarded(served, certificates, fetched_bytes=10_000, fetched_request_bytes=15_000) as guard:
            both = asking(*(Image(media=MediaUrl(served.url("/fits", host))) for host in (HOST, "other.example")))
            error = await refusal(guard, both)
            assert "larger than 15000" in error.message


@pytest.mark.anyio
async def test_a_server_that_drips_is_left_in_time(certificates: Certificates) -> None:
    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> None:
        if path == "/body":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 10000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with site(certificates) as served:
        served.pages = {"/head": drip, "/body": drip}
        with guarded(served, certificates, fetched_s=0.3) as guard:
            for path in served.pages:
                started = asyncio.get_running_loop().time()
                error = await refusal(guard, picture(served.url(path)))
                assert asyncio.get_running_loop().time() - started < 2
                assert error.message == NOT_FETCHED
        await until(lambda: served.open == 0)


@pytest.mark.anyio
async def test_a_cancelled_fetch_lets_go_of_its_connection(certificates: Certificates) -> None:
    reached = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: str) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 10000\r\n\r\nx")
        await writer.drain()
        reached.set()
        await reader.read()  # until the other side is gone

    async with site(certificates) as served:
        served.pages["/x"] = hold
        with guarded(served, certificates) as guard:
            before = asyncio.all_tasks()
            task = asyncio.create_task(guard.admitted(picture(served.url("/x"))))
            await reached.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda: served.open == 0)
            await until(lambda: asyncio.all_tasks() <= before)
            served.pages["/x"] = reply(PNG)
            await guard.admitted(picture(served.url("/x")))


@pytest.mark.anyio
async def test_one_failure_ends_the_other_fetches(certificates: Certificates) -> None:
    async def hold(reader: asyncio.StreamReader, _: asyncio.StreamWriter, __: str) -> None:
        await reader.read()

    async with site(certificates) as served:
        served.pages["/hold"] = hold
        with guarded(served, certificates) as guard:
            request = asking(*(Image(media=MediaUrl(served.url(path))) for path in ("/404", "/hold")))
            error = await refusal(guard, request)
        assert error.message == NOT_FETCHED
        await until(lambda: served.open == 0)


@pytest.mark.anyio
async def test_what_was_fetched_must_be_what_it_is_used_as(certificates: Certificates) -> None:
    async with site(certificates) as served:
        served.pages = {
            "/html": reply(b"<html></html>", "text/html"),
            "/lie": reply(b"<html></html>", "image/png"),
            "/bomb": reply(png(30_000, 30_000)),
        }
        with guarded(served, certificates) as guard:
            for path in ("/html", "/lie"):
                error = await refusal(guard, picture(served.url(path)))
                assert "not image data of a known type" in error.message
            error = await refusal(guard, picture(served.url("/bomb")))
            assert "pixels" in error.message
            error = await refusal(guard, asking(Document(media=MediaUrl(served.url("/bomb")))))
            assert "not document data" in error.message


@pytest.mark.anyio
async def test_the_number_of_addresses_is_bounded(certificates: Certificates) -> None:
    async with site(certificates) as served:
        with guarded(served, certificates, fetched_items=2) as guard:
            request = asking(*(Image(media=MediaUrl(served.url(f"/{number}"))) for number in range(3)))
            assert "more than 2" in (await refusal(guard, request)).message
        assert not served.connections


RESOURCES = "kind: Model\nname: seeing\nspec: {provider: fake, upstream_model: fake/echo, profile: {vision: true}}\n"


@pytest.mark.anyio
async def test_the_model_is_given_data_and_a_conversation_keeps_it(
    certificates: Certificates, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Request] = []
    for name in ("generate", "count_tokens", "tokenize"):
        _record_requests(name, given, monkeypatch)
    async with site(certificates) as served:
        served.pages["/x"] = reply(PNG)
        monkeypatch.setattr(app, "GuardedFetch", lambda: local_fetch(served, certificates))
        async with in_process(tmp_path, database_url, resources=RESOURCES, media_fetch=True) as gateway:
            look = [{"type": "image_url", "image_url": {"url": served.url("/x")}}]
            chat = {"model": "seeing", "messages": [{"role": "user", "content": look}]}
            say = {"model": "seeing", "messages": [{"role": "user", "content": "again"}]}
            source = {"type": "url", "url": served.url("/x")}
            count = {
                "model": "seeing",
                "messages": [{"role": "user", "content": [{"type": "image", "source": source}]}],
            }
            session = {"x-bedplate-session": "auto"}
            for path, body in (
                ("/v1/chat/completions", chat),
                ("/v1/chat/completions", say),
                ("/v1/messages/count_tokens", count),
                ("/tokenize", chat),
            ):
                answer = await gateway.post(path, body, session if path.endswith("completions") else None)
                assert answer.status == 200, answer.body
                session = {name: value.decode() for name, value in _headers(answer) if name == "x-bedplate-session"}
    assert len(given) == 4
    for request in given:
        assert request.messages[0].parts == (Image(media=MediaBytes(PNG, "image/png")),)
    assert len(served.requests) == 3  # the second turn has it from the conversation


def _headers(answer: Exchange) -> list[tuple[str, bytes]]:
    return [(name.decode(), value) for name, value in answer.sent[0]["headers"]]


def _record_requests(name: str, given: list[Request], monkeypatch: pytest.MonkeyPatch) -> None:
    ask = getattr(FakeProvider, name)

    def asked(self: FakeProvider, request: Any, dispatch: Any) -> Any:
        given.append(getattr(request, "content", request))
        return ask(self, request, dispatch)

    monkeypatch.setattr(FakeProvider, name, asked)


@pytest.mark.parametrize("data", [png(8001, 8000), jpeg((8001, 8000)), gif(8001, 8000), webp(8001, 8000)])
def test_a_picture_given_as_data_is_bounded_before_anything_decodes_it(data: bytes) -> None:
    part = Image(media=MediaBytes(data, "image/png"))
    holders = (part, GuardContent(content=part), ToolResult(call_id="c", parts=(part,)))
    for held in (*holders, Document(media=MediaBytes(data, "image/png"))):
        with pytest.raises(InvalidRequest, match="more than 64000000 pixels") as caught:
            MediaGuard().check(asking(Text(text="x"), held))
        assert caught.value.param is not None
        assert caught.value.param.startswith("messages[0].content[1]")


def test_pictures_are_bounded_together_and_in_number() -> None:
    part = Image(media=MediaBytes(png(8000, 8000), "image/png"))
    MediaGuard().check(asking(*[part] * 4))
    with pytest.raises(InvalidRequest, match="together"):
        MediaGuard().check(asking(*[part] * 5))
    small = Image(media=MediaBytes(PNG, "image/png"))
    MediaGuard().check(asking(*[small] * 256))
    with pytest.raises(InvalidRequest, match="more than 256"):
        MediaGuard().check(asking(*[small] * 257))


@pytest.mark.parametrize("data", [b"BM" + bytes(60), b"II*\0" + bytes(60), b"<svg/>", PNG[:30]])
def test_a_picture_of_no_known_format_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidRequest, match="no PNG, JPEG, GIF or WebP"):
        MediaGuard().check(asking(Image(media=MediaBytes(data, "image/png"))))


async def until(check: Callable[[], bool], within_s: float = 3.0) -> None:
    async with asyncio.timeout(within_s):
        while not check():  # noqa: ASYNC110 # what is waited for is the transport's, which has no event
            await asyncio.sleep(0.01)


def test_the_limits_are_what_the_documentation_says() -> None:
    assert msgspec.structs.asdict(MediaLimits()) == {
        "items": 256,
        "pixels": 64_000_000,
        "request_pixels": 256_000_000,
        "fetched_items": 20,
        "fetched_bytes": 20_971_520,
        "fetched_request_bytes": 26_214_400,
        "fetched_s": 15.0,
    }
