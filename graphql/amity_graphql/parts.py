"""What plugins add to the schema of their own: the hook ``graphql`` and what it works with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from amity.entity import Catalog, Record
from amity.query.find import Find

from .declare import listed, optional

if TYPE_CHECKING:
    from amity.crm import Crm, Session

    from .planning import Draft
    from .schema import Api


class EntityTypes:
    """The GraphQL types of entities, for the fields of a plugin's own Strawberry types.

    ``types[Customer]`` is the type itself; a resolver returns an id, a UUID or ``cus_…``. ``types.list(…)``
    takes several ids, :class:`~amity.contracts.Refs` or a query; ``types.connection(…)`` takes a query, which
    ``info.context.session.find(Customer)`` makes, or :func:`page` of one. What an operation selects of them is
    read by the core, in one statement for all.
    """

    def __init__(
        self, catalog: Catalog, rows: Mapping[str, type], connections: Mapping[str, type], node: type
    ) -> None:
        self._catalog = catalog
        self._rows = rows
        self._connections = connections
        self.node: Any = node
        """Any record; a resolver returns ``cus_…``."""

    def __getitem__(self, entity: type[Record] | str) -> Any:
        return self._rows[self._name(entity)]

    def optional(self, entity: type[Record] | str) -> Any:
        """The type of an entity, or null."""
        return optional(self[entity])

    def list(self, entity: type[Record] | str) -> Any:
        """A list of the entity; null stands for what is deleted or hidden."""
        return listed(optional(self[entity]))

    def connection(self, entity: type[Record] | str) -> Any:
        """A page of the entity's records."""
        return self._connections[self._name(entity)]

    def _name(self, entity: type[Record] | str) -> str:
        name = self._catalog.of(entity).name
        if name not in self._rows:
            raise LookupError(f"{name} does not let itself be read through the API; its options.api lacks 'read'")
        return name


@dataclass(frozen=True)
class GraphQLParts:
    """Strawberry types of a plugin.

    The fields of ``query`` and ``mutation`` become root fields. They are nullable whatever their type says, so
    that one that fails takes nothing else with it. ``types`` are further types that nothing refers to.
    """

    query: type | None = None
    mutation: type | None = None
    types: Sequence[type] = ()


class GraphQLHooks:
    """Hooks that the GraphQL layer adds to :class:`~amity.Plugin`."""

    def graphql(self, types: EntityTypes) -> GraphQLParts:
        """Strawberry types with root fields of the plugin's own."""
        return GraphQLParts()


@dataclass(frozen=True)
class Page:
    """A part of a query's rows; made by :func:`page`."""

    find: Find
    first: int | None = None
    after: str | None = None
    last: int | None = None
    before: str | None = None


def page(
    find: Find,
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    before: str | None = None,
) -> Page:
    """The arguments of a connection, as a resolver got them, applied to a query."""
    return Page(find, first, after, last, before)


@dataclass(frozen=True)
class Done:
    """What the resolver of a mutation returned or raised."""

    outcome: Any

    def result(self) -> Any:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


class Info(Protocol):
    """What our own resolvers need of graphql-core's info."""

    @property
    def context(self) -> GraphQLContext: ...


@dataclass(frozen=True)
class GraphQLContext:
    """``info.context`` of every resolver."""

    crm: Crm
    session: Session
    """Reads and writes as whoever sent the operation."""
    api: Api
    request: Any = None
    """The Starlette request, where there is one."""
    spliced: bool = False
    """Whether JSON of the database may stand in the result as it is, as the HTTP response has it."""
    explained: list[Any] | None = field(default=None)
    """Where statements are noted instead of run."""
    draft: Draft | None = None
    """Where the statement is noted of which a plan is made."""
    done: Done | None = None
    """What the mutation gave that was done already; its resolver is not called once more."""
    failed: Exception | None = None
    """Why the database could not answer already; it is not asked once more."""
