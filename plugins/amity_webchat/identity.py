"""Who a visitor is to the CRM.

==============================  ==============================================================================
what is known                   what it means
==============================  ==============================================================================
nothing                         an anonymous visitor, ``visitor:…``; the token in the browser is the only key to
                                the conversation
an address that is claimed      a note for the agents. It opens nothing: anybody can type anybody's address. Only
                                if nobody else has it, it becomes a contact point of the visitor's own prospect
an identity that the company's  ``user:…``, the same on every device. The visitor joins the customer who has the
own back end signed             signed address, and what was said before signing in comes along
==============================  ==============================================================================
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from uuid import UUID

from amity import ContactPoint, Conversation, Customer, Inbound, Interaction, Session, Update
from amity.channels import AddressError, normalize_email
from amity.entity import encode_id, split_id

from .tokens import Identity, Visitor

CHANNEL = "webchat"
UNVERIFIED = "web chat, not verified"
"""Label of an address that a visitor claimed."""
SIGNED = "web chat"
"""Label of an address that the company's own back end signed."""
LONGEST_NAME = 200
"""Characters of a subject in an address; a longer one is known by its SHA-256."""
_MOST = 5_000
"""Messages that are moved to another conversation at most."""


@dataclass(frozen=True)
class Who:
    """A visitor in one connection. ``key`` names the conversation, and is the visitor's address too."""

    key: str
    identity: Identity | None = None

    @property
    def name(self) -> str:
        """What people call the visitor, until they know better."""
        if self.identity is not None and self.identity.name is not None:
            return self.identity.name
        return f"Visitor {hashlib.sha256(self.key.encode()).hexdigest()[:6].upper()}"

    @property
    def signed_in(self) -> bool:
        return self.key.startswith("user:")


def anonymous(visitor: Visitor) -> Who:
    """Somebody who is known by a token alone."""
    return Who(f"visitor:{visitor.id}")


def signed(connection: UUID, identity: Identity) -> Who:
    """Somebody whom the company's own back end knows; by connection, as another may have other users."""
    name = quote(identity.subject, safe="@+")
    if len(name) > LONGEST_NAME:
        name = hashlib.sha256(identity.subject.encode()).hexdigest()
    return Who(f"user:{connection.hex[-12:]}:{name}", identity)


def claim(who: Who, email: str) -> Inbound:
    """The note for the agents that a visitor claims an address. Raises :class:`~amity.channels.AddressError`."""
    address = normalize_email(email)
    digest = hashlib.sha256(address.encode()).hexdigest()[:32]
    return Inbound(
        message_id=f"{who.key}/email/{digest}",
        address=who.key,
        body=f"The visitor says that this is their e-mail address: {address} (not verified)",
        conversation=who.key,
        automatic=True,
        fields={"webchat": {"claimed_email": address, "verified": False}},
    )


async def note_claim(session: Session, connection: UUID, note: Inbound) -> None:
    """Tells the agents whose address a visitor claims, once the note is stored."""
    address = str(note.fields["webchat"]["claimed_email"])

    async def work(joined: Session) -> None:
        (found,) = await joined.resolve([("email", address)])
        thread = await _conversation(joined, connection, note.address)
        if thread is None:
            return
        owner = thread["customer"]
        if found.status == "unknown":
            if owner is not None and await _only_chats(joined, owner["id"]):
                await _add(joined, owner["id"], "email", address, UNVERIFIED)
        elif owner is None or [split_id(owner["id"])[1]] != list(found.candidates):
            where = {"connection_id": {"eq": connection}, "message_id": {"eq": note.message_id}}
            row = await joined.find(Interaction).select("id", "custom_fields").where(where).one()
            if row is not None:
                candidates = [encode_id(Customer.options.prefix, id) for id in found.candidates]
                fields = {"webchat": {**note.fields["webchat"], "address_of": candidates}}
                patch = {"identity": "ambiguous", "custom_fields": {**row["custom_fields"], **fields}}
                await joined.update(Interaction, [Update(row["id"], patch)], read_only=True)

    await session.transact(work)


async def join(session: Session, connection: UUID, who: Who, before: Who | None) -> None:
    """Joins a signed-in visitor with the customer who has the signed address, as far as that is certain.

    ``before`` is the anonymous visitor whom the same browser was until now: that conversation goes on as the
    signed-in one. Doing it again changes nothing.
    """
    identity = who.identity
    assert identity is not None
    email = _email(identity)
    asked = [(CHANNEL, who.key)] + ([("email", email)] if email else [])
    if before is None and all(found.status != "unknown" for found in await session.resolve(asked)):
        return

    async def work(joined: Session) -> None:
        found = await joined.resolve(asked)
        customer = found[0].customer_id
        threads = await _threads(joined, connection, before.key) if before else []
        guests = {row["customer"]["id"] for row in threads if row["customer"] is not None}
        for guest in guests:
            if not await _only_chats(joined, guest):
                threads, guests = [], set()  # somebody decided whose words these are, so they stay theirs
                break
        if customer is None:
            if email and found[1].customer_id is not None:
                customer = found[1].customer_id
            elif guests:
                customer = split_id(min(guests))[1]
            if customer is not None:
                await _add(joined, customer, CHANNEL, who.key, SIGNED)
        if customer is not None and email and found[1].status == "unknown":
            await _add(joined, customer, "email", email, SIGNED)
        for thread in threads:
            await _adopt(joined, connection, who, thread)
        for guest in guests:
            if customer is not None and split_id(guest)[1] != customer:
                await _retire(joined, guest, customer)
        if customer is not None:
            await _belongs(joined, connection, who, customer)

    await session.transact(work)


async def _adopt(session: Session, connection: UUID, who: Who, old: Mapping[str, Any]) -> None:
    """Makes an anonymous conversation the signed-in visitor's, or a part of what that visitor has already."""
    new = await _conversation(session, connection, who.key)
    if new is None or old["key"] is None:
        patch: dict[str, Any] = {"address": who.key}
        if old["key"] is not None:
            patch["key"] = who.key
        await _updated(session, Conversation, [Update(old["id"], patch)])
        return
    rows = await (
        session.find(Interaction)
        .select("id")
        .where({"conversation_id": {"eq": old["id"]}})
        .order_by("occurred_at")
        .first(_MOST)
        .all()
    )
    await _updated(session, Interaction, [Update(row["id"], {"conversation_id": new["id"]}) for row in rows])
    patch = {
        "unread": new["unread"] + old["unread"],
        "last_at": max(new["last_at"], old["last_at"]),
        "started_at": min(new["started_at"], old["started_at"]),
    }
    if "open" in (old["status"].lower(), new["status"].lower()):
        patch["status"] = "open"
    await _updated(session, Conversation, [Update(new["id"], patch)])
    if len(rows) < _MOST:
        await session.delete(Conversation, [old["id"]])


async def _belongs(session: Session, connection: UUID, who: Who, customer: UUID) -> None:
    """Gives a thread, and what was said in it, to its customer, unless somebody gave it to another one."""
    threads = await _threads(session, connection, who.key)
    patch: dict[str, Any] = {"customer_id": customer}
    free = [Update(row["id"], patch) for row in threads if row["customer"] is None]
    await _updated(session, Conversation, free)
    theirs = [
        row["id"] for row in threads if row["customer"] is None or split_id(row["customer"]["id"])[1] == customer
    ]
    where = {"conversation_id": {"in": theirs}, "customer_id": {"isNull": True}}
    rows = await session.find(Interaction).select("id").where(where).first(_MOST).all()
    patch = {"customer_id": customer, "identity": "matched"}
    await _updated(session, Interaction, [Update(row["id"], patch) for row in rows])


async def _retire(session: Session, guest: str, customer: UUID) -> None:
    """Moves what a prospect had who turned out to be a customer, and takes the empty prospect away."""
    for entity in (ContactPoint, Conversation, Interaction):
        rows = await session.find(entity).select("id").where({"customer_id": {"eq": guest}}).first(_MOST).all()
        await _updated(session, entity, [Update(row["id"], {"customer_id": customer}) for row in rows])
    left = await (
        session.find(Customer)
        .select("version", "lifecycle")
        .where({"deals": {"none": {}}, "interactions": {"none": {}}, "members": {"none": {}}})
        .where({"id": {"eq": guest}})
        .one()
    )
    if left is not None and left["version"] == 1 and left["lifecycle"].lower() == "prospect":
        await session.delete(Customer, [guest])


async def _conversation(session: Session, connection: UUID, key: str) -> dict[str, Any] | None:
    """The conversation that a visitor writes in."""
    return next((row for row in await _threads(session, connection, key) if row["key"] == key), None)


async def _threads(session: Session, connection: UUID, address: str) -> list[dict[str, Any]]:
    """All conversations with a visitor: the one that the visitor writes in, and those that agents began."""
    query = session.find(Conversation).where({"connection_id": {"eq": connection}, "address": {"eq": address}})
    return await query.select("id", "key", "customer.id", "unread", "last_at", "started_at", "status").all()


async def _only_chats(session: Session, customer: str) -> bool:
    """Whether a customer is known by web chats, and by what was claimed there, alone."""
    points = session.find(ContactPoint).where({"customer_id": {"eq": customer}})
    others = points.where(
        {"not": {"or": [{"channel": {"eq": CHANNEL}}, {"label": {"eq": UNVERIFIED}}, {"label": {"eq": SIGNED}}]}}
    )
    signed_in = points.where({"channel": {"eq": CHANNEL}, "address": {"startsWith": "user:"}})
    return await others.count() == 0 and await signed_in.count() == 0 and await points.count() > 0


async def _add(session: Session, customer: UUID | str, channel: str, address: str, label: str) -> None:
    """Adds a contact point, unless somebody has it. A claimed one keeps nobody else from having it."""
    row: dict[str, Any] = {"customer_id": customer, "channel": channel, "address": address, "label": label}
    row["shared"] = label == UNVERIFIED
    await session.create(ContactPoint, [row], on_error="skip_invalid")


async def _updated(session: Session, entity: type[Any], updates: Sequence[Update]) -> None:
    if not updates:
        return
    result = await session.update(entity, updates, read_only=True)
    if result.errors:
        raise ValueError(f"{entity.__name__}: {result.errors[0].message}")


def _email(identity: Identity) -> str | None:
    """The signed address in its normal form, if it is one."""
    if identity.email is None:
        return None
    try:
        return normalize_email(identity.email)
    except AddressError:
        return None
