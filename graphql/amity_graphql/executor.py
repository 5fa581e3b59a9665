"""Execution: fields of entities are holes in what graphql-core executes.

Where a resolver's field has an entity, several, or a connection as its type, graphql-core does not walk the
selection below it. It is translated into the core's query tree, and all holes that open up in one turn of the
event loop are answered by one statement. Its JSON goes into the response as the database wrote it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

import orjson
from graphql import (
    FieldNode,
    GraphQLError,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLResolveInfo,
    get_named_type,
)
from graphql.execution.collect_fields import CollectedFields, GroupedFieldSet
from graphql.pyutils import Path, Undefined
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from amity import tree
from amity.access import AccessDenied
from amity.contracts import Refs
from amity.entity import EntityType, decode_id
from amity.given import Given, Untracked
from amity.query import FieldError, QueryError
from amity.query.find import Find
from amity.query.readable import reads_everything

from .arguments import Slice
from .errors import PluginFailed, told
from .hits import CONNECTION as SEARCHED
from .hits import root_of
from .optional import left_out
from .parts import GraphQLContext, Page
from .reading import Answered, Request, Spliced, answer
from .selection import Details, Selections
from .values import Shape

Step = str | int
_ANY = UUID(int=0)


@dataclass(frozen=True, eq=False)
class Hole:
    """What the type of a field leaves to the core."""

    kind: Literal["row", "rows", "page", "groups", "search", "value"]
    entity: EntityType | None = None
    """None for ``Node``, which may be a row of any."""
    required: bool = False
    items_required: bool = False
    shape: Shape | None = None


@dataclass(frozen=True)
class Rows:
    """A page of an entity, as a root field asked for it."""

    entity: EntityType
    slice: Slice


@dataclass(frozen=True)
class Grouped:
    """Groups of an entity's rows, as a root field asked for them."""

    entity: EntityType
    given: Mapping[str, Any]


@dataclass(eq=False)
class _Turn:
    """The requests of one turn of the event loop, to be answered by one statement."""

    requests: list[Request] = field(default_factory=list)
    reading: asyncio.Task[dict[Request, Answered]] | None = None
    left: int = 0
    """How many still wait for it."""


class Executor(StrawberryGraphQLCoreExecutionContext):
    """graphql-core's executor, but for entities."""

    context_value: GraphQLContext

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.api = self.context_value.api
        self.selections = Selections(self)
        self._turn: _Turn | None = None
        self.roots: GroupedFieldSet = {}
        self._over = False
        self._collected: dict[tuple[GraphQLObjectType, int], CollectedFields] = {}
        self.denied: AccessDenied | None = None
        """What a statement was refused for; nothing of it was read."""

    def execute_operation(self, serially: bool | None = None) -> Any:
        result = super().execute_operation(serially)
        if not self.is_awaitable(result):
            # graphql-core lets what was begun end in the background, though nobody will see it
            self._over = True
            return result

        async def wait() -> Any:
            try:
                return await result
            finally:
                self._over = True

        return wait()

    def _names_rows(self, roots: GroupedFieldSet) -> bool:
        """Whether the roots of a query do nothing but name rows, so that what it becomes can be kept."""
        names = set(_names(roots)) - {"__typename"}
        return bool(names) and names <= self.api.plannable

    # --- rights ---------------------------------------------------------------------------------------------

    def collect_subfields(self, return_type: GraphQLObjectType, field_details_list: Details) -> CollectedFields:
        key = (return_type, id(field_details_list))
        found = self._collected.get(key)
        if found is None:
            found = super().collect_subfields(return_type, field_details_list)
            found = found._replace(grouped_field_set=self._shown(return_type, found.grouped_field_set))
            self._collected[key] = found
        return found

    def _shown(self, type_: GraphQLObjectType, fields: GroupedFieldSet) -> GroupedFieldSet:
        """The fields without those that are optional and may not be read."""
        hidden = [key for key, details in fields.items() if left_out(self, type_, details)]
        return {key: details for key, details in fields.items() if key not in hidden} if hidden else fields

    def _authorize(self, type_: GraphQLObjectType, fields: GroupedFieldSet) -> None:
        """Refuses what an operation selects, before a resolver runs that does more than name rows to be read.

        Where all roots are holes, compiling them comes first anyway.
        """
        session = self.context_value.session
        holes = self.api.holes
        if all(holes.get(field.type) for field in map(type_.fields.get, _names(fields)) if field is not None):
            return
        if reads_everything(self.api.catalog, session.rights):
            return
        for details in fields.values():
            field = type_.fields.get(details[0].node.name.value)
            for root in self._selected(field.type, details) if field is not None else ():
                try:
                    session.compile({"": root})
                except AccessDenied as error:
                    refused = told(error)
                    refused.nodes = [item.node for item in details]
                    raise refused from error
                except QueryError:
                    continue  # told where it is run

    def _selected(self, type_: GraphQLOutputType, details: Details) -> Iterator[tree.Root]:
        """What is selected of entities, anywhere below a field, without knowing which rows they are."""
        hole = self.api.holes.get(type_)
        if hole is not None and hole.entity is None:
            return
        if hole is not None and hole.entity is not None:
            try:
                if hole.kind == "groups":
                    query: Any = self.api.graphql.query_type
                    given = self.selections.arguments(query, details[0])
                    groups = self.selections.groups(hole.entity, details, given)
                    yield tree.Aggregation(hole.entity.name, groups)
                elif hole.kind == "page":
                    page = self.selections.page(hole.entity, details, Slice(first=0))
                    yield tree.Connection(hole.entity.name, page)
                else:
                    yield tree.One(hole.entity.name, _ANY, self.selections.row(hole.entity, details))
            except (GraphQLError, QueryError):
                return  # an argument is wrong; told where it is run
            return
        named = get_named_type(type_)
        if not isinstance(named, GraphQLObjectType):
            return
        for inner in self.collect_subfields(named, details).grouped_field_set.values():
            field = named.fields.get(inner[0].node.name.value)
            if field is not None:
                yield from self._selected(field.type, inner)

    # --- holes ----------------------------------------------------------------------------------------------

    def complete_value(
        self,
        return_type: GraphQLOutputType,
        field_details_list: Details,
        info: GraphQLResolveInfo[Any],
        path: Path,
        result: Any,
        position_context: Any,
    ) -> Any:
        hole = self.api.holes.get(return_type)
        if hole is None or result is None or result is Undefined or isinstance(result, Exception):
            return super().complete_value(return_type, field_details_list, info, path, result, position_context)
        if hole.kind == "value":
            assert hole.shape is not None
            return self.selections.format(hole.shape, field_details_list)(result)
        if hole.kind == "row":
            waiting = self._row(hole, result, field_details_list, path)
        elif hole.kind == "search":
            root = root_of(self.selections, field_details_list, result)
            waiting = self._whole(Request(root, path, field_details_list))
        elif hole.kind == "page":
            waiting = self._page(hole, result, field_details_list, path)
        elif hole.kind == "groups":
            waiting = self._groups(result, field_details_list, path)
        elif isinstance(result, Find):
            waiting = self._found(hole, result, field_details_list, path)
        else:
            waiting = self._rows(hole, result, field_details_list, path)
        return _required(waiting, f"{info.parent_type}.{info.field_name}") if hole.required else waiting

    # What follows asks right away and returns a coroutine that waits: a hole that asked only when it is
    # awaited would miss its turn.

    def _row(self, hole: Hole, result: Any, details: Details, path: Path) -> Coroutine[Any, Any, Any]:
        entity, id = self._reference(hole, result)
        root = tree.One(entity.name, id, self.selections.row(entity, details))
        return self._whole(Request(root, path, details))

    def _page(self, hole: Hole, result: Any, details: Details, path: Path) -> Coroutine[Any, Any, Any]:
        if isinstance(result, Find):
            result = Page(result)
        if isinstance(result, Page):
            find = result.find
            first = find.limit if result.first is None and result.last is None else result.first
            bounds = self.api.arguments.bounds(first, result.after, result.last, result.before)
            result = Rows(find.entity, Slice(find.condition, find.order, *bounds))
        if not isinstance(result, Rows):
            raise TypeError(f"a connection needs session.find(…) or page(…) of one; got {result!r}")
        self._expect(hole, result.entity)
        page = self.selections.page(result.entity, details, result.slice)
        return self._whole(Request(tree.Connection(result.entity.name, page), path, details))

    def _groups(self, result: Grouped, details: Details, path: Path) -> Coroutine[Any, Any, Any]:
        groups = self.selections.groups(result.entity, details, result.given)
        return self._whole(Request(tree.Aggregation(result.entity.name, groups), path, details))

    def _found(self, hole: Hole, find: Find, details: Details, path: Path) -> Coroutine[Any, Any, Any]:
        """A query where the field is a plain list: its rows without a connection around them."""
        self._expect(hole, find.entity)
        first, *_ = self.api.arguments.bounds(find.limit, None, None, None)
        nodes = tree.Nodes("nodes", self.selections.row(find.entity, details))
        page = tree.Page((nodes,), find.condition, find.order, first=first)
        request = Request(tree.Connection(find.entity.name, page), path, details)
        asked = self._ask(request)

        async def wait() -> Any:
            answered = await asked
            self._add_errors(request, answered.errors, lambda steps: steps[1:])
            return parsed(answered.value)["nodes"]

        return wait()

    def _rows(self, hole: Hole, result: Any, details: Details, path: Path) -> Coroutine[Any, Any, Any]:
        """Rows by their ids, in their order; those of one entity by one root."""
        items = self._references(hole, result)
        places: dict[str, list[int]] = {}
        ids: dict[str, list[UUID]] = {}
        for index, item in enumerate(items):
            if item is not None:
                places.setdefault(item[0].name, []).append(index)
                ids.setdefault(item[0].name, []).append(item[1])
        requests = []
        for name, found in ids.items():
            selection = self.selections.row(self.api.catalog[name], details)
            requests.append(Request(tree.Many(name, tuple(found), selection), path, details))
        asked = [self._ask(request) for request in requests]

        async def wait() -> Any:
            answers = await asyncio.gather(*asked)
            if len(answers) == 1 and not hole.items_required and None not in items:
                self._add_errors(requests[0], answers[0].errors, list)
                return answers[0].value
            rows: list[Any] = [None] * len(items)
            for positions, answered in zip(places.values(), answers, strict=True):
                for index, row in zip(positions, parsed(answered.value), strict=True):
                    rows[index] = row
            kept = [i for i, row in enumerate(rows) if row is not None or not hole.items_required]
            for positions, request, answered in zip(places.values(), requests, answers, strict=True):
                self._add_errors(request, answered.errors, _placed(positions, kept))
            return [rows[index] for index in kept]

        return wait()

    def _references(self, hole: Hole, result: Any) -> list[tuple[EntityType, UUID] | None]:
        if isinstance(result, Refs):
            entity = self.api.catalog.of(result.entity)
            self._expect(hole, entity)
            return [None if id is None else (entity, id) for id in result.ids]
        if isinstance(result, (str, bytes, Mapping)) or not isinstance(result, Sequence):
            raise TypeError(f"a list of records needs a list of ids, Refs or session.find(…); got {result!r}")
        return [None if item is None else self._reference(hole, item) for item in result]

    def _reference(self, hole: Hole, result: Any) -> tuple[EntityType, UUID]:
        """The row that a resolver means by what it returned."""
        entity = hole.entity
        if isinstance(result, Given):
            return self._given_reference(entity, result)
        if isinstance(result, str):
            if entity is not None:
                return entity, decode_id(entity.prefix, result, self.api.catalog.prefixes)
            entity, id = self.api.catalog.by_id(result)
            if entity.name not in self.api.names:
                raise QueryError(f"{entity.name} records can't be read through the API")
            return entity, id
        if isinstance(result, UUID) and entity is not None:
            return entity, result
        what = f"an id of {entity.name}" if entity else "an id with its prefix, like cus_…"
        raise TypeError(f"expected {what}, got {result!r}")

    def _given_reference(self, entity: EntityType | None, result: Given) -> tuple[EntityType, Any]:
        """The same while a query is planned: which row it is stays open, of which entity does not."""
        if entity is not None:
            return entity, result
        catalog = self.api.catalog
        name = result.known(lambda text: catalog.by_id(text)[0].name)
        if name not in self.api.names:
            raise QueryError(f"{name} records can't be read through the API")
        return catalog[name], result.then(lambda text: catalog.by_id(text)[1])

    def _expect(self, hole: Hole, entity: EntityType) -> None:
        if hole.entity is not None and hole.entity is not entity:
            raise TypeError(f"expected records of {hole.entity.name}, got {entity.name}")

    def _whole(self, request: Request) -> Coroutine[Any, Any, Any]:
        """An answer that goes into the response as it is."""
        asked = self._ask(request)

        async def wait() -> Any:
            answered = await asked
            self._add_errors(request, answered.errors, list)
            return answered.value

        return wait()

    # --- answers --------------------------------------------------------------------------------------------

    def _ask(self, request: Request) -> Coroutine[Any, Any, Answered]:
        if self._turn is None:
            self._turn = _Turn()
        turn = self._turn
        turn.requests.append(request)
        turn.left += 1
        return self._answer(turn, request)

    async def _answer(self, turn: _Turn, request: Request) -> Answered:
        if turn.reading is None:
            # a task starts after everything that is ready to run now, and so gets what that still asks
            turn.reading = asyncio.create_task(self._read(turn), name="amity-graphql-read")
        try:
            answered = (await asyncio.shield(turn.reading))[request]
        except asyncio.CancelledError:
            turn.left -= 1
            if not turn.left:
                turn.reading.cancel()
            raise
        if isinstance(answered.value, Exception):
            raise answered.value
        return answered

    async def _read(self, turn: _Turn) -> dict[Request, Answered]:
        if self._turn is turn:
            self._turn = None
        if self._over:
            return {request: Answered(None) for request in turn.requests}
        try:
            return await answer(self.context_value, turn.requests)
        except AccessDenied as error:
            self.denied = error
            raise

    # --- errors ---------------------------------------------------------------------------------------------

    def execute_root_grouped_field_set(
        self,
        root_type: GraphQLObjectType,
        root_value: Any,
        grouped_field_set: GroupedFieldSet,
        serially: bool,
        position_context: Any,
    ) -> Any:
        grouped_field_set = self._shown(root_type, grouped_field_set)
        self.roots = grouped_field_set
        if self.context_value.draft is not None and not self._names_rows(grouped_field_set):
            raise Untracked("there is more in it than rows that are read")
        self._authorize(root_type, grouped_field_set)
        return super().execute_root_grouped_field_set(
            root_type, root_value, grouped_field_set, serially, position_context
        )

    def handle_field_error(
        self,
        raw_error: Exception,
        return_type: GraphQLOutputType,
        field_details_list: Details,
        path: Path,
    ) -> None:
        name = field_details_list[0].node.name.value
        error = told(raw_error, self._plugin_at(path), f"{path.typename}.{name}")
        super().handle_field_error(error, return_type, field_details_list, path)

    def _plugin_at(self, path: Path) -> str | None:
        """The plugin whose root field leads to a path, if it is a plugin's own."""
        while path.prev is not None:
            path = path.prev
        details = self.roots.get(str(path.key))
        return self.api.owners.get(f"{path.typename}.{details[0].node.name.value}") if details else None

    def _add_errors(
        self,
        request: Request,
        errors: Sequence[FieldError],
        place: Callable[[Sequence[Step]], Sequence[Step]],
    ) -> None:
        """Errors of plugins' fields within an answer, at their places in the response."""
        for item in errors:
            steps = item.path[1:]
            type_, nodes, name = self._field_at(request, steps)
            cause = PluginFailed(item.plugin, f"{type_}.{name} {item.message}", item.count)
            path: Path | None = request.path
            for step in place(steps):
                path = Path(path, step, None)
            assert path is not None
            error = told(cause)
            located = GraphQLError(
                error.message,
                nodes,
                path=path.as_list(),
                original_error=cause,
                extensions=error.extensions,
            )
            self.collected_errors.add(located, path)

    def _field_at(self, request: Request, steps: Sequence[Step]) -> tuple[str, list[FieldNode], str]:
        """Type, nodes and name of the field that steps in an answer lead to, as far as they can be followed."""
        root = request.root
        if isinstance(root, tree.Search):
            return self._field_below(self.api.types[SEARCHED], SEARCHED, request.details, steps)
        types = self.api.connections if isinstance(root, tree.Connection) else self.api.objects
        if isinstance(root, tree.Aggregation):
            types = self.api.groups
        return self._field_below(types[root.entity], root.entity, request.details, steps)

    def _field_below(
        self, type_: GraphQLObjectType | None, owner: str, details: Details, steps: Sequence[Step]
    ) -> tuple[str, list[FieldNode], str]:
        name = ""
        for step in steps:
            if isinstance(step, int):
                continue
            found = None
            if type_ is not None:
                found = self.collect_subfields(type_, details).grouped_field_set.get(step)
            if found is None or type_ is None:
                return owner, [item.node for item in details], str(steps[-1])
            details, name, owner = found, found[0].node.name.value, type_.name
            if name not in type_.fields:
                break
            inner = get_named_type(type_.fields[name].type)
            type_ = inner if isinstance(inner, GraphQLObjectType) else None
        return owner, [item.node for item in details], name


def _names(fields: GroupedFieldSet) -> list[str]:
    return [details[0].node.name.value for details in fields.values()]


async def _required(waiting: Coroutine[Any, Any, Any], name: str) -> Any:
    value = await waiting
    if value is None:
        raise TypeError(f"Cannot return null for non-nullable field {name}.")
    return value


def _placed(positions: Sequence[int], kept: Sequence[int]) -> Callable[[Sequence[Step]], list[Step]]:
    """From the place in the answer of one entity to the place in a list of several."""
    return lambda steps: [kept.index(positions[int(steps[0])]), *steps[1:]]


def parsed(value: Any) -> Any:
    """A value as Python has it, if it stands as text."""
    return orjson.loads(value.text) if isinstance(value, Spliced) else value
