"""Mutations: of the entities that ask for them, and every action.

Their fields are nullable: one that fails must not take away what another one in the same operation, committed
already, has answered.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import strawberry

from amity import contracts
from amity.change import Update
from amity.change.verbs import ExternalIdInput
from amity.composition import Composition
from amity.contracts import Action, ChangeResult, Owned
from amity.entity import EntityType, camel, encode_id

from .arguments import Arguments, plain, row, row_path
from .declare import Argument, Field, bare, enumeration, input_type, listed, optional, output
from .errors import bad_input
from .filters import PYTHON
from .names import EntityNames, Input, a, label, pascal
from .outputs import Outputs
from .parts import Done, GraphQLContext, Info
from .provenance import Source
from .roots import Resolve, RootField
from .scalars import BigInt, json_value
from .values import Listed, Object, Shape, Values, parser, path_of


@strawberry.type(description="Something in the input that whoever sent it can mend", name="UserError")
class UserError:
    index: int = strawberry.field(description="Which item of the input it is in, from 0")
    path: list[str] = strawberry.field(description="Leads to the field within the item")
    code: str = strawberry.field(description="What is wrong, for programs: invalid, required, taken, conflict, …")
    message: str = strawberry.field(description="What is wrong, for people")


@strawberry.enum(description="What to do when some items of the input are wrong")
class OnError(enum.Enum):
    REJECT_ALL = strawberry.enum_value("reject_all", description="Write nothing")
    SKIP_INVALID = strawberry.enum_value("skip_invalid", description="Write the others")


@strawberry.input(description="An amount of money", name="MoneyInput")
class MoneyInput:
    amount: BigInt = strawberry.field(description="The amount, in minor units like cents")
    currency: str | None = strawberry.field(
        description="The currency (ISO 4217); the CRM's own where it is absent", default=strawberry.UNSET
    )


@dataclass(frozen=True)
class Payload:
    """What a mutation answers; each payload type shows some of it."""

    user_errors: Sequence[UserError]
    row: Any = None
    rows: Sequence[Any] = ()
    deleted_ids: Sequence[str] = ()
    result: Any = None
    results: Sequence[Any] = ()


_USER_ERRORS = Field(
    "userErrors", list[UserError], "What is wrong with the input; empty where all is well", attribute="user_errors"
)
_ON_ERROR = Argument("onError", optional(OnError), "What to do when some items are wrong", OnError.REJECT_ALL)
Claim = Callable[[str, str, object], bool]


class Writes:
    """Makes the input and payload types, and the root fields, of all mutations."""

    def __init__(
        self,
        composition: Composition,
        names: Mapping[str, EntityNames],
        sources: Callable[[str], Source],
        outputs: Outputs,
        values: Values,
        arguments: Arguments,
        claim: Claim,
        problems: list[str],
    ) -> None:
        self.composition = composition
        self.names = names
        self.sources = sources
        self.outputs = outputs
        self.values = values
        self.arguments = arguments
        self.claim = claim
        self.problems = problems
        self._deleted: type | None = None
        self._external = values.input(ExternalIdInput, "ExternalIdInput", "core").annotation

    def fields(self) -> Iterator[RootField]:
        """The root fields of ``Mutation``."""
        for item in self._fields():
            yield replace(item, resolve=_once(item.resolve))

    def _fields(self) -> Iterator[RootField]:
        for item in self.names.values():
            yield from _EntityWrites(self, item).fields()
        for name, owned in self.composition.actions.items():
            yield from self._action(name, owned)

    def payload(self, name: str, plugin: str) -> type:
        self.claim(name, plugin, None)
        return bare(name)

    def deleted(self) -> type:
        """The one payload of all deletions."""
        if self._deleted is None:
            self._deleted = self.payload("DeletePayload", "graphql")
            ids = Field("deletedIds", list[strawberry.ID], "Ids of what was deleted", attribute="deleted_ids")
            output(self._deleted, [ids, _USER_ERRORS], "What a deletion did", self.sources("graphql"))
        return self._deleted

    # --- actions --------------------------------------------------------------------------------------------

    def _action(self, name: str, owned: Owned[Any]) -> Iterator[RootField]:
        action: Action[Any] = owned.value
        entity = self.composition.catalog.of(action.entity).name if action.entity else None
        if entity is not None and entity not in self.names:
            self.problems.append(
                f"plugin {owned.plugin!r}: the action {name!r} returns {entity} records, which can't be read "
                "through the API; add 'read' to options.api of the entity"
            )
            return
        shape = self.values.input(action.input, f"{pascal(name)}Input", owned.plugin, entity)
        about = (action.description or label(name)).rstrip(".")
        one, many = self._action_payloads(name, owned.plugin, action)
        given = Argument("input", shape.annotation, "What to do")
        yield RootField(
            owned.plugin,
            Field(camel(name), optional(one), about, [given]),
            self._run(name, action, shape, many=False),
        )
        about += ". A batch, in one transaction" if action.transactional else ". A batch"
        given = Argument("input", listed(shape.annotation), "What to do, in this order")
        yield RootField(
            owned.plugin,
            Field(f"{camel(name)}Batch", optional(many), about, [given, _ON_ERROR]),
            self._run(name, action, shape, many=True),
        )

    def _action_payloads(self, name: str, plugin: str, action: Action[Any]) -> tuple[type, type]:
        one = self.payload(f"{pascal(name)}Payload", plugin)
        many = self.payload(f"{pascal(name)}BatchPayload", plugin)
        if action.entity is not None:
            names = self.names[self.composition.catalog.of(action.entity).name]
            type_: Any = optional(self.outputs.rows[names.entity.name])
            single = Field(names.singular, type_, "The record; null where the input was refused", attribute="row")
            plural = Field(names.plural, listed(type_), "The records, as the inputs", attribute="rows")
        else:
            result = self.values.result(action.output, f"{pascal(name)}Result", plugin)
            single = Field("result", result.annotation, "What came of it; null where the input was refused")
            plural = Field("results", Listed(result).annotation, "What came of each input")
        source = self.sources(plugin)
        output(one, [single, _USER_ERRORS], f"What {camel(name)} did", source)
        output(many, [plural, _USER_ERRORS], f"What {camel(name)}Batch did", source)
        return one, many

    def _run(self, name: str, action: Action[Any], shape: Object, *, many: bool) -> Any:
        read = parser(shape)

        async def resolve(_source: Any, info: Info, input: Any, onError: Any = None) -> Payload:
            inputs = self.arguments.limited("input", input) if many else [input]
            context: GraphQLContext = info.context
            result = await context.session.run(
                name,
                [read(item) for item in inputs],
                on_error=_on_error(onError),
            )
            errors = _told(result.errors, lambda path: path_of(shape, path))
            if action.entity is not None:
                return _rows(result, errors)
            values = [*result.values] or [None] * len(inputs)
            if action.output is None:
                values = [json_value(value) for value in values]
            return Payload(errors, result=values[0] if values else None, results=values)

        return resolve


class _EntityWrites:
    """The mutations of one entity, as far as its options ask for them."""

    def __init__(self, writes: Writes, names: EntityNames) -> None:
        self.writes = writes
        self.names = names
        self.entity: EntityType = names.entity
        self.plugin = names.entity.plugin
        self.source = writes.sources(self.plugin)

    def fields(self) -> Iterator[RootField]:
        verbs = set(self.entity.options.api)
        if not verbs - {"read"}:
            return
        name = self.entity.name
        row_type: Any = optional(self.writes.outputs.rows[name])
        if verbs & {"create", "update"}:
            self.one = self._type(f"{name}Payload")
            single = Field(self.names.singular, row_type, "The record; null where it was refused", attribute="row")
            output(self.one, [single, _USER_ERRORS], f"What was done to {a(name)}", self.source)
        if verbs & {"create", "update", "upsert", "restore"}:
            self.many = self._type(f"{self.names.types}Payload")
            about = "The records, in the order of the input; null where one was refused"
            plural = Field(self.names.plural, listed(row_type), about, attribute="rows")
            output(self.many, [plural, _USER_ERRORS], f"What was done to {name} records", self.source)
        if verbs & {"create", "upsert"}:
            self.input = self._input(f"{name}Input", self.names.inputs, f"A new {name}")
        if "create" in verbs:
            yield from self._create()
        if "update" in verbs:
            yield from self._update()
        if "upsert" in verbs and self.names.keys:
            yield self._upsert()
        if "delete" in verbs:
            yield self._delete()
        if "restore" in verbs:
            yield self._restore()

    def _type(self, name: str) -> type:
        return self.writes.payload(name, self.plugin)

    def _root(
        self, name: str, type_: type, description: str, arguments: list[Argument], resolve: Any
    ) -> RootField:
        return RootField(self.plugin, Field(name, optional(type_), description, arguments), resolve)

    # --- inputs ---------------------------------------------------------------------------------------------

    def _input(self, name: str, inputs: Mapping[str, Input], description: str) -> type:
        cls = self._type(name)
        fields = []
        for key, item in inputs.items():
            type_ = self._input_type(item)
            fields.append(Field(key, type_ if item.required else optional(type_), item.description))
        input_type(cls, fields, description, self.source)
        return cls

    def _input_type(self, item: Input) -> Any:
        if item.group == "id":
            return strawberry.ID
        if item.group == "money":
            return MoneyInput
        if item.column is None:
            return self.writes._external
        choices = self.writes.outputs.enums.get((self.entity.name, item.name))
        return choices if choices is not None else PYTHON[item.column.kind]

    # --- verbs ----------------------------------------------------------------------------------------------

    def _create(self) -> Iterator[RootField]:
        entity, inputs = self.entity, self.names.inputs

        async def many(_source: Any, info: Info, input: list[Any], onError: Any = None) -> Payload:
            rows = [row(inputs, item) for item in self._limited(input)]
            session = info.context.session
            return self._done(inputs, await session.create(entity.name, rows, on_error=_on_error(onError)))

        async def one(_source: Any, info: Info, input: Any) -> Payload:
            return self._done(inputs, await info.context.session.create(entity.name, [row(inputs, input)]))

        items = Argument("input", listed(self.input), "The new records")
        about = f"Creates {entity.name} records, in one transaction"
        yield self._root(f"create{self.names.types}", self.many, about, [items, _ON_ERROR], many)
        item = Argument("input", self.input, "The new record")
        yield self._root(f"create{entity.name}", self.one, f"Creates {a(entity.name)}", [item], one)

    def _update(self) -> Iterator[RootField]:
        entity, inputs = self.entity, self.names.patches
        about = f"What to change of {a(entity.name)}: only what is named; null empties a field"
        patch = self._input(f"{entity.name}Patch", inputs, about)
        update = self._type(f"{entity.name}Update")
        fields = [
            Field("id", strawberry.ID, "Which record"),
            Field("expectedVersion", optional(int), "Refused if the record has another version by now"),
            Field("patch", patch, "What to change"),
        ]
        input_type(update, fields, f"A change of {a(entity.name)}", self.source)

        def read(item: Mapping[str, Any]) -> Update:
            return Update(item["id"], row(inputs, item["patch"]), item.get("expectedVersion"))

        async def many(_source: Any, info: Info, input: list[Any], onError: Any = None) -> Payload:
            updates = [read(item) for item in self._limited(input)]
            session = info.context.session
            result = await session.update(entity.name, updates, on_error=_on_error(onError))
            return self._done(inputs, result, within="patch")

        async def one(_source: Any, info: Info, input: Any) -> Payload:
            result = await info.context.session.update(entity.name, [read(input)])
            return self._done(inputs, result, within="patch")

        items = Argument("input", listed(update), "The changes")
        about = f"Changes {entity.name} records, in one transaction"
        yield self._root(f"update{self.names.types}", self.many, about, [items, _ON_ERROR], many)
        item = Argument("input", update, "The change")
        yield self._root(f"update{entity.name}", self.one, f"Changes {a(entity.name)}", [item], one)

    def _upsert(self) -> RootField:
        entity, inputs, keys = self.entity, self.names.inputs, self.names.keys
        self.writes.claim(f"{entity.name}Key", self.plugin, None)
        about = f"What {a(entity.name)} can be found by"
        key_type = enumeration(f"{entity.name}Key", {key: key for key in keys}, about, self.source)

        async def resolve(
            _source: Any, info: Info, input: list[Any], on: list[Any], onError: Any = None
        ) -> Payload:
            if len(on) != 1:
                raise bad_input(f"on has {len(on)} keys; expected exactly one, as each finds records of its own")
            rows = [row(inputs, item) for item in self._limited(input)]
            session = info.context.session
            result = await session.upsert(entity.name, rows, on=keys[plain(on[0])], on_error=_on_error(onError))
            return self._done(inputs, result)

        arguments = [
            Argument("input", listed(self.input), "The records"),
            Argument("on", listed(key_type), "The key to find them by; exactly one"),
            _ON_ERROR,
        ]
        about = f"Changes the {entity.name} records that the key finds, and creates the others"
        return self._root(f"upsert{self.names.types}", self.many, about, arguments, resolve)

    def _delete(self) -> RootField:
        entity = self.entity

        async def resolve(_source: Any, info: Info, ids: list[str]) -> Payload:
            result = await info.context.session.delete(entity.name, self._limited(ids))
            deleted = [encode_id(entity.prefix, id) for id in result.ids if id is not None]
            return Payload(_told(result.errors, _nowhere), deleted_ids=deleted)

        ids = Argument("ids", list[strawberry.ID], "Which records")
        about = f"Deletes {entity.name} records and what belongs to them, so that they can be restored"
        return self._root(f"delete{self.names.types}", self.writes.deleted(), about, [ids], resolve)

    def _restore(self) -> RootField:
        entity = self.entity

        async def resolve(_source: Any, info: Info, ids: list[str]) -> Payload:
            result = await info.context.session.restore(entity.name, self._limited(ids))
            return _rows(result, _told(result.errors, _nowhere))

        ids = Argument("ids", list[strawberry.ID], "Which records")
        about = f"Brings deleted {entity.name} records back, with what was deleted with them"
        return self._root(f"restore{self.names.types}", self.many, about, [ids], resolve)

    def _limited(self, items: Sequence[Any]) -> Sequence[Any]:
        return self.writes.arguments.limited("input", items)

    def _done(self, inputs: Mapping[str, Input], result: ChangeResult, within: str | None = None) -> Payload:
        """The payload; ``within`` is where the fields of the record stand in the item, if not directly."""
        known = {item.name for item in inputs.values()}

        def path(path: Sequence[str | int]) -> list[str]:
            if within is None:
                return row_path(inputs, path)
            if path and path[0] in known:
                return [within, *row_path(inputs, path)]
            return [camel(str(part)) for part in path]

        return _rows(result, _told(result.errors, path))


def _once(resolve: Resolve) -> Resolve:
    """The resolver, unless what it does was done already."""

    async def resolved(source: Any, info: Info, **arguments: Any) -> Any:
        done: Done | None = info.context.done
        return done.result() if done is not None else await resolve(source, info, **arguments)

    return resolved


def _on_error(given: OnError | None) -> str:
    return str(plain(given or OnError.REJECT_ALL))


def _rows(result: ChangeResult, errors: list[UserError]) -> Payload:
    ids = list(result.ids)
    return Payload(errors, row=ids[0] if ids else None, rows=ids)


def _told(
    errors: Sequence[contracts.UserError], path: Callable[[Sequence[str | int]], list[str]]
) -> list[UserError]:
    return [
        UserError(index=error.index, path=path(error.path), code=error.code, message=error.message)
        for error in errors
    ]


def _nowhere(_: Sequence[str | int]) -> list[str]:
    """Where the items are ids, nothing is within them."""
    return []


__all__ = ["MoneyInput", "OnError", "Payload", "Shape", "UserError", "Writes"]
