"""Data keys: one per session, wrapped by a key that the database does not hold."""
