"""Operations: parsed, checked, run."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import orjson
from graphql import (
    DocumentNode,
    ExecutionResult,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSyntaxError,
    InlineFragmentNode,
    OperationType,
    SelectionSetNode,
    get_operation_ast,
    parse,
    specified_rules,
)
from strawberry.execution import optimized_is_awaitable
from strawberry.schema.schema import validate_document

from amity.composition import CompositionError
from amity.database import DatabaseError

from . import limits
from .bounded import Bounded
from .cost import Costs, DocumentCost
from .errors import BAD_USER_INPUT, PARSE_FAILED, UNAUTHENTICATED, VALIDATION_FAILED, coded, told
from .executor import Executor
from .parts import Done, GraphQLContext
from .persisted import Asked, Persisted, registered
from .planning import Plans, planned
from .reading import Spliced
from .schema import Api
from .writing import written

COLLECTED = 1_000
"""After so many new documents the garbage collector looks through everything. Validation leaves cycles behind, and
a server lets it run so rarely that they would add up to gigabytes."""


@dataclass(frozen=True)
class Result:
    """What an operation gave. ``data`` is absent where it was not run at all."""

    data: Any = None
    errors: tuple[GraphQLError, ...] = ()
    ran: bool = True
    body: bytes | None = None
    """The response, where it is known already."""
    extensions: Mapping[str, Any] | None = None

    def formatted(self) -> dict[str, Any]:
        """As the GraphQL specification has it."""
        found: dict[str, Any] = {"data": self.data} if self.ran else {}
        if self.errors:
            found["errors"] = [dict(error.formatted) for error in self.errors]
        if self.extensions:
            found["extensions"] = dict(self.extensions)
        return found

    def encode(self) -> bytes:
        """The same as JSON; what the database wrote goes in as it is."""
        return orjson.dumps(self.formatted(), default=_splice) if self.body is None else self.body


@dataclass(frozen=True)
class Prepared:
    """A document that was parsed, and what is wrong with it."""

    document: DocumentNode | None
    errors: tuple[GraphQLError, ...]
    cost: DocumentCost | None = None
    """What its operations cost, if nothing is wrong with it."""

    def writes(self, operation_name: str | None) -> bool:
        """Whether the operation is a mutation."""
        operation = get_operation_ast(self.document, operation_name) if self.document is not None else None
        return operation is not None and operation.operation is OperationType.MUTATION

    def refusal(self, operation_name: str | None, variables: Mapping[str, Any] | None) -> GraphQLError | None:
        """What is too large about an operation with these variables, as they were sent, if anything is."""
        return None if self.cost is None else self.cost.refusal(operation_name, variables or {})


class Documents:
    """Parses and validates documents, and keeps those that were used last."""

    def __init__(self, api: Api) -> None:
        self._api = api
        settings = api.settings
        self.kept: Bounded[Prepared] = Bounded(settings.cached_documents, settings.cached_characters)
        self.plans = Plans(settings)
        self.costs = Costs(api.graphql, settings)
        self._new = 0

    def prepare(self, text: str) -> Prepared:
        found = self.kept.get(text)
        if found is None:
            found = self._prepare(text)
            self.kept.put(text, found, len(text))
            self._new += 1
            if self._new % COLLECTED == 0:
                gc.collect()
        return found

    @cached_property
    def persisted(self) -> Persisted:
        """What can be named by a hash. Raises CompositionError for registered operations that can't be run, and
        where only they are answered, and there are none."""
        settings = self._api.settings
        known = registered(settings.persisted_operations, lambda text: self._prepare(text).errors)
        if settings.only_persisted and not known:
            place = settings.persisted_operations or "persisted_operations, which names no folder"
            message = f"only_persisted in [graphql] would answer nothing: there are no operations in {place}"
            raise CompositionError([message])
        return Persisted(settings, known)

    def text(self, asked: Asked) -> str | GraphQLError:
        """The text of the document that a request is about, or why it is not answered."""
        return self.persisted.text(asked, lambda text: not self.prepare(text).errors)

    def cost(self, text: str, operation_name: str | None, variables: Mapping[str, Any] | None) -> dict[str, int]:
        """What an operation costs, and may cost; empty where it can't be run."""
        cost = self.prepare(text).cost
        value = cost.estimate(operation_name, variables or {}) if cost is not None else None
        return {} if cost is None or value is None else {"value": value, "most": cost.most(operation_name)}

    def _prepare(self, text: str) -> Prepared:
        try:
            document = parsed(text)
        except GraphQLSyntaxError as error:
            # its traceback holds on to all that the parser had
            return Prepared(None, (coded(error.with_traceback(None), PARSE_FAILED),))
        except RecursionError:
            too_deep = GraphQLError("the document is nested too deeply to be read")
            return Prepared(None, (coded(too_deep, PARSE_FAILED),))
        too_large = limits.check(document, self._api.settings)
        if too_large is not None:
            return Prepared(document, (too_large,))
        try:
            errors = validate_document(self._api.graphql, document, tuple(specified_rules))
        except RecursionError:
            return Prepared(document, (limits.nested_too_deeply(),))
        if errors:
            return Prepared(document, tuple(coded(error, VALIDATION_FAILED) for error in errors))
        return Prepared(document, (), self.costs.document(document))


def parsed(text: str) -> DocumentNode:
    """The document of a text, free of cycles: what is not kept any more is gone at once.

    The garbage collector, which a server lets run rarely, would find it after hundreds of thousands of documents.
    Places in the text need no links between tokens.
    """
    document = parse(text, max_tokens=limits.MAX_TOKENS)
    token = document.loc.start_token if document.loc is not None else None
    while token is not None:
        following = token.next
        token.prev = token.next = None
        token = following
    return document


async def execute(
    context: GraphQLContext,
    documents: Documents,
    document: str,
    variables: Mapping[str, Any] | None = None,
    operation_name: str | None = None,
) -> Result:
    """Runs one operation of a document. Whatever is wrong with it is in the result."""
    prepared = documents.prepare(document)
    if prepared.errors or prepared.document is None:
        return Result(errors=prepared.errors, ran=False)
    too_large = prepared.refusal(operation_name, variables)
    if too_large is not None:
        return Result(errors=(too_large,), ran=False)
    plan = written if prepared.writes(operation_name) else planned
    try:
        found = await plan(context, documents.plans, prepared.document, document, variables or {}, operation_name)
    except DatabaseError as error:
        context, found = replace(context, failed=error), None
    if isinstance(found, Done):
        context = replace(context, done=found)
    elif found is not None:
        return Result(found.data, body=found.body if context.spliced else None)
    return await _run(context, prepared.document, variables, operation_name)


async def explain(
    context: GraphQLContext,
    documents: Documents,
    document: str,
    variables: Mapping[str, Any] | None = None,
    operation_name: str | None = None,
) -> tuple[list[tuple[str, tuple[Any, ...]]], tuple[GraphQLError, ...]]:
    """The statements that a query compiles to, with their parameters; nothing is read.

    Statements that depend on what others find are not seen. Mutations are refused, as they would run.
    """
    prepared = documents.prepare(document)
    if prepared.errors or prepared.document is None:
        return [], prepared.errors
    operation = get_operation_ast(prepared.document, operation_name)
    if operation is not None and operation.operation is not OperationType.QUERY:
        error = GraphQLError("only queries can be explained; a mutation would run", operation)
        return [], (coded(error, BAD_USER_INPUT),)
    too_large = prepared.refusal(operation_name, variables)
    if too_large is not None:
        return [], (too_large,)
    noted: list[Any] = []
    result = await _run(replace(context, explained=noted), prepared.document, variables, operation_name)
    statements = [(statement.sql, statement.parameters) for statement in noted]
    return statements, () if statements else result.errors


async def _run(
    context: GraphQLContext,
    document: DocumentNode,
    variables: Mapping[str, Any] | None,
    operation_name: str | None,
) -> Result:
    if context.session.principal.kind == "anonymous":
        refused = _unauthenticated(document, operation_name)
        if refused is not None:
            return Result(errors=(refused,), ran=False)
    executor = Executor.build(
        context.api.graphql,
        document,
        context_value=context,
        raw_variable_values=dict(variables or {}),
        operation_name=operation_name,
        is_awaitable=optimized_is_awaitable,  # type: ignore[arg-type]
    )
    if isinstance(executor, list):
        return Result(errors=tuple(coded(error, BAD_USER_INPUT) for error in executor), ran=False)
    assert isinstance(executor, Executor)
    outcome = executor.execute_operation()
    if not isinstance(outcome, ExecutionResult):
        outcome = await outcome
    assert isinstance(outcome, ExecutionResult)
    errors = tuple(outcome.errors or ())
    if executor.denied is not None and executor.operation.operation is OperationType.QUERY:
        # nothing of the operation is answered, and it is said once
        message = str(executor.denied)
        refused = next((error for error in errors if error.message == message), told(executor.denied))
        return Result(None, (refused,))
    return Result(outcome.data, errors)


def _unauthenticated(document: DocumentNode, operation_name: str | None) -> GraphQLError | None:
    """What somebody is told who has not signed in, and asks for more than the schema and who they are."""
    operation = get_operation_ast(document, operation_name)
    if operation is None:
        return None
    fragments = {
        item.name.value: item for item in document.definitions if isinstance(item, FragmentDefinitionNode)
    }
    for field in _roots(operation.selection_set, fragments):
        name = field.name.value
        if name != "me" and not name.startswith("__"):
            message = (
                f"{name} is not there for those who have not signed in; sign in at /session, "
                "or send a valid API key, as Authorization: Bearer amity_…"
            )
            return coded(GraphQLError(message, field), UNAUTHENTICATED)
    return None


def _roots(selections: SelectionSetNode, fragments: Mapping[str, FragmentDefinitionNode]) -> Iterator[FieldNode]:
    for item in selections.selections:
        if isinstance(item, FieldNode):
            yield item
        elif isinstance(item, InlineFragmentNode):
            yield from _roots(item.selection_set, fragments)
        elif isinstance(item, FragmentSpreadNode):
            yield from _roots(fragments[item.name.value].selection_set, fragments)


def _splice(value: Any) -> Any:
    if isinstance(value, Spliced):
        return orjson.Fragment(value.text)
    raise TypeError(f"{value!r} is no JSON")
