"""One row of a file becomes what is known of one record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from .formulas import restored
from .plan import ColumnPlan, FieldPlan, SectionPlan
from .reading import Row

_SIGNS = "'"
"""What a text begins with that stands for another one."""


class Refusal(NamedTuple):
    """Why a row is not taken: where it stands, the column, what stands there."""

    line: int
    column: str
    value: str
    reason: str


class Note(NamedTuple):
    """Something about a row that was taken, to be counted in the report."""

    what: Literal["mapped", "unknown", "without", "missing"]
    name: str
    """The column for ``mapped`` and ``unknown``, the field for ``without`` and ``missing``."""
    value: str = ""
    to: str = ""


@dataclass(slots=True)
class Record:
    """What a row says: values of columns, of keys within JSON columns, and what has to be looked up."""

    row: Row
    values: dict[str, Any] = field(default_factory=dict)
    keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    """JSON column → key → value; None takes the key away."""
    wanted: dict[int, Any] = field(default_factory=dict)
    """Place of the field in the plan → value to look up. Copies share it."""
    refusals: list[Refusal] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def copy(self) -> Record:
        keys = {column: dict(values) for column, values in self.keys.items()} if self.keys else {}
        return Record(self.row, self.values.copy(), keys, self.wanted, [*self.refusals], [*self.notes])

    def refuse(self, column: str, reason: str) -> None:
        value = self.row.cells.get(column)
        self.refusals.append(Refusal(self.row.line, column, "" if value is None else str(value), reason))

    def put(self, plan: FieldPlan, value: Any) -> None:
        if plan.key is None:
            self.values[plan.column] = value
        else:
            self.keys.setdefault(plan.column, {})[plan.key] = value


def read_record(plan: SectionPlan, row: Row) -> Record | None:
    """The record that a row tells of; None if the mapping leaves the row out."""
    record = Record(row)
    cells: dict[str, Any] = {}
    given = row.cells
    for column in plan.columns:
        cell = given.get(column.name)
        if column.plain and type(cell) is str and not cell.startswith(_SIGNS):
            cells[column.name] = cell.strip() or None
        else:
            cells[column.name] = _cleaned(column, cell, record)
    if not _taken(plan, cells):
        return None
    broken = {refusal.column for refusal in record.refusals}
    for number, rule in enumerate(plan.fields):
        if not broken or not broken.intersection(rule.columns):
            _fill(rule, number, cells, record)
    return record


def _cleaned(column: ColumnPlan, cell: Any, record: Record) -> Any:
    """The value of a cell; None where it is empty, or where the row is refused for it."""
    rule = column.rule
    if isinstance(cell, str):
        cell = restored(cell)
        cell = (cell.strip() if rule.trim else cell) or None
    if cell is None:
        cell = rule.default
    if cell is None or cell == "":
        return None
    text = str(cell)
    if text in rule.map:
        cell = rule.map[text]
        record.notes.append(Note("mapped", column.name, text, str(cell)))
        if cell == "":
            return None
    if column.allowed is not None and str(cell) not in column.allowed.values:
        if rule.unknown == "refuse":
            record.refuse(column.name, column.allowed.refusal(str(cell)))
            return None
        record.notes.append(Note("unknown", column.name, str(cell), rule.unknown))
        return cell if rule.unknown == "keep" else None
    return cell


def _taken(plan: SectionPlan, cells: Mapping[str, Any]) -> bool:
    section = plan.section
    if not section.only and not section.skip:
        return True
    if section.only and not all(_text(cells[name]) in listed for name, listed in section.only.items()):
        return False
    return not any(_text(cells[name]) in listed for name, listed in section.skip.items())


def _text(cell: Any) -> str:
    return "" if cell is None else str(cell)


def _fill(plan: FieldPlan, number: int, cells: Mapping[str, Any], record: Record) -> None:
    rule = plan.rule
    source, value = "", rule.value
    if plan.template is not None:
        source, value = plan.columns[0], plan.template.fill(cells)
    for name in rule.column:
        source = name
        value = cells[name]
        if value is not None:
            break
    if value is None:
        _empty(plan, source, record)
        return
    try:
        if plan.convert is not None:
            value = plan.convert(value, cells)
    except ValueError as error:
        record.refuse(source, str(error))
        return
    if plan.lookup is not None:
        record.wanted[number] = value
    else:
        record.put(plan, value)


def _empty(plan: FieldPlan, source: str, record: Record) -> None:
    if plan.empty == "refuse":
        record.refuse(source, f"is empty; {plan.name} needs a value")
    elif plan.empty == "null":
        record.put(plan, None)
        if plan.lookup is not None:
            record.notes.append(Note("without", source, to=plan.name))
