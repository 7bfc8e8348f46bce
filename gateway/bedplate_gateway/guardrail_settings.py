"""What the settings say about the local models and validators of guardrails."""

from __future__ import annotations

import structlog

from bedplate_gateway.settings import Settings, SettingsError
from bedplate_guardrails.evaluation import EvaluationFailed
from bedplate_guardrails.policy import Policy
from bedplate_guardrails.pool.pool import WorkerPool
from bedplate_guardrails.pool.registry import InvalidRegistry
from bedplate_guardrails.pool.settings import PoolSettings

_NOBODY = ""
"""The tenant of tasks that are nobody's."""
_LOADING_S = 120.0

_log = structlog.stdlib.get_logger("bedplate.guardrails")


def guardrail_pool(settings: Settings) -> WorkerPool:
    """The pool of one gateway process; nothing is started. Raises `SettingsError` for validators that do not fit."""
    try:
        return WorkerPool(
            PoolSettings(
                processes=settings.guardrail_processes,
                models_folder=settings.guardrail_models,
                validators_file=settings.guardrail_validators,
                max_waiting=settings.guardrail_queue,
            )
        )
    except InvalidRegistry as error:
        raise SettingsError(f"BEDPLATE_GUARDRAIL_VALIDATORS: {error}") from error


async def prepare(pool: WorkerPool, policy: Policy) -> None:
    """Have the models and validators loaded that `policy` needs. What cannot be loaded is logged, and fails later."""
    tasks = policy.rehearsal
    if not tasks:
        return
    try:
        await pool.evaluate(_NOBODY, tasks, timeout_s=_LOADING_S)
    except EvaluationFailed as error:
        _log.warning("guardrail_not_prepared", guardrail=policy.ref.name, reason=error.message)


__all__ = ["guardrail_pool", "prepare"]
