"""A large company for benchmarks, made by the database itself within a minute.

100,000 customers, a tenth of them organizations, 1,000,000 interactions, 150,000 deals in 5 pipelines, 50 users
in 5 teams. PostgreSQL 18 is wanted for ``uuidv7()``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from amity import SYSTEM, Crm, Pipeline, Stage, Team, User
from amity.database import Transaction

TEAMS = 5
USERS_PER_TEAM = 10
PIPELINES = 5
STAGES = (
    ("New", "open", 10),
    ("Qualified", "open", 25),
    ("Offer", "open", 50),
    ("Negotiation", "open", 75),
    ("Won", "won", 100),
    ("Lost", "lost", 0),
)


@dataclass(frozen=True)
class Size:
    """How many rows there are."""

    customers: int = 100_000
    interactions: int = 1_000_000
    deals: int = 150_000

    def times(self, scale: float) -> Size:
        """The same company, larger or smaller."""
        return Size(int(self.customers * scale), int(self.interactions * scale), int(self.deals * scale))


_LIFE = "version, created_at, updated_at"
_CUSTOMERS = f"""
insert into core_customer (id, kind, name, given_name, family_name, lifecycle, organization_id, owner_id, source,
  locale, custom_fields, search_text, {_LIFE})
select uuidv7(), case when n <= $1 / 10 then 'organization' else 'person' end, name,
  case when n > $1 / 10 then 'Given' || n % 997 end, case when n > $1 / 10 then 'Family' || n % 7919 end,
  (array['prospect', 'lead', 'customer', 'former'])[1 + n % 4], null,
  ($2::uuid[])[1 + ((n::bigint * 7919) % array_length($2::uuid[], 1))::int],
  (array['web', 'fair', 'referral'])[1 + n % 3], (array['de-CH', 'en-US', 'fr-FR'])[1 + n % 3], '{{}}',
  lower(concat_ws(chr(10), name, case when n > $1 / 10 then 'Given' || n % 997 else '' end,
    case when n > $1 / 10 then 'Family' || n % 7919 else '' end)), 1, at, at
from (select n, case when n <= $1 / 10 then 'Organization ' else 'Person ' end || n as name,
  timestamptz '2023-01-01' + n * (interval '1000 days' / $1) as at from generate_series(1, $1::int) n)
"""
_MEMBERS = """
update core_customer c set organization_id = o.ids[1 + abs(hashtext(c.id::text)) % array_length(o.ids, 1)]
from (select array_agg(id) as ids from core_customer where kind = 'organization') o
where c.kind = 'person'
"""
_POINTS = f"""
insert into core_contact_point (id, customer_id, channel, address, search_text, "primary", shared, {_LIFE})
select uuidv7(), id, 'email', address, address, true, false, 1, created_at, updated_at
from (select *, 'c' || row_number() over () || '@example.com' as address from core_customer) c
"""
_DRAWN = """
from (select n, 1 + floor(random() * $2)::int as place from generate_series(1, $1::int) n) drawn
join (select row_number() over (order by id) as place, id, owner_id from core_customer) c using (place)
"""
"""So many rows, each with a customer by chance."""
_INTERACTIONS = f"""
insert into core_interaction (id, customer_id, user_id, channel, direction, identity, subject, body, occurred_at,
  duration_seconds, custom_fields, search_text, {_LIFE})
select uuidv7(), c.id, c.owner_id, (array['email', 'phone', 'sms'])[1 + n % 3],
  (array['inbound', 'outbound'])[1 + n % 2], 'matched', 'Subject ' || n, repeat('What was said. ', 8),
  timestamptz '2023-01-01' + random() * interval '1000 days', n % 600, '{{}}', 'subject ' || n, 1, now(), now()
{_DRAWN}
"""
_DEALS = f"""
insert into core_deal (id, name, customer_id, owner_id, pipeline_id, stage_id, position, stage_entered_at,
  value_minor, currency, opened_on, closed_on, custom_fields, search_text, {_LIFE})
select uuidv7(), 'Deal ' || n, c.id, c.owner_id,
  ($3::uuid[])[1 + n % array_length($3::uuid[], 1)], ($4::uuid[])[1 + n % array_length($4::uuid[], 1)],
  'a' || lpad(n::text, 9, '0'), now(), (random() * 1000000)::bigint, (array['USD', 'EUR', 'CHF'])[1 + n % 3],
  date '2023-01-01' + (n % 1000), case when n % 6 >= 4 then date '2025-06-01' + (n % 100) end, '{{}}',
  'deal ' || n, 1, now(), now()
{_DRAWN}
"""
_INDEXES = """
select indexname, indexdef from pg_indexes
where tablename = $1 and not exists (select from pg_constraint where conname = indexname)
"""


async def fill(crm: Crm, size: Size) -> None:
    """Teams, users and pipelines through the session; what there is much of by the database itself."""
    session = crm.acting_as(SYSTEM)
    teams = (await session.create(Team, [{"name": f"Team {n}"} for n in range(1, TEAMS + 1)])).ids
    people = [
        {"name": f"User {n}", "email": f"user{n}@example.com", "team_id": teams[n % TEAMS]}
        for n in range(TEAMS * USERS_PER_TEAM)
    ]
    users = (await session.create(User, people)).ids
    names = [{"name": f"Pipeline {n}"} for n in range(1, PIPELINES + 1)]
    pipelines = (await session.create(Pipeline, names)).ids
    steps: list[dict[str, Any]] = [
        {"pipeline_id": pipeline, "name": name, "category": category, "probability": chance, "position": place}
        for place, (name, category, chance) in enumerate(STAGES)
        for pipeline in pipelines
    ]
    stages = (await session.create(Stage, steps)).ids
    # deal n is in pipeline n % 5 and in stage n % 30, whose pipeline is n % 5 too
    for what, table, sql, *parameters in (
        ("customers", "core_customer", _CUSTOMERS, size.customers, list(users)),
        ("members of organizations", "core_customer", _MEMBERS),
        ("addresses", "core_contact_point", _POINTS),
        ("interactions", "core_interaction", _INTERACTIONS, size.interactions, size.customers),
        ("deals", "core_deal", _DEALS, size.deals, size.customers, list(pipelines), list(stages)),
    ):
        print(f"  {what} …", flush=True)
        await crm.database.transact(partial(_load, table, sql, tuple(parameters)))
    print("  statistics …", flush=True)
    await crm.database.transact(lambda transaction: transaction.execute("analyze"))


async def _load(table: str, sql: str, parameters: tuple[Any, ...], transaction: Transaction) -> None:
    """Runs a statement as bulk loaders do: references are taken to be right, indexes are made anew afterwards."""
    for setting in ("session_replication_role = replica", "maintenance_work_mem = '1GB'"):
        await transaction.execute(f"set local {setting}")
    indexes = await transaction.fetch(_INDEXES, (table,))
    for name, _ in indexes:
        await transaction.execute(f'drop index "{name}"')
    await transaction.execute(sql, parameters)
    for _, definition in indexes:
        await transaction.execute(definition)
