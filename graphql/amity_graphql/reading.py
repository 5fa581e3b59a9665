"""Answering the requests of one turn: all of them by one statement."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
from graphql.pyutils import Path

from amity import tree
from amity.access import AccessDenied
from amity.database import EvaluationError
from amity.entity import BatchField, Catalog, EntityType
from amity.query import Answer, FieldError, OutOfRange, QueryError
from amity.query.run import compile_for

from .errors import PluginFailed
from .parts import GraphQLContext
from .selection import Details


class Spliced:
    """JSON as the database wrote it, to stand in a response as it is."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


@dataclass(eq=False)
class Request:
    """A hole that waits for its answer; ``path`` and ``details`` say which field of the document it is."""

    root: tree.Root
    path: Path
    details: Details


@dataclass(frozen=True)
class Answered:
    """What was found for a request: the value, or the exception why there is none; and what failed within."""

    value: Any
    errors: Sequence[FieldError] = ()


@dataclass(frozen=True)
class _Asked:
    """A root, and the requests that it answers: several where many holes each want one row."""

    root: tree.Root
    requests: list[Request] = field(default_factory=list)


async def answer(context: GraphQLContext, requests: Sequence[Request]) -> dict[Request, Answered]:
    """What was found for each request. A request that can't be answered fails alone."""
    asked = {str(index): item for index, item in enumerate(_merged(requests))}
    if context.draft is not None:
        roots = {key: item.root for key, item in asked.items()}
        statement = compile_for(context.session, roots, max_rows=context.api.settings.max_rows)
        context.draft.note(statement, {key: item.requests for key, item in asked.items()})
        return {request: Answered(_nothing(request.root)) for request in requests}
    if context.explained is not None:
        context.explained.append(context.session.compile({key: item.root for key, item in asked.items()}))
        return {request: Answered(_nothing(request.root)) for request in requests}
    found = await _read(context, asked)
    answers: dict[Request, Answered] = {}
    for key, item in asked.items():
        for request, value in zip(item.requests, _values(context, key, item, found), strict=True):
            answers[request] = value
    return answers


async def _read(
    context: GraphQLContext, asked: Mapping[str, _Asked]
) -> dict[str, tuple[str | None, list[FieldError]] | Exception]:
    found: dict[str, Any] = {}
    if context.failed is not None:
        return dict.fromkeys(asked, context.failed)
    try:
        answered: Answer = await context.session.read(
            {key: item.root for key, item in asked.items()}, format_batch, max_rows=context.api.settings.max_rows
        )
    except EvaluationError as error:
        if len(asked) == 1:
            return {key: _blamed(context, item, error) for key, item in asked.items()}
        for key, item in asked.items():
            found |= await _read(context, {key: item})
        return found
    except QueryError as error:
        # told by compiling, before anything ran: whose mistake it is shows when each is compiled alone
        wrong = {key: problem for key, item in asked.items() if (problem := _problem(context, item))}
        if not wrong or len(asked) == 1:
            return dict.fromkeys(asked, error)
        rest = {key: item for key, item in asked.items() if key not in wrong}
        return {**wrong, **(await _read(context, rest) if rest else {})}
    except AccessDenied:
        raise  # it is the operation that is refused
    except Exception as error:
        return dict.fromkeys(asked, error)
    for key in asked:
        errors = [item for item in answered.errors if item.path[0] == key]
        found[key] = (answered.text[key], errors)
    return found


def _nothing(root: tree.Root) -> Any:
    """An answer of no rows, for when none are read."""
    match root:
        case tree.One():
            return {}
        case tree.Many(_, ids):
            return [None] * len(ids)
        case tree.Connection():
            return {"nodes": []}
        case tree.Aggregation():
            return []
        case tree.Search():
            return {}


def _problem(context: GraphQLContext, item: _Asked) -> QueryError | None:
    try:
        context.session.compile({"": item.root})
    except QueryError as error:
        return error
    return None


def _values(context: GraphQLContext, key: str, item: _Asked, found: Mapping[str, Any]) -> Iterator[Answered]:
    outcome = found[key]
    if isinstance(outcome, Exception):
        yield from (Answered(outcome) for _ in item.requests)
        return
    text, errors = outcome
    if len(item.requests) == 1:
        yield Answered(_value(context, text), errors)
        return
    for index, row in enumerate(orjson.loads(text)):
        own = [replace(e, path=(key, *e.path[2:])) for e in errors if e.path[1] == index]
        yield Answered(row, own)


def _value(context: GraphQLContext, text: str | None) -> Any:
    if text is None or text == "null":
        return None
    return Spliced(text) if context.spliced else orjson.loads(text)


def _merged(requests: Sequence[Request]) -> list[_Asked]:
    """Holes that each want one row by the same selection become one root for all their rows."""
    groups: dict[tuple[str, int], _Asked] = {}
    found: list[_Asked] = []
    for request in requests:
        root = request.root
        if not isinstance(root, tree.One):
            found.append(_Asked(root, [request]))
            continue
        key = (root.entity, id(root.fields))
        if key not in groups:
            groups[key] = _Asked(root)
            found.append(groups[key])
        groups[key].requests.append(request)
    return [_many(item) if len(item.requests) > 1 else item for item in found]


def _many(item: _Asked) -> _Asked:
    ids = tuple(request.root.id for request in item.requests if isinstance(request.root, tree.One))
    root = item.root
    assert isinstance(root, tree.One)
    return _Asked(tree.Many(root.entity, ids, root.fields), item.requests)


def format_batch(value: Any, field: BatchField, shape: Any) -> Any:
    """A batch field's result, as far as it is selected."""
    if value is None:
        return None
    format: Callable[[Any], Any] = shape
    return format(value)


# --- whose fault it was -------------------------------------------------------------------------------------


def _blamed(context: GraphQLContext, item: _Asked, error: Exception) -> Exception:
    """An expression in a filter or an order fails the root field; the plugin is named if there is only one."""
    if isinstance(error, OutOfRange):
        return error
    plugins = set(_used(context.crm.catalog, item.root))
    if len(plugins) != 1:
        return error
    failed = PluginFailed(plugins.pop(), "an expression in where or orderBy failed")
    failed.__cause__ = error
    return failed


def _used(catalog: Catalog, root: tree.Root) -> Iterator[str]:
    if isinstance(root, tree.Search):
        return
    entity = catalog[root.entity]
    if isinstance(root, tree.Connection):
        yield from _used_by_page(catalog, entity, root.page)
    elif not isinstance(root, tree.Aggregation):
        yield from _used_by_fields(catalog, entity, root.fields)


def _used_by_page(catalog: Catalog, entity: EntityType, page: tree.Page) -> Iterator[str]:
    if page.where is not None:
        yield from _used_by_condition(catalog, entity, page.where)
    for key in page.order:
        target = entity
        for step in key.path:
            target = catalog[str(target.leads_to(step))]
        if key.field in target.expressions:
            yield target.expressions[key.field].plugin
    yield from _used_by_parts(catalog, entity, page)


def _used_by_parts(catalog: Catalog, entity: EntityType | None, page: tree.Page) -> Iterator[str]:
    """``entity`` is that of the rows, None where they are of several."""
    for part in page.parts:
        for item in part.parts if isinstance(part, tree.Edges) else (part,):
            if not isinstance(item, (tree.Nodes, tree.Node)):
                continue
            if isinstance(item.fields, Mapping):
                for name, fields in item.fields.items():
                    yield from _used_by_fields(catalog, catalog[name], fields)
            elif entity is not None:
                yield from _used_by_fields(catalog, entity, item.fields)


def _used_by_fields(catalog: Catalog, entity: EntityType, fields: tree.Selection) -> Iterator[str]:
    for item in fields:
        match item:
            case tree.Linked(_, name, inner):
                link = entity.to_one.get(name) or entity.to_many[name]
                yield from _used_by_fields(catalog, catalog[link.target], inner)
            case tree.AnyLinked(_, _, choices):
                for target, inner in choices.items():
                    yield from _used_by_fields(catalog, catalog[target], inner)
            case tree.Connected(_, name, page):
                yield from _used_by_page(catalog, catalog[entity.to_many[name].target], page)
            case tree.Timeline(_, page):
                yield from _used_by_parts(catalog, None, page)


def _used_by_condition(catalog: Catalog, entity: EntityType, condition: tree.Condition) -> Iterator[str]:
    match condition:
        case tree.All(items) | tree.AnyOf(items):
            for item in items:
                yield from _used_by_condition(catalog, entity, item)
        case tree.Not(item):
            yield from _used_by_condition(catalog, entity, item)
        case tree.Compare(name) if name in entity.expressions:
            yield entity.expressions[name].plugin
        case tree.Through(relation, inner):
            yield from _used_by_condition(catalog, catalog[entity.to_one[relation].target], inner)
        case tree.Quantified(relation, _, inner):
            yield from _used_by_condition(catalog, catalog[entity.to_many[relation].target], inner)
