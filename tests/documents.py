"""Made-up GraphQL queries off a schema, with values in variables, and other values of the same shape."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLObjectType,
    GraphQLSchema,
    get_named_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
)

TEXTS = ["", "Ann", "ÉMILE", "50%", "a_b", "ss", "straße"]
LEAVES: dict[str, Sequence[Any]] = {
    "String": TEXTS,
    "Int": [0, 1, 2, 3, 50],
    "BigInt": ["0", 12, "-7", 10**12],
    "Float": [0, 0.5, 1e9],
    "DateTime": ["2026-01-01T00:00:00Z", "2026-01-01T01:00:00.000001+01:00", "1999-12-31T23:59:59Z"],
    "Date": ["2026-01-31", "2000-01-01"],
    "JSON": ["it", 3, 0.5],
}
WRONG: dict[str, Sequence[Any]] = {
    "String": ["half \ud800", "nul \x00", 7],
    "Int": [-1, 501, "one", 2**40],
    "BigInt": ["one", str(2**63), 0.5],
    "Float": ["one", 10**400],
    "DateTime": ["2026-01-01", "0001-01-01T00:00:00+10:00"],
    "Date": ["2026-02-30", 5],
    "ID": ["cus_1", "", "xyz_00000000000000000000000000000000"],
}
KINDS = {
    "customer": "cus",
    "organization": "cus",
    "related": "cus",
    "deal": "dea",
    "user": "usr",
    "owner": "usr",
    "CustomerWhere": "cus",
    "DealWhere": "dea",
    "UserWhere": "usr",
}
"""The prefix of ids, by the field that they are of or lead through, and by the filter of which they are the id."""
SKIPPED = frozenset(("me", "entities", "plugins", "node", "nodes"))


@dataclass
class Query:
    """A document, with variables that fit it, and what draws others like them."""

    document: str
    variables: dict[str, Any]
    types: dict[str, Any]


@dataclass
class Writer:
    """Writes queries of a schema; ``ids`` are some that its records have."""

    schema: GraphQLSchema
    ids: Sequence[str]
    chance: random.Random
    variables: dict[str, Any] = field(default_factory=dict)
    types: dict[str, Any] = field(default_factory=dict)
    page_info: ClassVar[str] = "pageInfo { hasNextPage hasPreviousPage endCursor }"

    def query(self) -> Query:
        self.variables, self.types = {}, {}
        root = self.schema.query_type
        assert root is not None
        names = [name for name, item in root.fields.items() if self._is_read(name, item)]
        parts = [
            f"r{number}: {self._field(name, root, 2)}"
            for number, name in enumerate(self.chance.choices(names, k=self.chance.choice((1, 1, 2))))
        ]
        head = ", ".join(f"${name}: {type_}" for name, type_ in self.types.items())
        document = f"query Made{f'({head})' if head else ''} {{ __typename {' '.join(parts)} }}"
        return Query(document, self.variables, self.types)

    def other(self, query: Query, wrong: float = 0.0) -> dict[str, Any]:
        """Variables of the same shape with other values; some of which may be wrong."""
        return {name: self._other(query.types[name], value, wrong) for name, value in query.variables.items()}

    def _is_read(self, name: str, item: Any) -> bool:
        named = get_named_type(item.type)
        if name in SKIPPED or name.endswith("Aggregate") or not isinstance(named, GraphQLObjectType):
            return False
        return "id" not in item.args or name in KINDS

    # --- documents --------------------------------------------------------------------------------------------

    def _field(self, name: str, parent: GraphQLObjectType, depth: int) -> str:
        item = parent.fields[name]
        given: list[str] = []
        figures = name.endswith("Aggregate")
        for key, argument in item.args.items():
            if figures and key != "where":
                continue
            if key == "last" and any(item.startswith("first:") for item in given):
                continue
            likely = 0.03 if key in ("after", "before") else 0.1 if key == "last" else 0.5
            if is_non_null_type(argument.type) or self.chance.random() < likely:
                made = self._made(argument.type, 2, KINDS.get(name, ""))
                given.append(f"{key}: {self._value(argument.type, made)}")
        named = get_named_type(item.type)
        head = f"{name}({', '.join(given)})" if given else name
        return head if is_leaf_type(named) else f"{head} {self._selected(named, depth)}"

    def _selected(self, type_: Any, depth: int) -> str:
        if not isinstance(type_, GraphQLObjectType):
            return "{ __typename }"
        if type_.name.endswith("Aggregate"):
            return "{ __typename count }"
        if "nodes" in type_.fields:
            parts = ["totalCount", self.page_info]
            chosen = self.chance.sample(parts, k=self.chance.randint(0, 2))
            row = get_named_type(type_.fields["nodes"].type)
            return f"{{ {' '.join(chosen)} nodes {self._selected(row, depth)} }}"
        leaves = [name for name, item in type_.fields.items() if is_leaf_type(get_named_type(item.type))]
        rest = [name for name in type_.fields if name not in leaves]
        names = self.chance.sample(leaves, k=min(len(leaves), 3))
        if depth:
            names += self.chance.sample(rest, k=min(len(rest), 2))
        return f"{{ __typename {' '.join(self._field(name, type_, depth - 1) for name in names)} }}"

    def _value(self, type_: Any, value: Any) -> str:
        """A value as it stands in the document: in a variable, or spelled out as far as it goes."""
        if self.chance.random() < 0.4:
            name = f"v{len(self.variables)}"
            self.variables[name], self.types[name] = value, type_
            return f"${name}"
        inner = type_.of_type if is_non_null_type(type_) else type_
        if value is None:
            return "null"
        if is_list_type(inner):
            return f"[{', '.join(self._value(inner.of_type, item) for item in value)}]"
        if isinstance(inner, GraphQLInputObjectType):
            # a variable for the one key of an order would have to be required
            write = self._literal if inner.name.endswith(("Order", "JSONFilter")) else self._value
            return self._object(inner, value, write)
        return self._literal(inner, value)

    def _literal(self, type_: Any, value: Any) -> str:
        inner = type_.of_type if is_non_null_type(type_) else type_
        if isinstance(inner, GraphQLInputObjectType):
            return self._object(inner, value, self._literal)
        return str(value) if isinstance(inner, GraphQLEnumType) else json.dumps(value)

    def _object(
        self, type_: GraphQLInputObjectType, value: dict[str, Any], write: Callable[[Any, Any], str]
    ) -> str:
        return f"{{{', '.join(f'{key}: {write(type_.fields[key].type, item)}' for key, item in value.items())}}}"

    # --- values -----------------------------------------------------------------------------------------------

    def _made(self, type_: Any, depth: int, kind: str = "") -> Any:
        """A value; ``kind`` is the prefix of ids in it."""
        inner = type_.of_type if is_non_null_type(type_) else type_
        if is_list_type(inner):
            return [self._made(inner.of_type, depth, kind) for _ in range(self.chance.randint(0, 2))]
        if isinstance(inner, GraphQLInputObjectType):
            if inner.name == "JSONFilter":
                key = self.chance.choice([key for key in inner.fields if key != "path"])
                return {"path": "sector", key: self._made(inner.fields[key].type, 0)}
            single, least = inner.name.endswith("Order"), int(inner.name.endswith("ListFilter"))
            names = [key for key in inner.fields if self._fits(inner, key, depth, kind)]
            chosen = self.chance.sample(names, k=min(1 if single else self.chance.randint(least, 2), len(names)))
            return {
                key: self._made(inner.fields[key].type, max(depth - 1, 0), self._kind(inner, key) or kind)
                for key in chosen
            }
        return self._leaf(inner, kind)

    def _fits(self, type_: GraphQLInputObjectType, key: str, depth: int, kind: str) -> bool:
        named = get_named_type(type_.fields[key].type)
        if named.name == "IDFilter":
            return bool(self._kind(type_, key))
        return bool(depth) or is_leaf_type(named) or (named.name.endswith("Filter") and "List" not in named.name)

    def _kind(self, type_: GraphQLInputObjectType, key: str) -> str:
        return KINDS.get(type_.name if key == "id" else key.removesuffix("Id"), "")

    def _leaf(self, type_: Any, kind: str = "") -> Any:
        if isinstance(type_, GraphQLEnumType):
            return self.chance.choice(list(type_.values))
        if type_.name == "ID":
            return self.chance.choice([id for id in self.ids if id.startswith(kind)])
        if type_.name == "Boolean":
            return self.chance.random() < 0.5
        return self.chance.choice(LEAVES[type_.name])

    def _other(self, type_: Any, value: Any, wrong: float) -> Any:
        inner = type_.of_type if is_non_null_type(type_) else type_
        if value is None or isinstance(value, bool):
            return value
        if is_list_type(inner):
            return [self._other(inner.of_type, item, wrong) for item in value]
        if isinstance(inner, GraphQLInputObjectType):
            if inner.name == "JSONFilter":
                return value
            return {key: self._other(inner.fields[key].type, item, wrong) for key, item in value.items()}
        if self.chance.random() < wrong and inner.name in WRONG:
            return self.chance.choice(WRONG[inner.name])
        return self._leaf(inner, value[:4] if inner.name == "ID" else "")


# --- mutations ------------------------------------------------------------------------------------------------

WRITTEN = {
    "customer": "cus",
    "contactPoint": "con",
    "relationship": "rel",
    "interaction": "int",
    "deal": "dea",
    "team": "tea",
    "stage": "stg",
}
"""Entities that are written, with the prefixes of their ids."""
REFERRED = {
    "customerId": "cus",
    "organizationId": "cus",
    "relatedId": "cus",
    "ownerId": "usr",
    "userId": "usr",
    "teamId": "tea",
    "pipelineId": "pip",
    "stageId": "stg",
    "dealId": "dea",
}
WORDS: dict[str, Sequence[str]] = {
    "channel": ["phone", "email", "pigeon"],
    "address": ["+41 44 333 11 22", "ann.lee@acme.example", "new@acme.example", "x"],
    "currency": ["CHF", "EUR", "x"],
    "system": ["erp"],
    "id": ["1", "2", ""],
}


@dataclass
class MutationWriter(Writer):
    """Writes mutations, most of which have one root field, whose arguments are variables."""

    page_info: ClassVar[str] = "pageInfo { hasNextPage hasPreviousPage }"
    below: bool = False
    entity: str = ""

    def mutation(self) -> Query:
        self.variables, self.types = {}, {}
        roots = ["logInteraction", "logInteractionBatch"] * 3 + ["moveDeal", "moveDealBatch"]
        # without customers, there would be little left to be done
        roots += [name for name in self._type().fields if self._written(name) and name != "deleteCustomers"]
        count = self.chance.choice((1,) * 9 + (2,))
        parts = [f"m{number}: {self._root(self.chance.choice(roots))}" for number in range(count)]
        head = ", ".join(f"${name}: {type_}" for name, type_ in self.types.items())
        document = f"mutation Made{f'({head})' if head else ''} {{ {' '.join(parts)} }}"
        return Query(document, self.variables, self.types)

    def spoiled(self, value: Any) -> Any:
        """The value with something wrong in its structure."""
        if self.chance.random() < 0.2:
            return self.chance.choice([None, [], {}, "x", 7, True, [value]])
        if isinstance(value, list) and value:
            place = self.chance.randrange(len(value))
            return [self.spoiled(item) if n == place else item for n, item in enumerate(value)]
        if isinstance(value, dict) and value:
            key = self.chance.choice(list(value))
            way = self.chance.random()
            if way < 0.25:
                return {name: item for name, item in value.items() if name != key}
            if way < 0.35:
                return {**value, "strange": 1}
            return {**value, key: self.spoiled(value[key])}
        return self.chance.choice([None, [value], {"x": value}, 10**30, 1.5, ""])

    def _type(self) -> GraphQLObjectType:
        assert self.schema.mutation_type is not None
        return self.schema.mutation_type

    def _written(self, name: str) -> str:
        """The entity that a mutation writes, if it is one of ours."""
        for verb in ("create", "update", "upsert", "delete", "restore"):
            rest = name.removeprefix(verb)
            rest = rest[:1].lower() + rest[1:]
            if name.startswith(verb) and rest.removesuffix("s") in WRITTEN:
                return rest.removesuffix("s")
        return ""

    def _root(self, name: str) -> str:
        item, given = self._type().fields[name], []
        self.entity = self._written(name)
        for key, argument in item.args.items():
            if key == "on":
                choices = list(get_named_type(argument.type).values)
                given.append(f"on: [{self.chance.choice(choices)}]")
            elif key != "onError" or self.chance.random() < 0.6:
                made = self._made(argument.type, 3, WRITTEN.get(self.entity, ""))
                given.append(f"{key}: {self._argument(argument.type, made)}")
        self.below = True
        selected = self._selected(get_named_type(item.type), 2)
        self.below = False
        return f"{name}({', '.join(given)}) {selected}"

    def _argument(self, type_: Any, value: Any) -> str:
        if self.chance.random() < 0.1:
            return super()._value(type_, value)
        name = f"v{len(self.variables)}"
        self.variables[name], self.types[name] = value, type_
        return f"${name}"

    def _value(self, type_: Any, value: Any) -> str:
        if not self.below or self.chance.random() < 0.02:
            return super()._value(type_, value)
        return self._literal(type_, value)

    def _made(self, type_: Any, depth: int, kind: str = "") -> Any:
        inner = type_.of_type if is_non_null_type(type_) else type_
        if self.below or not isinstance(inner, GraphQLInputObjectType):
            return super()._made(type_, depth, kind)
        needed = [key for key, item in inner.fields.items() if is_non_null_type(item.type)]
        rest = [key for key in inner.fields if key not in needed]
        chosen = needed + self.chance.sample(rest, k=min(len(rest), self.chance.randint(0, 3)))
        return {key: self._member(inner, key, depth, kind) for key in chosen}

    def _member(self, inner: GraphQLInputObjectType, key: str, depth: int, kind: str) -> Any:
        type_ = inner.fields[key].type
        if key in WORDS and get_named_type(type_).name == "String":
            return self.chance.choice(WORDS[key])
        if key == "id" and not inner.name.endswith("Update") and kind:
            return f"{kind}_{'0' * 31}{self.chance.randint(1, 3)}"
        return self._made(type_, depth - 1, REFERRED.get(key, kind))

    def _leaf(self, type_: Any, kind: str = "") -> Any:
        if type_.name == "ID":
            known = [id for id in self.ids if id.startswith(kind)]
            return self.chance.choice([*known, f"{kind or 'cus'}_{'0' * 31}{self.chance.randint(1, 3)}"])
        return super()._leaf(type_, kind)
