"""Addresses that the server connects to on somebody else's word: hosts of gateways, mail boxes, webhooks.

Whoever may write such a host into a setting must not reach machines behind the firewall with it. So a name is
resolved here, refused if any of its addresses is not public, and connected to by the address that was looked at.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket

_NAT64 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
_COMPATIBLE = ipaddress.IPv6Network("::/96")


class AddressRefused(Exception):
    """Raised for a host that is not on the public internet. The message says which, and how to allow it."""


async def addresses(host: str, port: int, *, allow_private: bool = False) -> list[str]:
    """The addresses of a host, each to be connected to as it is, in the resolver's order.

    Raises :class:`AddressRefused` if one of them is private, local or reserved, unless ``allow_private``;
    OSError where the name is not known.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError(f"{host[:100]!r} is no name of a host: {error}") from error
    except socket.gaierror as error:
        raise OSError(f"the host {host[:100]} is not known: {error.strerror}") from error
    texts = list(dict.fromkeys(str(item[4][0]) for item in found))
    refused = [] if allow_private else [text for text in texts if not is_public(text)]
    if refused:
        raise AddressRefused(
            f"{host[:100]} is at {refused[0]}, which is not on the public internet; "
            "to connect to it, set allow_private = true in the account"
        )
    return texts


def is_public(text: str) -> bool:
    """Whether an IP address, also one within another (mapped, 6to4, Teredo, NAT64), is on the public internet."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        inner = _inner(address)
        if inner is not None:
            return is_public(str(inner))
    return address.is_global and not address.is_multicast and not address.is_reserved


def _inner(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 one leads to."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if any(address in network for network in (*_NAT64, _COMPATIBLE)):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None


__all__ = ["AddressRefused", "addresses", "is_public"]
