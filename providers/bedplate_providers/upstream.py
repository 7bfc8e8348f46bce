"""One server that is spoken to over HTTP: its connections, its credential, and calls with a whole answer."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

from bedplate_providers.base import Timeouts
from bedplate_providers.http import HttpPool
from bedplate_providers.http_connection import HttpError
from bedplate_providers.upstream_errors import from_http
from bedplate_providers.upstream_stream import (
    PROBE_S,
    EventReader,
    Framing,
    Payload,
    Reach,
    Refusal,
    Render,
    UpstreamStream,
    WireCall,
    refused,
)


class HttpUpstream:
    """A server at one origin. Belongs to one event loop; safe for concurrent use in it.

    `headers` go with every request, the credential's among them. `refusal` classifies its answers that are
    not 200. `reach` is what the last call met. A connection idle for `keep_alive_s` is not used again; it should
    be a little less than the server's own.
    """

    def __init__(
        self,
        url: str,
        *,
        refusal: Refusal,
        headers: Mapping[str, str] | None = None,
        timeouts: Timeouts | None = None,
        max_connections: int = 1024,
        ssl_context: ssl.SSLContext | None = None,
        keep_alive_s: float = 4.0,
    ) -> None:
        self.url = url
        self.timeouts = timeouts or Timeouts()
        self.reach = Reach()
        self._refusal = refusal
        self.pool = HttpPool(
            url,
            limit=max_connections,
            connect_s=self.timeouts.connect_s,
            headers=headers or {},
            ssl_context=ssl_context,
            keep_alive_s=keep_alive_s,
        )

    def stream(
        self,
        render: Render,
        reader: EventReader[Payload],
        framing: Framing[Payload],
        *,
        content_type: str = "text/event-stream",
    ) -> UpstreamStream[Payload]:
        """A generation that has not begun; see `UpstreamStream`. `reader` and `framing` are this call's own."""
        return UpstreamStream(
            self.pool,
            self.timeouts,
            render,
            reader,
            framing,
            self._refusal,
            self.reach,
            replica=self.url,
            content_type=content_type,
        )

    async def fetch(self, call: WireCall, limit_bytes: int) -> bytes:
        """The whole body of a 200 answer: its head within `first_event_s`, its body within `idle_s` after.

        Raises `GatewayError` only: what `refusal` says of another status, `UpstreamProtocolError` for a body
        over `limit_bytes`. Cancellation closes the connection.
        """
        return await self._fetch(call, limit_bytes, self.timeouts.first_event_s, self.timeouts.idle_s)

    async def probe(self, path: str, limit_bytes: int) -> bytes:
        """`fetch` of a `GET` that must answer within 3 s: health checks and lists."""
        return await self._fetch(WireCall(path=path, headers={}, body=b"", method="GET"), limit_bytes, PROBE_S, PROBE_S)

    async def aclose(self) -> None:
        """Close every connection; calls under way fail."""
        await self.pool.aclose()

    async def _fetch(self, call: WireCall, limit_bytes: int, head_s: float, body_s: float) -> bytes:
        exchange = self.pool.exchange(call.method, call.path, call.headers, call.body)
        try:
            await exchange.start(self.timeouts.connect_s, head_s)
            self.reach.answered()
            if exchange.status != 200:
                raise await refused(exchange, self._refusal)
            exchange.renew_deadline(body_s)
            return await exchange.read(limit_bytes)
        except HttpError as error:
            failure = from_http(error, started=False)
            self.reach.failed(failure)
            raise failure from error
        finally:
            exchange.abort()


def tls_context(url: str, ca_file: str | None) -> ssl.SSLContext | None:
    """The certificates that an `https` upstream is checked against: those of `ca_file`, else the system's; `None`
    for `http`. Raises `OSError` for a file that cannot be read.
    """
    return ssl.create_default_context(cafile=ca_file) if url.startswith("https:") else None


__all__ = ["HttpUpstream", "tls_context"]
