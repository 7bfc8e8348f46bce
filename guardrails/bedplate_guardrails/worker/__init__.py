"""The worker's program: local models, or an administrator's validators, in a process apart from the gateway.

`python -m bedplate_guardrails.worker`, started by `bedplate_guardrails.pool`, which talks to it over its standard input
and output. Nothing else imports this package.
"""
