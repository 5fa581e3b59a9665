"""Channels: the ways in which customers are reached, and the normal form of an address on each."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import email_validator
import phonenumbers

_PLAIN_EMAIL = re.compile(
    r"[a-z0-9_-]+(?:[.+][a-z0-9_-]+)*@(?:[a-z0-9]+(?:-[a-z0-9]+)*\.)+[a-z]{2,}", re.ASCII | re.IGNORECASE
)
"""What nearly all addresses look like. They are their own normal form, but for capitals."""
_SPECIAL_HOSTS = frozenset(name.rpartition(".")[2] for name in email_validator.SPECIAL_USE_DOMAIN_NAMES)
_PLAIN_LENGTH = 64
"""Characters up to which no part of an address can be too long."""


class AddressError(ValueError):
    """Raised when a text is no address of its channel. The message says what was expected."""


@dataclass(frozen=True)
class ChannelKind:
    """A way of reaching customers.

    ``normalize(address, region)`` gives the one form in which an address is stored and looked up, or raises
    :class:`AddressError`; the region (ISO 3166-1) is that of numbers written without a country. Channels of
    one ``space`` share their addresses: who is known by a number is recognized by it on all of them.
    """

    name: str
    description: str
    space: str
    normalize: Callable[[str, str], str]


def normalize_email(address: str, region: str = "") -> str:
    """An e-mail address in lower case and Unicode's composed form. No name server is asked."""
    address = address.strip()
    if len(address) < _PLAIN_LENGTH and _PLAIN_EMAIL.fullmatch(address) and not _special(address):
        return address.lower()
    try:
        found = email_validator.validate_email(address, check_deliverability=False, test_environment=True)
    except email_validator.EmailNotValidError as error:
        raise AddressError(f"{address[:100]!r} is no e-mail address: {error}") from None
    return found.normalized.lower()


def _special(address: str) -> bool:
    """Whether the name of the host says that nobody can be reached there, or is written in another alphabet."""
    host = address[address.index("@") + 1 :].lower()
    return "xn--" in host or host.rpartition(".")[2] in _SPECIAL_HOSTS


def _phone(address: str, region: str) -> str:
    example = "expected digits with the country's code, like +41443331122"
    try:
        number = phonenumbers.parse(address.strip(), region)
    except phonenumbers.NumberParseException as error:
        raise AddressError(f"{address[:100]!r} is no phone number: {error}; {example}") from None
    if not phonenumbers.is_possible_number(number):
        raise AddressError(f"{address[:100]!r} is no phone number of {region} or any country; {example}")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _stripped(address: str, region: str) -> str:
    stripped = address.strip()
    if not stripped:
        raise AddressError("the address is empty")
    return stripped


class Channels(Mapping[str, ChannelKind]):
    """Channels by name."""

    def __init__(self, kinds: Iterable[ChannelKind]) -> None:
        self._kinds = {kind.name: kind for kind in kinds}

    def __getitem__(self, name: str) -> ChannelKind:
        return self._kinds[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    def __len__(self) -> int:
        return len(self._kinds)

    def channel(self, name: str) -> ChannelKind:
        """The channel of that name. Raises LookupError, which lists those that there are."""
        found = self._kinds.get(name)
        if found is None:
            close = difflib.get_close_matches(name, self._kinds, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise LookupError(f"there is no channel {name!r}; {hint}known are {', '.join(self._kinds)}")
        return found

    def normalize(self, name: str, address: str, region: str) -> str:
        """An address in its normal form. Raises LookupError for the channel, AddressError for the address."""
        return self.channel(name).normalize(address, region)

    def kin(self, name: str) -> tuple[str, ...]:
        """The channels that share addresses with this one, itself first."""
        space = self.channel(name).space
        return (name, *(kind.name for kind in self._kinds.values() if kind.space == space and kind.name != name))


CHANNELS = Channels(
    (
        ChannelKind("email", "E-mail", "email", normalize_email),
        ChannelKind("phone", "Phone calls", "number", _phone),
        ChannelKind("sms", "Text messages to a phone", "number", _phone),
        ChannelKind("webchat", "Chat on a web site", "webchat", _stripped),
        ChannelKind("web", "Visits and forms on a web site", "web", _stripped),
        ChannelKind("letter", "Letters on paper", "letter", _stripped),
    )
)
"""The core's own."""
