"""Guardrails: policies over everything that goes in and comes out, streamed or not.

A policy document (`document`, Bedrock's guardrail schema) is compiled into a `policy.Policy`, which masks or blocks a
request (`Policy.check_input`) and an answer's events (`Policy.guard_output`). What leaves a guarded stream is the
same however the upstream cut its text, holds no match of a rule that blocks, and keeps back only the tail that could
still become one. Anything that goes wrong while checking fails closed.

Text is looked at through normalised views (`views`). Detectors (`detectors`) say what matches for certain and what may
still come; the scanner (`lane`, `scanner`, `run`) turns that into masks and a release point; `output_guard` and
`screen` apply it to events and to whole values. What models evaluate comes after that: `model_check` on a request,
`window_guard` on an answer, through an `evaluation.Evaluator`; `pool` runs the local `models` and other people's
validators in processes of their own (`worker`). `validators` has the detectors as guardrails-ai validators; only it and
the worker import guardrails-ai, and nothing of the gateway does.
"""
