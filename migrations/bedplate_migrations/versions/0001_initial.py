"""The first schema: projects and keys, resources and their history, invocations, sessions.

Two roles: the login that runs this owns the tables; the gateway acts as `bedplate_app`, which owns nothing
and is bound by row-level security. The policies read two settings of the transaction: `bedplate.project`,
whose rows it may see, and `bedplate.scope`, which only the gateway's own reports set.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ROLE_STATE = """
select exists (select from pg_roles where rolname = 'bedplate_app') as present,
       (select rolsuper or rolcreaterole from pg_roles where rolname = current_user) as may_create,
       current_user as login
"""

IS_MEMBER = """
select pg_has_role(
    current_user, 'bedplate_app',
    case when current_setting('server_version_num')::int >= 160000 then 'SET' else 'MEMBER' end
)
"""

TABLES = """
create table project (
    id text primary key,
    name text not null unique,
    created_at timestamptz not null default now()
);

create table api_key (
    id text primary key,
    project_id text not null references project,
    name text not null,
    role text not null check (role in ('administrator', 'service')),
    key_hash bytea not null unique,
    hint text not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    revoked_at timestamptz
);
create index api_key_project on api_key (project_id);

create table resource (
    kind text not null,
    scope text not null default '',
    name text not null,
    spec jsonb not null,
    revision bigint not null,
    source text not null,
    updated_at timestamptz not null default now(),
    updated_by text not null,
    primary key (kind, scope, name)
);

create table resource_revision (
    kind text not null,
    scope text not null default '',
    name text not null,
    revision bigint not null,
    spec jsonb,
    source text not null,
    changed_at timestamptz not null default now(),
    changed_by text not null,
    primary key (kind, scope, name, revision)
);
comment on column resource_revision.spec is 'null: this change deleted the resource';

create table invocation (
    id text primary key,
    project_id text,
    key_id text,
    dialect text,
    operation text,
    model text,
    provider text,
    upstream_model text,
    replica text,
    session_id text,
    stream boolean,
    started_at timestamptz,
    first_event_ms double precision,
    total_ms double precision,
    outcome text not null,
    error_code text,
    http_status int,
    stop_reason text,
    input_tokens bigint,
    output_tokens bigint,
    cached_input_tokens bigint,
    reasoning_tokens bigint,
    verdicts jsonb,
    versions jsonb
);
create index invocation_project_started on invocation (project_id, started_at desc);

create table session (
    id text primary key,
    project_id text not null,
    created_by text not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    head bigint not null default 0,
    unique (id, project_id)
);
comment on column session.head is 'sequence number of the last item of branch 0; 0: no items yet';
create index session_project_updated on session (project_id, updated_at desc);

create table session_item (
    session_id text not null,
    branch int not null default 0,
    seq bigint not null check (seq > 0),
    id text not null unique,
    project_id text not null,
    parent_seq bigint,
    role text not null,
    payload json not null,
    schema_version smallint not null,
    call_id text not null,
    status text not null check (status in ('completed', 'incomplete')),
    stop_reason text,
    created_at timestamptz not null default now(),
    primary key (session_id, branch, seq),
    foreign key (session_id, project_id) references session (id, project_id)
);
comment on column session_item.payload is 'a message; json and not jsonb, which refuses the character U+0000';
comment on column session_item.parent_seq is 'the item before this one in its branch; null: the first';
"""

NOTIFY = """
create function bedplate_notify_config() returns trigger language plpgsql set search_path = pg_catalog as $$
begin
    perform pg_notify('bedplate_config', tg_table_name);
    return null;
end
$$;
create trigger notify_config after insert or update or delete or truncate on project
    for each statement execute function bedplate_notify_config();
create trigger notify_config after insert or update or delete or truncate on api_key
    for each statement execute function bedplate_notify_config();
create trigger notify_config after insert or update or delete or truncate on resource
    for each statement execute function bedplate_notify_config();
"""

GRANTS = """
grant select, insert, update on project, api_key to bedplate_app;
grant select, insert, update, delete on resource to bedplate_app;
grant select, insert on resource_revision, invocation, session_item to bedplate_app;
grant select, insert, update on session to bedplate_app;
"""

POLICIES = """
alter table session enable row level security, force row level security;
create policy of_project on session to public
    using (project_id = nullif(current_setting('bedplate.project', true), ''))
    with check (project_id = nullif(current_setting('bedplate.project', true), ''));

alter table session_item enable row level security, force row level security;
create policy of_project on session_item to public
    using (project_id = nullif(current_setting('bedplate.project', true), ''))
    with check (project_id = nullif(current_setting('bedplate.project', true), ''));

alter table invocation enable row level security, force row level security;
create policy record on invocation for insert to public with check (true);
create policy read_own on invocation for select to public
    using (project_id = nullif(current_setting('bedplate.project', true), '')
           or current_setting('bedplate.scope', true) = 'installation');
"""


def upgrade() -> None:
    """Create the role and everything it uses."""
    _ensure_role()
    for script in (TABLES, NOTIFY, GRANTS, POLICIES):
        # asyncpg prepares what it runs, and a prepared statement is one statement.
        for statement in _statements(script):
            op.get_bind().exec_driver_sql(statement)


def _ensure_role() -> None:
    bind = op.get_bind()
    state = bind.execute(text(ROLE_STATE)).one()
    if not state.present:
        if not state.may_create:
            raise PermissionError(
                f"the role bedplate_app is missing and {state.login!r} may not create roles; as a superuser, "
                f'run: create role bedplate_app nologin; grant bedplate_app to "{state.login}";'
            )
        # Roles belong to the whole server: another database's migration may create this one at the same
        # moment.
        bind.exec_driver_sql(
            "do $$ begin create role bedplate_app nologin; "
            "exception when duplicate_object or unique_violation then null; end $$"
        )
    if not bind.execute(text(IS_MEMBER)).scalar_one():
        try:
            with bind.begin_nested():
                bind.exec_driver_sql("grant bedplate_app to current_user")
        except Exception as error:
            raise PermissionError(
                f"{state.login!r} is not a member of the role bedplate_app; as a superuser, run: "
                f'grant bedplate_app to "{state.login}";'
            ) from error


def _statements(script: str) -> list[str]:
    """The statements of `script`; one ends with a semicolon at the end of a line, outside of $$."""
    statements: list[str] = []
    current: list[str] = []
    quoted = False
    for line in script.strip().splitlines():
        current.append(line)
        quoted ^= line.count("$$") % 2 == 1
        if line.endswith(";") and not quoted:
            statements.append("\n".join(current))
            current = []
    return statements
