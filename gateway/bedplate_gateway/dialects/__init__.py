"""The wire languages: each decodes a body into the canonical request and encodes canonical events."""
