"""Asking for scores: the action ``compute_scores``, and the job of each scorer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from ..contracts import Action, Context, Job, Owned, Permission, Scorer, UserError
from ..entity import InvalidId, decode_id
from ..model import ScoreRun
from .run import compute_scores, scorer_named

COMPUTE_SCORES = Permission("core.compute_scores", "Computing scores anew")


class ComputeScoresInput(BaseModel):
    """Which scores to compute."""

    model_config = ConfigDict(extra="forbid")

    scorer: str = Field(description="Name of the scorer, like rfm")
    ids: list[str] | None = Field(default=None, description="Only the records with these ids; all by default")


async def run_scorers(context: Context, inputs: Sequence[ComputeScoresInput]) -> Sequence[UUID | UserError]:
    """Runs scorers one after the other; each run is stored by itself."""
    results: list[UUID | UserError] = []
    for index, item in enumerate(inputs):
        try:
            scorer: Scorer = scorer_named(context.session, item.scorer).value
        except LookupError as error:
            results.append(UserError(index, ("scorer",), "not_found", str(error.args[0])))
            continue
        catalog = context.crm.catalog
        prefix = catalog.of(scorer.target).prefix
        try:
            ids = None if item.ids is None else [decode_id(prefix, text, catalog.prefixes) for text in item.ids]
        except InvalidId as error:
            results.append(UserError(index, ("ids",), "invalid", str(error)))
            continue
        results.append(await compute_scores(context.session, item.scorer, ids))
    return results


COMPUTE_SCORES_ACTION: Action[ComputeScoresInput] = Action(
    "compute_scores",
    ComputeScoresInput,
    run=run_scorers,
    permission=COMPUTE_SCORES.name,
    entity=ScoreRun,
    description="Computes scores anew, of all records or of some, and waits for it",
    transactional=False,
)


class RecordsToScore(BaseModel):
    """What the job of a scorer is asked to do."""

    ids: list[UUID] | None = None
    """None for all records."""


def job_of(owned: Owned[Any]) -> Job[RecordsToScore]:
    """The job ``compute_<scorer>``, which has the scorer's schedule. Its runs take turns."""
    scorer: Scorer = owned.value

    async def run(context: Context, payload: RecordsToScore) -> None:
        await compute_scores(context.session, scorer.name, payload.ids)

    return Job(
        f"compute_{scorer.name}",
        RecordsToScore,
        run,
        key=lambda _: scorer.name,
        schedule=scorer.schedule,
        # the scorer's own limit says more
        timeout=scorer.timeout + timedelta(minutes=1),
    )
