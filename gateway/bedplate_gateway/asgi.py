"""The application factory for worker processes, which get their settings through the environment."""

from __future__ import annotations

import gc

from litestar.types import ASGIApp

from bedplate_gateway.app import create_app
from bedplate_gateway.records.logs import configure_logs
from bedplate_gateway.settings import settings_from_environment


def application() -> ASGIApp:
    """The gateway as this process's environment describes it."""
    settings = settings_from_environment()
    configure_logs(settings.log_format)
    app = create_app(settings)
    # What exists now lives as long as the process: keep the collector from walking it on every pass.
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 50, 1000)
    return app


__all__ = ["application"]
