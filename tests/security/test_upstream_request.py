"""What a client sends never becomes an instruction to an upstream: no header, no address, no field of the gateway's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from bedplate_gateway.access.keyring import read_keyring
from bedplate_gateway.cli.local_engine import write_secret
from tests.fixtures.gateway import RunningGateway
from tests.gateway.support import CHAT, MESSAGES, eventually, http, record_of
from tests.providers.mini_vllm import mini_vllm
from tests.providers.wire_server import Received, WireServer

UPSTREAM_KEY = "upstream-key-canary"


class Upstream:
    """A recording vLLM on a thread of its own."""

    def __init__(self) -> None:
        self.server = WireServer(mini_vllm)
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._run()))

    async def _run(self) -> None:
        async with self.server:
            self._ready.set()
            await self._stop.wait()

    @property
    def calls(self) -> list[Received]:
        return [request for request in self.server.requests if request.method == "POST"]

    def __enter__(self) -> Upstream:
        self._thread.start()
        assert self._ready.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()


@pytest.fixture(scope="module")
def upstream(gateway: RunningGateway) -> Iterator[Upstream]:
    with Upstream() as running:
        write_secret(gateway.settings.secrets_path, "upstream", UPSTREAM_KEY)
        gateway.apply_text(
            "kind: Provider\nname: recorded\nspec: {kind: vllm, urls: ['"
            + running.server.url
            + "'], api_key: 'file:upstream'}\n"
            "---\nkind: Model\nname: public-name\nspec: {provider: recorded, upstream_model: m}\n"
        )
        with http(gateway, gateway.key) as client:
            eventually(lambda: client.get("/v1/models/public-name").status_code == 200, within_s=2)
            eventually(lambda: _chat(client).status_code == 200, within_s=5)
        yield running


def _chat(client: Any, body: dict[str, Any] | None = None, **headers: str) -> Any:
    return client.post(CHAT, json={"model": "public-name", "messages": MESSAGES} | (body or {}), headers=headers)


CANARY = "client-canary"
HEADERS = [
    "x-request-id",
    "x-gateway-project",
    "x-gateway-model",
    "x-tenant-id",
    "x-upstream-authorization",
    "x-upstream-url",
    "x-bedplate-project",
    "x-bedplate-cache-salt",
    "x-llm-d-prefill",
    "x-data-parallel-rank",
    "x-data-parallel-host-port",
    "x-prefiller-url",
    "cache_salt",
    "priority",
    "kv-transfer-params",
    "traceparent",
    "baggage",
    "cookie",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "proxy-authorization",
    "te",
    "user-agent",
    "openai-organization",
    "openai-project",
    "accept-language",
    "referer",
]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_no_header_of_a_client_reaches_the_upstream(gateway: RunningGateway, upstream: Upstream, stream: bool) -> None:
    before = len(upstream.calls)
    with http(gateway, gateway.key) as client:
        response = _chat(client, {"stream": stream}, **{name: f"{CANARY}-{name}" for name in HEADERS})
    assert response.status_code == 200
    (call,) = upstream.calls[before:]
    assert CANARY not in repr(call.headers)
    assert CANARY.encode() not in call.body
    assert set(call.headers) <= {
        "host", "authorization", "content-type", "content-length", "x-request-id", "accept", "connection", "user-agent",
    }  # fmt: skip
    assert call.headers["authorization"] == f"Bearer {UPSTREAM_KEY}"
    assert gateway.key not in repr(call.headers)
    assert call.headers["x-request-id"] != f"{CANARY}-x-request-id"
    assert response.headers["x-request-id"] != f"{CANARY}-x-request-id"
    assert call.path == "/v1/chat/completions"


def test_the_gateway_sets_the_projects_own_cache_salt(gateway: RunningGateway, upstream: Upstream) -> None:
    keyring = read_keyring(gateway.settings.master_key_path)
    salts: list[str] = []
    for key in (gateway.key, gateway.other_key, gateway.admin_key):
        before = len(upstream.calls)
        with http(gateway, key) as client:
            response = _chat(client)
        (call,) = upstream.calls[before:]
        project = record_of(gateway, response.headers["x-request-id"])["project_id"]
        assert call.json["cache_salt"] == keyring.cache_salt(project)
        assert call.json["model"] == "m"
        salts.append(call.json["cache_salt"])
    assert salts[0] == salts[2] != salts[1]


FIELDS: dict[str, Any] = {
    "cache_salt": "x",
    "priority": 1,
    "kv_transfer_params": {"do_remote_decode": True},
    "request_id": "x",
    "vllm_xargs": {},
    "data_parallel_rank": 0,
    "api_base": "http://127.0.0.1:1",
    "base_url": "http://127.0.0.1:1",
    "baseURL": "http://127.0.0.1:1",
    "api_key": "x",
    "apiKey": "x",
    "host": "x",
    "endpoint": "x",
    "callback_url": "http://127.0.0.1:1",
    "webhook": "http://127.0.0.1:1",
    "proxy": "http://127.0.0.1:1",
    "spec_path": "x",
    "user_config": {"model_list": [{"litellm_params": {"api_base": "http://127.0.0.1:1"}}]},
    "extra_headers": {"x": "y"},
    "headers": {"x": "y"},
    "aws_secret": "x",
    "provider": {"url": "http://127.0.0.1:1"},
    "extra_body": {"api_base": "http://127.0.0.1:1"},
    "litellm_params": {"api_base": "http://127.0.0.1:1"},
}


@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/embeddings"])
@pytest.mark.parametrize("name", FIELDS)
def test_a_field_that_names_an_upstream_is_refused(
    gateway: RunningGateway, upstream: Upstream, path: str, name: str
) -> None:
    before = len(upstream.calls)
    content = {CHAT: {"messages": MESSAGES}, "/v1/completions": {"prompt": "x"}, "/v1/embeddings": {"input": "x"}}[path]
    with http(gateway, gateway.key) as client:
        response = client.post(path, json={"model": "public-name", **content, name: FIELDS[name]})
    assert response.status_code == 400
    assert response.json()["error"]["param"] in (name, "model")
    assert len(upstream.calls) == before


@pytest.mark.parametrize("name", ["api_base", "url", "cache_salt", "headers"])
def test_the_same_inside_a_message_is_refused_or_dropped(
    gateway: RunningGateway, upstream: Upstream, name: str
) -> None:
    before = len(upstream.calls)
    message = {"role": "user", "content": [{"type": "text", "text": "x", name: CANARY}], name: CANARY}
    with http(gateway, gateway.key) as client:
        response = _chat(client, {"messages": [message]})
    assert response.status_code in (200, 400)
    for call in upstream.calls[before:]:
        assert CANARY.encode() not in call.body
