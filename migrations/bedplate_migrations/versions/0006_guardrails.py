"""Guardrails as rows of their own: drafts, versions that never change, and those that are enforced.

Guardrails were resources (kind `Guardrail`). They are copied; the old rows stay for gateways of the version before,
which may still run, and are no longer read or written. A later revision deletes them.
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

GUARDRAIL = (
    """
    create table guardrail (
        id text primary key check (id ~ '^[a-z0-9]{12}$'),
        project_id text not null,
        name text not null,
        description text,
        revision bigint not null check (revision > 0),
        document jsonb not null,
        next_version int not null default 1 check (next_version > 0),
        tags jsonb not null default '{}',
        source text not null,
        created_at timestamptz not null default now(),
        updated_at timestamptz not null default now(),
        updated_by text not null,
        unique (project_id, name),
        unique (project_id, id)
    )
    """,
    "create index guardrail_project_created on guardrail (project_id, created_at desc, id desc)",
    "comment on table guardrail is 'a guardrail with its draft'",
    "comment on column guardrail.document is 'the draft, in the members of CreateGuardrail'",
    "comment on column guardrail.revision is 'counts the changes of the draft and of the name; never twice the same'",
    "comment on column guardrail.next_version is 'the number of the next version; numbers are not used again'",
    "comment on column guardrail.source is 'what declared it: the files, or api'",
    "insert into guardrail (id, project_id, name, revision, document, source, created_at, updated_at, updated_by) "
    "select substr(replace(gen_random_uuid()::text, '-', ''), 1, 12), scope, name, revision, spec, source, updated_at, "
    "updated_at, updated_by from resource where kind = 'Guardrail'",
)

VERSION = (
    """
    create table guardrail_version (
        project_id text not null,
        guardrail_id text not null,
        version int not null check (version > 0),
        name text not null,
        description text,
        document jsonb not null,
        created_at timestamptz not null default now(),
        primary key (project_id, guardrail_id, version),
        foreign key (project_id, guardrail_id) references guardrail (project_id, id) on delete cascade
    )
    """,
    "comment on table guardrail_version is 'a draft as it was when it was frozen; rows never change'",
)

REQUEST = (
    """
    create table guardrail_request (
        project_id text not null,
        token text not null,
        operation text not null,
        request_hash bytea not null,
        result jsonb not null,
        created_at timestamptz not null default now(),
        primary key (project_id, token)
    )
    """,
    "comment on table guardrail_request is 'answers by clientRequestToken: a repeated request is not done twice'",
    "create index guardrail_request_created on guardrail_request (project_id, created_at)",
)

ENFORCED = (
    """
    create table enforced_guardrail (
        config_id text primary key check (config_id ~ '^[a-z0-9]+$'),
        project_id text not null,
        guardrail_id text not null,
        version int not null,
        selective jsonb,
        model_enforcement jsonb,
        created_at timestamptz not null default now(),
        created_by text not null,
        updated_at timestamptz not null default now(),
        updated_by text not null,
        foreign key (project_id, guardrail_id, version)
            references guardrail_version (project_id, guardrail_id, version)
    )
    """,
    "create index enforced_guardrail_version on enforced_guardrail (project_id, guardrail_id, version)",
    "comment on table enforced_guardrail is 'a version that holds for every call of its project'",
    "comment on column enforced_guardrail.selective is 'selectiveContentGuarding as it was given'",
    "comment on column enforced_guardrail.model_enforcement is 'modelEnforcement as it was given'",
)

INVOCATION = (
    "alter table invocation add column guardrails jsonb",
    "comment on column invocation.guardrails is "
    "'what each guardrail did on each side: id, name, version, units, characters, milliseconds; no content'",
)

OF_PROJECT = "project_id = nullif(current_setting('bedplate.project', true), '')"
TABLES = ("guardrail", "guardrail_version", "guardrail_request", "enforced_guardrail")

READ_BY_GATEWAYS = ("guardrail", "guardrail_version", "enforced_guardrail")
"""What the catalogue reads for all projects at once; it is written for one project at a time."""

GRANTS = (
    "grant select, insert, update, delete on guardrail, enforced_guardrail to bedplate_app",
    "grant select, insert, delete on guardrail_version, guardrail_request to bedplate_app",
)


def upgrade() -> None:
    """Create the tables, copy the guardrails that there are, then put up the walls."""
    bind = op.get_bind()
    for group in (GUARDRAIL, VERSION, REQUEST, ENFORCED, INVOCATION, GRANTS):
        for statement in group:
            bind.exec_driver_sql(statement)
    for table in TABLES:
        bind.exec_driver_sql(f"alter table {table} enable row level security, force row level security")
        bind.exec_driver_sql(
            f"create policy of_project on {table} to public using ({OF_PROJECT}) with check ({OF_PROJECT})"
        )
    for table in READ_BY_GATEWAYS:
        bind.exec_driver_sql(
            f"create policy read_all on {table} for select to public "
            "using (current_setting('bedplate.scope', true) = 'installation')"
        )
        bind.exec_driver_sql(
            f"create trigger notify_config after insert or update or delete or truncate on {table} "
            "for each statement execute function bedplate_notify_config()"
        )
