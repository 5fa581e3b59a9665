"""Laws of the CSV plugin, for every text and number."""

from __future__ import annotations

import csv
import io
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from amity_csv.formulas import neutralized, restored
from amity_csv.reading import Broken, CsvFile, Format, Row
from amity_csv.values import Numbers, Times, major_units, minor_units, real, truth, whole

STARTS = "=+-@\t\r"
texts = st.text(st.characters(exclude_categories=["Cs"]))
risky = st.builds(lambda quotes, start, rest: quotes + start + rest, st.text("'"), st.sampled_from(STARTS), texts)


@given(texts | risky)
@example("=cmd|' /C calc'!A0")
@example("'=1")
@example("''")
def test_a_neutralized_text_is_restored_and_no_formula(text: str) -> None:
    cell = neutralized(text)

    assert restored(cell) == text
    assert not cell.startswith(tuple(STARTS))


@pytest.mark.parametrize("text", ["Ann", "'Ann'", "1-2", "a=b", "", " "])
def test_an_ordinary_text_stays_as_it_is(text: str) -> None:
    assert neutralized(text) == text
    assert restored(text) == text


@given(st.lists(st.tuples(texts, texts), max_size=8), st.sampled_from([",", ";", "\t"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_are_read_as_they_were_written(tmp_path: Path, rows: list[tuple[str, str]], delimiter: str) -> None:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerow(["a", "b"])
    writer.writerows(rows)
    path = tmp_path / "rows.csv"
    path.write_bytes(buffer.getvalue().encode())

    with CsvFile(path, Format(delimiter=delimiter)) as file:
        found = list(file)

    assert [tuple(row.cells.values()) for row in found if isinstance(row, Row)] == rows


simple = st.text("abcxyz äö'=+-", min_size=1, max_size=6)
broken = st.sampled_from(['"open,x', 'a,"b"c', "one", "a,b,c", '"a","b"x', '"'])


@given(st.lists(st.one_of(st.tuples(st.just(True), simple), st.tuples(st.just(False), broken)), max_size=12))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_broken_lines_take_no_good_row_with_them(tmp_path: Path, lines: list[tuple[bool, str]]) -> None:
    path = tmp_path / "rows.csv"
    text = "".join(f"{value},{number}\n" if good else f"{value}\n" for number, (good, value) in enumerate(lines))
    path.write_text("a,b\n" + text, encoding="utf-8")

    with CsvFile(path, Format()) as file:
        found = list(file)

    rows = {row.line: tuple(row.cells.values()) for row in found if isinstance(row, Row)}
    refused = {row.line for row in found if isinstance(row, Broken)}
    for number, (good, value) in enumerate(lines):
        line = number + 2
        if good:
            assert rows[line] == (value, str(number))
        else:
            assert line in refused
    assert len(rows) + len(refused) == len(lines)


def test_memory_stays_flat_however_long_the_file_is(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    with path.open("w") as file:
        file.write("a,b\n")
        file.writelines(f"{number},{'x' * 50}\n" for number in range(100_000))

    tracemalloc.start()
    with CsvFile(path, Format()) as opened:
        count = sum(1 for _ in opened)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert count == 100_000
    assert peak < 1_000_000


@given(st.integers(-(2**63), 2**63 - 1), st.sampled_from(["USD", "JPY", "KWD", "CLF"]))
def test_money_comes_back_as_it_went(amount: int, currency: str) -> None:
    assert minor_units(major_units(amount, currency), currency) == amount


def test_numbers_as_people_write_them() -> None:
    german = Numbers(",", ".")
    assert whole("1.234", german) == 1234
    assert real("-1.234,5", german) == -1234.5
    assert minor_units("1'000.5", "CHF", Numbers(".", "'")) == 100050
    assert real("1e3") == 1000.0
    for text in ("1.23", "1.2345", "12,34,5", "1_000", "", "٣", "--1"):
        with pytest.raises(ValueError, match=r"number|decimals"):
            whole(text, german)


def test_truth_and_times_as_people_write_them() -> None:
    assert [truth(text) for text in ("Yes", "TRUE", "1", "no", "F", "0")] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]
    with pytest.raises(ValueError, match="neither true nor false"):
        truth("maybe")
    with pytest.raises(ValueError, match="has no time zone; set time_zone"):
        Times().instant("2026-01-31T09:30:00")
    with pytest.raises(ValueError, match="is no date of the format %d"):
        Times(("%d.%m.%Y",)).day("2026-01-31")
    assert Times().instant("2026-01-31T09:30:00+01:00").isoformat() == "2026-01-31T08:30:00+00:00"
