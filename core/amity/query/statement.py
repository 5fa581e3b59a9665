"""What the compiler makes: a statement, and where plugins' fields sit in its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ..entity import EntityType
from ..tree import Batched

Step = str | Literal["[]"]


@dataclass(frozen=True)
class BatchPlan:
    """A batch field in an answer: where its parents are, and what it was asked."""

    root: str
    path: tuple[Step, ...]
    """Keys that lead to the parent objects; ``[]`` stands for every item of a list."""
    node: Batched
    entity: EntityType
    hidden: str
    """The key under which each parent brings what the field needs."""


@dataclass(frozen=True)
class ComputedUse:
    """An expression field in an answer, and the plugin that declared it."""

    root: str
    path: tuple[Step, ...]
    key: str
    plugin: str


@dataclass(frozen=True)
class Statement:
    """One SQL statement; its single row has a JSON text for each of ``keys``."""

    sql: str
    parameters: tuple[Any, ...]
    keys: tuple[str, ...]
    batches: tuple[BatchPlan, ...]
    computed: tuple[ComputedUse, ...]
    sums: bool = False
    """Whether it adds up numbers of several rows, which can go beyond 64 bits."""
