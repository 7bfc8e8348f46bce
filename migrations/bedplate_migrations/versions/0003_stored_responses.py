"""Stored responses: what the OpenAI dialect's `/v1/responses` keeps, one row per answered request.

A row may be deleted, and its time to live extended; nothing else about it ever changes. Parents are named without a
foreign key: deleting a response is real and does not wait for those that build on it.
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    create table stored_response (
        id text primary key,
        project_id text not null,
        parent_id text,
        created_by text not null,
        model text not null,
        created_s bigint not null,
        input json not null,
        output json not null,
        stop_reason text not null,
        usage json not null,
        settings json not null,
        schema_version smallint not null,
        size_bytes bigint not null,
        stored_at timestamptz not null default now(),
        expires_at timestamptz not null
    )
    """,
    "comment on column stored_response.parent_id is 'the response that this one builds on; null: none'",
    "comment on column stored_response.created_s is 'when the answer began, in seconds since 1970'",
    "comment on column stored_response.input is 'the messages of this request alone, as the policy let them through'",
    "comment on column stored_response.settings is 'what a dialect needs to show the response again'",
    "comment on column stored_response.size_bytes is 'of input and output together'",
    "create index stored_response_expires on stored_response (expires_at)",
    "grant select, insert, delete, update (expires_at) on stored_response to bedplate_app",
    "alter table stored_response enable row level security, force row level security",
    """
    create policy of_project on stored_response to public
        using (project_id = nullif(current_setting('bedplate.project', true), ''))
        with check (project_id = nullif(current_setting('bedplate.project', true), ''))
    """,
)


def upgrade() -> None:
    """Create the table."""
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
