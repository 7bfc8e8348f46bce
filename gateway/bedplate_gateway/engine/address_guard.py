"""Which addresses of others the gateway may connect to, and the one way in which it reads a URL.

Whatever fetches what a client named goes through this: a server inside our network trusts the gateway more than it
trusts the client. The ranges are from IANA's IPv4 and IPv6 special-purpose address registries (November 2026), not
from `ipaddress.is_global`, which in Python 3.11 holds for 6to4, NAT64 and site-local addresses.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final, NoReturn
from urllib.parse import quote, urlsplit

import idna
import msgspec

HTTPS_PORT: Final = 443
MAX_URL_CHARS: Final = 8192

_REFUSED_IPV4: Final = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT, and some clouds' metadata
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's host, reachable from every machine there
        "169.254.0.0/16",  # link-local, and most clouds' metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
"""All else is mapped (`::ffff:0:0/96`), NAT64 (`64:ff9b::/96`, `64:ff9b:1::/48`), local, multicast or not assigned."""
_REFUSED_IPV6: Final = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address inside, whichever
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)

_NAME: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_IPV4: Final = re.compile(r"(?:0|[1-9][0-9]{0,2})(?:\.(?:0|[1-9][0-9]{0,2})){3}", re.ASCII)
_NOT_IN_URLS: Final = re.compile(r"[\x00-\x20\x7f\\]")
_KEPT_IN_PATHS: Final = "%/?:@!$&'()*+,;=~-._[]"


class RefusedAddress(Exception):
    """The gateway does not connect to that. The message says what of the URL's form is wrong, and nothing else."""


class Target(msgspec.Struct, frozen=True):
    """What a URL names: `host` (a name in its ASCII form, or an address), `port`, and `path` with its query."""

    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The Host header: the port only where it is not the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == HTTPS_PORT else f"{host}:{self.port}"


def is_public(address: str) -> bool:
    """Whether `address` (IPv4 or IPv6, as text) is one of the public internet. Whatever is no plain address is not."""
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(known, ipaddress.IPv4Address):
        return not any(known in network for network in _REFUSED_IPV4)
    if known.scope_id is not None or known not in _GLOBAL_UNICAST:
        return False
    return not any(known in network for network in _REFUSED_IPV6)


def parse_target(url: str, ports: frozenset[int] = frozenset({HTTPS_PORT})) -> Target:
    """The `https:` target of `url`, read once: what is checked is what is connected to.

    Raises `RefusedAddress` for another scheme, a user or password, a port that is not in `ports`, and a host that is
    neither a name nor an address in its usual form (`0x7f.1`, `2130706433`, `127.1` and zone ids are neither).
    """
    if len(url) > MAX_URL_CHARS:
        raise RefusedAddress(f"is longer than {MAX_URL_CHARS} characters")
    if _NOT_IN_URLS.search(url) is not None:
        raise RefusedAddress("holds characters that no URL has")
    try:
        parts = urlsplit(url)
        port = parts.port if parts.port is not None else HTTPS_PORT
    except ValueError:
        raise RefusedAddress("is not a URL") from None
    if parts.scheme != "https":
        raise RefusedAddress("is not an https: URL")
    if "@" in parts.netloc:
        raise RefusedAddress("holds a user name")
    if port not in ports:
        raise RefusedAddress("names a port that is not allowed")
    path = quote(parts.path or "/", safe=_KEPT_IN_PATHS)
    query = quote(parts.query, safe=_KEPT_IN_PATHS)
    return Target(host=_host(parts.hostname or "", parts.netloc), port=port, path=f"{path}?{query}" if query else path)


def _host(host: str, netloc: str) -> str:
    if netloc.startswith("["):
        try:
            return str(ipaddress.IPv6Address(host)) if "%" not in host else _no_host()
        except ValueError:
            _no_host()
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            _no_host()
    if len(host) > 253 or _NAME.fullmatch(host) is None:
        _no_host()
    if _NUMBER.fullmatch(host.rpartition(".")[2]) is not None:
        try:
            return str(ipaddress.IPv4Address(host)) if _IPV4.fullmatch(host) is not None else _no_host()
        except ValueError:
            _no_host()
    return host


def _no_host() -> NoReturn:
    raise RefusedAddress("has a host that is neither a name nor an address")


__all__ = ["HTTPS_PORT", "RefusedAddress", "Target", "is_public", "parse_target"]
