"""``Crm``: the composed application, and ``Session``: the door through which everybody reads and writes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID

from pydantic import BaseModel

from . import change, migration
from . import settings as configuration
from .access import Policy, Principal, Rights, RolePolicy
from .change import Resolution, Unit, Update
from .composition import Composition, compose
from .contracts import ChangeResult, Progress, silent
from .database import Database, connect
from .entity import Catalog, EntityType, Record
from .events import EventLog
from .events.sequence import head
from .jobs import Jobs
from .messaging.listening import Listeners
from .messaging.storage import Storage, storage_of
from .plugin import Plugin
from .principals import Access
from .query import Answer, Statement, read
from .query.find import Find
from .query.run import Formatter, compile_for, plain
from .query.search import Hits, search
from .settings import Settings
from .tree import Root

T = TypeVar("T")


class Crm:
    """Plugins and a database, composed into one CRM.

    ``Crm(settings)`` composes, without touching the database; ``async with crm:`` connects. Everybody reads
    and writes through :meth:`acting_as`::

        crm = Crm({"database_url": "sqlite:///company.sqlite3", "plugins": ["csv"]})
        await crm.migrate()
        async with crm:
            session = crm.acting_as(SYSTEM)
            await session.create(Customer, [{"kind": "person", "name": "Ann Lee"}])

    ``composition`` is what the same settings and plugins were composed to already, where somebody has it.
    Raises :class:`~amity.CompositionError` and :class:`~amity.SettingsError`, which list what is wrong.
    """

    def __init__(
        self,
        settings: Settings | Mapping[str, Any] | None = None,
        plugins: Sequence[Plugin[Any] | type[Plugin[Any]]] = (),
        policy: Policy | None = None,
        *,
        composition: Composition | None = None,
    ) -> None:
        if not isinstance(settings, Settings):
            settings = configuration.from_mapping(settings or {})
        self.settings = settings
        self.composition = composition or compose(settings, plugins)
        self.policy: Policy = policy or RolePolicy(self.composition.catalog, self.composition.plugin_roles)
        self.database: Database = connect(
            settings.database_url,
            pool_size=settings.pool_size,
            statement_timeout=settings.statement_timeout,
        )
        self.events = EventLog(self)
        self.jobs = Jobs(self)
        self.access = Access(self)
        """Who somebody is: principals, and signing in."""
        self._listeners = Listeners(self)
        self._lifespans = AsyncExitStack()

    @classmethod
    def from_file(cls, path: Path | None = None, **overrides: Any) -> Self:
        """The CRM that ``amity.toml`` and the environment describe."""
        return cls(configuration.load(path, overrides))

    @property
    def catalog(self) -> Catalog:
        """Every entity of every enabled plugin."""
        return self.composition.catalog

    @cached_property
    def storage(self) -> Storage:
        """Where the bytes of files are kept, as ``[files]`` says."""
        return storage_of(self.settings.files)

    async def open(self, *, dispatch: bool = True) -> None:
        """Connects, and starts what plugins run.

        ``dispatch=False`` leaves subscribers, jobs and listening to connections to another process.

        Raises :class:`~amity.database.ConnectionFailed`, and :class:`~amity.MigrationsPending` when the
        database is behind.
        """
        await self.database.open()
        try:
            await self._check_migrated()
            await self.events.open(dispatch=dispatch)
            self._lifespans.push_async_callback(self.events.close)
            for info in self.composition.plugins:
                lifespan = info.plugin.lifespan(self)
                if lifespan is not None:
                    await self._lifespans.enter_async_context(lifespan)
            await self.jobs.open(dispatch=dispatch)
            self._lifespans.push_async_callback(self.jobs.close)
            await self._listeners.open(dispatch=dispatch)
            self._lifespans.push_async_callback(self._listeners.close)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Ends what :meth:`open` began: units of work under way are finished first."""
        try:
            await self._lifespans.aclose()
        finally:
            if "storage" in self.__dict__:
                await self.storage.close()
            await self.database.close()

    async def settle(self, timeout: float = 60.0) -> Sequence[str]:
        """Waits until subscribers were told, and jobs have done, everything that is committed and due by now.

        Returns the names of those that failed and wait for another attempt. Raises TimeoutError after
        ``timeout`` seconds.
        """
        async with asyncio.timeout(timeout):
            while True:
                last = await head(self.database)
                failed = [*await self.events.settle(timeout), *await self.jobs.settle(timeout)]
                if await head(self.database) == last:
                    return failed

    async def _check_migrated(self) -> None:
        missing = await migration.pending(self.composition, self.database)
        if missing:
            raise migration.MigrationsPending(missing)
        await migration.refresh_manifest(self.database, self.composition)

    async def migrate(self, progress: Callable[[migration.Progress], object] | None = None) -> list[str]:
        """Brings the database up to date; the names of the migrations that were applied.

        Raises :class:`~amity.migration.MigrationError`.
        """
        return await migration.migrate(self.composition, self.settings.database_url, progress)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def acting_as(
        self, principal: Principal, *, origin: str | None = None, progress: Progress = silent
    ) -> Session:
        """The door for a principal.

        ``origin`` is noted in the events of what it changes; long work tells ``progress`` how far it has come.
        """
        return Session(self, principal, origin, progress=progress)


class Session:
    """Reads and writes as one principal. Cheap to make; keeps no state but its unit of work, if it has one.

    Entities are named by class or name. Rows go in with column names as keys; ids are UUIDs or texts like
    ``cus_0190…``.
    """

    def __init__(
        self,
        crm: Crm,
        principal: Principal,
        origin: str | None = None,
        unit: Unit | None = None,
        progress: Progress = silent,
    ) -> None:
        self.crm = crm
        self.principal = principal
        self.rights: Rights = crm.policy.rights(principal)
        self.origin = origin
        self.unit = unit
        self.progress = progress

    # --- reads ----------------------------------------------------------------------------------------------

    def find(self, entity: type[Record] | str) -> Find:
        """A query of an entity, to be narrowed, ordered and run."""
        return Find(self, self.crm.catalog.of(entity))

    async def read(
        self, roots: Mapping[str, Root], format_batch: Formatter = plain, *, max_rows: int | None = None
    ) -> Answer:
        """Answers a query tree: all roots by one statement, from one snapshot.

        ``max_rows`` refuses what could answer with more rows, by the sizes of its pages.
        """
        return await read(self, roots, format_batch, max_rows)

    def compile(self, roots: Mapping[str, Root]) -> Statement:
        """The statement that :meth:`read` would run."""
        return compile_for(self, roots)

    async def search(
        self,
        text: str,
        types: Sequence[type[Record] | str] | None = None,
        *,
        select: Mapping[type[Record] | str, Sequence[str]] | None = None,
        first: int = 20,
        after: str | None = None,
    ) -> Hits:
        """Records of all searchable entities, or of ``types``, that a text finds, the best first.

        ``select`` names the fields to read of each entity, ``{Customer: ["name"]}``. Raises
        :class:`~amity.query.QueryError` and :class:`~amity.access.AccessDenied`.
        """
        return await search(self, text, types, select=select, first=first, after=after)

    async def resolve(self, addresses: Sequence[tuple[str, str]]) -> list[Resolution]:
        """Which customer each (channel, address) belongs to; one statement for all."""
        return await change.resolve(self, addresses)

    # --- writes ---------------------------------------------------------------------------------------------

    async def create(
        self,
        entity: type[Record] | str,
        rows: Sequence[Mapping[str, Any]],
        *,
        on_error: str = "reject_all",
        read_only: bool = False,
    ) -> ChangeResult:
        """Creates rows. With a user error nothing is written, unless ``on_error="skip_invalid"``.

        ``read_only`` lets rows set columns that are read-only for apps; it is for the code of the plugin whose
        entity it is, here and in :meth:`update` and :meth:`upsert`.
        """
        return await change.create(self, self._entity(entity), rows, on_error=on_error, read_only=read_only)

    async def update(
        self,
        entity: type[Record] | str,
        updates: Sequence[Update],
        *,
        on_error: str = "reject_all",
        read_only: bool = False,
    ) -> ChangeResult:
        """Changes the named columns of rows."""
        return await change.update(self, self._entity(entity), updates, on_error=on_error, read_only=read_only)

    async def upsert(
        self,
        entity: type[Record] | str,
        rows: Sequence[Mapping[str, Any]],
        *,
        on: Sequence[str],
        on_error: str = "reject_all",
        read_only: bool = False,
    ) -> ChangeResult:
        """Updates the rows that the key ``on`` finds, creates the others; ``("external_id",)`` is a key."""
        return await change.upsert(self, self._entity(entity), rows, on=on, on_error=on_error, read_only=read_only)

    async def delete(
        self, entity: type[Record] | str, ids: Sequence[UUID | str], *, on_error: str = "reject_all"
    ) -> ChangeResult:
        """Deletes rows and what belongs to them, so that they can be restored."""
        return await change.delete(self, self._entity(entity), ids, on_error=on_error)

    async def restore(
        self, entity: type[Record] | str, ids: Sequence[UUID | str], *, on_error: str = "reject_all"
    ) -> ChangeResult:
        """Brings rows back, with what was deleted with them."""
        return await change.restore(self, self._entity(entity), ids, on_error=on_error)

    async def run(
        self, action: str, inputs: Sequence[Mapping[str, Any]], *, on_error: str = "reject_all"
    ) -> ChangeResult:
        """Runs an action of the core or a plugin on a batch of inputs."""
        return await change.run(self, action, inputs, on_error=on_error)

    async def transact(self, work: Callable[[Session], Awaitable[T]]) -> T:
        """Runs ``work`` with a session whose reads and writes share one transaction, and returns its result.

        It is committed when ``work`` returns, rolled back when it raises, and run again, whole, where another
        change got in between; so ``work`` must do nothing that can't be repeated.
        """
        return await change.in_unit(self, work)

    async def enqueue(self, job: str, payload: BaseModel | None = None, *, due_at: datetime | None = None) -> UUID:
        """Asks for background work, within this session's transaction; the id of the ``JobRun``."""
        return await self.crm.jobs.enqueue(self, job, payload, due_at=due_at)

    def _entity(self, entity: type[Record] | str) -> EntityType:
        return self.crm.catalog.of(entity)


__all__ = ["Crm", "Session"]
