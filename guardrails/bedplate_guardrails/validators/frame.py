"""guardrails-ai, imported so that it sends nothing anywhere.

Its telemetry is on unless a file in the home directory says otherwise, and every `Guard` reads that file again;
replacing `RC.load` is what keeps it off. `rfc3987_syntax` is an optional part of jsonschema, which does without it
where it is missing, and takes more than half of the import time.

Importing this raises `ImportError`, which says what to install, where guardrails-ai or a part of it is missing.
"""

from __future__ import annotations

import logging
import sys

_SLOW = "rfc3987_syntax"
_absent = _SLOW not in sys.modules
if _absent:
    sys.modules[_SLOW] = None  # type: ignore[assignment]  # None is how Python is told that a module is missing
try:
    from guardrails import AsyncGuard
    from guardrails.classes.rc import RC
    from guardrails.settings import settings
    from guardrails.types.on_fail import OnFailAction
    from guardrails.validator_base import (
        ErrorSpan,
        FailResult,
        PassResult,
        ValidationResult,
        Validator,
        register_validator,
    )
except ModuleNotFoundError as error:
    raise ImportError(
        f"bedplate_guardrails.validators needs guardrails-ai (no module {error.name!r}): "
        "pip install 'bedplate[guardrails]'"
    ) from error
finally:
    if _absent:
        del sys.modules[_SLOW]


def _silent(_cls: type[RC], _logger: logging.Logger | None = None) -> RC:
    return RC(id="", token="", enable_metrics=False, use_remote_inferencing=False)


RC.load = classmethod(_silent)
settings.rc = RC.load()
settings.disable_tracing = True

__all__ = [
    "AsyncGuard",
    "ErrorSpan",
    "FailResult",
    "OnFailAction",
    "PassResult",
    "ValidationResult",
    "Validator",
    "register_validator",
]
