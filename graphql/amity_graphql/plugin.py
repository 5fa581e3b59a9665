"""The GraphQL layer as a plugin: it reads what was composed, and adds one route."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from amity import Plugin, __version__

from .commands import COMMANDS
from .execution import Documents
from .parts import GraphQLHooks
from .schema import Api, build
from .settings import GraphQLSettings

if TYPE_CHECKING:
    import click

    from amity.composition import Composition
    from amity.crm import Crm


class GraphQL(Plugin[GraphQLSettings]):
    """One GraphQL schema for everything that was composed."""

    name = "graphql"
    version = __version__
    hookspecs = GraphQLHooks

    def __init__(self, settings: GraphQLSettings | None = None) -> None:
        super().__init__(settings)
        self._built: tuple[Composition, Api, Documents] | None = None

    def layer(self, composition: Composition) -> None:
        _, documents = self._api(composition)
        documents.persisted  # noqa: B018, so that what does not fit is told at the start

    def commands(self) -> Sequence[click.Command]:
        return COMMANDS

    def routes(self, crm: Crm) -> Sequence[Any]:
        from .http import routes  # Starlette is needed by servers only

        return routes(crm, self.settings)

    def _api(self, composition: Composition) -> tuple[Api, Documents]:
        if self._built is None or self._built[0] is not composition:
            api = build(composition, self.settings)
            self._built = (composition, api, Documents(api))
        return self._built[1:]
