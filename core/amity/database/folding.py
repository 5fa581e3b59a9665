"""Case folding that both databases and Python agree on.

``fold`` is ``str.casefold``. SQLite calls it directly; PostgreSQL gets a function made from the very same
tables, so that ``É`` finds ``é`` and ``STRASSE`` finds ``straße`` on both, whatever the locale.
"""

from __future__ import annotations

import sys
from functools import cache

FUNCTION = "amity_fold"


def fold(text: str) -> str:
    """The text without distinction of case, in every script."""
    return text.casefold()


def _tables() -> tuple[str, str, list[tuple[str, str]]]:
    """Characters that fold to one other, what they fold to, and those that fold to several."""
    sources: list[str] = []
    targets: list[str] = []
    longer: list[tuple[str, str]] = []
    for code in range(sys.maxunicode + 1):
        if 0xD800 <= code <= 0xDFFF:
            continue
        char = chr(code)
        folded = char.casefold()
        if folded == char:
            continue
        if len(folded) == 1:
            sources.append(char)
            targets.append(folded)
        else:
            longer.append((char, folded))
    return "".join(sources), "".join(targets), longer


@cache
def postgresql_function() -> str:
    """``CREATE OR REPLACE FUNCTION amity_fold(text)``: immutable, fast where the text is ASCII."""
    sources, targets, longer = _tables()
    expression = f"translate(value, '{sources}', '{targets}')"
    for char, folded in longer:
        expression = f"replace({expression}, '{char}', '{folded}')"
    return f"""
CREATE OR REPLACE FUNCTION {FUNCTION}(value text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $fold$
BEGIN
  IF octet_length(value) = char_length(value) THEN
    RETURN lower(value COLLATE "C");
  END IF;
  RETURN {expression};
END
$fold$"""
