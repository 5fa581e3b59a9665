"""``EventLog``: reading the log in its order, and keeping after-commit subscribers up with it.

=======================  ====================================================================================
type                     what happened; ``before`` and ``after`` hold the columns that changed
=======================  ====================================================================================
``<entity>.created``     a new row; ``after`` has every column that is not null
``<entity>.updated``     columns of a row changed
``<entity>.moved``       something went to another stage, and whatever else changed with it; in place of
                         ``updated``
``<entity>.deleted``     a row was deleted, by itself or with what it belongs to
``<entity>.restored``    a deleted row came back
=======================  ====================================================================================

Every version of a row has exactly one event, so a row can be rebuilt from its events. Versions, times of
change and search texts are left out; they follow. Values are as the outside sees them: ids with their
prefix, times as text in UTC, 64-bit integers as text. A log's rows (``Record``) only have ``created``; moves
between stages have none, for ``moved`` tells of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..contracts import LogEvent
from ..database import Database
from ..entity import Kind
from ..entity.values import decode
from .dispatcher import Dispatcher
from .sequence import BEGINNING, Position, sequence

if TYPE_CHECKING:
    from ..change.unit import Unit
    from ..crm import Crm

_COLUMNS = (
    ("number", Kind.INT),
    ("type", Kind.TEXT),
    ("entity_type", Kind.TEXT),
    ("entity_id", Kind.ID),
    ("actor", Kind.TEXT),
    ("change_id", Kind.ID),
    ("origin", Kind.TEXT),
    ("before", Kind.JSON),
    ("after", Kind.JSON),
    ("occurred_at", Kind.DATETIME),
)


class EventLog:
    """The log of one Crm."""

    def __init__(self, crm: Crm) -> None:
        self._crm = crm
        self._dispatcher = Dispatcher(crm, self.read)

    async def open(self, *, dispatch: bool = True) -> None:
        """Starts telling after-commit subscribers. The database must be open and migrated.

        ``dispatch=False`` leaves that to another process.
        """
        if dispatch:
            await self._dispatcher.open()

    async def close(self) -> None:
        """Stops telling them. What they have not been told yet, they are told when it is opened again."""
        await self._dispatcher.close()

    def committed(self, unit: Unit) -> None:
        """Called right after a unit of this process was committed."""
        if unit.events:
            self._dispatcher.wake()

    async def read(self, after: tuple[int, int] = BEGINNING, limit: int = 1000) -> list[LogEvent]:
        """The next events after a place in the log, in order, at most ``limit``.

        Everything that is committed when it is called is found, whichever process wrote it. Resume with
        ``(event.position, event.number)`` of the last one: nothing is missed and nothing comes twice.
        """
        await sequence(self._crm.database)
        return await read(self._crm.database, Position(*after), limit)

    async def settle(self, timeout: float = 60.0) -> Sequence[str]:
        """Waits until after-commit subscribers have been told everything that is committed by now.

        Returns the names of those that failed and wait for another attempt. Raises TimeoutError after
        ``timeout`` seconds.
        """
        return await self._dispatcher.settle(timeout)


async def read(database: Database, after: Position, limit: int) -> list[LogEvent]:
    """Events that have a position, in order."""
    names = ", ".join(f'e."{name}"' for name, _ in _COLUMNS)
    one, two, three = ("?1", "?2", "?3") if database.dialect == "sqlite" else ("$1", "$2", "$3")
    rows = await database.read(
        f"SELECT b.position, {names} FROM core_event_batch b JOIN core_event e ON e.batch = b.id "
        f"WHERE b.position >= {one} AND (b.position > {one} OR e.number > {two}) "
        f"ORDER BY b.position, e.number LIMIT {three}",
        (after.position, after.number, limit),
    )
    dialect = database.dialect
    return [
        _event(row, [decode(kind, row[i + 1], dialect) for i, (_, kind) in enumerate(_COLUMNS)]) for row in rows
    ]


def _event(row: Sequence[Any], values: Sequence[Any]) -> LogEvent:
    return LogEvent(row[0], *values)
