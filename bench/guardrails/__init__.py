"""Measurements of the guardrail detectors, and the training of the models that are shipped with them."""
