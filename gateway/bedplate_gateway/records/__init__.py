"""The durable record of every call, and the logs and metrics that are read from it."""
