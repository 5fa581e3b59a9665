"""What plugins give: fields, actions, validators, subscribers, permissions, scorers, jobs.

Everything here is a plain value. A plugin returns them from its hooks; the core calls what they declare, in
batches, and tells by plugin and name when one of them fails.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel, GetCoreSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from .entity import Entity, Record, decode_id
from .entity.catalog import BatchResolve
from .entity.expression import Expression

if TYPE_CHECKING:
    from .access import Principal
    from .crm import Crm, Session
    from .scores import ScoreQuery

I = TypeVar("I", bound=BaseModel)  # noqa: E741


Progress = Callable[[int, int | None], None]
"""``progress(done, total)``: how much of long work is done; ``total`` is None where nobody knows."""


def silent(done: int, total: int | None) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True)
class Context:
    """What running code of a plugin is handed.

    ``session`` reads and writes as the principal that caused the call; inside a change it takes part in the
    same transaction. ``settings`` are the plugin's own. Long work tells whoever watches by ``progress``.
    """

    crm: Crm
    session: Session
    principal: Principal
    plugin: str
    settings: Any
    log: logging.Logger
    progress: Progress

    @classmethod
    def of(cls, session: Session, plugin: str) -> Context:
        """The context of an enabled plugin's code that works in this session."""
        return cls(
            crm=session.crm,
            session=session,
            principal=session.principal,
            plugin=plugin,
            settings=session.crm.composition.plugin(plugin).plugin.settings,
            log=logging.getLogger(f"amity.plugin.{plugin}"),
            progress=session.progress,
        )


# --- fields on other people's entities ---------------------------------------------------------------------


@dataclass(frozen=True)
class ExpressionDeclaration:
    target: type[Record]
    name: str
    expression: Expression
    description: str
    deprecated: str | None
    currency: str | None = None


@dataclass(frozen=True)
class BatchDeclaration:
    target: type[Record]
    name: str
    output: Any
    needs: tuple[str, ...]
    resolve: BatchResolve
    description: str
    arguments: Mapping[str, Any]
    deprecated: str | None


FieldDeclaration = ExpressionDeclaration | BatchDeclaration


def expression(
    target: type[Record],
    name: str,
    expression: Expression,
    *,
    description: str = "",
    deprecated: str | None = None,
    currency: str | None = None,
) -> ExpressionDeclaration:
    """A field that the database computes: selectable, filterable, sortable, always nullable.

    With ``currency``, the name of a money field, it is money too: an amount in minor units of that currency.
    """
    return ExpressionDeclaration(target, name, expression, description, deprecated, currency)


def batch(
    target: type[Record],
    name: str,
    output: Any,
    *,
    needs: Sequence[str],
    resolve: BatchResolve,
    description: str = "",
    arguments: Mapping[str, Any] | None = None,
    deprecated: str | None = None,
) -> BatchDeclaration:
    """A field that Python computes, called once with all parents of an answer.

    ``output`` is a Python type: a scalar, a ``list[…]``, a dataclass or a pydantic model. ``needs`` names the
    fields that each parent brings, as a mapping keyed by those names; ``"organization.name"`` arrives as
    ``parent["organization"]["name"]``. ``arguments`` maps a name to ``(type, default)``. ``resolve(context,
    parents, arguments)`` returns one result for each parent, in their order; it may put an exception in the
    place of a result, which fails that one alone.
    """
    return BatchDeclaration(
        target, name, output, tuple(needs), resolve, description, dict(arguments or {}), deprecated
    )


# --- actions -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class UserError:
    """Something that whoever sent the input can mend. ``path`` leads into the input at ``index``."""

    index: int
    path: tuple[str | int, ...]
    code: str
    message: str


@dataclass(frozen=True)
class IdOf:
    """Marks a field of an action's input as the id of an entity's row.

    ``customer_id: Annotated[UUID, IdOf(Customer)]`` takes ``cus_…`` or a UUID, and refuses ids of other kinds.
    """

    entity: type[Record]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_before_validator_function(self._decode, handler(source))

    def _decode(self, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, str):
            return value
        prefix = self.entity.options.prefix
        # with the catalog's prefixes at hand, the message names the other kind as well
        kinds = (info.context or {}).get("kinds") or {prefix: self.entity.__name__}
        return decode_id(prefix, value, kinds)


@dataclass(frozen=True)
class Refs:
    """Rows of one entity, by id: what an action returns so that any of their fields can be selected."""

    entity: type[Record]
    ids: Sequence[UUID | None]


@dataclass(frozen=True)
class Action(Generic[I]):
    """A verb of the CRM: a mutation, a Python call and a CLI command.

    ``input`` is a pydantic model; ``run(context, inputs)`` gets a batch of them inside one transaction and
    returns a result for each, in their order: the id of a row of ``entity``, or a :class:`UserError` in the
    place of a result. Any user error rolls the whole batch back, unless the caller asked to skip the invalid.
    Without ``entity`` the results are values of ``output`` (a pydantic model, JSON in GraphQL).
    ``permission`` must be declared by a ``permissions`` hook.
    """

    name: str
    input: type[I]
    run: Callable[[Context, Sequence[I]], Awaitable[Sequence[Any]]]
    permission: str
    entity: type[Record] | None = None
    output: type[BaseModel] | None = None
    description: str = ""
    transactional: bool = True
    """False for long work, like an import, that manages its own transactions."""


@dataclass(frozen=True)
class Permission:
    """A right that roles can be given: ``"loyalty.award"``. Its first part is the plugin's name."""

    name: str
    description: str


# --- rights ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RoleGrant:
    """What a role is given by default on an entity of the plugin: by ``amity migrate``, once.

    ``entity`` is a class, or a scorer for its table of scores. ``rows`` are ``"all"``, ``"own"``, ``"team"``, or a
    filter, in which ``"$user"``, ``"$team"``, ``"$customer"`` and ``"$now"`` stand for what is known of who acts;
    ``fields`` are names of fields, None for all. Administrators have all rights already, other roles none.
    """

    role: str
    entity: type[Record] | Scorer | str
    actions: Collection[str]
    rows: str | Mapping[str, Any] = "all"
    fields: Collection[str] | None = None


@dataclass(frozen=True)
class RolePermission:
    """That a role is given a permission of the plugin by default."""

    role: str
    permission: str


@dataclass(frozen=True)
class Need:
    """What the plugin's own code (subscribers, validators, scorers, jobs) may do with an entity of another plugin.

    ``where`` narrows the rows, ``fields`` the fields; None for all.
    """

    entity: type[Record]
    actions: Collection[str]
    fields: Collection[str] | None = None
    where: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class NeedPermission:
    """That the plugin's own code runs actions that ask for a permission of another plugin."""

    permission: str


# --- taking part in changes --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Proposed:
    """One row that is about to be written, as a validator sees it.

    ``before`` is None for a new row, ``after`` None for a deletion; both hold the columns that the validator
    named in ``needs``. ``changed`` names the columns that the change sets.
    """

    index: int
    id: UUID
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    changed: frozenset[str]


@dataclass(frozen=True)
class Problem:
    """A validator's refusal of the row at ``index``: the field, and why."""

    index: int
    field: str
    message: str


@dataclass(frozen=True)
class Validator:
    """Refuses rows, never alters them. ``check`` is called once for all rows of a change.

    Deletions are shown to it only if it asks for them, with ``after`` None.
    """

    entity: type[Entity]
    needs: Sequence[str]
    check: Callable[[Context, Sequence[Proposed]], Awaitable[Sequence[Problem]]]
    name: str = ""
    timeout: float = 10.0
    """Seconds that one batch may take."""
    deletions: bool = False


@dataclass(frozen=True)
class LogEvent:
    """An entry of the event log. ``position`` is None until the batch has been given its place."""

    position: int | None
    number: int
    type: str
    entity_type: str
    entity_id: UUID
    actor: str
    change_id: UUID
    origin: str | None
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    occurred_at: datetime

    @property
    def changed_fields(self) -> frozenset[str]:
        return frozenset(self.before or ()) | frozenset(self.after or ())


@dataclass(frozen=True)
class Subscriber:
    """Code that events are handed to, in their order, in batches.

    ``events`` are types, or patterns like ``"customer.*"``. In the transaction, an exception rolls the change
    back. After commit, delivery is at least once: ``name`` keys a cursor in the log, which moves on when
    ``run`` returns. ``own_changes=False`` leaves out events that this plugin caused itself.
    """

    name: str
    events: Sequence[str]
    run: Callable[[Context, Sequence[LogEvent]], Awaitable[None]]
    when: Literal["in_transaction", "after_commit"] = "after_commit"
    since: Literal["now", "beginning"] = "now"
    own_changes: bool = False
    timeout: float = 60.0
    """Seconds that one batch may take."""


# --- scores and background work ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Scored:
    """The score of one record. ``value`` is an instance of the scorer's output.

    ``inputs`` are what it was computed from, as JSON values; their digest is kept with the score.
    """

    id: UUID
    value: BaseModel
    inputs: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Scorer:
    """Computes a score for the rows of an entity: ``Customer.<name>``, with a field for each output.

    ``output`` is a flat pydantic model of str, Literal, int, float, bool, date and datetime, or None. An
    int has 32 bits if its bounds (``Field(ge=…, le=…)``) say so, else 64.

    The scores are computed in one of two ways:

    * ``select(context, query)`` returns one SQL ``SELECT`` for all rows, with a column ``id`` and one for each
      output. Tables come from the query, which lets through what access allows, and values are bound by it:
      see :class:`~amity.scores.ScoreQuery`. The SQL must be the plugin's own text, never anybody's input.
    * ``compute(context, ids)`` yields batches of :class:`Scored`, for ``ids`` or for all rows. With ``blocking``
      it yields batches of anything that can be pickled, and ``blocking(batch)``, a plain function of a module,
      turns each into a sequence of :class:`Scored` in another process.

    Rows that are left out have no score. The result must depend on the data alone, so that computing it again
    changes nothing, and ``version`` must change whenever the rule does.
    """

    name: str
    version: str
    target: type[Entity]
    output: type[BaseModel]
    select: Callable[[Context, ScoreQuery], str] | None = None
    compute: Callable[[Context, Sequence[UUID] | None], AsyncIterator[Sequence[Any]]] | None = None
    blocking: Callable[[Any], Sequence[Scored]] | None = None
    schedule: str | None = None
    """When all rows are scored anew: five fields of cron, in UTC, like ``"0 3 * * *"``."""
    prefix: str = ""
    """The start of the ids of its rows; made from the name if it is empty."""
    timeout: timedelta = timedelta(minutes=10)
    """How long a run may take."""
    description: str = ""


@dataclass(frozen=True)
class Purchases:
    """Says which rows are purchases of customers, for scorers that work on those.

    ``customer`` is a relation to Customer, ``time`` a date or time column, ``amount`` a money field. Only rows
    that meet ``where`` and have all three are purchases.
    """

    entity: type[Entity]
    customer: str
    time: str
    amount: str
    where: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class TimelineEntry:
    """Puts the rows of an entity on the timeline of their customers.

    ``at`` is the time column that says when they happened; rows without a time are left out. ``customer`` is the
    reference to Customer, or several that lead there, joined by dots: ``"order.customer"``. Where one of them is
    generic, the rest is followed from every entity that has it.
    """

    entity: type[Record]
    at: str
    customer: str = "customer"


@dataclass(frozen=True)
class Job(Generic[I]):
    """Work in the background, kept in a table: what was enqueued is run at least once, whatever is killed when.

    ``session.enqueue(name, payload)`` asks for it, within the session's transaction. ``run(context, payload)``
    acts as the plugin. A failed run is tried again, later each time, and given up (dead) after ``attempts``.
    """

    name: str
    payload: type[I]
    run: Callable[[Context, I], Awaitable[None]]
    key: Callable[[I], str] | None = None
    """Runs whose payloads have the same key take turns."""
    schedule: str | None = None
    """Five fields of cron, in UTC; the payload must have defaults then."""
    attempts: int = 10
    timeout: timedelta = timedelta(minutes=10)


@dataclass(frozen=True)
class Owned(Generic[I]):
    """A declaration with the plugin that it came from."""

    plugin: str
    value: I


@dataclass(frozen=True)
class ChangeResult:
    """What a batch of writes did, by position of the input."""

    ids: Sequence[UUID | None]
    errors: Sequence[UserError] = ()
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    restored: int = 0
    values: Sequence[Any] = field(default=())
    """Results of an action that returns values rather than rows."""
