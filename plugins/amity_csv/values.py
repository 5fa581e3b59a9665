"""Texts of cells as values: numbers, money, dates, times, truth. Each raises ValueError with the reason."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, tzinfo
from functools import cached_property
from typing import Any

import orjson

_WITHOUT = ("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV")
_EXPONENTS: dict[str, int] = {
    **dict.fromkeys((*_WITHOUT, "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}
"""Digits of minor units where they are not two (ISO 4217)."""
_TRUE = frozenset(("true", "yes", "y", "t", "1", "on"))
_FALSE = frozenset(("false", "no", "n", "f", "0", "off"))


def exponent(currency: str) -> int:
    """Digits of a currency's minor units: 2 for USD, 0 for JPY (ISO 4217)."""
    return _EXPONENTS.get(currency, 2)


@dataclass(frozen=True)
class Numbers:
    """How numbers are written: ``1.234,50`` has the decimal sign ``,`` and the thousands sign ``.``"""

    decimal: str = "."
    thousands: str = ""

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        point = re.escape(self.decimal)
        whole = "[0-9]+"
        if self.thousands:
            whole = rf"(?:[0-9]{{1,3}}(?:{re.escape(self.thousands)}[0-9]{{3}})+|[0-9]+)"
        return re.compile(rf"([+-]?)({whole})(?:{point}([0-9]+))?([eE][+-]?[0-9]{{1,3}})?")

    def parts(self, text: str) -> tuple[str, str, str, str]:
        """Sign, digits, digits after the decimal sign, exponent. Raises ValueError."""
        found = self._pattern.fullmatch(text)
        if found is None:
            example = f"1{self.thousands}234{self.decimal}50"
            raise ValueError(f"is no number; expected one like {example} (set decimal and thousands for others)")
        sign, whole, fraction, power = found.groups(default="")
        return sign, whole.replace(self.thousands, "") if self.thousands else whole, fraction, power


PLAIN = Numbers()


def whole(text: str, numbers: Numbers = PLAIN) -> int:
    sign, digits, fraction, power = numbers.parts(text)
    if fraction.strip("0") or power:
        raise ValueError("is no whole number")
    return int(sign + digits)


def real(text: str, numbers: Numbers = PLAIN) -> float:
    sign, digits, fraction, power = numbers.parts(text)
    return float(f"{sign}{digits}.{fraction or '0'}{power}")


def minor_units(text: str, currency: str, numbers: Numbers = PLAIN) -> int:
    """``"1054.5"`` USD → 105450."""
    sign, digits, fraction, power = numbers.parts(text)
    places = exponent(currency)
    if power or len(fraction.rstrip("0")) > places:
        raise ValueError(f"is no amount of {currency}, which has {places} decimals")
    return int(sign + digits + fraction[:places].ljust(places, "0"))


def major_units(amount: int, currency: str) -> str:
    """105450 USD → ``"1054.50"``."""
    places = exponent(currency)
    digits = str(abs(amount)).rjust(places + 1, "0")
    sign = "-" if amount < 0 else ""
    return f"{sign}{digits[:-places]}.{digits[-places:]}" if places else f"{sign}{digits}"


def truth(text: str) -> bool:
    folded = text.casefold()
    if folded in _TRUE:
        return True
    if folded in _FALSE:
        return False
    raise ValueError("is neither true nor false; expected yes or no, true or false, 1 or 0")


@dataclass(frozen=True)
class Times:
    """How dates and times are written: ISO 8601, unless formats are given; the zone of those without one."""

    formats: Sequence[str] = field(default=())
    zone: tzinfo | None = None

    def day(self, text: str) -> date:
        if not self.formats:
            try:
                if len(text) == 10:
                    return date.fromisoformat(text)
            except ValueError:
                pass
            raise ValueError("is no date like 2026-01-31; set format for others")
        return self._parsed(text, "date").date()

    def instant(self, text: str) -> datetime:
        if self.formats:
            found = self._parsed(text, "time")
        else:
            try:
                found = datetime.fromisoformat(text)
            except ValueError:
                raise ValueError("is no time like 2026-01-31T09:30:00Z; set format for others") from None
        if found.tzinfo is None:
            if self.zone is None:
                raise ValueError('has no time zone; set time_zone, like "Europe/Zurich"')
            found = found.replace(tzinfo=self.zone)
        try:
            return found.astimezone(UTC)
        except OverflowError:
            raise ValueError("is outside the years 1 to 9999") from None

    def _parsed(self, text: str, what: str) -> datetime:
        for form in self.formats:
            try:
                return datetime.strptime(text, form)
            except ValueError:
                continue
        raise ValueError(f"is no {what} of the format {' or '.join(self.formats)}")


def json(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"is no JSON: {error}") from None
