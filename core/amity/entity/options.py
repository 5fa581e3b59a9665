"""What an entity says of itself beyond its columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from .index import SqlIndex, Unique

Verb = Literal["read", "create", "update", "upsert", "delete", "restore"]
VERBS: frozenset[str] = frozenset(("read", "create", "update", "upsert", "delete", "restore"))
EDITABLE: frozenset[Verb] = frozenset(("read", "create", "update", "upsert", "delete", "restore"))
"""Every verb: for entities that apps may read and change."""


@dataclass(frozen=True)
class Generic:
    """A reference to a row of any entity, kept in two columns, ``<name>_type`` and ``<name>_id``.

    ``related_name`` is the relation that the referenced entities get; ``to`` names the class that they must
    derive from (``"Entity"``: all of them). ``newest`` is a time column: that relation has the newest rows first,
    unless another order is asked for. The rows are deleted and restored with what they refer to.
    """

    name: str
    related_name: str
    to: str = "Entity"
    newest: str | None = None


@dataclass(frozen=True)
class EntityOptions:
    """Typed options of an entity, checked when it is composed.

    * ``prefix``: 2 to 8 lower-case letters, the start of its ids; unique in a composition.
    * ``api``: what apps may do through GraphQL and actions; reading only, unless asked for.
    * ``plural``: the name of its lists, where adding an s is wrong (``"opportunities"``).
    * ``read_only``: columns that no input may set.
    * ``secret``: columns that nothing outside of the core's own code reads or writes: no selection, filter, input,
      event, export or expression knows them.
    * ``fixed``: columns or references that are set when a row is created, and never change.
    * ``searchable``: text columns by which records are found in a search, folded into ``search_text``; the entity
      must have that column.
    * ``found_as``: a reference to the record that a search answers in its place: an address, its customer.
    * ``personal``: columns that identify a person.
    * ``unique``: keys, each a column or :class:`Unique`; also what rows can be upserted by.
    * ``indexes``: further :class:`SqlIndex`.
    * ``choices``: text columns with a fixed set of lower-case values; enums in GraphQL.
    * ``money``: name → (column of minor units, column of the ISO 4217 code).
    * ``generic``: references to rows of any entity.
    * ``owner``: paths to the users or teams whose rows they are, like ``"owner"``, ``("user", "customer.owner")``;
      what roles that are limited to ``own`` and ``team`` go by. Without one, what belongs to a row (CASCADE) has
      that row's owner.
    * ``guarded``: columns or references → the permission that writing them needs, whatever a role grants.
    * ``on_merge``: column → ``keep``, ``sum``, ``min``, ``max``, ``concat`` or ``newest``.
    """

    prefix: str = ""
    api: frozenset[Verb] | set[Verb] = frozenset(("read",))
    plural: str | None = None
    read_only: frozenset[str] | set[str] = frozenset()
    secret: frozenset[str] | set[str] = frozenset()
    fixed: frozenset[str] | set[str] = frozenset()
    searchable: tuple[str, ...] = ()
    found_as: str | None = None
    personal: tuple[str, ...] = ()
    unique: tuple[str | Unique, ...] = ()
    indexes: tuple[SqlIndex, ...] = ()
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    money: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    generic: tuple[Generic, ...] = ()
    owner: str | tuple[str, ...] = ()
    guarded: Mapping[str, str] = field(default_factory=dict)
    on_merge: Mapping[str, str] = field(default_factory=dict)
