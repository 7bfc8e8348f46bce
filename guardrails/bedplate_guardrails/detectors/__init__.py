"""The detectors, as the scanner calls them. They import nothing of guardrails-ai (`bedplate_guardrails.validators`
has them for its `Guard`), so a process that compiles policies does not load it.
"""
