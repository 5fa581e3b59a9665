"""For tests of plugins and of the core: isolated CRMs on databases of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from ..access import Policy
from ..composition import compose
from ..crm import Crm
from ..database import recorded
from ..plugin import Plugin
from ..settings import from_mapping
from .databases import drop_templates, empty_database, fresh_database


@asynccontextmanager
async def make_crm(
    plugins: Sequence[Plugin[Any] | type[Plugin[Any]]] = (),
    settings: Mapping[str, Any] | None = None,
    *,
    server_url: str | None = None,
    policy: Policy | None = None,
) -> AsyncIterator[Crm]:
    """An open CRM on a fresh database, which is gone afterwards.

    ``plugins`` are classes or instances, also of a test's own; ``settings`` are shaped like ``amity.toml``
    and may enable installed plugins by name. The database is a SQLite file, or, with the URL of a PostgreSQL
    server where databases may be made, a database there. ::

        async with make_crm([Loyalty]) as crm:
            session = crm.acting_as(SYSTEM)
    """
    composition = compose(from_mapping(settings or {}), plugins)
    async with fresh_database(composition, server_url) as url:
        given = from_mapping(settings or {}, overrides={"database_url": url})
        async with Crm(given, plugins, policy, composition=composition) as crm:
            yield crm


__all__ = ["drop_templates", "empty_database", "fresh_database", "make_crm", "recorded"]
