"""Rows of CSV files, one after another. What is broken is told by line, and everything else is still read."""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TextIO

from .errors import ImportFailed

MAX_LINE = 4_000_000
"""Characters of one line; a longer one is no text of a person."""
SHOWN = 200
_BAD_BYTE = re.compile("[\udc80-\udcff]")


class Row(NamedTuple):
    """A row of a file: the line that it begins at, and its cells by the name of their column."""

    line: int
    cells: Mapping[str, Any]


@dataclass(frozen=True)
class Broken:
    """A line that can't be read as a row."""

    line: int
    column: str
    value: str
    reason: str


@dataclass(frozen=True)
class Format:
    """How a file is written. ``header`` names the columns of a file whose first line is a row already."""

    encoding: str = "utf-8"
    delimiter: str = ","
    quote: str = '"'
    header: tuple[str, ...] = ()


class CsvFile:
    """An open file: ``columns`` are the names of its columns, iterating gives its rows.

    Lines that break the format are given as :class:`Broken`, and reading goes on at the next line. Raises
    :class:`~amity_csv.errors.ImportFailed` if the file can't be read at all.
    """

    def __init__(self, path: Path, form: Format) -> None:
        self.path = path
        self._form = form
        try:
            self._binary = path.open("rb")
            self.size = path.stat().st_size
        except OSError as error:
            raise ImportFailed(f"{path}: {error.strerror}") from error
        self._lines = _Lines(self._text(), path)
        try:
            self.columns: tuple[str, ...] = form.header or self._header()
        except BaseException:
            self.close()
            raise

    def _text(self) -> TextIO:
        from io import TextIOWrapper

        # a byte order mark is no part of the first column's name
        encoding = "utf-8-sig" if _is_utf8(self._form.encoding) else self._form.encoding
        return TextIOWrapper(self._binary, encoding=encoding, errors="surrogateescape", newline="")

    @property
    def position(self) -> int:
        """Bytes read so far."""
        return self._binary.tell()

    def _header(self) -> tuple[str, ...]:
        for found in self._records():
            if isinstance(found, Broken):
                raise ImportFailed(f"{self.path}: line {found.line}: the header is broken: {found.reason}")
            line, fields = found
            bad = _bad_byte(fields, self._form.encoding)
            if bad is not None:
                raise ImportFailed(f"{self.path}: line {line}: the header is broken: {bad[1]}")
            return tuple(field.strip() for field in fields)
        raise ImportFailed(f"{self.path}: is empty; expected a line with the names of the columns")

    def __iter__(self) -> Iterator[Row | Broken]:
        columns = self.columns
        for found in self._records(len(columns)):
            if isinstance(found, Broken):
                yield found
                continue
            line, fields = found
            bad = _bad_byte(fields, self._form.encoding)
            if bad is not None:
                number, reason = bad
                yield Broken(line, self.columns[number], _shown(fields[number]), reason)
                continue
            yield Row(line, dict(zip(columns, fields, strict=True)))

    def _records(self, width: int | None = None) -> Iterator[tuple[int, list[str]] | Broken]:
        """Records of ``width`` fields. What is broken costs one line: a quote that is never closed swallows the
        lines after it, and they are given back."""
        lines = self._lines
        reader = self._reader()
        while True:
            start = lines.begin()
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                reason = _reason(error, self._form.quote)
            else:
                if not fields:  # an empty line is none
                    continue
                if width is None or len(fields) == width:
                    yield start, fields
                    continue
                reason = f"has {len(fields)} columns; the header has {width}"
            yield Broken(start, "", _shown(lines.give_back()), reason)
            reader = self._reader()

    def _reader(self) -> Any:
        return csv.reader(self._lines, delimiter=self._form.delimiter, quotechar=self._form.quote, strict=True)

    def close(self) -> None:
        self._binary.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class _Lines:
    """Lines of a text with their numbers, some of which can be given back."""

    def __init__(self, text: TextIO, path: Path) -> None:
        self._text = text
        self._path = path
        self._again: deque[str] = deque()
        self._taken: list[str] = []
        self._number = 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else self._read()
        if not line:
            raise StopIteration
        self._taken.append(line)
        self._number += 1
        return line

    def _read(self) -> str:
        try:
            line = self._text.readline(MAX_LINE)
        except UnicodeError as error:
            raise ImportFailed(f"{self._path}: line {self._number + 1}: {error}; set its encoding") from error
        if len(line) == MAX_LINE and not line.endswith(("\n", "\r")):
            raise ImportFailed(
                f"{self._path}: line {self._number + 1} has more than {MAX_LINE:,} characters; is it a CSV file?"
            )
        return line

    def begin(self) -> int:
        """The number of the line that comes next; a record begins there."""
        self._taken.clear()
        return self._number + 1

    def give_back(self) -> str:
        """Gives back all lines of the record but its first, which is returned."""
        first, *rest = self._taken
        self._again.extendleft(reversed(rest))
        self._number -= len(rest)
        return first


def _reason(error: csv.Error, quote: str) -> str:
    told = str(error)
    if "expected after" in told:
        return f"{quote} within a quoted value, or never closed; write {quote}{quote} for a {quote} that is meant"
    if "unexpected end" in told:
        return f"{quote} opens a value and is never closed"
    if "field limit" in told:
        return f"a value has more than {csv.field_size_limit():,} characters, or its {quote} is never closed"
    return told


def _bad_byte(fields: Sequence[str], encoding: str) -> tuple[int, str] | None:
    if "".join(fields).isascii():
        return None
    for number, field in enumerate(fields):
        found = None if field.isascii() else _BAD_BYTE.search(field)
        if found is not None:
            byte = ord(found[0]) - 0xDC00
            return number, f"byte 0x{byte:02X} is no {encoding}; save the file as {encoding}, or set its encoding"
    return None


def _is_utf8(encoding: str) -> bool:
    return encoding.lower().replace("-", "").replace("_", "") in ("utf8", "u8")


def _shown(value: str) -> str:
    text = value.rstrip("\r\n").encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
