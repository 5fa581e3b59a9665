"""What moves through the stages of a pipeline: its pipeline, its position, its history.

Positions are fractional indexes: texts whose order is the order of the rows, so that putting a row between
two others writes that row alone. Changes that run at the same time may choose the same position; ids then
decide. Where a row must go between two of the same position, the stage is numbered afresh.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
from fractional_indexing import FIError, generate_key_between, generate_n_keys_between

from ..entity import EntityType, new_id
from ..model import Stage, StageMove
from . import rights, storage
from .draft import Draft
from .keys import named
from .refusals import Refusals

if TYPE_CHECKING:
    from ..crm import Session

Place = tuple[str, UUID]
"""Position and id: the order within a stage."""


async def check(session: Session, entity: EntityType, drafts: Sequence[Draft], refusals: Refusals) -> list[Draft]:
    """Fills in what follows from the stage; further drafts of rows that have to make room."""
    entering = [draft for draft in drafts if _enters(draft)]
    for draft in drafts:
        if draft.before is not None and not draft.differs("stage_id") and draft.differs("pipeline_id"):
            message = "does not fit the stage; name a stage_id of that pipeline too"
            refusals.refuse(draft.index, ("pipeline_id",), "invalid", message)
    await _enter(session, entity, entering, refusals)
    moving = [
        draft
        for draft in drafts
        if draft.index not in refusals and (_enters(draft) or draft.placement is not None)
    ]
    if not moving:
        return []
    boards = _Boards(session, entity, drafts, moving, refusals)
    return await boards.place()


def _enters(draft: Draft) -> bool:
    return draft.after["stage_id"] is not None and draft.differs("stage_id")


def moved(draft: Draft) -> bool:
    """Whether the draft takes something from one stage to another."""
    return draft.before is not None and draft.differs("stage_id")


async def add_moves(session: Session, entity: EntityType, drafts: Sequence[Draft]) -> None:
    """Keeps that drafts entered their stages."""
    unit = session.unit
    assert unit is not None
    moves = session.crm.catalog.of(StageMove)
    await storage.insert(
        unit.transaction,
        moves,
        [
            {
                "id": new_id(),
                "entity_type": entity.code,
                "entity_id": draft.id,
                "pipeline_id": draft.after["pipeline_id"],
                "from_stage_id": draft.before["stage_id"] if draft.before is not None else None,
                "to_stage_id": draft.after["stage_id"],
                "moved_at": draft.after["stage_entered_at"],
                "actor": str(session.principal),
            }
            for draft in drafts
            if _enters(draft)
        ],
    )


async def _enter(session: Session, entity: EntityType, drafts: Sequence[Draft], refusals: Refusals) -> None:
    unit = session.unit
    assert unit is not None
    stage = session.crm.catalog.of(Stage)
    stages = await rights.load(
        session,
        stage,
        sorted({draft.after["stage_id"] for draft in drafts}),
        "read",
        "reference",
        columns=("id", "pipeline_id", "category"),
    )
    for draft in drafts:
        found = stages.get(draft.after["stage_id"])
        if found is None:
            refusals.refuse(draft.index, ("stage_id",), "not_found", f"there is no such {named(stage)}")
            continue
        pipeline = draft.item.values.get("pipeline_id")
        if pipeline is not None and pipeline != found["pipeline_id"]:
            message = "the stage is in another pipeline; leave the pipeline out, or name its own"
            refusals.refuse(draft.index, ("pipeline_id",), "invalid", message)
            continue
        draft.after["pipeline_id"] = found["pipeline_id"]
        if "stage_entered_at" not in draft.item.values:
            when = draft.placement.moved_at if draft.placement is not None else None
            draft.after["stage_entered_at"] = when or unit.now
        if "closed_on" in entity.columns and "closed_on" not in draft.item.values:
            if found["category"] == "open":
                draft.after["closed_on"] = None
            elif draft.after["closed_on"] is None:
                draft.after["closed_on"] = draft.after["stage_entered_at"].date()


@dataclass
class _Board:
    """What is known of a stage's order: the places around every row that something goes next to."""

    places: list[Place] = field(default_factory=list)
    of: dict[UUID, str] = field(default_factory=dict)

    def add(self, place: Place) -> None:
        if self.of.get(place[1]) != place[0]:
            insort(self.places, place)
            self.of[place[1]] = place[0]

    def around(self, id: UUID) -> tuple[Place | None, Place, Place | None]:
        """The place before it, its own, the place after it."""
        place = (self.of[id], id)
        i = bisect_left(self.places, place)
        after = self.places[i + 1] if i + 1 < len(self.places) else None
        return (self.places[i - 1] if i else None), place, after

    @property
    def last(self) -> Place | None:
        return self.places[-1] if self.places else None


class _Boards:
    """Gives positions to the rows of a batch, in the order of the batch."""

    def __init__(
        self,
        session: Session,
        entity: EntityType,
        drafts: Sequence[Draft],
        moving: Sequence[Draft],
        refusals: Refusals,
    ) -> None:
        assert session.unit is not None
        self.session = session
        self.entity = entity
        self.transaction = session.unit.transaction
        self.refusals = refusals
        self.drafts = {draft.id: draft for draft in drafts}
        self.moving = moving
        self.moving_ids = {draft.id for draft in moving}
        self.boards: dict[UUID, _Board] = defaultdict(_Board)
        self.stage_of: dict[UUID, UUID] = {}
        self.displaced: dict[UUID, Draft] = {}

    async def place(self) -> list[Draft]:
        await self._read_around(
            {
                anchor
                for draft in self.moving
                if draft.placement is not None
                for anchor in (draft.placement.before, draft.placement.after)
                if anchor is not None and anchor not in self.moving_ids
            }
        )
        await self._read_ends({draft.after["stage_id"] for draft in self.moving if not _anchored(draft)})
        run: list[Draft] = []
        for draft in [*self.moving, None]:
            # rows that go to the end of one stage, one after the other, get their positions at once
            if run and (draft is None or _anchored(draft) or not _same_stage(run[0], draft)):
                await self._append(run)
                run = []
            if draft is not None and _anchored(draft):
                await self._insert(draft)
            elif draft is not None:
                run.append(draft)
        return list(self.displaced.values())

    # --- what the database knows ---------------------------------------------------------------------------

    def _moving_sql(self, number: int) -> tuple[str, Any]:
        """``… NOT IN`` the rows that this batch moves, which are where the batch puts them."""
        ids = sorted(id for id in self.moving_ids if self.drafts[id].before is not None)
        if self.transaction.dialect == "postgresql":
            return f"<> ALL(${number}::uuid[])", ids
        return f"NOT IN (SELECT value FROM json_each(?{number}))", orjson.dumps([str(id) for id in ids]).decode()

    async def _read_ends(self, stages: set[UUID]) -> None:
        excluded, ids = self._moving_sql(2)
        keys, bound = self._listed(sorted(stages))
        rows = await self.transaction.fetch(
            f'SELECT k.id, (SELECT {_PLACE} FROM {storage.table_of(self.entity)} x WHERE x."stage_id" = k.id '
            f'AND x."deleted_at" IS NULL AND x."id" {excluded} '
            'ORDER BY x."position" DESC, x."id" DESC LIMIT 1) '
            f"FROM {keys} k",
            (bound, ids),
        )
        for stage, text in rows:
            if text is not None:
                self._know(UUID(str(stage)), text)

    async def _read_around(self, anchors: set[UUID]) -> None:
        # whoever may not read a row can't put others next to it either
        anchors = await rights.visible(self.session, self.entity, sorted(anchors))
        if not anchors:
            return
        table = storage.table_of(self.entity)
        excluded, ids = self._moving_sql(2)
        keys, bound = self._listed(sorted(anchors))

        def beside(operator: str, direction: str) -> str:
            return (
                f'(SELECT {_PLACE} FROM {table} x WHERE x."stage_id" = t."stage_id" AND x."deleted_at" IS NULL '
                f'AND (x."position", x."id") {operator} (t."position", t."id") AND x."id" {excluded} '
                f'ORDER BY x."position" {direction}, x."id" {direction} LIMIT 1)'
            )

        rows = await self.transaction.fetch(
            f'SELECT t."stage_id", {_PLACE.replace("x.", "t.")}, {beside("<", "DESC")}, {beside(">", "ASC")} '
            f'FROM {table} t WHERE t."id" IN (SELECT k.id FROM {keys} k) AND t."deleted_at" IS NULL',
            (bound, ids),
        )
        for stage, own, before, after in rows:
            stage_id = UUID(str(stage))
            self.stage_of[self._know(stage_id, own)] = stage_id
            for text in (before, after):
                if text is not None:
                    self._know(stage_id, text)

    def _listed(self, ids: Sequence[UUID]) -> tuple[str, Any]:
        if self.transaction.dialect == "postgresql":
            return "(SELECT unnest($1::uuid[]) AS id)", list(ids)
        return "(SELECT value AS id FROM json_each(?1))", orjson.dumps([str(id) for id in ids]).decode()

    def _know(self, stage: UUID, text: str) -> UUID:
        position, _, id = text.rpartition(":")
        self.boards[stage].add((position, UUID(id)))
        return UUID(id)

    # --- putting rows in their places ----------------------------------------------------------------------

    async def _append(self, run: Sequence[Draft]) -> None:
        stage = run[0].after["stage_id"]
        board = self.boards[stage]
        last = board.last
        if len(run) == 1 and _stays(run[0], last, None):
            self._put(run[0], str(run[0].after["position"]))
            return
        try:
            keys = generate_n_keys_between(last[0] if last else None, None, len(run))
        except FIError:
            keys = []
        if not keys or len(keys[-1]) > self._longest:
            await self._renumber(stage, last, run)
            return
        for draft, key in zip(run, keys, strict=True):
            self._put(draft, key)

    async def _insert(self, draft: Draft) -> None:
        assert draft.placement is not None
        before, after = draft.placement.before, draft.placement.after
        stage = draft.after["stage_id"]
        for name, anchor in (("before", before), ("after", after)):
            if anchor is not None and not self._is_there(draft, name, anchor, stage):
                return
        board = self.boards[stage]
        if after is not None:
            _, lower, upper = board.around(after)
            if before is not None and board.around(before)[1] <= lower:
                message = "the record to come after does not stand before the one to come before"
                self.refusals.refuse(draft.index, ("after",), "invalid", message)
                return
        else:
            assert before is not None
            lower_or_none, upper, _ = board.around(before)
            await self._between(draft, stage, lower_or_none, upper)
            return
        await self._between(draft, stage, lower, upper)

    def _is_there(self, draft: Draft, name: str, anchor: UUID, stage: UUID) -> bool:
        if anchor == draft.id:
            message, code = "is the record that moves; name another one of the stage", "invalid"
        elif self.stage_of.get(anchor) == stage and anchor in self.boards[stage].of:
            return True
        elif anchor in self.moving_ids and anchor not in self.stage_of:
            message, code = "moves later in the same batch; put that move first", "invalid"
        else:
            message, code = f"there is no such {named(self.entity)} in the stage", "not_found"
        self.refusals.refuse(draft.index, (name,), code, message)
        return False

    async def _between(self, draft: Draft, stage: UUID, lower: Place | None, upper: Place | None) -> None:
        if _stays(draft, lower, upper):
            self._put(draft, str(draft.after["position"]))
            return
        try:
            key = generate_key_between(lower[0] if lower else None, upper[0] if upper else None)
        except FIError:
            key = None  # both neighbors have one position
        if key is None or len(key) > self._longest:
            await self._renumber(stage, lower, [draft])
        else:
            self._put(draft, key)

    @property
    def _longest(self) -> int:
        return self.entity.columns["position"].max_length or 200

    def _put(self, draft: Draft, position: str) -> None:
        draft.after["position"] = position
        self.boards[draft.after["stage_id"]].add((position, draft.id))
        self.stage_of[draft.id] = draft.after["stage_id"]

    async def _renumber(self, stage: UUID, lower: Place | None, arriving: Sequence[Draft]) -> None:
        """New positions for a whole stage, the arriving rows after ``lower``."""
        standing = await storage.select_by(self.transaction, self.entity, "stage_id", [stage], lock="update")
        places = {id: str(row["position"]) for id, row in standing.items() if id not in self.moving_ids}
        for drafts in (self.drafts, self.displaced):
            # where an earlier renumbering of this batch has put them
            places |= {id: draft.after["position"] for id, draft in drafts.items() if id in places}
        places |= {
            id: position
            for id, position in self.boards[stage].of.items()
            if id in self.moving_ids and id in self.stage_of
        }
        order = sorted((position, id) for id, position in places.items())
        at = bisect_right(order, lower) if lower is not None else 0
        ids = [id for _, id in order]
        ids[at:at] = [draft.id for draft in arriving]
        board = self.boards[stage] = _Board()
        for id, position in zip(ids, generate_n_keys_between(None, None, len(ids)), strict=True):
            board.add((position, id))
            draft = self.drafts.get(id) or self.displaced.get(id)
            if draft is None:
                row: Mapping[str, Any] = standing[id]
                if row["position"] == position:
                    continue
                item = arriving[0].item
                draft = self.displaced[id] = Draft(item, id, row, dict(row), displaced=True)
            draft.after["position"] = position
        for draft in arriving:
            self.stage_of[draft.id] = stage


_PLACE = """x."position" || ':' || x."id\""""


def _anchored(draft: Draft) -> bool:
    return draft.placement is not None and not (draft.placement.before is None and draft.placement.after is None)


def _same_stage(one: Draft, other: Draft) -> bool:
    return bool(one.after["stage_id"] == other.after["stage_id"])


def _stays(draft: Draft, lower: Place | None, upper: Place | None) -> bool:
    """Whether the row is where it shall go already."""
    if draft.before is None or draft.differs("stage_id"):
        return False
    own = (draft.before["position"], draft.id)
    return (lower is None or lower < own) and (upper is None or own < upper)
