"""What is measured: each operation as GraphQL, and as the SQL that somebody who knows PostgreSQL writes by hand.

The hand-written statement builds the whole answer, so that the limit only passes it on.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Operation:
    """``variables`` draws the variables of a request; ``sql`` takes their values in that order.

    ``plain`` says whether the plain server can answer it too.
    """

    name: str
    document: str
    sql: str
    variables: Callable[[random.Random, Sequence[str]], Mapping[str, Any]]
    plain: bool = True


def _one_of(chance: random.Random, ids: Sequence[str]) -> Mapping[str, Any]:
    return {"id": chance.choice(ids)}


def _lifecycle(chance: random.Random, ids: Sequence[str]) -> Mapping[str, Any]:
    return {"lifecycle": chance.choice(("PROSPECT", "LEAD", "CUSTOMER", "FORMER"))}


def _text(chance: random.Random, ids: Sequence[str]) -> Mapping[str, Any]:
    return {"text": f"{chance.choice(('c', 'family'))}{chance.randrange(100, 700)}"}


def _fits(text: str) -> str:
    """How well a text fits, times 100."""
    return f"""case when {text} = $1::text then 6 when starts_with({text}, $1::text) then 5
      when ' ' || translate({text}, '.@', '  ') like '% ' || $1 || '%' then 4
      when {text} like '%' || $1 || '%' then 3 else 0 end * 100"""


_GRAMS = """amity_grams(search_text) @@ (select string_agg(quote_literal(substr($1, i, 3)), ' & ')
    from generate_series(1, length($1) - 2) i)::tsquery"""


def _id(prefix: str, column: str) -> str:
    return f"'{prefix}_' || replace({column}::text, '-', '')"


def _time(column: str) -> str:
    return f"to_char({column} at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"


_ID = "replace(substr($1::text, 5), '-', '')::uuid"

ONE = Operation(
    "one customer, 10 fields",
    """query One($id: ID!) {
  customer(id: $id) { id kind name givenName familyName lifecycle source locale createdAt updatedAt }
}""",
    f"""select row_to_json(a)::text from (select (select row_to_json(x) from (
  select {_id("cus", "id")} as id, upper(kind) as kind, name, given_name as "givenName",
    family_name as "familyName", upper(lifecycle) as lifecycle, source, locale,
    {_time("created_at")} as "createdAt", {_time("updated_at")} as "updatedAt"
  from core_customer where id = {_ID} and deleted_at is null) x) as customer) a""",
    _one_of,
)

LIST = Operation(
    "50 customers of a status, newest first, with organization",
    """query List($lifecycle: CustomerLifecycle!) {
  customers(where: {lifecycle: {eq: $lifecycle}}, orderBy: [{createdAt: DESC}], first: 50) {
    nodes { id name lifecycle createdAt organization { id name } }
  }
}""",
    f"""select row_to_json(a)::text from (select row_to_json(p) as customers from (
  select coalesce(json_agg(row_to_json(x)), '[]') as nodes from (
    select {_id("cus", "c.id")} as id, c.name, upper(c.lifecycle) as lifecycle,
      {_time("c.created_at")} as "createdAt",
      case when o.id is not null then
        (select row_to_json(y) from (select {_id("cus", "o.id")} as id, o.name) y) end as organization
    from (select * from core_customer where lifecycle = lower($1::text) and deleted_at is null
      order by created_at desc, id desc limit 50) c
    left join core_customer o on o.id = c.organization_id and o.deleted_at is null
    order by c.created_at desc, c.id desc) x) p) a""",
    _lifecycle,
)

WHOLE = Operation(
    "customer 360: 20 interactions, open deals with stage and pipeline",
    """query Whole($id: ID!) {
  customer(id: $id) {
    id kind name lifecycle locale
    interactions(orderBy: [{occurredAt: DESC}], first: 20) {
      nodes { id channel direction subject occurredAt durationSeconds }
    }
    deals(where: {stage: {category: {eq: OPEN}}}, first: 20) {
      nodes { id name value { amount currency } stage { name probability pipeline { name } } }
    }
  }
}""",
    f"""select row_to_json(a)::text from (select (select row_to_json(x) from (
  select {_id("cus", "c.id")} as id, upper(c.kind) as kind, c.name, upper(c.lifecycle) as lifecycle, c.locale,
    (select row_to_json(p) from (select coalesce(json_agg(row_to_json(i)), '[]') as nodes from (
      select {_id("int", "id")} as id, channel, upper(direction) as direction, subject,
        {_time("occurred_at")} as "occurredAt", duration_seconds as "durationSeconds"
      from core_interaction where customer_id = c.id and deleted_at is null
      order by occurred_at desc, core_interaction.id desc limit 20) i) p) as interactions,
    (select row_to_json(p) from (select coalesce(json_agg(row_to_json(d)), '[]') as nodes from (
      select {_id("dea", "d.id")} as id, d.name,
        (select row_to_json(v) from (select d.value_minor::text as amount, d.currency) v
          where d.value_minor is not null) as value,
        (select row_to_json(t) from (select s.name, s.probability,
          (select row_to_json(l) from (select l.name) l) as pipeline) t) as stage
      from core_deal d join core_stage s on s.id = d.stage_id join core_pipeline l on l.id = s.pipeline_id
      where d.customer_id = c.id and d.deleted_at is null and s.category = 'open' and s.deleted_at is null
      order by d.id limit 20) d) p) as deals
  from core_customer c where c.id = {_ID} and c.deleted_at is null) x) as customer) a""",
    _one_of,
)

NESTED = Operation(
    "50 customers each with 5 interactions and their deals with stage",
    """query Nested($lifecycle: CustomerLifecycle!) {
  customers(where: {lifecycle: {eq: $lifecycle}}, orderBy: [{createdAt: DESC}], first: 50) {
    nodes {
      id name
      interactions(orderBy: [{occurredAt: DESC}], first: 5) { nodes { id channel subject occurredAt } }
      deals(first: 20) { nodes { id name value { amount currency } stage { name category } } }
    }
  }
}""",
    f"""select row_to_json(a)::text from (select row_to_json(p) as customers from (
  select coalesce(json_agg(row_to_json(x)), '[]') as nodes from (
    select {_id("cus", "c.id")} as id, c.name,
      (select row_to_json(p) from (select coalesce(json_agg(row_to_json(i)), '[]') as nodes from (
        select {_id("int", "id")} as id, channel, subject, {_time("occurred_at")} as "occurredAt"
        from core_interaction where customer_id = c.id and deleted_at is null
        order by occurred_at desc, core_interaction.id desc limit 5) i) p) as interactions,
      (select row_to_json(p) from (select coalesce(json_agg(row_to_json(d)), '[]') as nodes from (
        select {_id("dea", "d.id")} as id, d.name,
          (select row_to_json(v) from (select d.value_minor::text as amount, d.currency) v
            where d.value_minor is not null) as value,
          (select row_to_json(t) from (select s.name, upper(s.category) as category) t) as stage
        from core_deal d join core_stage s on s.id = d.stage_id and s.deleted_at is null
        where d.customer_id = c.id and d.deleted_at is null order by d.id limit 20) d) p) as deals
    from (select * from core_customer where lifecycle = lower($1::text) and deleted_at is null
      order by created_at desc, id desc limit 50) c
    order by c.created_at desc, c.id desc) x) p) a""",
    _lifecycle,
)

SEARCH = Operation(
    "customers by a part of their name or e-mail address, 20 best with snippet",
    """query Search($text: String!) {
  search(text: $text, types: [CUSTOMER], first: 20) {
    edges { score field snippet node { id ... on Customer { name lifecycle } } }
  }
}""",
    f"""with hits as materialized (
  select id, greatest(
      {_fits("split_part(search_text, chr(10), 1)")} + 99, {_fits("split_part(search_text, chr(10), 2)")} + 98,
      {_fits("split_part(search_text, chr(10), 3)")} + 97) as best, name as first, given_name as second,
    family_name as third
  from core_customer where deleted_at is null and {_GRAMS}
  union all
  select c.id, {_fits("p.search_text")} + 90, p.address, null, null
  from core_contact_point p join core_customer c on c.id = p.customer_id and c.deleted_at is null
  where p.deleted_at is null and {_GRAMS.replace("search_text", "p.search_text")}),
best as (select distinct on (id) * from hits where best >= 100 order by id, best desc)
select row_to_json(a)::text from (select row_to_json(p) as search from (
  select coalesce(json_agg(row_to_json(e)), '[]') as edges from (
    select case h.best / 100 when 6 then 1.0 when 5 then 0.9 when 4 then 0.8 else 0.7 end as score,
      case h.best % 100 when 99 then 'name' when 98 then 'givenName' when 97 then 'familyName'
        else 'contactPoint.address' end as field,
      case h.best % 100 when 98 then h.second when 97 then h.third else h.first end as snippet,
      (select row_to_json(n) from (select {_id("cus", "c.id")} as id, c.name, upper(c.lifecycle) as lifecycle) n)
        as node
    from (select * from best order by best / 100 desc, id desc limit 20) h join core_customer c on c.id = h.id
    order by h.best / 100 desc, h.id desc) e) p) a""",
    _text,
    plain=False,
)

OPERATIONS = (ONE, LIST, WHOLE, NESTED, SEARCH)
