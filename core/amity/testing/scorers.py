"""What every scorer must hold, as one call from a plugin's own test."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from ..access import SYSTEM
from ..change.errors import PluginError
from ..contracts import Context, Scorer
from ..crm import Crm, Session
from ..entity import decode_id
from ..model import Score
from ..plugin import Plugin
from ..query.find import Related
from ..scores import outputs_of, score_entity

Fill = Callable[[Session], Awaitable[object]]
Make = Callable[[Sequence[Plugin[Any]], str | None], AbstractAsyncContextManager[Crm]]


async def assert_scorers(
    plugin: Plugin[Any], fill: Fill, make: Make, again: Callable[[Crm, Plugin[Any]], Crm], server_url: str | None
) -> None:
    """See :func:`amity.testing.assert_scorer`."""
    names = [scorer.name for scorer in plugin.scorers()]
    assert names, f"plugin {plugin.name!r} declares no scorer"
    for name in names:
        found = [await _conforms(plugin, name, fill, make([plugin], None), again)]
        if server_url is not None:
            found.append(await _conforms(plugin, name, fill, make([plugin], server_url), again))
        assert len(found) == 1 or found[0] == found[1], (
            f"the scorer {name!r} finds other scores on PostgreSQL than on SQLite: "
            f"{_first_difference(found[0], found[1])}"
        )


async def _conforms(
    plugin: Plugin[Any],
    name: str,
    fill: Fill,
    making: AbstractAsyncContextManager[Crm],
    again: Callable[[Crm, Plugin[Any]], Crm],
) -> list[bytes]:
    async with making as crm:
        session = crm.acting_as(SYSTEM)
        await fill(session)
        scorer: Scorer = crm.composition.scorers[name].value
        where = f"the scorer {name!r} on {crm.database.dialect}"
        await _run(session, name)
        scores = await _current(session, name)
        assert scores, f"{where} scored nothing; let fill make records that have a score"
        await _is_typed(session, scorer, where)
        await _is_deterministic(session, scorer, list(scores), where)
        await _keeps_versions(crm, plugin, scorer, scores, where, again)
        await _contains_failure(crm, plugin, scorer, where, again)
        return sorted(orjson.dumps(value, option=orjson.OPT_SORT_KEYS) for value in scores.values())


async def _is_typed(session: Session, scorer: Scorer, where: str) -> None:
    """Every value is one that the output takes, and the field of the record says the same as its history."""
    strict = _without_defaults(scorer.output)
    for row in await session.find(Score).select("value").where({"scorer": {"eq": scorer.name}}).all():
        try:
            strict.model_validate(row["value"])
        except ValidationError as error:
            raise AssertionError(
                f"{where} computed {row['value']}, which is no {scorer.output.__name__}: {error}"
            ) from error
    fields = [f"{scorer.name}.{output.name}" for output in outputs_of(scorer.output, lambda _: None)]
    of_score = Related("scores", ["value"], {"scorer": {"eq": scorer.name}})
    query = (
        session.find(scorer.target).select(*fields, of_score).where({scorer.name: {"version": {"isNull": False}}})
    )
    for record in await query.all():
        found = record[scorer.name]
        kept = record["scores"][0]["value"]
        assert found == kept, f"{where}: the field reads {found}, and its history {kept}"


def _without_defaults(output: type[BaseModel]) -> type[BaseModel]:
    class Exact(output):  # type: ignore[misc, valid-type]
        model_config = ConfigDict(extra="forbid")

    return Exact


async def _is_deterministic(session: Session, scorer: Scorer, ids: Sequence[UUID], where: str) -> None:
    """Computing again changes nothing, for all records or for some of them."""
    prefix = session.crm.catalog.of(scorer.target).prefix
    for label, some in (
        ("computed again for all records", None),
        ("computed for one record alone", ids[:1]),
        ("computed for every other record", ids[::2]),
    ):
        given = {} if some is None else {"ids": [f"{prefix}_{id.hex}" for id in some]}
        changed, withdrawn = await _run(session, scorer.name, **given)
        assert (changed, withdrawn) == (0, 0), (
            f"{where}, {label}, changed {changed} scores and withdrew {withdrawn}, though the data is the same"
        )


async def _keeps_versions(
    crm: Crm,
    plugin: Plugin[Any],
    scorer: Scorer,
    scores: dict[UUID, Any],
    where: str,
    again: Callable[[Crm, Plugin[Any]], Crm],
) -> None:
    """A new version scores anew and becomes the current one; the history keeps both."""
    newer = f"{scorer.version}-next"
    async with again(crm, _changed(plugin, scorer, version=newer)) as other:
        session = other.acting_as(SYSTEM)
        changed, _ = await _run(session, scorer.name)
        assert changed == len(scores), f"{where}: a new version changed {changed} of {len(scores)} scores"
        current = session.find(scorer.target).where({scorer.name: {"version": {"eq": newer}}})
        assert await current.count() == len(scores), f"{where}: the new version is not the current one"
        for version in (scorer.version, newer):
            kept = (
                await session.find(Score)
                .where({"scorer": {"eq": scorer.name}, "version": {"eq": version}})
                .count()
            )
            assert kept == len(scores), f"{where}: the history has {kept} scores of version {version}"
    await _run(crm.acting_as(SYSTEM), scorer.name)
    assert await _current(crm.acting_as(SYSTEM), scorer.name) == scores, f"{where}: going back changed its scores"


async def _contains_failure(
    crm: Crm, plugin: Plugin[Any], scorer: Scorer, where: str, again: Callable[[Crm, Plugin[Any]], Crm]
) -> None:
    """A run that fails, even in its midst, leaves scores and history as they were, and names the plugin."""
    session = crm.acting_as(SYSTEM)
    before = await _current(session, scorer.name), await session.find(Score).count()
    async with again(crm, _changed(plugin, scorer, **_failing(scorer))) as other:
        told: PluginError | None = None
        try:
            await _run(other.acting_as(SYSTEM), scorer.name)
        except PluginError as error:
            told = error
        assert told is not None, f"{where}: a run that failed was not told"
        assert (told.plugin, told.name) == (plugin.name, scorer.name), f"{where}: the failure names {told}"
    after = await _current(session, scorer.name), await session.find(Score).count()
    assert after == before, f"{where}: a run that failed left something behind"


def _failing(scorer: Scorer) -> dict[str, Any]:
    if scorer.select is not None:
        return {"select": lambda context, query: "select this from nowhere"}
    working = scorer.compute
    assert working is not None

    async def compute(context: Context, ids: Sequence[UUID] | None) -> AsyncIterator[Sequence[Any]]:
        async for batch in working(context, ids):
            yield batch
            break
        raise RuntimeError("broken on purpose")

    return {"compute": compute}


def _changed(plugin: Plugin[Any], scorer: Scorer, **changes: Any) -> Plugin[Any]:
    """The plugin, with one scorer in another form."""

    class Changed(type(plugin)):  # type: ignore[misc]
        __doc__ = type(plugin).__doc__
        __module__ = type(plugin).__module__  # where its migrations are

        def scorers(self) -> Sequence[Scorer]:
            return [
                dataclasses.replace(item, **changes) if item.name == scorer.name else item
                for item in super().scorers()
            ]

    return Changed(plugin.settings)


async def _run(session: Session, name: str, **given: Any) -> tuple[int, int]:
    result = await session.run("compute_scores", [{"scorer": name, **given}])
    assert not result.errors, result.errors
    id = result.ids[0]
    run = await session.find("ScoreRun").select("changed", "withdrawn").get(id) if id else None
    assert run is not None
    return run["changed"], run["withdrawn"]


async def _current(session: Session, name: str) -> dict[UUID, Any]:
    """The current scores by the id of their record."""
    owned = session.crm.composition.scorers[name]
    scorer: Scorer = owned.value
    table = score_entity(session.crm.catalog, owned)
    relation = next(iter(table.to_one))
    names = [output.name for output in outputs_of(scorer.output, lambda _: None)]
    rows = await session.find(table.name).select(*names, f"{relation}.id").all()
    prefix = session.crm.catalog.of(scorer.target).prefix
    return {decode_id(prefix, row[relation]["id"]): {name: row[name] for name in names} for row in rows}


def _first_difference(one: Sequence[bytes], other: Sequence[bytes]) -> str:
    if len(one) != len(other):
        return f"{len(one)} scores on SQLite, {len(other)} on PostgreSQL"
    different = next((a, b) for a, b in zip(one, other, strict=True) if a != b)
    return f"{different[0].decode()} on SQLite, {different[1].decode()} on PostgreSQL"
