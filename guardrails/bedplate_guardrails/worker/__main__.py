"""`python -m bedplate_guardrails.worker`."""

from __future__ import annotations

from bedplate_guardrails.worker.main import main

if __name__ == "__main__":
    main()
