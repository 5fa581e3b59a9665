"""For tests of plugins and of the core: isolated CRMs on databases of their own."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from ..access import Policy
from ..composition import compose
from ..crm import Crm, Session
from ..database import recorded
from ..messaging.secrets import new_key
from ..plugin import Plugin
from ..settings import from_mapping
from .channel_case import PUBLIC_URL, Arrived, ChannelCase, Written, post
from .channels import assert_channels
from .databases import drop_templates, empty_database, fresh_database
from .scorers import assert_scorers


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
    server where databases may be made, a database there. Files are kept in a folder that is gone afterwards, and
    there is a key for secrets, unless the settings say otherwise. ::

        async with make_crm([Loyalty]) as crm:
            session = crm.acting_as(SYSTEM)
    """
    with tempfile.TemporaryDirectory(prefix="amity-files-") as folder:
        settings = {"files": {"folder": folder}, "security": {"keys": [new_key()]}, **(settings or {})}
        composition = compose(from_mapping(settings), plugins)
        async with fresh_database(composition, server_url) as url:
            given = from_mapping(settings, overrides={"database_url": url})
            async with Crm(given, plugins, policy, composition=composition) as crm:
                yield crm


async def assert_scorer(
    plugin: Plugin[Any] | type[Plugin[Any]],
    fill: Callable[[Session], Awaitable[object]],
    *,
    settings: Mapping[str, Any] | None = None,
    plugins: Sequence[Plugin[Any] | type[Plugin[Any]]] = (),
    server_url: str | None = None,
) -> None:
    """Holds every scorer of a plugin to what all scorers promise; an AssertionError says which one does not.

    ``fill(session)`` makes records that have scores. Checked on SQLite, and with ``server_url`` on PostgreSQL
    too, where the scores must be the same: outputs are of their type, computing again or for some records alone
    changes nothing, versions are kept side by side, a run that fails leaves everything as it was. ``plugins`` are
    others that it needs. ::

        async def test_it_is_a_scorer() -> None:
            await assert_scorer(Loyalty, fill=company)
    """
    instance = plugin() if isinstance(plugin, type) else plugin

    def make(own: Sequence[Plugin[Any]], url: str | None) -> AbstractAsyncContextManager[Crm]:
        return make_crm([*plugins, *own], settings, server_url=url)

    def again(crm: Crm, other: Plugin[Any]) -> Crm:
        return Crm(crm.settings, [*plugins, other], crm.policy)

    await assert_scorers(instance, fill, make, again, server_url)


async def assert_channel(
    plugin: Plugin[Any] | type[Plugin[Any]],
    case: ChannelCase,
    *,
    settings: Mapping[str, Any] | None = None,
    plugins: Sequence[Plugin[Any] | type[Plugin[Any]]] = (),
    server_url: str | None = None,
) -> None:
    """Holds a channel of a plugin to what all channels promise; an AssertionError says what it does not keep.

    ``case`` is the other side: see :class:`ChannelCase`. Checked on SQLite, and with ``server_url`` on PostgreSQL
    too, as far as the channel's ``can`` says that it can: messages come in, once each, with their files, in the
    right conversation of the right customer; what is forged leaves no trace, what is garbled is kept; messages go
    out, can be told when they are repeated, and fail alone; consent is asked for; receipts move forward only.
    ``plugins`` are others that it needs. Webhooks need the extra ``amity[server]``. ::

        async def test_it_is_a_channel() -> None:
            await assert_channel(Pigeons, PigeonCase())
    """
    instance = plugin() if isinstance(plugin, type) else plugin
    given = {"server": {"public_url": PUBLIC_URL}, "default_region": "CH", **(settings or {})}

    def make(own: Sequence[Plugin[Any]], url: str | None) -> AbstractAsyncContextManager[Crm]:
        return make_crm([*plugins, *own], given, server_url=url)

    await assert_channels(instance, case, make, server_url)


__all__ = [
    "Arrived",
    "ChannelCase",
    "Written",
    "assert_channel",
    "assert_scorer",
    "drop_templates",
    "empty_database",
    "fresh_database",
    "make_crm",
    "post",
    "recorded",
]
