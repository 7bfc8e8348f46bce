"""The path of a call: admit, prepare, generate, stages, record."""
