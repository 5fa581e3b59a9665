"""Plans of mutations: one whose only root field is of our own goes straight to its resolver and back.

What its variables are coerced by is kept, and the statement that reads what the payload shows; the mutation itself
is done as ever. As with queries (:mod:`.planning`), a plan tells no errors: what does not fit is left to the
ordinary way, and what went wrong after the resolver was called is told there, without calling it once more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import orjson
from graphql import FieldNode, GraphQLNonNull, GraphQLObjectType, OperationType, VariableNode, get_operation_ast
from graphql.execution.collect_fields import FieldDetails
from graphql.execution.get_variable_signature import get_variable_signature
from graphql.execution.values import get_argument_values

from amity import tree
from amity.access.planned import given_rights
from amity.entity import EntityType, Kind
from amity.given import Given, Track, Untracked, planning
from amity.query import Statement
from amity.query.conditions import stored
from amity.query.dialect import DIALECTS
from amity.query.run import compile_for

from .coerce import Coerce, Unusual, coercer
from .executor import Executor
from .parts import Done, GraphQLContext
from .planning import Answer, Asked, Family, Plan, Plans, plannable, row_of
from .reading import Spliced

if TYPE_CHECKING:
    from graphql import DocumentNode

    from .writes import Payload

_ID = UUID("ffffffff-ffff-4fff-bfff-fffffffffff1")
"""Stands for the ids that a mutation will have, while its plan is made."""
_NOTHING = Statement("", (), (), (), ())
_ROWS = object()
Show = Callable[["Payload"], Any]
"""What a field of the payload shows, as JSON; ``_ROWS`` in its place stands for what the statement reads."""


@dataclass(frozen=True)
class WritePlan(Plan):
    """The plan of a mutation. Its statement is empty where the payload shows no records."""

    key: str
    resolve: Callable[..., Any]
    variables: tuple[tuple[str, Coerce], ...]
    fixed: Mapping[str, Any]
    """Arguments that the document has, and defaults."""
    late: tuple[tuple[str, str, bool], ...]
    """Arguments that are variables: their names, those of the variables, whether null is refused."""
    shown: tuple[tuple[str, Any], ...]
    """What the payload shows, by the keys of the response."""
    kind: tuple[EntityType, bool] | None
    """The records that it shows, and whether they are a list."""

    def arguments(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """What the resolver gets. Raises Unusual, and KeyError where a variable is absent."""
        coerced = {name: coerce(variables[name]) for name, coerce in self.variables}
        given = deepcopy(dict(self.fixed))  # plugins may change what they get
        for argument, name, required in self.late:
            if required and coerced[name] is None:
                raise Unusual
            given[argument] = coerced[name]
        return given


@dataclass(frozen=True)
class _Info:
    """What our own resolvers need of graphql-core's info."""

    context: GraphQLContext


async def written(
    context: GraphQLContext,
    plans: Plans,
    document: DocumentNode,
    text: str,
    variables: Mapping[str, Any],
    operation_name: str | None,
) -> Answer | Done | None:
    """A mutation done by its plan: the answer, or what its resolver gave, to be told the ordinary way.

    None where there is no plan, or it does not hold for the request; nothing was done then.
    """
    rights = plannable(context, plans, text)
    if rights is None:
        return None
    asked = Asked(variables, context.session.rights)
    family = plans.family((WritePlan, text, operation_name, rights, context.crm.database.dialect), len(text))
    try:
        plan = family.find([asked])
        if plan is None and not family.given_up:
            plan = _planned(context, plans, family, asked, document, text, operation_name)
        if plan is None:
            return None
        plan = cast(WritePlan, plan)
        arguments = plan.arguments(variables)
    except Exception:
        return None  # a value is wrong, which the ordinary way tells
    try:
        payload = await plan.resolve(None, _Info(context), **arguments)
    except Exception as error:
        return Done(error)
    try:
        found = await _answer(context, family, plan, asked, payload)
    except Exception:
        found = None
    plans.answered += found is not None
    return Done(payload) if found is None else found


async def _answer(
    context: GraphQLContext, family: Family, plan: WritePlan, asked: Asked, payload: Payload
) -> Answer | None:
    text: str | None = None
    if plan.kind is not None:
        _, many = plan.kind
        ids = list(payload.rows) if many else [payload.row]
        if many and (not ids or None in ids):
            return None
        if ids[0] is not None:
            text = await _read(context, family, plan, asked, ids)
            if text is None:
                return None
    data: dict[str, Any] = {}
    for key, show in plan.shown:
        if show is not _ROWS:
            data[key] = show(payload)
        elif text is None or text == "null":
            data[key] = None
        else:
            data[key] = Spliced(text) if context.spliced else orjson.loads(text)
    return Answer({plan.key: data}, _body(plan, data) if context.spliced else b"")


def _body(plan: WritePlan, data: Mapping[str, Any]) -> bytes:
    parts = []
    for key, value in data.items():
        encoded = value.text.encode() if isinstance(value, Spliced) else orjson.dumps(value)
        parts.append(b'"%b":%b' % (key.encode(), encoded))
    return b'{"data":{"%b":{%b}}}' % (plan.key.encode(), b",".join(parts))


async def _read(
    context: GraphQLContext, family: Family, plan: WritePlan, asked: Asked, ids: Sequence[UUID]
) -> str | None:
    """What the payload shows of the rows; None where the ordinary way has more to say."""
    values: list[Any] = [asked]
    if family.find(values) is not plan:  # once more, as time has passed
        return None
    assert plan.kind is not None
    many, statement = plan.kind[1], plan.statement
    bound = stored(DIALECTS[context.crm.database.dialect], Kind.ID, many, ids if many else ids[0])
    parameters = [bound if item is _ROWS else item for item in plan.bound(values)]
    row = await row_of(context, statement, parameters)
    if row is None:
        return None
    return "null" if row[0] is None else cast(str, row[0])


# --- planning -------------------------------------------------------------------------------------------------


def _planned(
    context: GraphQLContext,
    plans: Plans,
    family: Family,
    asked: Asked,
    document: DocumentNode,
    text: str,
    operation_name: str | None,
) -> WritePlan | None:
    track = Track(asked)
    try:
        plan = _made(context, track, document, text, operation_name)
    except Exception:
        family.failures += 1
        return None
    if plan is not None:
        plans.add(family, track, plan)
    return plan


def _made(
    context: GraphQLContext, track: Track, document: DocumentNode, text: str, operation_name: str | None
) -> WritePlan | None:
    """The plan of a mutation; None if the request has a mistake. Raises whatever is in the way of one."""
    operation, api = get_operation_ast(document, operation_name), context.api
    if operation is None or operation.operation is not OperationType.MUTATION:
        raise Untracked("no mutation")
    (node,) = operation.selection_set.selections
    mutation = api.graphql.mutation_type
    if mutation is None or not isinstance(node, FieldNode) or node.name.value not in api.writable:
        raise Untracked("a root field of a plugin's own")
    direct = [item for item in node.arguments or () if isinstance(item.value, VariableNode)]
    defined = operation.variable_definitions or ()
    if "@" in text or text.count("$") != len(defined) + len(direct):
        raise Untracked("directives and variables may have a say in what is selected")
    variables = []
    for item in defined:
        signature = get_variable_signature(api.graphql, item)
        coerce = coercer(signature.type) if not isinstance(signature, Exception) else None
        if coerce is None or item.default_value is not None:
            raise Untracked("a variable of an unusual kind")
        variables.append((item.variable.name.value, coerce))
    session = copy(context.session)
    session.rights = given_rights(session.rights, track)
    with planning(track):
        executor = Executor.build(
            api.graphql,
            document,
            context_value=replace(context, session=session),
            raw_variable_values=dict(track.request.variables),
            operation_name=operation_name,
        )
        if not isinstance(executor, Executor):
            return None
        field = mutation.fields[node.name.value]
        given = get_argument_values(field, node, executor.variable_values)
        shown, statement, kind = _shown(executor, field.type, [FieldDetails(node, None)])
    assert field.resolve is not None
    late = tuple(
        (item.name.value, item.value.name.value, isinstance(field.args[item.name.value].type, GraphQLNonNull))
        for item in direct
        if isinstance(item.value, VariableNode)
    )
    names = {name for name, *_ in late}
    return WritePlan(
        replace(statement, parameters=()),
        _parameters(context, statement, kind),
        (),
        (),
        (),
        key=node.alias.value if node.alias else node.name.value,
        resolve=field.resolve,
        variables=tuple(variables),
        fixed={name: value for name, value in given.items() if name not in names},
        late=late,
        shown=shown,
        kind=kind,
    )


def _parameters(
    context: GraphQLContext, statement: Statement, kind: tuple[EntityType, bool] | None
) -> tuple[tuple[int | None, Any], ...]:
    if kind is None:
        return ()
    many = kind[1]
    ids = stored(DIALECTS[context.crm.database.dialect], Kind.ID, many, [_ID] if many else _ID)
    found = tuple(
        (item.index, None) if isinstance(item, Given) else (None, _ROWS if item == ids else item)
        for item in statement.parameters
    )
    if sum(item is _ROWS for _, item in found) != 1:
        raise Untracked("the ids stand elsewhere")
    return found


def _shown(
    executor: Executor, type_: Any, details: list[FieldDetails]
) -> tuple[tuple[tuple[str, Any], ...], Statement, tuple[EntityType, bool] | None]:
    """What a payload shows, and what reads its records."""
    if not isinstance(type_, GraphQLObjectType):
        raise Untracked("no payload")
    shown: list[tuple[str, Any]] = []
    statement, kind = _NOTHING, None
    for key, nodes in executor.collect_subfields(type_, details).grouped_field_set.items():
        name = nodes[0].node.name.value
        hole = executor.api.holes.get(type_.fields[name].type) if name in type_.fields else None
        if name == "__typename":
            shown.append((key, _constant(type_.name)))
        elif name == "userErrors":
            shown.append((key, _user_errors(executor, nodes)))
        elif name == "deletedIds":
            shown.append((key, lambda payload: list(payload.deleted_ids)))
        elif hole is not None and hole.kind in ("row", "rows") and hole.entity is not None and kind is None:
            many = hole.kind == "rows"
            if hole.items_required or (hole.required and not many):
                raise Untracked("records that have to be there")
            kind = hole.entity, many
            statement = _statement(executor, hole.entity, many, executor.selections.row(hole.entity, nodes))
            shown.append((key, _ROWS))
        else:
            raise Untracked(f"{name} is formatted the ordinary way")
    return tuple(shown), statement, kind


def _statement(executor: Executor, entity: EntityType, many: bool, selection: tree.Selection) -> Statement:
    settings = executor.api.settings
    root: tree.Root = tree.One(entity.name, _ID, selection)
    most = settings.max_rows
    if many:
        # what holds for one holds for as many as can be sent
        root, most = tree.Many(entity.name, (_ID,), selection), most // settings.max_list
    return compile_for(executor.context_value.session, {"0": root}, max_rows=most)


def _constant(value: str) -> Show:
    return lambda _: value


def _user_errors(executor: Executor, nodes: list[FieldDetails]) -> Show:
    type_: Any = executor.api.types["UserError"]
    fields = executor.selections.names(type_, nodes)

    def show(payload: Payload) -> list[dict[str, Any]]:
        return [
            {key: type_.name if name == "__typename" else getattr(error, name) for key, name in fields}
            for error in payload.user_errors
        ]

    return show


__all__ = ["WritePlan", "written"]
