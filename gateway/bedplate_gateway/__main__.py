"""`python -m bedplate_gateway` is the `bedplate` command."""

from __future__ import annotations

from bedplate_gateway.cli.main import main

if __name__ == "__main__":
    main()
