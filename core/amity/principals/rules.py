"""What a grant says, as it is written down and handed in, turned into values: rows, fields, presets.

Rows are ``"all"``, ``"own"``, ``"team"``, ``"none"``, or a filter as everywhere, in which the values ``"$user"``,
``"$team"``, ``"$customer"`` and ``"$now"`` stand for what is known of who acts.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any, cast

from ..access import SCOPES, RowRule, TypeGrant, has_owner
from ..entity import Catalog, EntityType
from ..query import QueryError
from ..query.where import parse_value, parse_where
from ..tree import Placeholder

PLACEHOLDERS: Mapping[str, Placeholder] = {
    "$user": Placeholder("user"),
    "$team": Placeholder("team"),
    "$customer": Placeholder("customer"),
    "$now": Placeholder("now"),
}
Where = Mapping[str, Any]


def parse_grant(
    catalog: Catalog,
    entity: EntityType | None,
    rows: str | Where,
    fields: Collection[str] | None,
    check: str | Where | None = None,
    presets: Where | None = None,
) -> TypeGrant:
    """A grant on an entity, or on every one (None). Raises :class:`~amity.query.QueryError`, which says where."""
    if entity is None and (fields is not None or presets):
        raise QueryError("a grant on every entity has no fields and presets of its own", ("entity",))
    return TypeGrant(
        rows=parse_rule(catalog, entity, rows, "rows"),
        fields=None if fields is None or entity is None else parse_fields(entity, fields),
        check=None if check is None else parse_rule(catalog, entity, check, "check"),
        presets=() if entity is None else parse_presets(catalog, entity, presets or {}),
    )


def parse_rule(catalog: Catalog, entity: EntityType | None, rule: str | Where, name: str = "rows") -> RowRule:
    """Which rows. Raises :class:`~amity.query.QueryError`."""
    if isinstance(rule, str):
        if rule not in SCOPES:
            raise QueryError(f"is {rule!r}; expected {', '.join(SCOPES)}, or a filter", (name,))
        if rule in ("own", "team") and entity is not None and not has_owner(catalog, entity):
            raise QueryError(
                f"{entity.name} has no owner, so that nobody has rows of it that are {rule!r}; its plugin can "
                "name one in options.owner, or grant a filter",
                (name,),
            )
        return RowRule(cast(Any, rule))
    if entity is None:
        raise QueryError("a filter needs one entity; for every one there are all, own, team and none", (name,))
    return RowRule("where", parse_where(catalog, entity, _replaced(rule), (name,)))


def parse_fields(entity: EntityType, names: Collection[str]) -> frozenset[str]:
    """Fields by the names that rights go by: those of relations and money, not of their columns.

    Raises :class:`~amity.query.QueryError`.
    """
    if isinstance(names, str):
        raise QueryError(f"is {names!r}; expected a list of names", ("fields",))
    known = entity.right_fields | entity.open_fields
    found = set()
    for name in names:
        field = entity.field_of.get(name, name)
        if field not in known:
            close = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"fields are {', '.join(sorted(known))}"
            raise QueryError(f"{entity.name} has no field {name!r} that can be granted; {hint}", ("fields",))
        found.add(field)
    return frozenset(found)


def parse_presets(catalog: Catalog, entity: EntityType, presets: Where) -> tuple[tuple[str, Any], ...]:
    """Columns with the values that they are set to. Raises :class:`~amity.query.QueryError`."""
    found = []
    for name, value in presets.items():
        column = entity.columns.get(entity.to_one[name].column.name if name in entity.to_one else name)
        if column is None or column.name in entity.internal or column.name == "id":
            raise QueryError(f"{entity.name} has no column {name!r} that could be set", ("presets", name))
        parsed = None if value is None else parse_value(catalog, entity, column, _value(value), ("presets", name))
        found.append((column.name, parsed))
    return tuple(found)


def _replaced(value: Any) -> Any:
    """The same filter, with placeholders for the texts that stand for them."""
    if isinstance(value, Mapping):
        return {name: _replaced(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_replaced(item) for item in value]
    return _value(value)


def _value(value: Any) -> Any:
    return PLACEHOLDERS.get(value, value) if isinstance(value, str) else value


__all__ = ["PLACEHOLDERS", "parse_fields", "parse_grant", "parse_presets", "parse_rule"]
