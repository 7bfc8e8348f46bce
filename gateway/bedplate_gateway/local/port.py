"""TCP ports on this machine, before anything listens on them."""

from __future__ import annotations

import errno
import socket

from bedplate_gateway.local.errors import LaunchError


def require_free_port(host: str, port: int, *, option: str) -> None:
    """Raise `LaunchError` unless a server could listen on `host` and `port` now; its hint names `option`."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            # As servers do: connections of an earlier server that are still closing are no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise LaunchError(
                f"port {port} on {host} is in use by another program",
                f"Stop that program, or choose another port with {option} NUMBER.",
            ) from error
        raise LaunchError(
            f"port {port} on {host} cannot be used: {error.strerror or error}",
            f"Choose another address, or another port with {option} NUMBER.",
        ) from error


def free_port(host: str = "127.0.0.1") -> int:
    """A port on `host` that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
