"""The same schema as most back ends write it: Strawberry resolvers and data loaders on Tortoise.

Its answers are those of Amity for the benchmark's operations, without rights: who asks is checked, and no more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from typing import Annotated, Any
from uuid import UUID

import strawberry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send
from strawberry.asgi import GraphQL
from strawberry.dataloader import DataLoader
from tortoise import Tortoise

from amity import Crm
from amity.signin import authenticate

from .plain_models import Customer, Deal, Interaction, Pipeline, Stage


@strawberry.enum
class CustomerKind(Enum):
    PERSON = "person"
    ORGANIZATION = "organization"


@strawberry.enum
class CustomerLifecycle(Enum):
    PROSPECT = "prospect"
    LEAD = "lead"
    CUSTOMER = "customer"
    FORMER = "former"


@strawberry.enum
class StageCategory(Enum):
    OPEN = "open"
    WON = "won"
    LOST = "lost"


@strawberry.enum
class InteractionDirection(Enum):
    INBOUND = "inbound"
    OUTBOUND = "outbound"


@strawberry.enum
class OrderDirection(Enum):
    ASC = ""
    DESC = "-"


def _id(prefix: str, id: UUID) -> strawberry.ID:
    return strawberry.ID(f"{prefix}_{id.hex}")


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


# --- inputs ---------------------------------------------------------------------------------------------------


@strawberry.input
class LifecycleFilter:
    eq: CustomerLifecycle


@strawberry.input
class CategoryFilter:
    eq: StageCategory


@strawberry.input
class StageWhere:
    category: CategoryFilter | None = None


@strawberry.input
class DealWhere:
    stage: StageWhere | None = None


@strawberry.input
class CustomerWhere:
    lifecycle: LifecycleFilter | None = None


@strawberry.input
class CustomerOrder:
    created_at: OrderDirection


@strawberry.input
class InteractionOrder:
    occurred_at: OrderDirection


# --- outputs --------------------------------------------------------------------------------------------------


@strawberry.type
class Money:
    amount: str
    currency: str


@strawberry.type
class PipelineType:
    name: str


@strawberry.type
class StageType:
    row: strawberry.Private[Any]
    name: str
    probability: int
    category: StageCategory

    @strawberry.field
    def pipeline(self) -> PipelineType:
        return PipelineType(name=self.row.pipeline.name)


@strawberry.type
class DealType:
    row: strawberry.Private[Any]
    id: strawberry.ID
    name: str

    @strawberry.field
    def value(self) -> Money | None:
        if self.row.value_minor is None:
            return None
        return Money(amount=str(self.row.value_minor), currency=self.row.currency)

    @strawberry.field
    def stage(self) -> StageType | None:
        stage = self.row.stage
        if stage is None:
            return None
        return StageType(
            row=stage, name=stage.name, probability=stage.probability, category=StageCategory(stage.category)
        )


@strawberry.type
class InteractionType:
    id: strawberry.ID
    channel: str
    direction: InteractionDirection
    subject: str | None
    occurred_at: str
    duration_seconds: int | None


@strawberry.type
class DealConnection:
    nodes: list[DealType]


@strawberry.type
class InteractionConnection:
    nodes: list[InteractionType]


@strawberry.type
class CustomerType:
    row: strawberry.Private[Any]
    id: strawberry.ID
    kind: CustomerKind
    name: str
    given_name: str | None
    family_name: str | None
    lifecycle: CustomerLifecycle
    source: str | None
    locale: str | None
    created_at: str
    updated_at: str

    @strawberry.field
    async def organization(
        self, info: strawberry.Info
    ) -> Annotated[CustomerType, strawberry.lazy("benchmarks.plain")] | None:
        if self.row.organization_id is None:
            return None
        found = await info.context["customers"].load(self.row.organization_id)
        return None if found is None else _customer(found)

    @strawberry.field
    async def interactions(
        self, info: strawberry.Info, first: int = 20, order_by: list[InteractionOrder] | None = None
    ) -> InteractionConnection:
        key = (self.row.id, tuple(f"{item.occurred_at.value}occurred_at" for item in order_by or ()), first)
        return InteractionConnection(nodes=await info.context["interactions"].load(key))

    @strawberry.field
    async def deals(
        self, info: strawberry.Info, first: int = 20, where: DealWhere | None = None
    ) -> DealConnection:
        category = where.stage.category.eq.value if where and where.stage and where.stage.category else None
        return DealConnection(nodes=await info.context["deals"].load((self.row.id, category, first)))


@strawberry.input
class StageOrder:
    position: OrderDirection


@strawberry.type
class DealSums:
    value: list[Money]
    weighted_value: list[Money]


@strawberry.type
class DealAggregate:
    count: str
    sum: DealSums


@strawberry.type
class BoardStage:
    row: strawberry.Private[Any]
    id: strawberry.ID
    name: str
    probability: int

    @strawberry.field
    async def deals_aggregate(self, info: strawberry.Info, where: DealWhere | None = None) -> list[DealAggregate]:
        category = where.stage.category.eq.value if where and where.stage and where.stage.category else None
        return [await info.context["figures"].load((self.row.id, self.probability, category))]


@strawberry.type
class BoardStageConnection:
    nodes: list[BoardStage]


@strawberry.type
class BoardPipeline:
    row: strawberry.Private[Any]
    name: str

    @strawberry.field
    async def stages(self, order_by: list[StageOrder] | None = None) -> BoardStageConnection:
        orders = [f"{item.position.value}position" for item in order_by or ()]
        rows = await Stage.filter(pipeline_id=self.row.id, deleted_at=None).order_by(*orders, "id")
        return BoardStageConnection(
            nodes=[
                BoardStage(row=row, id=_id("stg", row.id), name=row.name, probability=row.probability)
                for row in rows
            ]
        )


@strawberry.type
class CustomerConnection:
    nodes: list[CustomerType]


def _customer(row: Any) -> CustomerType:
    return CustomerType(
        row=row,
        id=_id("cus", row.id),
        kind=CustomerKind(row.kind),
        name=row.name,
        given_name=row.given_name,
        family_name=row.family_name,
        lifecycle=CustomerLifecycle(row.lifecycle),
        source=row.source,
        locale=row.locale,
        created_at=_time(row.created_at),
        updated_at=_time(row.updated_at),
    )


def _interaction(row: Any) -> InteractionType:
    return InteractionType(
        id=_id("int", row.id),
        channel=row.channel,
        direction=InteractionDirection(row.direction),
        subject=row.subject,
        occurred_at=_time(row.occurred_at),
        duration_seconds=row.duration_seconds,
    )


@strawberry.type
class Query:
    @strawberry.field
    async def customer(self, id: strawberry.ID) -> CustomerType | None:
        row = await Customer.get_or_none(id=UUID(id.partition("_")[2]), deleted_at=None)
        return None if row is None else _customer(row)

    @strawberry.field
    async def pipeline(self, id: strawberry.ID) -> BoardPipeline | None:
        row = await Pipeline.get_or_none(id=UUID(id.partition("_")[2]), deleted_at=None)
        return None if row is None else BoardPipeline(row=row, name=row.name)

    @strawberry.field
    async def customers(
        self, first: int = 20, where: CustomerWhere | None = None, order_by: list[CustomerOrder] | None = None
    ) -> CustomerConnection:
        query = Customer.filter(deleted_at=None)
        if where and where.lifecycle:
            query = query.filter(lifecycle=where.lifecycle.eq.value)
        orders = [f"{item.created_at.value}created_at" for item in order_by or ()]
        rows = await query.order_by(*orders, "-id" if orders and orders[-1][0] == "-" else "id").limit(first)
        return CustomerConnection(nodes=[_customer(row) for row in rows])


# --- loaders --------------------------------------------------------------------------------------------------


async def _customers(ids: Sequence[UUID]) -> list[Any]:
    rows = {row.id: row for row in await Customer.filter(id__in=ids, deleted_at=None)}
    return [rows.get(id) for id in ids]


async def _interactions(keys: Sequence[tuple[UUID, tuple[str, ...], int]]) -> list[list[InteractionType]]:
    """All interactions of the customers, cut in Python, as loaders of relations do."""
    found: dict[UUID, list[Any]] = defaultdict(list)
    orders = keys[0][1]
    last = "-id" if orders and orders[-1][0] == "-" else "id"
    for row in await Interaction.filter(customer_id__in=[key[0] for key in keys], deleted_at=None).order_by(
        *orders, last
    ):
        found[row.customer_id].append(row)
    return [[_interaction(row) for row in found[id][:first]] for id, _, first in keys]


async def _deals(keys: Sequence[tuple[UUID, str | None, int]]) -> list[list[DealType]]:
    found: dict[UUID, list[Any]] = defaultdict(list)
    query = Deal.filter(customer_id__in=[key[0] for key in keys], deleted_at=None).order_by("id")
    if keys[0][1] is not None:
        query = query.filter(stage__category=keys[0][1], stage__deleted_at=None)
    for row in await query.select_related("stage", "stage__pipeline"):
        found[row.customer_id].append(row)
    return [
        [DealType(row=row, id=_id("dea", row.id), name=row.name) for row in found[id][:first]]
        for id, _, first in keys
    ]


async def _figures(keys: Sequence[tuple[UUID, int, str | None]]) -> list[DealAggregate]:
    """Count and sums of the deals of stages, added up in Python: a weighted value is rounded for each deal."""
    query = Deal.filter(stage_id__in=[key[0] for key in keys], deleted_at=None)
    if keys[0][2] is not None:
        query = query.filter(stage__category=keys[0][2], stage__deleted_at=None)
    found: dict[UUID, list[tuple[str, int]]] = defaultdict(list)
    for stage, currency, value in await query.values_list("stage_id", "currency", "value_minor"):
        found[stage].append((currency, value))
    return [_added_up(found[stage], chance) for stage, chance, _ in keys]


def _added_up(deals: Sequence[tuple[str, int]], chance: int) -> DealAggregate:
    values: dict[str, int] = defaultdict(int)
    weighted: dict[str, int] = defaultdict(int)
    for currency, value in deals:
        if value is not None:
            values[currency] += value
            weighted[currency] += value * chance // 100 + value * chance % 100 // 50
    return DealAggregate(count=str(len(deals)), sum=DealSums(value=_each(values), weighted_value=_each(weighted)))


def _each(sums: dict[str, int]) -> list[Money]:
    return [Money(amount=str(sums[currency]), currency=currency) for currency in sorted(sums)]


# --- the server -----------------------------------------------------------------------------------------------


class _View(GraphQL[Any, None]):
    """Strawberry's own view; loaders live as long as a request."""

    async def get_context(self, request: Any, response: Any) -> Any:
        return {
            "request": request,
            "customers": DataLoader(load_fn=_customers),
            "interactions": DataLoader(load_fn=_interactions),
            "deals": DataLoader(load_fn=_deals),
            "figures": DataLoader(load_fn=_figures),
        }


async def plain(crm: Crm, database: str) -> Starlette:
    """The application, behind the same session check."""
    await Tortoise.init(
        db_url=database.replace("postgresql://", "asyncpg://"),
        modules={"core": ["benchmarks.plain_models"]},
        use_tz=True,
    )
    schema = strawberry.Schema(Query)
    view = _View(schema)

    async def checked(scope: Scope, receive: Receive, send: Send) -> None:
        principal = await authenticate(crm, Request(scope, receive))
        if principal.kind == "anonymous":
            await Response(status_code=401)(scope, receive, send)
            return
        await view(scope, receive, send)

    return Starlette(routes=[Mount("/graphql", checked)])
