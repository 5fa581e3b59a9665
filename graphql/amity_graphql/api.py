"""GraphQL without HTTP: for Python callers, commands and tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from strawberry.printer import print_schema

from . import execution
from .errors import placed
from .execution import Documents, Result
from .parts import GraphQLContext
from .schema import Api

if TYPE_CHECKING:
    from graphql import GraphQLError

    from amity.crm import Crm, Session

    from .plugin import GraphQL


def built(crm: Crm) -> tuple[Api, Documents]:
    """The schema of a CRM, and the documents known to it. Raises LookupError where the layer is not enabled."""
    plugin: GraphQL = crm.composition.plugin("graphql").plugin  # type: ignore[assignment]
    return plugin._api(crm.composition)


def context(session: Session, *, request: Any = None, spliced: bool = False) -> GraphQLContext:
    """What operations of a session run with. ``spliced`` is for results that are only encoded."""
    api, _ = built(session.crm)
    return GraphQLContext(session.crm, session, api, request, spliced)


async def execute(
    crm: Crm,
    session: Session,
    document: str,
    variables: Mapping[str, Any] | None = None,
    operation_name: str | None = None,
    *,
    spliced: bool = False,
) -> Result:
    """Runs one operation of a GraphQL document as the session's principal.

    Mistakes, also in the document itself, are in the result. With ``spliced`` its data is only good for
    :meth:`Result.encode`, which is the fastest way to JSON.
    """
    _, documents = built(crm)
    running = context(session, spliced=spliced)
    return await execution.execute(running, documents, document, variables, operation_name)


async def explain(
    crm: Crm,
    session: Session,
    document: str,
    variables: Mapping[str, Any] | None = None,
    operation_name: str | None = None,
) -> list[tuple[str, tuple[Any, ...]]]:
    """The SQL statements that a query compiles to, each with its parameters. Nothing is read.

    Raises :class:`Unexplained` with the errors of a document that can't be run.
    """
    _, documents = built(crm)
    statements, errors = await execution.explain(context(session), documents, document, variables, operation_name)
    if errors:
        raise Unexplained(errors)
    return statements


def cost(
    crm: Crm, document: str, variables: Mapping[str, Any] | None = None, operation_name: str | None = None
) -> dict[str, int]:
    """What an operation costs (``value``) and may cost (``most``); empty for one that can't be run.

    A field counts once for every record that it could be asked of; see ``max_cost`` of the settings.
    """
    return built(crm)[1].cost(document, operation_name, variables)


def problems(crm: Crm) -> Callable[[str], Sequence[GraphQLError]]:
    """A function that says what is wrong with a document, without running it."""
    documents = built(crm)[1]
    return lambda text: documents.prepare(text).errors


class Unexplained(ValueError):
    """Raised when a document has no statements to show; ``errors`` say why."""

    def __init__(self, errors: tuple[GraphQLError, ...]) -> None:
        self.errors = errors
        super().__init__("\n".join(placed(error) for error in errors))


def sdl(crm: Crm) -> str:
    """The schema in GraphQL's schema definition language."""
    return print_schema(built(crm)[0].schema) + "\n"
