"""Roles: what they grant, and what that comes to for who holds them.

A role grants verbs on entities: to which rows, with which fields. Rows are ``all``, ``own``, ``team``, ``none``,
or those that meet a condition, in which placeholders stand for facts about the principal. Whatever a role says,
what belongs to a row (a ``CASCADE`` relation, a generic reference) is never in reach where that row is not.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, Literal
from uuid import UUID

from ..entity import Catalog, EntityType
from ..given import Given, Track, late
from ..model import Team, User
from ..tree import All, Ancestors, AnyOf, Compare, Condition, Never, Not, Placeholder, Quantified, Reaches, Through
from .errors import AccessDenied
from .principal import Facts, HeldRole, Principal
from .rights import NOTHING_SET, Everything, Rights, Verb

Scope = Literal["all", "own", "team", "none", "where"]
SCOPES: tuple[Scope, ...] = ("all", "own", "team", "none")
EVERY = "*"
"""Every entity, in a grant; every permission, in a role."""


@dataclass(frozen=True)
class RowRule:
    """Which rows: by a scope, or those that meet ``condition``."""

    scope: Scope = "all"
    condition: Condition | None = None


@dataclass(frozen=True)
class TypeGrant:
    """What a role grants with one verb on one entity. ``fields`` are names of the catalog, None for all.

    ``check`` is what rows must meet once they are written; where it is None, that is ``rows`` too. ``presets`` are
    columns with their values, which may be placeholders.
    """

    rows: RowRule = RowRule()
    fields: frozenset[str] | None = None
    check: RowRule | None = None
    presets: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Role:
    """A role with what it grants: by (code of an entity or ``*``, verb). A grant on an entity goes before ``*``.

    Roles are equal if they are the same version of the same role.
    """

    name: str
    id: UUID | None = None
    version: int = 0
    grants: Mapping[tuple[str, Verb], TypeGrant] = field(default_factory=dict, compare=False, repr=False)
    permissions: frozenset[str] = field(default=frozenset(), compare=False, repr=False)

    def grant(self, entity: EntityType, verb: Verb) -> TypeGrant | None:
        """What it grants with a verb on an entity, if it does."""
        return self.grants.get((entity.code, verb)) or self.grants.get((EVERY, verb))

    def may(self, permission: str) -> bool:
        return permission in self.permissions or EVERY in self.permissions


class RolePolicy:
    """Users, customers and API keys may do what their roles grant, and plugins what they declared that they need.

    ``plugins`` are the roles that plugins' own code acts under, by their names. The system and the core may do
    everything, anonymous principals nothing.
    """

    CACHED = 256
    """Sets of roles whose rules are kept."""

    def __init__(self, catalog: Catalog, plugins: Mapping[str, Role]) -> None:
        self._catalog = catalog
        self._plugins = plugins
        self._rules: OrderedDict[tuple[tuple[Role, ...], str | None], _Rules] = OrderedDict()

    def rights(self, principal: Principal) -> Rights:
        """The principal's rights; the rules of each set of roles are worked out once."""
        roles, plugin = _roles(principal.roles), None
        # a key that acts as a plugin has the rights of its role, not those of the plugin's code
        code = principal.kind == "plugin" and not roles and principal.key is None
        if principal.kind == "system" or (code and principal.name == "core"):
            return Everything(principal)
        if code:
            known = self._plugins.get(principal.name)
            roles, plugin = (known,) if known else (), principal.name
        elif principal.kind == "anonymous":
            roles = ()
        key = (roles, plugin)
        rules = self._rules.get(key)
        if rules is None or not _same(rules.roles, roles):
            rules = self._rules[key] = _Rules(self._catalog, roles, plugin)
            while len(self._rules) > self.CACHED:
                self._rules.popitem(last=False)
        else:
            self._rules.move_to_end(key)
        return RoleRights(principal, rules)


def _same(known: Sequence[Role], held: Sequence[Role]) -> bool:
    """Whether equal roles grant the same: those of nobody's database may have a name in common, and no more."""
    return all(
        one is other
        or other.id is not None
        or (one.grants == other.grants and one.permissions == other.permissions)
        for one, other in zip(known, held, strict=True)
    )


def _roles(held: Sequence[HeldRole]) -> tuple[Role, ...]:
    strange = [role for role in held if not isinstance(role, Role)]
    if strange:
        raise TypeError(
            f"{strange[0]!r} is no Role; take principals from crm.access, or make an amity.access.Role"
        )
    return tuple(role for role in held if isinstance(role, Role))


Key = tuple[str, str, Verb]
"""What a condition is about: what rows must meet before (``rows``) or after (``check``), an entity, a verb."""


class RoleRights:
    """What a principal may do under its roles."""

    def __init__(self, principal: Principal, rules: _Rules) -> None:
        self.principal = principal
        self.roles = rules.roles
        self.now = datetime.now(UTC)
        self._rules = rules
        self._facts: Facts | _GivenFacts = principal.facts
        self._filled: dict[Key, Condition | None] = {}

    def granted(self, entity: EntityType, verb: Verb) -> bool:
        return self._rules.granted(entity, verb)

    def rows(self, entity: EntityType, verb: Verb) -> Condition | None:
        return self._known(("rows", entity.name, verb), self._rules.rows(entity, verb))

    def check(self, entity: EntityType, verb: Verb) -> Condition | None:
        return self._known(("check", entity.name, verb), self._rules.check(entity, verb))

    def _known(self, key: Key, condition: Condition | None) -> Condition | None:
        """A condition with the facts of the principal in it."""
        if key not in self._filled:
            kept = self._memo(key, condition)
            if kept is None:
                self._filled[key] = self._fill(condition)
            else:
                if key not in kept:
                    kept[key] = self._fill(condition)
                self._filled[key] = kept[key]
        return self._filled[key]

    def memo(self, entity: EntityType) -> MutableMapping[Any, Any] | None:
        """One for each set of roles and facts, unless the condition asks for the time."""
        return self._memo(("rows", entity.name, "read"), self._rules.rows(entity, "read"))

    def _memo(self, key: Key, condition: Condition | None) -> MutableMapping[Any, Any] | None:
        steady = isinstance(self._facts, Facts) and self._rules.steady(key, condition)
        return self._rules.memo(self.principal.facts) if steady else None

    def fields(self, entity: EntityType, verb: Verb) -> frozenset[str] | None:
        return self._rules.fields(entity, verb)

    def presets(self, entity: EntityType, verb: Verb) -> Mapping[str, Any]:
        """Raises :class:`AccessDenied` where roles disagree, or where a fact is missing that would be set."""
        if verb not in ("create", "update"):
            return NOTHING_SET
        found = self._rules.presets(entity, verb)
        if found is None:
            names = " or ".join(role.name for role in self.roles if role.grant(entity, verb))
            raise AccessDenied(
                f"{self.principal} has several roles that set different fields when they {verb} "
                f"{entity.plural.replace('_', ' ')}; act under one of them: {names}"
            )
        values = {}
        for name, value in found:
            if isinstance(value, Placeholder):
                placeholder, value = value, fact(value, self.principal.facts, self.now)
                if value is None:
                    raise AccessDenied(
                        f"{self.principal} may not {verb} {entity.plural.replace('_', ' ')}: the role sets {name} "
                        f"to ${placeholder.name}, which is not known of the principal"
                    )
            values[name] = value
        return values

    def may(self, permission: str) -> bool:
        return self._rules.may(permission)

    def owns(self, entity: EntityType) -> bool:
        """Whether it is the code of the entity's own plugin that acts."""
        return self._rules.owns(entity)

    def plan_key(self) -> Hashable:
        """What a plan of a query depends on beside the values of facts: the rules, and which facts are known."""
        facts = self.principal.facts
        return self._rules, facts.user is None, facts.team is None, facts.customer is None

    def given(self, track: Track) -> RoleRights:
        """The same rights, with facts and time left open for a plan; its requests have their own as ``rights``."""
        found = RoleRights(self.principal, self._rules)
        found._facts = _GivenFacts(self.principal.facts, track)
        return found

    def _fill(self, condition: Condition | None) -> Condition | None:
        if condition is None:
            return None
        if isinstance(self._facts, _GivenFacts):
            return filled(condition, self._facts, self._facts.now)
        return filled(condition, self._facts, self.now)


class _GivenFacts:
    """Facts, and the time, that each request of a plan brings; asked for once they are needed."""

    def __init__(self, facts: Facts, track: Track) -> None:
        self._facts = facts
        self._track = track

    def __getattr__(self, name: str) -> Given | None:
        if getattr(self._facts, name) is None:
            return None
        read = attrgetter(f"rights.principal.facts.{name}")
        value = self.__dict__[name] = self._track.source(read)
        return value

    def now(self) -> Given:
        return self._track.source(attrgetter("rights.now"))


# --- what a set of roles comes to -----------------------------------------------------------------------------

NOBODY = AnyOf(())
"""Granted, but to no row. (``Never`` is what nobody granted.)"""
_USER, _TEAM = Placeholder("user"), Placeholder("team")


class _Rules:
    """What a set of roles grants, with placeholders still in its conditions.

    ``plugin`` names the plugin whose code acts: with its own entities and permissions it may do everything.
    """

    MEMOS = 512

    def __init__(self, catalog: Catalog, roles: tuple[Role, ...], plugin: str | None) -> None:
        self.roles = roles
        self._catalog = catalog
        self._plugin = plugin
        self._user, self._team = catalog.of(User).name, catalog.of(Team).name
        self._rows: dict[Key, Condition | None] = {}
        self._fields: dict[tuple[str, Verb], frozenset[str] | None] = {}
        self._granted: dict[tuple[str, Verb], bool] = {}
        self._free: dict[str, bool] = {}
        self._steady: dict[Key, bool] = {}
        self._memos: OrderedDict[Facts, dict[Any, Any]] = OrderedDict()

    def memo(self, facts: Facts) -> dict[Any, Any]:
        """What is kept for principals with these facts; as long as they are among the last ``MEMOS``."""
        found = self._memos.setdefault(facts, {})
        self._memos.move_to_end(facts)
        while len(self._memos) > self.MEMOS:
            self._memos.popitem(last=False)
        return found

    def steady(self, key: Key, condition: Condition | None) -> bool:
        """Whether what rows must meet is the same at any time."""
        if key not in self._steady:
            self._steady[key] = condition is None or not placeholders(condition) & {"now", "today"}
        return self._steady[key]

    def granted(self, entity: EntityType, verb: Verb) -> bool:
        found = self._granted.get((entity.name, verb))
        if found is None:
            found = self.owns(entity) or any(role.grant(entity, verb) for role in self.roles)
            self._granted[entity.name, verb] = found
        return found

    def may(self, permission: str) -> bool:
        if self._plugin is not None and permission.startswith(f"{self._plugin}."):
            return True
        return any(role.may(permission) for role in self.roles)

    def owns(self, entity: EntityType) -> bool:
        return self._plugin is not None and entity.plugin == self._plugin

    def _grants(self, entity: EntityType, verb: Verb) -> list[TypeGrant]:
        return [grant for role in self.roles if (grant := role.grant(entity, verb)) is not None]

    # --- rows -----------------------------------------------------------------------------------------------

    def rows(self, entity: EntityType, verb: Verb) -> Condition | None:
        key = ("rows", entity.name, verb)
        if key not in self._rows:
            self._rows[key] = self._before(entity, verb)
        return self._rows[key]

    def check(self, entity: EntityType, verb: Verb) -> Condition | None:
        key = ("check", entity.name, verb)
        if key not in self._rows:
            self._rows[key] = self._after(entity, verb)
        return self._rows[key]

    def _before(self, entity: EntityType, verb: Verb) -> Condition | None:
        if not self.granted(entity, verb):
            return Never()
        if verb == "read":
            return self._readable(entity, ())
        if self.owns(entity) or verb == "create":
            return None
        rules = [grant.rows for grant in self._grants(entity, verb)]
        # nobody changes what they can't see
        seen = self._readable(entity, ()) if self.granted(entity, "read") else NOBODY
        return _all([self._any(entity, rules), seen])

    def _after(self, entity: EntityType, verb: Verb) -> Condition | None:
        if not self.granted(entity, verb):
            return Never()
        if self.owns(entity):
            return None
        rules = [grant.check or grant.rows for grant in self._grants(entity, verb)]
        parents = self._inherited(entity, ())
        found = [self._any(entity, rules), *parents]
        above, readable = _nested(entity), _all([self._read_rule(entity), *parents])
        if above and readable is not None:
            found.append(Ancestors(above, readable))
        return _all(found)

    def _readable(self, entity: EntityType, below: tuple[str, ...]) -> Condition | None:
        """What rows must meet to be read. ``below`` are the entities that are being worked out already."""
        if self.owns(entity):
            return None
        rule, parents = self._read_rule(entity), self._inherited(entity, below)
        readable, above = _all([rule, *parents]), _nested(entity)
        if readable is None or not above:
            return readable
        # whatever is asked of a row is asked of those above it, too, so that once would do; but an index may help
        return _all([rule, *(() if below else parents), Ancestors(above, readable, itself=True)])

    def _read_rule(self, entity: EntityType) -> Condition | None:
        return self._any(entity, [grant.rows for grant in self._grants(entity, "read")])

    def _any(self, entity: EntityType, rules: Sequence[RowRule]) -> Condition | None:
        """Rows that one of the rules lets through; None for all."""
        return _any([self._ruled(entity, rule) for rule in rules])

    def _ruled(self, entity: EntityType, rule: RowRule) -> Condition | None:
        match rule.scope:
            case "all":
                return None
            case "where":
                return rule.condition
            case "own" | "team":
                return self._owned(entity, rule.scope, ())
        return NOBODY

    def _owned(self, entity: EntityType, scope: Literal["own", "team"], below: tuple[str, ...]) -> Condition:
        """Rows whose owner is the principal, or of the principal's team; else what belongs to such rows."""
        paths = owners(entity)
        if paths:
            found = [self._path(entity, path.split("."), scope) for path in paths]
            return _any(found) or NOBODY
        here = (*below, entity.name)
        parents = [
            Through(relation.name, self._owned(self._catalog[relation.target], scope, here))
            for relation in entity.to_one.values()
            if relation.on_delete == "CASCADE"
            and relation.target not in here
            and has_owner(self._catalog, self._catalog[relation.target])
        ]
        if parents:
            return _all(parents) or NOBODY
        for reference in entity.generic.values():
            targets = {
                name: self._owned(target, scope, here)
                for name in reference.targets
                if name not in here and has_owner(self._catalog, target := self._catalog[name])
            }
            if targets:
                return Reaches(reference.name, targets, alive=entity.is_entity)
        return NOBODY

    def _path(self, entity: EntityType, path: Sequence[str], scope: Literal["own", "team"]) -> Condition:
        name, *rest = path
        if entity.name == self._user and name == "id":
            own, team = Compare("id", "eq", _USER), Compare("team_id", "eq", _TEAM)
            return own if scope == "own" else AnyOf((own, team))
        relation = entity.to_one[name]
        if relation.target == self._team:
            return Compare(relation.column.name, "eq", _TEAM) if scope == "team" else NOBODY
        if rest:
            return Through(name, self._path(self._catalog[relation.target], rest, scope))
        own = Compare(relation.column.name, "eq", _USER)
        return own if scope == "own" else AnyOf((own, Through(name, Compare("team_id", "eq", _TEAM))))

    def _inherited(self, entity: EntityType, below: tuple[str, ...]) -> list[Condition]:
        """What rows must meet because of what else they belong to: that it can be read."""
        here = (*below, entity.name)
        found: list[Condition] = []
        for relation in entity.to_one.values():
            if relation.on_delete != "CASCADE" or relation.target == entity.name:
                continue
            readable = self._above(relation.target, here)
            if readable is not None:
                found.append(
                    _unless_empty(relation.column.name, relation.column.nullable, Through(relation.name, readable))
                )
        for reference in entity.generic.values():
            above = {name: self._above(name, here) for name in reference.targets}
            if any(readable is not None for readable in above.values()):
                targets = {name: readable for name, readable in above.items() if readable != NOBODY}
                reached = Reaches(reference.name, targets, alive=entity.is_entity)
                found.append(_unless_empty(reference.id_column, reference.nullable, reached))
        return found

    def _above(self, name: str, below: tuple[str, ...]) -> Condition | None:
        """What rows of an entity must meet for those that belong to them to be read."""
        if name not in below:
            return self._readable(self._catalog[name], below)
        # different entities belong to each other in a circle: what comes up once more is not asked once more
        return None if self._unlimited(name) else NOBODY

    def _unlimited(self, name: str) -> bool:
        """Whether every row of an entity may be read, with all that rows belong to, however far away."""
        if name not in self._free:
            self._free[name] = all(self._read_rule(entity) is None for entity in self._belonging(name))
        return self._free[name]

    def _belonging(self, name: str) -> Iterator[EntityType]:
        """An entity, and those that its rows may belong to, however far away, but for the plugin's own."""
        names = [name]
        for each in names:  # it grows
            entity = self._catalog[each]
            if self.owns(entity):
                continue
            yield entity
            names += [target for target in _parents(entity) if target not in names]

    # --- fields ---------------------------------------------------------------------------------------------

    def fields(self, entity: EntityType, verb: Verb) -> frozenset[str] | None:
        key = (entity.name, verb)
        if key not in self._fields:
            self._fields[key] = self._usable(entity, verb)
        return self._fields[key]

    def _usable(self, entity: EntityType, verb: Verb) -> frozenset[str] | None:
        """A field is usable if every role that grants the verb grants it with that."""
        if not self.granted(entity, verb):
            return frozenset()
        usable: frozenset[str] | None = None
        if not self.owns(entity):
            for grant in self._grants(entity, verb):
                if grant.fields is not None:
                    usable = grant.fields if usable is None else usable & grant.fields
        if verb in ("create", "update"):
            guarded = {
                name
                for name, permission in entity.options.guarded.items()
                if not self._unguarded(entity, name, permission)
            }
            if guarded:
                usable = (entity.right_fields if usable is None else usable) - guarded
        if usable is None:
            return None
        return usable | entity.open_fields if verb == "read" else usable

    def _unguarded(self, entity: EntityType, name: str, permission: str) -> bool:
        if not self.may(permission):
            return False
        # who sees by teams, and could move to another one, would see what that one sees
        teams = entity.name == self._user and name == "team"
        return not teams or not any(
            _by_team(grant) and not self._whole(code, verb)
            for role in self.roles
            for (code, verb), grant in role.grants.items()
        )

    def _whole(self, code: str, verb: Verb) -> bool:
        """Whether one of the roles lets through everything, so that what else is granted gains nothing."""
        found = (role.grants.get((code, verb)) or role.grants.get((EVERY, verb)) for role in self.roles)
        return TypeGrant() in found

    def presets(self, entity: EntityType, verb: Verb) -> tuple[tuple[str, Any], ...] | None:
        """None where the roles disagree."""
        if self.owns(entity):
            return ()
        different = {
            tuple(sorted(grant.presets, key=lambda item: item[0])): None for grant in self._grants(entity, verb)
        }
        return next(iter(different), ()) if len(different) <= 1 else None


def owners(entity: EntityType) -> tuple[str, ...]:
    """The paths of an entity that lead to its owners."""
    declared = entity.options.owner
    return (declared,) if isinstance(declared, str) and declared else tuple(declared)


def has_owner(catalog: Catalog, entity: EntityType, below: tuple[str, ...] = ()) -> bool:
    """Whether ``own`` and ``team`` mean anything for an entity: it has owners, or belongs to what has."""
    if owners(entity):
        return True
    here = (*below, entity.name)
    return any(has_owner(catalog, catalog[name], here) for name in _parents(entity) if name not in here)


def _parents(entity: EntityType) -> Iterable[str]:
    """The entities that rows may belong to, each once."""
    parents = [relation.target for relation in entity.to_one.values() if relation.on_delete == "CASCADE"]
    generic = [target for reference in entity.generic.values() for target in reference.targets]
    return dict.fromkeys((*parents, *generic))


def _by_team(grant: TypeGrant) -> bool:
    rules = (grant.rows, *(() if grant.check is None else (grant.check,)))
    return any(
        rule.scope == "team" or (rule.condition is not None and "team" in placeholders(rule.condition))
        for rule in rules
    )


def _unless_empty(column: str, nullable: bool, condition: Condition) -> Condition:
    return AnyOf((Compare(column, "isNull", True), condition)) if nullable else condition


def _nested(entity: EntityType) -> tuple[str, ...]:
    """The relations by which rows belong to others of their own entity."""
    links = entity.to_one.values()
    return tuple(link.name for link in links if link.on_delete == "CASCADE" and link.target == entity.name)


def _distinct(items: Iterable[Condition]) -> list[Condition]:
    found: list[Condition] = []
    for item in items:
        if item not in found:
            found.append(item)
    return found


def _all(items: Sequence[Condition | None]) -> Condition | None:
    """None where nothing is demanded."""
    wanted = [item for item in items if item is not None]
    found = _distinct(part for item in wanted for part in (item.items if isinstance(item, All) else (item,)))
    if NOBODY in found:
        return NOBODY
    return None if not found else found[0] if len(found) == 1 else All(tuple(found))


def _any(items: Sequence[Condition | None]) -> Condition | None:
    """None where one of them lets every row through."""
    if any(item is None for item in items):
        return None
    found = _distinct(item for item in items if item is not None and item != NOBODY)
    return found[0] if len(found) == 1 else AnyOf(tuple(found))


# --- placeholders ---------------------------------------------------------------------------------------------

Now = datetime | Callable[[], Any]
"""The time, or what asks for it."""


def fact(placeholder: Placeholder, facts: Facts | _GivenFacts, now: Now) -> Any:
    """What a placeholder stands for; None where that is not known of the principal."""
    match placeholder.name:
        case "now":
            return now() if callable(now) else now
        case "today":
            return late(now() if callable(now) else now, datetime.date)
        case "user":
            return facts.user
        case "team":
            return facts.team
        case "customer":
            return facts.customer


def filled(condition: Condition, facts: Facts | _GivenFacts, now: Now) -> Condition:
    """The condition for a principal. What compares with a fact that is missing is false, negated or not."""
    match condition:
        case All(items):
            parts = tuple(filled(item, facts, now) for item in items)
            return NOBODY if NOBODY in parts else All(parts)
        case AnyOf(items):
            parts = tuple(new for item in items if (new := filled(item, facts, now)) != NOBODY)
            return parts[0] if len(parts) == 1 else AnyOf(parts)
        case Through(relation, inner):
            met = filled(inner, facts, now)
            return NOBODY if met == NOBODY else Through(relation, met)
        case Reaches(reference, targets, alive):
            reached = {
                name: None if inner is None else filled(inner, facts, now) for name, inner in targets.items()
            }
            return Reaches(reference, reached, alive)
        case Ancestors(_, inner):
            return replace(condition, condition=filled(inner, facts, now))
        case Not(inner):
            return NOBODY if _lacks(inner, facts) else Not(filled(inner, facts, now))
        case Quantified(relation, quantifier, inner):
            if quantifier != "some" and _lacks(inner, facts):
                return NOBODY
            return replace(condition, condition=filled(inner, facts, now))
        case Compare(_, _, value):
            if isinstance(value, Placeholder):
                known = fact(value, facts, now)
                return NOBODY if known is None else replace(condition, value=known)
            if isinstance(value, tuple):
                values = tuple(fact(item, facts, now) if isinstance(item, Placeholder) else item for item in value)
                return NOBODY if any(item is None for item in values) else replace(condition, value=values)
    return condition


def _lacks(condition: Condition, facts: Facts | _GivenFacts) -> bool:
    return any(getattr(facts, name) is None for name in placeholders(condition) if name not in ("now", "today"))


def placeholders(condition: Condition) -> frozenset[str]:
    """The names of the placeholders in a condition."""
    match condition:
        case All(items) | AnyOf(items):
            return frozenset().union(*(placeholders(item) for item in items))
        case Not(inner) | Through(_, inner) | Quantified(_, _, inner) | Ancestors(_, inner):
            return placeholders(inner)
        case Reaches(_, targets):
            return frozenset().union(*(placeholders(inner) for inner in targets.values() if inner is not None))
        case Compare(_, _, value):
            values = value if isinstance(value, tuple) else (value,)
            return frozenset(item.name for item in values if isinstance(item, Placeholder))
    return frozenset()


__all__ = [
    "EVERY",
    "SCOPES",
    "Role",
    "RolePolicy",
    "RoleRights",
    "RowRule",
    "Scope",
    "TypeGrant",
    "has_owner",
    "owners",
    "placeholders",
]
