"""Amity's GraphQL layer: one schema for everything that was composed.

Enable the plugin ``graphql``. A plugin adds root fields of its own by the hook ``graphql``, which gets
:class:`EntityTypes` and returns :class:`GraphQLParts`.
"""

from __future__ import annotations

from .api import Unexplained, execute, explain, sdl
from .execution import Result
from .parts import EntityTypes, GraphQLContext, GraphQLHooks, GraphQLParts, Page, page
from .plugin import GraphQL
from .scalars import BigInt
from .settings import GraphQLSettings

__all__ = [
    "BigInt",
    "EntityTypes",
    "GraphQL",
    "GraphQLContext",
    "GraphQLHooks",
    "GraphQLParts",
    "GraphQLSettings",
    "Page",
    "Result",
    "Unexplained",
    "execute",
    "explain",
    "page",
    "sdl",
]
