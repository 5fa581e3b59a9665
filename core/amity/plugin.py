"""``Plugin``: the class that a plugin is. Its methods are the hooks.

Overriding a method implements the hook. Hooks are called once, while the CRM is composed; they return
declarations and do no work. What they declare is called later, in batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, ClassVar, Generic, get_args, get_origin

from pydantic import BaseModel
from typing_extensions import TypeVar

from .contracts import (
    Action,
    FieldDeclaration,
    Job,
    Need,
    NeedPermission,
    Permission,
    Purchases,
    RoleGrant,
    RolePermission,
    Scorer,
    Subscriber,
    TimelineEntry,
    Validator,
)
from .entity import Record
from .messages import Channel

if TYPE_CHECKING:
    import click

    from .composition import Composition
    from .crm import Crm


class NoSettings(BaseModel):
    """The settings of a plugin that has none."""


S = TypeVar("S", bound=BaseModel, default=NoSettings)


class Plugin(Generic[S]):
    """Base of all plugins. ``Plugin[MySettings]`` has typed settings, ``self.settings``.

    A public method that is no hook is refused, as it is most likely a mistyped one; name helpers with a
    leading underscore.
    """

    name: ClassVar[str]
    """Lower-case word: also app label, table prefix, settings section, URL segment, permission prefix."""
    version: ClassVar[str] = "0"
    core: ClassVar[str] = ""
    """Versions of Amity that it works with, like ``">=0.1,<1"``."""
    requires: ClassVar[Sequence[str]] = ()
    """Plugins that must be enabled, with versions: ``("commerce>=0.2",)``. They come first."""
    after: ClassVar[Sequence[str]] = ()
    """Plugins that come first if they are enabled."""
    migrations: ClassVar[str | None] = None
    """Module of its migrations; by default ``migrations`` in the package of the class."""
    hookspecs: ClassVar[type[Any] | None] = None
    """For layers: a class whose methods are further hooks, like the GraphQL layer's ``graphql``."""

    settings: S

    def __init__(self, settings: S | None = None) -> None:
        model = self.settings_model()
        self.settings = settings if settings is not None else model()  # type: ignore[assignment]

    @classmethod
    def settings_model(cls) -> type[BaseModel]:
        """The pydantic model in ``Plugin[…]``."""
        for base in cls.__mro__:
            for generic in base.__dict__.get("__orig_bases__", ()):
                if get_origin(generic) is Plugin and isinstance(get_args(generic)[0], type):
                    found: type[BaseModel] = get_args(generic)[0]
                    return found
        return NoSettings

    def entities(self) -> Sequence[type[Record]]:
        """Entities of this plugin: a table, a GraphQL type and events each."""
        return ()

    def fields(self) -> Sequence[FieldDeclaration]:
        """Fields on entities of any plugin, made with ``expression`` or ``batch``."""
        return ()

    def actions(self) -> Sequence[Action[Any]]:
        """Verbs: a mutation, a Python call and a CLI command each."""
        return ()

    def validators(self) -> Sequence[Validator]:
        """Checks on what is about to be written."""
        return ()

    def subscribers(self) -> Sequence[Subscriber]:
        """Code that events are handed to."""
        return ()

    def permissions(self) -> Sequence[Permission]:
        """Rights that roles can be given."""
        return ()

    def grants(self) -> Sequence[RoleGrant | RolePermission]:
        """What roles are given by default of this plugin's entities and permissions; nothing unless said."""
        return ()

    def needs(self) -> Sequence[Need | NeedPermission]:
        """What this plugin's own code may do besides everything on its own entities."""
        return ()

    def scorers(self) -> Sequence[Scorer]:
        """Scores of records: a typed field with history each."""
        return ()

    def purchases(self) -> Sequence[Purchases]:
        """Which rows of this plugin's entities are purchases of customers."""
        return ()

    def timeline(self) -> Sequence[TimelineEntry]:
        """Which entities stand on the timeline of customers, and by which time."""
        return ()

    def jobs(self) -> Sequence[Job[Any]]:
        """Work in the background."""
        return ()

    def channels(self) -> Sequence[Channel[Any]]:
        """Ways of reaching customers."""
        return ()

    def commands(self) -> Sequence[click.Command]:
        """Commands of the ``amity`` command line. ``@click.pass_obj`` hands them an ``amity.cli.App``."""
        return ()

    def routes(self, crm: Crm) -> Sequence[Any]:
        """Starlette routes, mounted under ``/<name>``."""
        return ()

    def lifespan(self, crm: Crm) -> AbstractAsyncContextManager[None] | None:
        """Entered when the CRM opens, left when it closes."""
        return None

    def layer(self, composition: Composition) -> None:
        """For layers: builds on what was composed. Raises CompositionError for what does not fit together.

        Not a hook: it is called on the plugins that bring hooks of their own, once everything else is sound.
        """


HOOKS: tuple[str, ...] = (
    "entities",
    "fields",
    "actions",
    "validators",
    "subscribers",
    "permissions",
    "grants",
    "needs",
    "scorers",
    "purchases",
    "timeline",
    "jobs",
    "channels",
    "commands",
    "routes",
    "lifespan",
)
LAYER_HOOKS = {"graphql": "graphql"}
"""Hooks of known layers, by the plugin that brings them; skipped while that plugin is not enabled."""
CORE_COMMANDS = (
    "init",
    "serve",
    "migrate",
    "makemigrations",
    "plugins",
    "check",
    "run",
    "access",
    "connections",
    "files",
)
"""Commands of the core, whose names no plugin can take."""
