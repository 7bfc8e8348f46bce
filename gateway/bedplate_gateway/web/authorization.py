"""Authorisation: what a route does is declared on the route, and checked here for every one of them."""

from __future__ import annotations

from typing import Any, cast

from litestar.types import ASGIApp, Receive, Scope, Send

from bedplate_core.errors import PermissionDenied
from bedplate_gateway.access.principal import Action
from bedplate_gateway.web.edge import PUBLIC_PATHS, principal_of

ACTION = "action"
"""The key in a route's `opt` under which it declares its `Action`."""


def authorization(app: ASGIApp) -> ASGIApp:
    """Middleware that raises `PermissionDenied` unless the principal may do what the route declares.

    A route that is not public and declares nothing is refused to everyone, so forgetting it cannot open it.
    """

    async def authorize(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] not in PUBLIC_PATHS:
            handler = cast("Any", scope).get("route_handler")
            action = None if handler is None else handler.opt.get(ACTION)
            if not isinstance(action, Action):
                raise PermissionDenied("this route permits no access")
            principal_of(scope).require(action)
        await app(scope, receive, send)

    return authorize


__all__ = ["ACTION", "authorization"]
