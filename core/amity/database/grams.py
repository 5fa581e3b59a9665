"""Texts as searching sees them: folded, cut into grams, ranked.

A text is folded further than for comparing: accents go too, and white space is one blank. Its grams are the three
characters that begin at each of its places, and before its first, so that whatever occurs in a text, of any length
and in any script, is a gram, the start of one, or several. PostgreSQL indexes the grams of a column by an
expression; SQLite is given them as texts. Both find candidates by one boolean expression of grams, and look at the
texts of those.

:func:`rank` is what both databases compute: PostgreSQL by an expression, SQLite by calling it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import orjson

FOLDING = 1
"""Counts changes of :func:`search_fold`: rows that were folded otherwise are folded anew."""
FUNCTION = "amity_grams"
SIZE = 3
EXACT, PREFIX, WORDS, WITHIN, ACROSS, FUZZY, NOTHING = 6, 5, 4, 3, 2, 1, 0
"""How well a text fits: it is what was asked for; it begins with it; words of it begin with every word; it has
them within; the record has them, in several texts; it has them with typing errors."""
SEPARATORS = "\n.,;:-_/\\@()[]{}<>'\"&+|#*!?=~"
"""What ends a word, beside blanks."""
_BLANKS = str.maketrans(dict.fromkeys(SEPARATORS, " "))
_JOINED = (7, 8, 9)
"""Classes of marks that make another letter: nukta, voicing, virama."""


def search_fold(text: str) -> str:
    """The text without distinction of case, accents and width, its white space as single blanks."""
    if text.isascii():
        return " ".join(text.lower().split())
    marks = unicodedata.normalize("NFKD", text)
    kept = "".join(c for c in marks if not (found := unicodedata.combining(c)) or found in _JOINED)
    return " ".join(unicodedata.normalize("NFC", kept).casefold().split())


def line(text: str, place: int) -> str:
    """One of the lines of a folded text, counted from 1; each is a field."""
    lines = text.split("\n")
    return lines[place - 1] if place <= len(lines) else ""


def words_of(text: str) -> str:
    """The text with a blank before each word."""
    return " " + text.translate(_BLANKS)


def grams(text: str) -> set[str]:
    """The characters at each place of a text, with a new line before it and blanks behind its end."""
    padded = "\n" + text + " " * (SIZE - 1)
    return {padded[i : i + SIZE] for i in range(len(text) + 1)}


def sqlite_tokens(text: str) -> str:
    """The grams of a text, as the tokens that SQLite's index takes."""
    if not text.isascii():
        return " ".join(gram.encode().hex() for gram in grams(text))
    # each character is two digits, so the digits of a gram stand within those of the text
    digits = f"\n{text}{' ' * (SIZE - 1)}".encode().hex()
    return " ".join({digits[i : i + 2 * SIZE] for i in range(0, 2 * len(text) + 2, 2)})


def postgresql_function() -> str:
    """``CREATE OR REPLACE FUNCTION amity_grams(text)``: immutable, so that it can be indexed."""
    blanks = " " * (SIZE - 1)
    return f"""
CREATE OR REPLACE FUNCTION {FUNCTION}(value text) RETURNS tsvector
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 2000 AS $grams$
  SELECT array_to_tsvector(ARRAY(
    SELECT substr(E'\\n' || value || '{blanks}', i, {SIZE}) FROM generate_series(1, char_length(value) + 1) i))
$grams$"""


# --- what is looked for -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Both:
    """Every part occurs."""

    parts: tuple[Pieces, ...]


@dataclass(frozen=True)
class Either:
    """At least one part occurs."""

    parts: tuple[Pieces, ...]


Pieces = str | Both | Either
"""What a text must have to be looked at: a piece of text, or several."""


def postgresql_query(pieces: Pieces) -> str:
    """As a ``tsquery``."""
    if isinstance(pieces, str):
        return _all(pieces, _lexeme, ":*", " & ")
    sign = " & " if isinstance(pieces, Both) else " | "
    return f"({sign.join(map(postgresql_query, pieces.parts))})"


def sqlite_query(pieces: Pieces) -> str:
    """As what FTS5 matches."""
    if isinstance(pieces, str):
        return _all(pieces, _token, "*", " AND ")
    sign = " AND " if isinstance(pieces, Both) else " OR "
    return f"({sign.join(map(sqlite_query, pieces.parts))})"


def _all(piece: str, written: Callable[[str], str], begins: str, sign: str) -> str:
    if len(piece) < SIZE:
        return written(piece) + begins
    found = dict.fromkeys(piece[i : i + SIZE] for i in range(len(piece) - SIZE + 1))
    return f"({sign.join(map(written, found))})"


def _lexeme(text: str) -> str:
    return f"'{text}'" if text.isalnum() else "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def _token(text: str) -> str:
    return f'"{text.encode().hex()}"'


@dataclass(frozen=True)
class Sought:
    """What somebody looks for: folded words, all of which have to occur, or a number.

    ``number`` are the digits of a phone number without what differs from one way of writing it to another.
    """

    words: tuple[str, ...]
    number: str | None = None

    @property
    def phrase(self) -> str:
        return " ".join(self.words)

    @property
    def patterns(self) -> list[str]:
        """For each word, the pattern of a text that has it within."""
        return [f"%{_escaped(word)}%" for word in self.words]

    @property
    def starts(self) -> list[str]:
        """For each word, the pattern of a text of which a word begins with it (see :func:`words_of`)."""
        return [f"% {_escaped(_inner(word))}%" for word in self.words]

    @property
    def tolerant(self) -> list[str]:
        """For each word, a regular expression of texts that have it, perhaps with typing errors."""
        return [_tolerant(word) for word in self.words]

    @property
    def pieces(self) -> Pieces:
        """What texts must have that fit as written."""
        found = Both(self.words)
        return Either((found, self.number)) if self.number else found

    @property
    def begun_pieces(self) -> Pieces:
        """What texts must have of which fields, or words behind blanks, begin with each word."""
        found = Both(tuple(_begun(word) for word in self.words))
        return Either((found, f"+{self.number}")) if self.number else found

    @property
    def tolerant_pieces(self) -> Pieces:
        """What texts must have that fit with typing errors."""
        return Both(tuple(_tolerant_pieces(word) for word in self.words))

    def spec(self, fuzzy: bool) -> str:
        """As SQLite's function takes it."""
        return orjson.dumps([self.words, self.number, fuzzy]).decode()


def rank(text: str, sought: Sought) -> int:
    """How well a folded text fits as written."""
    number = sought.number
    if text == sought.phrase or (number and text.lstrip("+") == number):
        return EXACT
    if text.startswith(sought.phrase):
        return PREFIX
    within = all(word in text for word in sought.words)
    begun = words_of(text)
    if (within and all(start in begun for start in _starts(sought))) or (number and text.endswith(number)):
        return WORDS
    return WITHIN if within or (number and number in text) else NOTHING


def fits_with_errors(text: str, sought: Sought) -> bool:
    """Whether a folded text has every word, each perhaps with typing errors."""
    return all(pattern.search(text) for pattern in _compiled(sought))


@lru_cache(256)
def _compiled(sought: Sought) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(pattern) for pattern in sought.tolerant)


@lru_cache(256)
def _starts(sought: Sought) -> tuple[str, ...]:
    return tuple(f" {_inner(word)}" for word in sought.words)


def _inner(word: str) -> str:
    """A word as :func:`words_of` has it."""
    return word.translate(_BLANKS).strip()


@lru_cache(256)
def _read(spec: str) -> tuple[Sought, bool]:
    words, number, fuzzy = orjson.loads(spec)
    return Sought(tuple(words), number), fuzzy


def sqlite_rank(text: str | None, spec: str) -> int:
    """The function ``amity_search_rank(text, spec)`` of SQLite's connections."""
    sought, fuzzy = _read(spec)
    if fuzzy:
        return FUZZY if fits_with_errors(text or "", sought) else NOTHING
    return rank(text or "", sought)


def sqlite_line(text: str | None, place: int) -> str:
    """The function ``amity_line(text, place)`` of SQLite's connections."""
    return line(text or "", place)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _begun(word: str) -> Pieces:
    """A word behind a new line or a blank. What both have is said once: an index reads the rarest gram first."""
    begins = Either((f"\n{word[: SIZE - 1]}", f" {word[: SIZE - 1]}"))
    return Both((begins, word)) if len(word) >= SIZE else begins


# --- typing errors ------------------------------------------------------------------------------------------

_ANY = "[^ \\n]"
_ENDS = "[ " + "".join("\\n" if c == "\n" else f"\\{c}" for c in SEPARATORS) + "]"
TOLERANT = 4
"""Characters from which a word may have an error: a character wrong, missing, too many, or two of them swapped."""
UNENDED = 6
"""Characters from which a word with an error may be the beginning of a longer one."""
TWICE = 8
"""Characters from which a word may have an error in each half."""
LONGEST = 100
"""Characters up to which a word may have errors: PostgreSQL refuses regular expressions that grow further."""


def _tolerant(word: str) -> str:
    # what matches has the pieces of the word: otherwise the texts of hidden fields would say what is looked at
    if not TOLERANT <= len(word) <= LONGEST:
        return _literal(word)
    end = "" if len(word) >= UNENDED else f"({_ENDS}|$)"
    return f"(^|{_ENDS})({_one_error(word)}{_twice(word)}){end}"


def _twice(word: str) -> str:
    if len(word) < TWICE:
        return ""
    first, second = _halves(word)
    return f"|({_one_error(first)})({_one_error(second)})"


def _one_error(word: str) -> str:
    """A regular expression of what the word is with at most one error: what is before its place, then another
    character, or one more, or none, or two of them swapped, then the rest."""
    letters = [_literal(letter) for letter in word]
    found = []
    for i, letter in enumerate(letters):
        before, rest = "".join(letters[:i]), letters[i + 1 :]
        swapped = f"|{rest[0]}{letter}{''.join(rest[1:])}" if rest else ""
        found.append(f"{before}(({_ANY}{letter}?)?{''.join(rest)}{swapped})")
    return "|".join(found)


def _literal(text: str) -> str:
    if text.isalnum():
        return text
    return "".join(f"\\{c}" if c.isascii() and not c.isalnum() else c for c in text)


def _halves(word: str) -> tuple[str, str]:
    middle = (len(word) + 1) // 2
    return word[:middle], word[middle:]


def _tolerant_pieces(word: str) -> Pieces:
    """What is left of a word with an error, wherever it is: one of two parts, unless it is between them."""
    if not TOLERANT <= len(word) <= LONGEST:
        return word
    first, second = _halves(word)
    swapped = first[:-1] + second[0] + first[-1] + second[1:]
    if len(word) < TWICE:
        return Either((first, second, swapped))
    return Either((Both((_tolerant_pieces(first), _tolerant_pieces(second))), swapped))


__all__ = [
    "FOLDING",
    "FUNCTION",
    "Sought",
    "fits_with_errors",
    "grams",
    "line",
    "postgresql_function",
    "postgresql_query",
    "rank",
    "search_fold",
    "sqlite_query",
    "sqlite_tokens",
]
