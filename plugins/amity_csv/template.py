"""Texts made from several columns: ``"{product}[ for {account}]"``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_PIECE = re.compile(r"\{([^{}\[\]]+)\}")
_PART = re.compile(r"\[([^\[\]]*)\]")


@dataclass(frozen=True)
class Template:
    """``"{product}[ for {account}]"``: parts of it are optional, and go when a column in them is empty."""

    parts: tuple[tuple[bool, tuple[str, ...]], ...]
    """(optional, (text, column, text, column, …, text))"""

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for _, pieces in self.parts for name in pieces[1::2]))

    def fill(self, cells: Mapping[str, Any]) -> str | None:
        """The text for a row; None where nothing of it is left."""
        filled = []
        for optional, pieces in self.parts:
            if optional and any(cells[name] is None for name in pieces[1::2]):
                continue
            filled += [
                piece if i % 2 == 0 else ("" if cells[piece] is None else str(cells[piece]))
                for i, piece in enumerate(pieces)
            ]
        return "".join(filled).strip() or None


def parse_template(text: str) -> Template | None:
    """A template, or None if the text is none: a bracket is not closed, or no column is named."""
    parts: list[tuple[bool, tuple[str, ...]]] = []
    for i, part in enumerate(_PART.split(text)):
        pieces = tuple(_PIECE.split(part))
        if any(sign in piece for piece in pieces[::2] for sign in "{}[]"):
            return None
        parts.append((i % 2 == 1, pieces))
    template = Template(tuple(parts))
    return template if template.columns else None
