"""Files that are there when they are complete, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO
from uuid import uuid4

from .errors import ExportFailed


@contextmanager
def new_file(path: Path) -> Iterator[TextIO]:
    """A UTF-8 text file that takes the place of ``path`` when it is complete. Raises ExportFailed."""
    part = path.with_name(f".{path.name}.{uuid4().hex[:8]}.part")
    try:
        file = part.open("x", encoding="utf-8", newline="")
    except OSError as error:
        raise ExportFailed(f"{path}: {error.strerror}") from error
    try:
        with file:
            yield file
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
