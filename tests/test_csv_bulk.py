"""Long imports: memory stays flat, and progress is told while they run."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from amity import SYSTEM, Crm, Customer
from amity_csv import Csv, load_mapping, run_import
from amity_csv.section import Progress

MakeCrm = Callable[..., AbstractAsyncContextManager[Crm]]
MAPPING = """
[[import]]
entity = "Customer"
file = "customers.csv"
key = "external_id"

[import.fields]
external_id = { column = "id", system = "old" }
kind = { value = "person" }
name = "name"
"""
BATCH = 250


async def peak(crm: Crm, folder: Path, first: int, rows: int) -> tuple[int, list[Progress]]:
    """The most bytes that Python held while so many rows came in."""
    with (folder / "customers.csv").open("w") as file:
        file.write("id,name\n")
        file.writelines(f"{number},Person {number} {'x' * 50}\n" for number in range(first, first + rows))
    (folder / "import.toml").write_text(MAPPING)
    told: list[Progress] = []
    tracemalloc.start()
    try:
        report = await run_import(
            crm.acting_as(SYSTEM),
            load_mapping(folder / "import.toml"),
            folder,
            batch=BATCH,
            progress=told.append,
        )
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(section.created for section in report.sections) == rows
    return most, told


@pytest.mark.once
async def test_an_import_ten_times_as_long_takes_no_more_memory(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with make_crm([Csv]) as crm:
        await peak(crm, tmp_path, 0, 2 * BATCH)  # what is kept for good is there from now on
        short, _ = await peak(crm, tmp_path, 10_000, 2 * BATCH)
        long, told = await peak(crm, tmp_path, 20_000, 20 * BATCH)

        assert long < 1.5 * short
        assert await crm.acting_as(SYSTEM).find(Customer).count() == 24 * BATCH
        done = [step.done for step in told]
        assert len(done) == 20
        assert done == sorted(done)
        assert told[-1].done == told[-1].total
