"""Where local models and custom validators run: worker processes, what waits for them, and what is remembered.

`pool.WorkerPool` is the `Evaluator` of a gateway process. Nothing here imports numpy, onnxruntime, spaCy or
guardrails-ai; only the worker's program (`bedplate_guardrails.worker`) does.
"""
