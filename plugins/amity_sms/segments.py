"""How many messages a text takes on the air: GSM 03.38 with its extension table, or UCS-2.

A text whose characters are all in the GSM alphabet is counted in septets, any other in UTF-16 units. One message
holds 160 septets or 70 units; of a longer text each part holds 153 or 67, since a header joins the parts. A part
never ends between the two halves of a character: an escape and what it escapes, a pair of surrogates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
"""The default alphabet of 3GPP TS 23.038, 6.2.1, without the escape: one septet each."""
EXTENSION = frozenset("\f^{}\\[~]|€")
"""Its extension table, 6.2.1.1: two septets each, the first of which is the escape."""

Encoding = Literal["gsm", "ucs2"]
SINGLE: dict[Encoding, int] = {"gsm": 160, "ucs2": 70}
"""What a message that stands alone holds."""
JOINED: dict[Encoding, int] = {"gsm": 153, "ucs2": 67}
"""What a part of a longer one holds, besides its header of six bytes."""


@dataclass(frozen=True)
class Segments:
    """A text as it is sent. ``units`` are septets (gsm) or UTF-16 units (ucs2); ``parts`` joined are the text."""

    encoding: Encoding
    units: int
    parts: tuple[str, ...]


def encoding_of(text: str) -> Encoding:
    """The smaller of the two encodings that can carry a text."""
    return "gsm" if all(char in BASIC or char in EXTENSION for char in text) else "ucs2"


def units_of(char: str, encoding: Encoding) -> int:
    """What one character takes: septets, or UTF-16 units."""
    if encoding == "gsm":
        return 2 if char in EXTENSION else 1
    return 2 if ord(char) > 0xFFFF else 1


def segments(text: str) -> Segments:
    """The parts in which a text is sent; an empty text is one empty message."""
    encoding = encoding_of(text)
    units = sum(units_of(char, encoding) for char in text)
    if units <= SINGLE[encoding]:
        return Segments(encoding, units, (text,))
    return Segments(encoding, units, tuple(_parts(text, encoding)))


def _parts(text: str, encoding: Encoding) -> Iterator[str]:
    start, used = 0, 0
    for index, char in enumerate(text):
        needed = units_of(char, encoding)
        if used + needed > JOINED[encoding]:
            yield text[start:index]
            start, used = index, 0
        used += needed
    yield text[start:]
