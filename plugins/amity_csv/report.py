"""What an import did, or would do: counts, what was noticed, and which rows were refused and why."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from pydantic import BaseModel, ConfigDict

from .errors import ImportFailed
from .formulas import neutralized
from .record import Note, Refusal

MOST = 1_000
"""Different things that are counted one by one; beyond them only how many there were."""
SHOWN = 10
"""Of the same kind, how many are told one by one."""


class _Report(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class MappedValue(_Report):
    """A value that the mapping replaced."""

    column: str
    """Column of the file"""
    value: str
    """What stands in the file"""
    to: str
    """What was stored instead"""
    rows: int
    """In how many rows"""

    def __str__(self) -> str:
        return f"{self.column}: {self.value} → {self.to or '(empty)'} {times(self.rows)}"


class SectionReport(_Report):
    """What one import did. Each row was created, updated, unchanged, refused, skipped or repeated."""

    name: str
    """What the mapping calls it"""
    entity: str
    """The entity whose records it made"""
    source: str
    """The file that the rows came from"""
    rows: int = 0
    """How many rows were read"""
    created: int = 0
    """How many records were added"""
    updated: int = 0
    """How many records were changed"""
    unchanged: int = 0
    """How many records were there already, with the same values"""
    refused: int = 0
    """How many rows could not be taken"""
    skipped: int = 0
    """How many rows the mapping leaves out"""
    repeated: int = 0
    """How many rows told of a record that a row further up had told of"""
    mapped: tuple[MappedValue, ...] = ()
    """Values that the mapping replaced"""
    notes: tuple[str, ...] = ()
    """What else was noticed, in sentences"""
    refused_file: str | None = None
    """Where the refused rows are listed; null if none was"""


class ImportReport(_Report):
    """What an import did, or would do."""

    dry_run: bool
    """Whether nothing was written"""
    sections: tuple[SectionReport, ...]
    """What each import of the mapping did, in their order"""
    seconds: float
    """How long it took"""

    @property
    def changed(self) -> int:
        return sum(section.created + section.updated for section in self.sections)

    @property
    def refused(self) -> int:
        return sum(section.refused for section in self.sections)

    def summary(self) -> str:
        """One sentence."""
        rows = sum(section.rows for section in self.sections)
        created = sum(section.created for section in self.sections)
        updated = sum(section.updated for section in self.sections)
        verb = "Would change" if self.dry_run else "Changed"
        if not self.changed:
            text = f"{verb} nothing: {counted(rows, 'row')} read, all that could be taken is there already"
        else:
            done = "would be " if self.dry_run else ""
            text = f"{counted(rows, 'row')} read: {created:,} {done}created, {updated:,} {done}updated"
        text += f"; {self.refused:,} refused" if self.refused else ""
        return f"{text} ({self.seconds:.1f} s)." + (" Nothing was written." if self.dry_run else "")


def counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def times(number: int) -> str:
    return "once" if number == 1 else f"{number:,} times"


class Tally:
    """Counts what one section does."""

    def __init__(self) -> None:
        self.rows = self.created = self.updated = self.unchanged = 0
        self.refused = self.skipped = self.repeated = 0
        self.differing: list[int] = []
        """Lines of repeated rows that say something else than the first of their key; the first few."""
        self.differing_count = 0
        self._notes: Counter[Note] = Counter()
        self._beyond: Counter[tuple[str, str]] = Counter()

    def note(self, notes: Iterable[Note]) -> None:
        for note in notes:
            if note in self._notes or len(self._notes) < MOST:
                self._notes[note] += 1
            else:
                self._beyond[note.what, note.name] += 1

    def differs(self, line: int) -> None:
        self.differing_count += 1
        if len(self.differing) < SHOWN:
            self.differing.append(line)

    def mapped(self) -> tuple[MappedValue, ...]:
        return tuple(
            MappedValue(column=note.name, value=note.value, to=note.to, rows=count)
            for note, count in self._notes.most_common()
            if note.what == "mapped"
        )

    def sentences(self, lookups: dict[str, str]) -> tuple[str, ...]:
        """``lookups``: field → what it is looked up in, like ``Customer by name``."""
        found: list[str] = []
        groups: dict[tuple[str, str], list[str]] = {}
        for note, count in self._notes.most_common():
            match note.what:
                case "without":
                    found.append(f"{counted(count, 'row')} without {note.name or note.to}: {note.to} is null")
                case "unknown":
                    fate = "kept" if note.to == "keep" else "left empty"
                    text = f"{note.name}: {note.value!r} is not among the allowed values; {fate} {times(count)}"
                    groups.setdefault((note.what, note.name), []).append(text)
                case "missing":
                    text = f"{note.name}: there is no {lookups[note.name]} {note.value!r}; null {times(count)}"
                    groups.setdefault((note.what, note.name), []).append(text)
        for key, sentences in groups.items():
            found += sentences[:SHOWN]
            if len(sentences) > SHOWN or key in self._beyond:
                found.append(f"{key[1]}: and {len(sentences) - SHOWN:,} or more other values like these")
        if self.differing_count:
            lines = ", ".join(map(str, self.differing))
            more = ", …" if self.differing_count > len(self.differing) else ""
            found.append(
                f"{counted(self.differing_count, 'repeated row')} said something else than the first of the "
                f"same key, which counted (line {lines}{more})"
            )
        return tuple(found)


class RefusedRows:
    """Files that list refused rows, next to the files they came from: ``deals.csv.refused.csv``.

    With ``folder`` they are all there. A file is there only if a row was refused in this run; those of earlier
    runs go.
    """

    HEADER = ("line", "column", "value", "reason", "import")

    def __init__(self, sources: Iterable[Path], folder: Path | None = None) -> None:
        self._folder = folder
        self._open: dict[Path, TextIO] = {}
        for source in set(sources):
            self._remove(self.path(source))

    def path(self, source: Path) -> Path:
        """Where the refused rows of a file are listed."""
        return (self._folder or source.parent) / f"{source.name}.refused.csv"

    def add(self, source: Path, name: str, refusals: Iterable[Refusal]) -> None:
        """Lists why a row was refused; ``name`` is that of the import."""
        path = self.path(source)
        if path not in self._open:
            try:
                file = path.open("w", encoding="utf-8", errors="backslashreplace", newline="")
            except OSError as error:
                raise ImportFailed(
                    f"{path}: {error.strerror}; refused rows can't be listed there. Name a folder where they can"
                ) from error
            self._open[path] = file
            csv.writer(file).writerow(self.HEADER)
        writer = csv.writer(self._open[path])
        for line, column, value, reason in refusals:
            writer.writerow((line, *(neutralized(text) for text in (column, value, reason, name))))

    def restart(self) -> None:
        """Forgets what was listed so far: the import begins anew."""
        self.close()
        for path in self._open:
            self._remove(path)
        self._open.clear()

    def close(self) -> None:
        for file in self._open.values():
            file.close()

    @staticmethod
    def _remove(path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise ImportFailed(f"{path}: {error.strerror}; it lists refused rows of an earlier run") from error
