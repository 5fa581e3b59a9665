"""What a scorer's SQL is made from: tables that access has been asked of, and bound values."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from ..access import Principal
from ..contracts import Purchases
from ..database import Dialect
from ..entity import EntityType, Kind, Record
from ..query.conditions import Conditions, is_payload
from ..query.dialect import DIALECTS, identifier
from ..query.where import parse_where

if TYPE_CHECKING:
    from ..access import Rights
    from ..crm import Crm


class ScoreQuery:
    """Handed to a scorer's ``select``, which puts its SQL together from this.

    ``rows`` and ``purchases`` are sub-selects in parentheses, to be used as tables with an alias: what they
    show is what the plugin may read. Databases inline them. Everything else comes in through ``bind``::

        f"select customer_id as id, count(*) as purchases from {query.purchases()} p group by customer_id"
    """

    def __init__(self, crm: Crm, rights: Rights, now: datetime) -> None:
        self._crm = crm
        self._conditions = Conditions(crm.catalog, rights, DIALECTS[crm.database.dialect])
        self.now = now
        """The time of the run (UTC)."""

    @property
    def dialect(self) -> Dialect:
        """``"sqlite"`` or ``"postgresql"``."""
        return self._crm.database.dialect

    @property
    def parameters(self) -> tuple[Any, ...]:
        """Everything that was bound, in its order."""
        return tuple(self._conditions.parameters)

    @property
    def conditions(self) -> Conditions:
        """Writes conditions and binds values; for the core."""
        return self._conditions

    def bind(self, value: bool | int | float | str | UUID | date | datetime) -> str:
        """A placeholder for a value."""
        kind = next(kind for type_, kind in _KINDS if isinstance(value, type_))
        return self._conditions.bind(value, kind)

    def rows(self, entity: type[Record]) -> str:
        """The rows of an entity that the plugin may read, with the columns that it may read.

        Deleted rows are not among them.
        """
        described = self._crm.catalog.of(entity)
        alias = self._conditions.alias("v")
        visible = self._conditions.visible(described, alias)
        where = f" where {' and '.join(visible)}" if visible else ""
        shown = self._columns(described, alias)
        return f"(select {shown} from {identifier(described.table)} {alias}{where})"

    def _columns(self, entity: EntityType, alias: str) -> str:
        fields = self._conditions.readable(entity)
        payloads = [name for name in entity.columns if is_payload(entity, name)]
        if fields is None and not entity.options.secret and not payloads:
            return f"{alias}.*"
        return ", ".join(
            f"{self._conditions.value(entity, alias, name)} as {identifier(name)}"
            for name in entity.columns
            if name not in entity.internal and (fields is None or entity.field_of.get(name, name) in fields)
        )

    def purchases(self) -> str:
        """All purchases: ``customer_id``, ``made_on`` (a date), ``amount`` (minor units), ``currency``.

        They are the core's won deals, and what plugins declare by the hook ``purchases``, as far as those plugins
        may read it.
        """
        conditions, declared = self._conditions, []
        own = conditions.rights
        try:
            for owned in self._crm.composition.purchases:
                # handed out by the plugin that declares them, so that scorers need not know all that there are
                conditions.rights = self._crm.policy.rights(Principal("plugin", owned.plugin))
                declared.append(self._purchases(owned.value))
        finally:
            conditions.rights = own
        return f"({' union all '.join(declared)})"

    def days(self, later: str, earlier: str) -> str:
        """SQL for the whole days between two dates."""
        if self.dialect == "postgresql":
            return f"({later} - {earlier})"
        return f"cast(julianday({later}) - julianday({earlier}) as integer)"

    def today(self) -> str:
        """A placeholder for the day of the run (UTC)."""
        return self.bind(self.now.date())

    def _purchases(self, declared: Purchases) -> str:
        conditions = self._conditions
        entity = self._crm.catalog.of(declared.entity)
        alias = conditions.alias("v")
        for name in (declared.customer, declared.amount, declared.time):
            conditions.use(entity, name)
        customer = f"{alias}.{identifier(entity.to_one[declared.customer].column.name)}"
        money = entity.money[declared.amount]
        amount, currency = f"{alias}.{identifier(money.amount)}", f"{alias}.{identifier(money.currency)}"
        time = f"{alias}.{identifier(declared.time)}"
        predicates = [
            *conditions.visible(entity, alias),
            *(f"{part} is not null" for part in (customer, time, amount, currency)),
        ]
        if declared.where:
            parsed = parse_where(self._crm.catalog, entity, declared.where)
            predicates.append(conditions.condition(entity, alias, parsed))
        return (
            f"select {customer} as customer_id, {self._day(entity.columns[declared.time].kind, time)} as made_on, "
            f"{amount} as amount, {currency} as currency "
            f"from {identifier(entity.table)} {alias} where {' and '.join(predicates)}"
        )

    def _day(self, kind: Kind, time: str) -> str:
        if kind is Kind.DATE:
            return time
        return f"({time} at time zone 'UTC')::date" if self.dialect == "postgresql" else f"substr({time}, 1, 10)"


_KINDS: tuple[tuple[type[Any], Kind], ...] = (
    (bool, Kind.BOOLEAN),
    (int, Kind.BIGINT),
    (float, Kind.FLOAT),
    (str, Kind.TEXT),
    (UUID, Kind.ID),
    (datetime, Kind.DATETIME),
    (date, Kind.DATE),
)

__all__ = ["ScoreQuery"]
