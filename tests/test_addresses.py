"""Addresses in their normal form: what is read at once says the same as what is read with care."""

from __future__ import annotations

import email_validator
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from amity.channels import AddressError, normalize_email

hosts = st.lists(st.text("abZ09-", min_size=1, max_size=8), min_size=1, max_size=4).map(".".join)
addresses = st.builds(
    "{}{}@{}.{}".format,
    st.text("abZ09._+-é' ", min_size=1, max_size=30),
    st.sampled_from(["", "x" * 40]),
    hosts,
    st.sampled_from(
        ["com", "C", "co.uk", "test", "local", "invalid", "example", "xn--p1ai", "museum", "c0m", "é"]
    ),
)


def carefully(address: str) -> str | None:
    try:
        found = email_validator.validate_email(address.strip(), check_deliverability=False, test_environment=True)
    except email_validator.EmailNotValidError:
        return None
    return found.normalized.lower()


@given(addresses)
@example("Ann.Lee+news@Example.COM")
@example(" ann@example.com ")
@example("a-@b--c.com")
@example("ann@xn--bcher-kva.example.com")
@example("ann@example.local")
@example("ann@example.com\n")
@example("\u212aann@example.com")
def test_plain_addresses_are_read_as_all_others_are(address: str) -> None:
    expected = carefully(address)
    if expected is None:
        with pytest.raises(AddressError):
            normalize_email(address)
    else:
        assert normalize_email(address) == expected
