"""Amity's CSV plugin: imports described by a mapping file, and exports.

Headless::

    mapping = load_mapping(Path("import.toml"))
    report = await run_import(session, mapping, Path("data"), dry_run=True)
"""

from .errors import CsvError, ImportFailed, MappingError
from .exporting import export_rows
from .importing import run_import
from .mapping import Mapping, load_mapping
from .plugin import Csv, CsvSettings
from .report import ImportReport, MappedValue, SectionReport

__all__ = [
    "Csv",
    "CsvError",
    "CsvSettings",
    "ImportFailed",
    "ImportReport",
    "MappedValue",
    "Mapping",
    "MappingError",
    "SectionReport",
    "export_rows",
    "load_mapping",
    "run_import",
]
