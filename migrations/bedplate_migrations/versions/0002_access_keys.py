"""Key pairs: an API key may also have an access key id and a secret with which its owner signs requests."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    alter table api_key
        add column access_key_id text unique,
        add column sealed_secret bytea,
        add constraint api_key_pair_is_whole check ((access_key_id is null) = (sealed_secret is null))
    """,
    """
    comment on column api_key.sealed_secret is
        'the secret of the pair, encrypted under a key derived from the master key; checking a signature needs it'
    """,
)


def upgrade() -> None:
    """Add the two columns; keys that exist have no pair."""
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
