"""Calling plugins' code inside a change, and telling by name which one failed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ..access import Principal
from ..contracts import Context, LogEvent, Problem, Proposed, Subscriber, Validator
from ..database import DatabaseError
from ..entity import EntityType
from ..events.matching import shown, wanted
from .errors import PluginError, repeatable
from .refusals import Refusals

if TYPE_CHECKING:
    from ..crm import Session

T = TypeVar("T")


def reacting(session: Session, plugin: str) -> Context:
    """A context in which a plugin acts as itself, on behalf of whoever caused the change."""
    assert session.unit is not None
    principal = Principal("plugin", plugin, on_behalf_of=str(session.principal))
    return Context.of(session.unit.join(session, principal), plugin)


async def call(
    plugin: str,
    kind: str,
    name: str,
    timeout: float | None,
    work: Callable[[], Awaitable[T]],
    *,
    passing: tuple[type[Exception], ...] = (PluginError,),
) -> T:
    """Awaits a plugin's code. Raises :class:`PluginError` for whatever goes wrong in it.

    ``passing`` are errors that are not the plugin's fault. So is what the database may take back on another
    attempt: it passes as it is, so that the unit is run again.
    """
    try:
        async with asyncio.timeout(timeout) as limit:
            return await work()
    except TimeoutError as error:
        if limit.expired():
            raise PluginError(plugin, kind, name, f"took longer than {timeout:g} seconds") from error
        raise PluginError(plugin, kind, name, f"failed: {_told(error)}") from error
    except passing:
        raise
    except DatabaseError as error:
        if repeatable(error):
            raise
        raise PluginError(plugin, kind, name, f"failed: {_told(error)}") from error
    except Exception as error:
        raise PluginError(plugin, kind, name, f"failed: {_told(error)}") from error


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def validated(session: Session, entity: EntityType) -> bool:
    """Whether a plugin looks at rows of this entity before they are written."""
    return any(owned.value.entity is entity.model for owned in session.crm.composition.validators)


async def validate(
    session: Session, entity: EntityType, proposals: Sequence[Proposed], refusals: Refusals
) -> None:
    """Asks the validators of an entity about rows that are about to be written."""
    if not proposals:
        return
    for number, owned in enumerate(session.crm.composition.validators):
        validator: Validator = owned.value
        if validator.entity is not entity.model:
            continue
        name = validator.name or f"{entity.name} validator {number + 1}"
        shown = [proposal for proposal in proposals if validator.deletions or proposal.after is not None]
        if not shown:
            continue
        narrowed = [_narrow(proposal, validator.needs) for proposal in shown]
        handed = reacting(session, owned.plugin)
        problems = await call(
            owned.plugin,
            "validator",
            name,
            validator.timeout,
            lambda v=validator, h=handed, n=narrowed: v.check(h, n),  # type: ignore[misc]
        )
        known = {proposal.index for proposal in shown}
        for problem in problems:
            if not isinstance(problem, Problem) or problem.index not in known:
                raise PluginError(
                    owned.plugin,
                    "validator",
                    name,
                    f"returned {problem!r}; expected a Problem with the index of a row that it was handed",
                )
            path = (problem.field,) if problem.field else ()
            refusals.refuse(problem.index, path, "refused", problem.message)


def _narrow(proposal: Proposed, needs: Sequence[str]) -> Proposed:
    def pick(row: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        return None if row is None else {name: row[name] for name in needs}

    return Proposed(proposal.index, proposal.id, pick(proposal.before), pick(proposal.after), proposal.changed)


def listened(session: Session) -> bool:
    """Whether a plugin listens in the transaction."""
    return any(owned.value.when == "in_transaction" for owned in session.crm.composition.subscribers)


async def listen(session: Session, events: Sequence[LogEvent]) -> None:
    """Hands events to the subscribers that take part in the transaction."""
    for owned in session.crm.composition.subscribers:
        subscriber: Subscriber = owned.value
        if subscriber.when != "in_transaction":
            continue
        matching = [event for event in events if wanted(owned, event)]
        if not matching:
            continue
        handed = reacting(session, owned.plugin)
        matching = [shown(session.crm.catalog, handed.session.rights, event) for event in matching]
        await call(
            owned.plugin,
            "subscriber",
            subscriber.name,
            subscriber.timeout,
            lambda s=subscriber, h=handed, m=matching: s.run(h, m),  # type: ignore[misc]
        )


__all__ = ["call", "listen", "reacting", "validate"]
