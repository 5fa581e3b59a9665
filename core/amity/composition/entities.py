"""The catalog: entities of all plugins, their relations, and the fields that plugins add."""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ..contracts import BatchDeclaration, ExpressionDeclaration, Owned
from ..entity import BatchField, Catalog, EntityType, ExpressionField, Kind, Record, ToMany, camel, snake
from ..entity.catalog import TIMELINE, describe, indexes_of, is_subclass_named
from ..entity.kinds import ExpressionProblem, kind_of
from .custom import with_custom_fields
from .scoring import score_entities
from .timeline import with_timeline
from .values import Composition, PluginInfo
from .work import Work, hook, typed

_MAX_IDENTIFIER = 63
_RESERVED_FIELDS = frozenset(("id", "cursor", "node", "and", "or", "not", "viewer_can", "typename"))


def catalog(work: Work, composition: Composition, scorers: Mapping[str, Owned[Any]]) -> Catalog:
    entities: list[EntityType] = []
    references: dict[str, str] = {}
    for info, model in hook(work, composition, "entities"):
        if not (isinstance(model, type) and issubclass(model, Record)):
            work.problems.append(
                f"plugin {info.name!r}: the hook entities returned {model!r}; "
                "expected classes derived from amity.Entity"
            )
            continue
        _describe(work, info, model, entities, references)
    for info, model in score_entities(work, scorers, entities):
        _describe(work, info, model, entities, references)
    check_entity_names(work, entities)
    work.done()
    by_name = {entity.name: entity for entity in resolve(work, entities, references)}
    work.done()
    related = with_timeline(work, composition, with_relations(work, by_name))
    composed = with_fields(work, composition, related)
    return with_custom_fields(work, composed)


def _describe(
    work: Work,
    info: PluginInfo,
    model: type[Record],
    entities: list[EntityType],
    references: dict[str, str],
) -> None:
    rename = work.settings.schema_.rename
    entity, problems = describe(info.name, model)
    work.problems.extend(f"plugin {info.name!r}: {p.where}: {p.message}" for p in problems)
    key = f"{info.name}.{model.__name__}"
    if key in rename:
        new = rename[key]
        entity = dataclasses.replace(entity, name=new, singular=snake(new), plural=f"{snake(new)}s")
    references[key] = entity.name
    entities.append(entity)


def check_entity_names(work: Work, entities: Sequence[EntityType]) -> None:
    """Names are compared as GraphQL compares them, so that no two become one in the schema."""
    seen: dict[tuple[str, str], EntityType] = {}
    for entity in entities:
        claims = (
            ("type", entity.name),
            ("root field", camel(entity.singular)),
            ("root field", camel(entity.plural)),
            ("table", entity.table),
            ("id prefix", entity.prefix),
        )
        for what, claimed in claims:
            other = seen.setdefault((what, claimed), entity)
            if other is not entity:
                work.problems.append(
                    f"plugins {other.plugin!r} and {entity.plugin!r} both claim the {what} {claimed!r} "
                    f"({other.name} and {entity.name})"
                    + (
                        f'; rename one in [schema.rename], like "{entity.plugin}.{entity.name}" = '
                        f'"{entity.plugin.capitalize()}{entity.name}"'
                        if what in ("type", "root field")
                        else "; one of them must choose another"
                    )
                )
        for index in indexes_of(entity):
            if len(index.index_name(entity.table)) > _MAX_IDENTIFIER:
                work.problems.append(
                    f"plugin {entity.plugin!r}: {entity.name}: the index name "
                    f"{index.index_name(entity.table)!r} is longer than {_MAX_IDENTIFIER} characters"
                )


def resolve(work: Work, entities: Sequence[EntityType], references: Mapping[str, str]) -> list[EntityType]:
    """Targets of relations by their name in this composition."""
    resolved = []
    by_class = {entity.model: entity.name for entity in entities}
    for entity in entities:
        to_one = {}
        for key, relation in entity.to_one.items():
            written = entity.model._meta.fields_map[key].model_name  # type: ignore[attr-defined]
            target = references.get(written) if isinstance(written, str) else by_class.get(written)
            if target is None:
                plugin = written.split(".")[0] if isinstance(written, str) else ""
                hint = (
                    f"enable the plugin {plugin!r} and name it in requires"
                    if plugin and plugin not in {info.name for info in work.infos}
                    else f"known are {', '.join(sorted(references))}"
                )
                work.problems.append(
                    f"plugin {entity.plugin!r}: {entity.name}.{key} refers to {written!r}, which is absent; {hint}"
                )
                continue
            column = dataclasses.replace(relation.column, references=target)
            to_one[key] = dataclasses.replace(relation, target=target, column=column)
        columns = {
            **entity.columns,
            **{relation.column.name: relation.column for relation in to_one.values()},
        }
        resolved.append(
            dataclasses.replace(entity, to_one=MappingProxyType(to_one), columns=MappingProxyType(columns))
        )
    return resolved


def with_relations(work: Work, entities: Mapping[str, EntityType]) -> Catalog:
    """The same entities, with what leads back to them."""
    back: dict[str, dict[str, ToMany]] = defaultdict(dict)
    generics: dict[str, dict[str, Any]] = {}
    rename = work.settings.schema_.rename

    def claim(target: str, name: str, relation: ToMany, plugin: str) -> None:
        entity = entities[target]
        if name in back[target] or name in entity.field_names():
            work.problems.append(
                f"plugin {plugin!r}: {relation.target} would add the relation {name!r} to {target}, which "
                f"already has a field of that name; give another related_name, or the scorer another name"
            )
            return
        back[target][name] = relation

    for entity in entities.values():
        for relation in entity.to_one.values():
            if relation.back is None:
                continue
            name = rename.get(f"{entity.plugin}.{relation.target}.{relation.back}", relation.back)
            claim(
                relation.target,
                name,
                ToMany(
                    name,
                    entity.name,
                    relation.column.name,
                    entity.description,
                    single=relation.one_to_one,
                ),
                entity.plugin,
            )
        resolved = {}
        for declared in entity.options.generic:
            reference = entity.generic[declared.name]
            targets = tuple(
                other.name
                for other in entities.values()
                if other.is_entity and other is not entity and is_subclass_named(other.model, declared.to)
            )
            resolved[declared.name] = dataclasses.replace(reference, targets=targets)
            for target in targets:
                claim(
                    target,
                    declared.related_name,
                    ToMany(
                        declared.related_name,
                        entity.name,
                        reference.id_column,
                        entity.description,
                        constant=(reference.type_column, entities[target].code),
                        newest=declared.newest,
                    ),
                    entity.plugin,
                )
        generics[entity.name] = resolved
    return Catalog(
        dataclasses.replace(
            entity,
            to_many=MappingProxyType(dict(back[entity.name])),
            generic=MappingProxyType(generics[entity.name]),
        )
        for entity in entities.values()
    )


def with_fields(work: Work, composition: Composition, catalog: Catalog) -> Catalog:
    """The same catalog, with the fields that plugins add to entities."""
    rename = work.settings.schema_.rename
    expressions: dict[str, dict[str, ExpressionField]] = defaultdict(dict)
    batches: dict[str, dict[str, BatchField]] = defaultdict(dict)
    taken = {
        entity.name: {camel(name): "core" if entity.plugin == "core" else entity.plugin}
        for entity in catalog.values()
        for name in ["id"]
    }
    for entity in catalog.values():
        taken[entity.name] |= {camel(name): entity.plugin for name in entity.field_names()}
        if entity.timeline:
            taken[entity.name][TIMELINE] = "core"
    for info, item in hook(work, composition, "fields"):
        if not typed(work, info, "fields", item, ExpressionDeclaration, BatchDeclaration):
            continue
        where = f"plugin {info.name!r}: the field {item.name!r}"
        try:
            entity = catalog.of(item.target)
        except LookupError as error:
            work.problems.append(f"{where} has the target {item.target!r}, which is absent: {error}")
            continue
        name = rename.get(f"{info.name}.{entity.name}.{item.name}", item.name)
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in _RESERVED_FIELDS:
            work.problems.append(f"{where} on {entity.name}: expected a lower-case word, and no reserved one")
            continue
        owner = taken[entity.name].get(camel(name))
        if owner is not None:
            work.problems.append(
                f"plugins {owner!r} and {info.name!r} both claim {entity.name}.{camel(name)}; rename one in "
                f'[schema.rename], like "{info.name}.{entity.name}.{item.name}" = "{info.name}_{item.name}"'
            )
            continue
        taken[entity.name][camel(name)] = info.name
        if isinstance(item, ExpressionDeclaration):
            try:
                kind = kind_of(item.expression, entity, catalog)
            except ExpressionProblem as problem:
                work.problems.append(f"{where} on {entity.name}: {problem}")
                continue
            money = entity.money.get(item.currency or "")
            if item.currency is not None and (money is None or kind not in (Kind.INT, Kind.BIGINT)):
                work.problems.append(
                    f"{where} on {entity.name} has the currency of {item.currency!r}; expected a money field of "
                    f"{entity.name} ({', '.join(entity.money) or 'it has none'}), and an expression that is a "
                    f"whole number of minor units, not {kind.value}"
                )
                continue
            expressions[entity.name][name] = ExpressionField(
                name,
                info.name,
                item.expression,
                kind,
                item.description,
                item.deprecated,
                money.currency if money else None,
            )
        else:
            batches[entity.name][name] = BatchField(
                name,
                info.name,
                item.output,
                item.needs,
                item.resolve,
                item.description,
                item.arguments,
                item.deprecated,
            )
    complete = Catalog(
        dataclasses.replace(
            entity,
            expressions=MappingProxyType(dict(expressions[entity.name])),
            batches=MappingProxyType(dict(batches[entity.name])),
        )
        for entity in catalog.values()
    )
    for entity in complete.values():
        for field in entity.batches.values():
            for need in field.needs:
                if missing := _need_problem(complete, entity, need):
                    work.problems.append(
                        f"plugin {field.plugin!r}: the field {field.name!r} on {entity.name} needs {need!r}: "
                        f"{missing}"
                    )
    return complete


def _need_problem(catalog: Catalog, entity: EntityType, need: str) -> str | None:
    *path, last = need.split(".")
    for step in path:
        relation = entity.to_one.get(step)
        many = entity.to_many.get(step)
        if relation is not None:
            entity = catalog[relation.target]
        elif many is not None and many.single:
            entity = catalog[many.target]
        else:
            return f"{entity.name} has no to-one relation {step!r}"
    if last in entity.batches:
        return "a batch field can't need another batch field"
    names = {column.name for column in entity.visible_columns} | set(entity.money) | set(entity.expressions)
    if last not in names:
        return f"{entity.name} has no field {last!r}; known are {', '.join(sorted(names))}"
    return None
