"""Durable conversations: a turn is committed before its last event leaves, and never twice."""
