"""Spreadsheets run cells that look like formulas; texts of customers must not become some.

A text that begins like a formula gets an apostrophe in front, which spreadsheets take as "this is text".
One that begins with apostrophes and then like a formula gets another one, so that nothing is lost:
``restored(neutralized(text)) == text`` for every text.
"""

from __future__ import annotations

import re

_STARTS = "=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20"
"""What spreadsheets take as the start of a formula; the last four are the wide forms of the first four."""
_FORMULA = re.compile(f"'*[{_STARTS}]")
RISKY = frozenset(_STARTS) | {"'"}
"""Characters that a text begins with if it is one of these."""
_NEUTRALIZED = re.compile(f"'+[{_STARTS}]")


def neutralized(text: str) -> str:
    """The text as it may stand in a cell."""
    return f"'{text}" if text[:1] in RISKY and _FORMULA.match(text) else text


def restored(text: str) -> str:
    """The text that a cell stands for."""
    return text[1:] if _NEUTRALIZED.match(text) else text
