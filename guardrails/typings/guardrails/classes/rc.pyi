from typing import Any

class RC:
    enable_metrics: bool | None
    # Not a method, because it is replaced.
    load: Any
    def __init__(
        self,
        id: str | None = ...,  # noqa: A002 - the name is guardrails-ai's
        token: str | None = ...,
        enable_metrics: bool | None = ...,
        use_remote_inferencing: bool | None = ...,
    ) -> None: ...
