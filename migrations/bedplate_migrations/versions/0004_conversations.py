"""One conversation store with three faces: branches, invocations, sealed content, blobs, data keys, kept replies.

Expands what there is. `session.head` and `session_item.payload` are no longer written: branch 0's head moves to
`session_branch`, and what items hold is `sealed` from now on. A later revision drops both columns.
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

OF_PROJECT = "project_id = nullif(current_setting('bedplate.project', true), '')"

SESSION = (
    """
    alter table session
        add column face text not null default 'chat' check (face in ('chat', 'bedrock', 'conversation')),
        add column ended_at timestamptz,
        add column metadata jsonb not null default '{}',
        add column tags jsonb not null default '{}',
        add column encryption_key_arn text,
        add column idle_timeout_s double precision check (idle_timeout_s > 0),
        add column expires_at timestamptz,
        add column legal_hold boolean not null default false,
        add column branches int not null default 1,
        add column invocations bigint not null default 0,
        add column steps bigint not null default 0
    """,
    "comment on column session.head is 'no longer used; see session_branch'",
    "comment on column session.idle_timeout_s is 'expired this long after updated_at; null: never by idleness'",
    "comment on column session.branches is 'how many there have been; the next branch has this number'",
    "comment on column session.invocations is 'how many there have been'",
    "comment on column session.steps is 'the last seq of session_step'",
    "create index session_project_created on session (project_id, created_at desc, id desc)",
    "create index session_metadata on session using gin (metadata jsonb_path_ops)",
    "grant delete on session to bedplate_app",
)

BRANCH = (
    """
    create table session_branch (
        session_id text not null,
        branch int not null,
        project_id text not null,
        parent_branch int,
        fork_seq bigint not null default 0,
        head bigint not null,
        turn_call text,
        turn_from bigint,
        turn_input bigint,
        created_at timestamptz not null default now(),
        primary key (session_id, branch),
        foreign key (session_id, project_id) references session (id, project_id) on delete cascade
    )
    """,
    "comment on table session_branch is 'a line of items; up to fork_seq a branch shares the items of its parent'",
    "comment on column session_branch.head is 'the last item''s seq; a branch without items of its own: fork_seq'",
    "comment on column session_branch.turn_call is 'the call whose turn is open: begun, and neither ended nor dropped'",
    "comment on column session_branch.turn_from is 'the head before the open turn'",
    "comment on column session_branch.turn_input is 'the last seq of the open turn''s own input'",
    "insert into session_branch (session_id, branch, project_id, head, created_at) "
    "select id, 0, project_id, head, created_at from session",
)

ITEM = (
    """
    alter table session_item
        alter column payload drop not null,
        add column sealed bytea,
        add column kind text not null default 'message' check (kind in ('message', 'summary')),
        add column invocation_id text,
        add column usage json,
        add column pinned boolean not null default false,
        add column covers_seq bigint,
        add column deleted_at timestamptz,
        add constraint session_item_has_content
            check (sealed is not null or payload is not null or deleted_at is not null),
        drop constraint session_item_id_key,
        drop constraint session_item_status_check,
        add constraint session_item_status_check check (status in ('completed', 'incomplete', 'dropped')),
        drop constraint session_item_session_id_project_id_fkey,
        add constraint session_item_of_session
            foreign key (session_id, project_id) references session (id, project_id) on delete cascade
    """,
    "create unique index session_item_id on session_item (session_id, id)",
    "comment on column session_item.payload is 'items of version 0003 and before; later ones have sealed'",
    "comment on column session_item.sealed is 'a message: a version byte and JSON, or what the data key made of it'",
    "comment on column session_item.parent_seq is "
    "'the item before this one in the conversation; null: the first. What lies between the two was dropped'",
    "comment on column session_item.status is 'dropped: of a turn that broke off, and no part of the conversation'",
    "comment on column session_item.covers_seq is 'a summary stands for the items up to this one'",
    "comment on column session_item.usage is 'tokens of the call, on its answer'",
    "grant update (sealed, payload, deleted_at, pinned, status), delete on session_item to bedplate_app",
)

INVOCATION = (
    """
    create table session_invocation (
        session_id text not null,
        id text not null,
        project_id text not null,
        number bigint not null,
        call_id text not null,
        description text,
        created_at timestamptz not null default now(),
        primary key (session_id, id),
        foreign key (session_id, project_id) references session (id, project_id) on delete cascade
    )
    """,
    "comment on table session_invocation is 'a group of items or steps: a turn, or what a Bedrock client made'",
    "create unique index session_invocation_number on session_invocation (session_id, number)",
    "insert into session_invocation (session_id, id, project_id, number, call_id, created_at) "
    "select session_id, replace(call_id, 'req_', ''), project_id, "
    "row_number() over (partition by session_id order by min(seq)), call_id, min(created_at) "
    "from session_item group by session_id, project_id, call_id",
    "update session_item set invocation_id = replace(call_id, 'req_', '')",
    "update session set invocations = (select count(*) from session_invocation where session_id = session.id)",
    "create index session_item_invocation on session_item (session_id, invocation_id)",
)

STEP = (
    """
    create table session_step (
        session_id text not null,
        seq bigint not null,
        id text not null,
        project_id text not null,
        invocation_id text not null,
        step_time timestamptz not null,
        content_hash bytea not null,
        sealed bytea not null,
        schema_version smallint not null,
        created_at timestamptz not null default now(),
        primary key (session_id, seq),
        foreign key (session_id, project_id) references session (id, project_id) on delete cascade
    )
    """,
    "comment on table session_step is 'an opaque step of a Bedrock client; no part of what a model is told'",
    "create unique index session_step_id on session_step (session_id, id)",
    "create index session_step_invocation on session_step (session_id, invocation_id, seq)",
)

BLOB = (
    """
    create table session_blob (
        session_id text not null,
        id text not null,
        project_id text not null,
        size_bytes bigint not null,
        sealed bytea not null,
        created_at timestamptz not null default now(),
        primary key (session_id, id),
        foreign key (session_id, project_id) references session (id, project_id) on delete cascade
    )
    """,
    "comment on table session_blob is 'large media of items, once each'",
)

KEY = (
    """
    create table session_key (
        owner text primary key,
        project_id text not null,
        key_id text not null,
        wrapped bytea not null,
        created_at timestamptz not null default now(),
        wrapped_at timestamptz not null default now()
    )
    """,
    "comment on table session_key is 'data keys, each wrapped by the key that key_id names; without it, its owner''s "
    "content cannot be read'",
    "create index session_key_project on session_key (project_id, key_id)",
)

REPLY = (
    """
    create table stored_reply (
        project_id text not null,
        key text not null,
        request_hash bytea not null,
        call_id text not null,
        turn_call text not null,
        session_id text,
        key_owner text,
        status int,
        headers json,
        sealed bytea,
        created_at timestamptz not null default now(),
        expires_at timestamptz not null,
        primary key (project_id, key)
    )
    """,
    "comment on table stored_reply is 'what a call with an idempotency key answered; without status: not yet'",
    "comment on column stored_reply.key is 'a hash of the client''s key'",
    "comment on column stored_reply.call_id is 'the call that answers, or answered'",
    "comment on column stored_reply.turn_call is 'the first call with this key, under which its turn was begun'",
    "create index stored_reply_expires on stored_reply (expires_at)",
    "create index stored_reply_session on stored_reply (session_id) where session_id is not null",
)

RESPONSE = (
    """
    alter table stored_response
        alter column input drop not null,
        alter column output drop not null,
        alter column stop_reason drop not null,
        alter column usage drop not null,
        alter column settings drop not null,
        add column sealed bytea,
        add column key_owner text,
        add column session_id text
    """,
    "comment on column stored_response.sealed is 'input, output and settings; rows of version 0003 have the columns'",
)

TENANT_TABLES = (
    "session_branch",
    "session_invocation",
    "session_step",
    "session_blob",
    "session_key",
    "stored_reply",
)


def upgrade() -> None:
    """Expand the schema."""
    bind = op.get_bind()
    for group in (SESSION, BRANCH, ITEM, INVOCATION, STEP, BLOB, KEY, REPLY, RESPONSE):
        for statement in group:
            bind.exec_driver_sql(statement)
    for table in TENANT_TABLES:
        bind.exec_driver_sql(f"grant select, insert, update, delete on {table} to bedplate_app")
        bind.exec_driver_sql(f"alter table {table} enable row level security, force row level security")
        bind.exec_driver_sql(
            f"create policy of_project on {table} to public using ({OF_PROJECT}) with check ({OF_PROJECT})"
        )
