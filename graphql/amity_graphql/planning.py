"""Plans: what a query became, kept for requests that differ in values only.

A query is planned by running it the ordinary way up to its statement, with the values of its variables left open
(:mod:`amity.given`). From then on a request costs its look-up, the conversions of its values, and the statement.
A plan tells no errors: whatever does not fit, or fails, is answered the ordinary way, which tells them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import orjson
from graphql import (
    ExecutionResult,
    GraphQLInputType,
    OperationType,
    get_operation_ast,
    is_input_object_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
)
from graphql.execution.values import VariableValues
from graphql.pyutils import Undefined
from strawberry.execution import optimized_is_awaitable

from amity.access import Rights
from amity.access.planned import given_rights, plan_key
from amity.database import EvaluationError
from amity.given import Given, Op, Track, Untracked, follow, planning
from amity.query import Statement
from amity.query.run import fill_batches

from .errors import BAD_USER_INPUT
from .executor import Executor
from .parts import GraphQLContext
from .reading import Request, Spliced, format_batch

if TYPE_CHECKING:
    from graphql import DocumentNode

    from .settings import GraphQLSettings

MAX_CHARACTERS = 16_000_000
"""Characters of documents and statements that are kept in plans."""
MAX_DOCUMENT = 50_000
"""Characters of a document that is planned; one longer was hardly written to be sent again."""
_MAX_SHAPE = 200
"""Values in the variables of a request that is planned; imports bring thousands, and are no queries."""
_MAX_NAMES = 5_000
"""Characters of all names in them, which are kept with a plan."""
_TRIES = 3
"""How often planning may fail for requests alike before it is left alone."""
_SCALARS = frozenset((str, int, float))


@dataclass(frozen=True)
class Asked:
    """What the values of a plan are read from: a request."""

    variables: Mapping[str, Any]
    rights: Rights


@dataclass(frozen=True)
class Root:
    """A root of the answer: a column of the statement's row, or a text that is always the same."""

    key: str
    column: int | None = None
    constant: str | None = None
    required: bool = False


@dataclass(frozen=True)
class Plan:
    """A statement, where its parameters come from, and how its row becomes the answer."""

    statement: Statement
    parameters: tuple[tuple[int | None, Any], ...]
    """For each: where it is among the values of a request, or the value that it always has."""
    roots: tuple[Root, ...]
    pieces: tuple[bytes, ...]
    """The response, cut where columns of the row go in, in the order of ``columns``."""
    columns: tuple[int, ...]

    def bound(self, values: Sequence[Any]) -> list[Any]:
        return [fixed if place is None else values[place] for place, fixed in self.parameters]


@dataclass(frozen=True)
class Answer:
    """What a plan found: as Python has it, and as the response."""

    data: dict[str, Any]
    body: bytes


@dataclass
class Branch:
    """A step in finding a plan: values to be made, then one to go by, or the plan."""

    ops: tuple[Op, ...]
    index: int = 0
    children: dict[Hashable, Branch] = field(default_factory=dict)
    plan: Plan | None = None


@dataclass
class Family:
    """Plans of requests alike: the same document, rights and kinds of variables."""

    key: Hashable
    key_size: int
    """Characters of what it is found by."""
    size: int
    """Characters of all of it, for the bound of all."""
    root: Branch | None = None
    count: int = 1
    failures: int = 0

    @property
    def given_up(self) -> bool:
        """Whether planning failed so often that it is left alone."""
        return self.failures >= _TRIES

    def find(self, values: list[Any]) -> Plan | None:
        """The plan for the request that is the first of ``values``, which become all that it needs.

        Raises whatever a conversion raises for a value that is wrong.
        """
        branch = self.root
        while branch is not None:
            follow(branch.ops, values)
            if branch.plan is not None:
                return branch.plan
            branch = branch.children.get(values[branch.index])
        return None

    def add(self, track: Track, plan: Plan) -> bool:
        """Planning goes the same way until a value that it asked for is another: so plans form a tree.

        False where the plan was there already.
        """
        chain = [Branch(ops, index) for ops, index, _ in track.guards]
        chain.append(Branch(tuple(track.ops), plan=plan))
        values = [value for *_, value in track.guards]
        for branch, value, following in zip(chain, values, chain[1:], strict=False):
            branch.children[value] = following
        if self.root is None:
            self.root = chain[0]
            return True
        here = self.root
        for value, following in zip(values, chain[1:], strict=False):
            if value not in here.children:
                here.children[value] = following
                return True
            here = here.children[value]
        return False


class Plans:
    """The plans of one composition, those that were used last; bounded in number and in size."""

    def __init__(self, settings: GraphQLSettings) -> None:
        self.most = settings.cached_plans
        self._families: OrderedDict[Hashable, Family] = OrderedDict()
        self.count = 0
        self.size = 0
        self.made = 0
        self.answered = 0
        """Requests that were answered by a plan."""

    def family(self, key: Hashable, size: int) -> Family:
        found = self._families.get(key)
        if found is not None:
            self._families.move_to_end(key)
            return found
        found = self._families[key] = Family(key, size, size)
        self._grow(1, size)
        return found

    def add(self, family: Family, track: Track, plan: Plan) -> None:
        if self._families.get(family.key) is not family:
            return  # it gave way while the plan was made
        if family.count > self.most // 4 and family.count > 1:
            # pages of every size, say: nothing is lost but time
            self._grow(1 - family.count, family.key_size - family.size)
            family.count, family.size, family.root = 1, family.key_size, None
        if family.add(track, plan):
            self.made += 1
            family.count += 1
            family.size += len(plan.statement.sql)
            self._grow(1, len(plan.statement.sql))

    def _grow(self, count: int, size: int) -> None:
        self.count += count
        self.size += size
        while len(self._families) > 1 and (self.count > 2 * self.most or self.size > MAX_CHARACTERS):
            _, gone = self._families.popitem(last=False)
            self.count -= gone.count
            self.size -= gone.size


# --- answering ------------------------------------------------------------------------------------------------


async def planned(
    context: GraphQLContext,
    plans: Plans,
    document: DocumentNode,
    text: str,
    variables: Mapping[str, Any],
    operation_name: str | None,
) -> Answer | None:
    """The answer by a plan; None where there is none, or it does not hold for the request.

    Raises :class:`~amity.database.DatabaseError` where the statement failed, but for its expressions.
    """
    session = context.session
    rights = plannable(context, plans, text)
    shape = _shape(variables)
    if rights is None or shape is None or len(operation_name or "") > _MAX_NAMES:
        return None
    family = plans.family((text, operation_name, rights, shape, context.crm.database.dialect), len(text))
    values: list[Any] = [Asked(variables, session.rights)]
    try:
        plan = family.find(values)
    except Exception:
        return None  # a value is wrong, which the ordinary way tells
    if plan is None:
        if family.given_up:
            return None
        track = Track(Asked(variables, session.rights))
        try:
            plan = await _made(context, track, document, operation_name)
        except Exception:
            family.failures += 1
        if plan is None:
            return None
        plans.add(family, track, plan)
        values = track.values
    found = await _run(context, plan, values)
    plans.answered += found is not None
    return found


def plannable(context: GraphQLContext, plans: Plans, text: str) -> Hashable | None:
    """What plans depend on of the rights of whoever asks; None where a request has none."""
    session = context.session
    if not plans.most or session.unit is not None or len(text) > MAX_DOCUMENT:
        return None
    return None if session.principal.kind == "anonymous" else plan_key(session.rights)


async def row_of(context: GraphQLContext, statement: Statement, parameters: Sequence[Any]) -> Sequence[Any] | None:
    """The row that a statement answers with, batch fields filled in; None where one of those failed."""
    row: Sequence[Any] = (await context.crm.database.read(statement.sql, parameters))[0]
    if not statement.batches:
        return row
    texts, errors = await fill_batches(
        context.session, statement.batches, dict(zip(statement.keys, row, strict=True)), format_batch
    )
    return None if errors else [texts[key] for key in statement.keys]


async def _run(context: GraphQLContext, plan: Plan, values: Sequence[Any]) -> Answer | None:
    try:
        row = await row_of(context, plan.statement, plan.bound(values))
    except EvaluationError:
        return None
    if row is None:
        return None
    data: dict[str, Any] = {}
    for root in plan.roots:
        text = root.constant if root.column is None else row[root.column]
        if text is None or text == "null":
            if root.required:
                return None
            data[root.key] = None
        elif root.column is None:
            data[root.key] = text
        else:
            data[root.key] = Spliced(text) if context.spliced else orjson.loads(text)
    body = b"".join(_joined(plan, row)) if context.spliced else b""
    return Answer(data, body)


def _joined(plan: Plan, row: Sequence[Any]) -> list[bytes]:
    pieces = plan.pieces
    found = [pieces[0]]
    for place, column in enumerate(plan.columns, 1):
        text = row[column]
        found += (b"null" if text is None else text.encode(), pieces[place])
    return found


# --- planning -------------------------------------------------------------------------------------------------


class Draft:
    """Notes the statements that an operation would run, while it is planned."""

    def __init__(self) -> None:
        self.statements: list[Statement] = []
        self.columns: dict[str, int] = {}

    def note(self, statement: Statement, requests: Mapping[str, Sequence[Request]]) -> None:
        self.statements.append(statement)
        for column, key in enumerate(statement.keys):
            for request in requests[key]:
                if request.path.prev is not None or len(requests[key]) > 1:
                    raise Untracked("only roots of their own are planned")
                self.columns[str(request.path.key)] = column


async def _made(
    context: GraphQLContext, track: Track, document: DocumentNode, operation_name: str | None
) -> Plan | None:
    """A plan made for the request of a track, which notes how its values came about; None if it has a mistake.

    Raises whatever is in the way of a plan: requests alike can't have one either.
    """
    operation = get_operation_ast(document, operation_name)
    if operation is None or operation.operation is not OperationType.QUERY:
        raise Untracked("only queries are planned")
    session, draft = copy(context.session), Draft()
    session.rights = given_rights(session.rights, track)
    with planning(track):
        executor = Executor.build(
            context.api.graphql,
            document,
            context_value=replace(context, session=session, draft=draft),
            raw_variable_values=dict(track.request.variables),
            operation_name=operation_name,
            is_awaitable=optimized_is_awaitable,  # type: ignore[arg-type]
        )
        if not isinstance(executor, Executor):
            return None
        executor.variable_values = opened(track, executor.variable_values)
        outcome = executor.execute_operation()
        if not isinstance(outcome, ExecutionResult):
            outcome = await outcome
        assert isinstance(outcome, ExecutionResult)
    errors = outcome.errors or ()
    if errors and all((error.extensions or {}).get("code") == BAD_USER_INPUT for error in errors):
        return None
    if errors or len(draft.statements) != 1:
        raise Untracked("it is refused, or takes more than one statement")
    return _plan(draft.statements[0], _roots(executor, draft))


def _roots(executor: Executor, draft: Draft) -> list[Root]:
    """What the response is made of. Raises LookupError where the statement has not all of it."""
    found = []
    query = executor.api.graphql.query_type
    assert query is not None
    for key, details in executor.roots.items():
        name = details[0].node.name.value
        if name == "__typename":
            found.append(Root(key, constant=query.name))
            continue
        hole = executor.api.holes[query.fields[name].type]
        found.append(Root(key, draft.columns[key], required=hole.required))
    return found


def _plan(statement: Statement, roots: Sequence[Root]) -> Plan:
    for batch in statement.batches:
        if _is_open(batch.node.arguments):
            raise Untracked("arguments of batch fields are the plan's own")
    parameters = tuple(
        (item.index, None) if isinstance(item, Given) else (None, item) for item in statement.parameters
    )
    pieces: list[bytes] = []
    columns: list[int] = []
    text = '{"data":{'
    for place, root in enumerate(roots):
        text += f'{"," if place else ""}"{root.key}":'
        if root.column is None:
            text += orjson.dumps(root.constant).decode()
        else:
            pieces.append(text.encode())
            columns.append(root.column)
            text = ""
    pieces.append((text + "}}").encode())
    kept = replace(statement, parameters=())
    return Plan(kept, parameters, tuple(roots), tuple(pieces), tuple(columns))


def _is_open(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_is_open, value.values()))
    if isinstance(value, (list, tuple, set, frozenset)):
        return any(map(_is_open, value))
    return isinstance(value, Given)


# --- variables ------------------------------------------------------------------------------------------------


def _shape(variables: Mapping[str, Any]) -> Hashable | None:
    """What variables have in common that can share a plan; None where they are too many, or no JSON.

    Keys, nulls and booleans count, lists by their items; but a list of scalars is as good as any other.
    """
    if not variables:
        return ()
    try:
        return _shaped(variables, [_MAX_SHAPE, _MAX_NAMES])
    except (Untracked, RecursionError):
        return None


def _shaped(value: Any, left: list[int]) -> Hashable:
    kind = type(value)
    if kind in _SCALARS:
        return "."
    if value is None or kind is bool:
        return value  # type: ignore[no-any-return]
    left[0] -= 1
    if kind is dict:
        left[1] -= sum(map(len, value))
    if min(left) < 0:
        raise Untracked("too much to look at")
    if kind is dict:
        return "{}", *[(key, _shaped(item, left)) for key, item in value.items()]
    if kind is not list:
        raise Untracked("no JSON")
    if _is_plain(value):
        return "[]"
    return "[", *[_shaped(item, left) for item in value]


def _is_plain(items: Sequence[Any]) -> bool:
    return bool(items) and _SCALARS.issuperset(map(type, items))


def opened(track: Track, found: VariableValues) -> VariableValues:
    """Coerced variables, with what a request may give otherwise left open."""
    sources, coerced = dict(found.sources), dict(found.coerced)
    for name, source in found.sources.items():
        if source.value is Undefined or name not in coerced:
            continue
        coerced[name] = _opened(track, source.signature.type, source.value, coerced[name], (name,))
        # literals of scalars of any shape would have values put in as they were sent
        sources[name] = source._replace(value=track.source(lambda _: None))
    return VariableValues(sources, coerced)


def _opened(track: Track, type_: GraphQLInputType, sent: Any, coerced: Any, path: tuple[str | int, ...]) -> Any:
    if sent is None or isinstance(sent, bool):
        return coerced
    if is_non_null_type(type_):
        type_ = type_.of_type
    if is_list_type(type_):
        item = type_.of_type.of_type if is_non_null_type(type_.of_type) else type_.of_type
        if not isinstance(sent, list):
            return [_opened(track, item, sent, coerced[0], path)]
        if is_leaf_type(item) and _is_plain(sent):
            parse = _leaf(item.coerce_input_value)
            return track.source(_reader(path, lambda items: [parse(each) for each in items]))
        return [_opened(track, item, each, coerced[index], (*path, index)) for index, each in enumerate(sent)]
    if is_input_object_type(type_):
        found = dict(coerced)
        for name, each in sent.items():
            member = type_.fields[name]
            key = member.out_name or name
            found[key] = _opened(track, member.type, each, coerced[key], (*path, name))
        return found
    assert is_leaf_type(type_)
    return track.source(_reader(path, _leaf(type_.coerce_input_value)))


def _leaf(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def parsed(value: Any) -> Any:
        found = parse(value)
        if found is None or found is Undefined:
            raise ValueError("no value of its type")
        return found

    return parsed


def _reader(path: tuple[str | int, ...], parse: Callable[[Any], Any]) -> Callable[[Asked], Any]:
    if len(path) == 1:
        name = path[0]
        return lambda request: parse(request.variables[name])  # type: ignore[index]

    def read(request: Asked) -> Any:
        value: Any = request.variables
        for step in path:
            value = value[step]
        return parse(value)

    return read
