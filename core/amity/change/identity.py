"""Identity resolution: from an address to the customer behind it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from ..channels import AddressError
from ..entity import split_id
from ..model import ContactPoint, Customer
from ..tree import All, AnyOf, Compare, Connection, Linked, Nodes, Page, Scalar
from . import rights

if TYPE_CHECKING:
    from ..crm import Session


@dataclass(frozen=True)
class Resolution:
    """What is known of who has an address.

    ``matched``: one customer. ``ambiguous``: several, the ``candidates``, for a person to decide. ``unknown``:
    nobody, or the address could not be read.
    """

    status: Literal["matched", "ambiguous", "unknown"]
    customer_id: UUID | None = None
    candidates: tuple[UUID, ...] = ()
    address: str | None = None
    """The address in its normal form; None if it has none."""


async def resolve(session: Session, addresses: Sequence[tuple[str, str]]) -> list[Resolution]:
    """Which customer each (channel, address) belongs to; one statement for all of them.

    Channels that share their addresses are looked up together: a text message from a number that is stored
    for calls is recognized. Raises LookupError for a channel that there is not, and
    :class:`~amity.access.AccessDenied`.
    """
    points, customers = session.crm.catalog.of(ContactPoint), session.crm.catalog.of(Customer)
    rights.authorize(session, points, "read")
    rights.authorize(session, customers, "read")
    kinds = session.crm.composition.kinds
    normal: list[str | None] = []
    wanted: dict[str, set[str]] = defaultdict(set)
    for name, address in addresses:
        try:
            normal.append(kinds.normalize(name, address, session.crm.settings.default_region))
        except AddressError:
            normal.append(None)
            continue
        for relative in kinds.kin(name):
            wanted[relative].add(str(normal[-1]))
    found: dict[tuple[str, str], set[UUID]] = defaultdict(set)
    if wanted:
        page = Page(
            parts=(
                Nodes(
                    "nodes",
                    (
                        Scalar("channel", "channel"),
                        Scalar("address", "address"),
                        Linked("customer", "customer", (Scalar("id", "id"),)),
                    ),
                ),
            ),
            where=AnyOf(
                tuple(
                    All((Compare("channel", "eq", name), Compare("address", "in", tuple(sorted(texts)))))
                    for name, texts in sorted(wanted.items())
                )
            ),
        )
        answer = (await session.read({"points": Connection(points.name, page)})).parsed()
        for node in answer["points"]["nodes"]:
            if node["customer"] is not None:
                found[node["channel"], node["address"]].add(split_id(node["customer"]["id"])[1])
    resolutions = []
    for (name, _), text in zip(addresses, normal, strict=True):
        candidates: set[UUID] = set()
        if text is not None:
            candidates = {id for relative in kinds.kin(name) for id in found.get((relative, text), ())}
        resolutions.append(_resolution(text, sorted(candidates)))
    return resolutions


def _resolution(address: str | None, candidates: Sequence[UUID]) -> Resolution:
    if not candidates:
        return Resolution("unknown", address=address)
    if len(candidates) == 1:
        return Resolution("matched", candidates[0], (candidates[0],), address)
    return Resolution("ambiguous", None, tuple(candidates), address)
