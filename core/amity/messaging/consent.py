"""Consent: a ledger of what customers agreed to, asked before everything that is sent.

The ledger is only ever added to. The newest entry decides, of those that are about the purpose or about
everything (``*``), on the same channel, and of the same customer or address:

* ``service``, what answers a customer or belongs to what they ordered, may be sent unless it says withdrawn;
* everything else may be sent only if it says given.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from ..change import storage
from ..change.draft import told
from ..change.storage import Keys
from ..channels import AddressError
from ..contracts import Action, Context, FieldDeclaration, IdOf, Permission, UserError, batch
from ..entity import Kind, decode_id, new_id
from ..model import ConsentEntry, ContactPoint, Customer
from .reading import reader, rows_by
from .secrets import SecretsError, vault

if TYPE_CHECKING:
    from ..crm import Session
    from ..settings import Settings

RECORD_CONSENT = Permission("core.record_consent", "Record that customers gave or withdrew consent")
SERVICE = "service"
"""The purpose of answers, and of what belongs to an order."""
EVERYTHING = "*"
PURPOSE = r"\*|[a-z][a-z0-9_]{0,49}"
USE = "consent"
"""What the vault of tokens is for."""
CHUNK = 5_000
"""Questions that one statement answers; more are asked by several."""
AHEAD = timedelta(minutes=5)
"""How far a clock elsewhere may be ahead of ours."""

State = Literal["given", "withdrawn"]
Basis = Literal["consent", "contract", "legitimate_interest", "legal_obligation"]


# --- asking ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ask:
    """Whether somebody may be written to. ``address`` is in its normal form; either of the two may be None."""

    customer: UUID | None
    channel: str
    address: str | None
    purpose: str = SERVICE


@dataclass(frozen=True)
class Answer:
    """Whether something may be sent; if not, ``reason`` says why, for people."""

    allowed: bool
    reason: str | None = None
    state: State | None = None
    """What the ledger's newest entry says; None where there is none."""


async def allowed(session: Session, asks: Sequence[Ask]) -> list[Answer]:
    """One answer for each question, in their order, by one statement for up to 5,000.

    The whole ledger is looked at, whatever the session's principal may see of it: nobody gets to write to
    somebody by not being allowed to see that they said no. Within a unit of work it sees what the unit wrote.
    """
    answers: list[Answer] = []
    for chunk in storage.chunks(asks, CHUNK):
        answers += await _answered(session, chunk)
    return answers


async def _answered(session: Session, asks: Sequence[Ask]) -> list[Answer]:
    source = reader(session)
    columns = (
        ("customer_id", Kind.ID),
        ("channel", Kind.TEXT),
        ("address", Kind.TEXT),
        ("purpose", Kind.TEXT),
    )
    keys = Keys(source.dialect, columns, [(ask.customer, ask.channel, ask.address, ask.purpose) for ask in asks])
    table = f'"{session.crm.catalog.of(ConsentEntry).table}"'
    # two look-ups, each in an order that an index has: a condition with "or" would read all that match
    newest = " UNION ALL ".join(
        f'SELECT * FROM (SELECT e."id", e."occurred_at" FROM {table} e WHERE e."channel" = k."channel" '
        f'AND {matching} AND (e."purpose" = k."purpose" OR e."purpose" = \'{EVERYTHING}\') '
        f'ORDER BY e."occurred_at" DESC, e."id" DESC LIMIT 1) {alias}'
        for alias, matching in (("c", 'e."customer_id" = k."customer_id"'), ("a", 'e."address" = k."address"'))
    )
    sql = (
        f'SELECT k.n, d."state", d."purpose", d."occurred_at" FROM {keys.sql} '
        f'LEFT JOIN {table} d ON d."id" = (SELECT u."id" FROM ({newest}) u '
        f'ORDER BY u."occurred_at" DESC, u."id" DESC LIMIT 1)'
    )
    entity = session.crm.catalog.of(ConsentEntry)
    names = ("state", "purpose", "occurred_at")
    found = {}
    for number, *row in await source.fetch(sql, keys.parameters):
        found[int(number)] = storage.decode_row(entity, names, row, source.dialect)
    return [_answer(ask, found[number]) for number, ask in enumerate(asks, 1)]


def _answer(ask: Ask, newest: Mapping[str, Any]) -> Answer:
    state: State | None = newest["state"]
    if ask.customer is None and ask.address is None:
        return Answer(False, "neither the customer nor the address is known")
    if state == "withdrawn":
        what = "everything" if newest["purpose"] == EVERYTHING else repr(ask.purpose)
        day = newest["occurred_at"].date().isoformat()
        return Answer(False, f"consent for {what} over {ask.channel} was withdrawn on {day}", state)
    if state is None and ask.purpose != SERVICE:
        return Answer(False, f"there is no consent for {ask.purpose!r} over {ask.channel}")
    return Answer(True, None, state)


# --- recording ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """What is to be added to the ledger. ``address`` is in its normal form."""

    channel: str
    purpose: str
    state: State
    customer: UUID | None = None
    address: str | None = None
    basis: Basis | None = None
    source: str | None = None
    note: str | None = None
    occurred_at: datetime | None = None
    """The time of the unit of work by default."""


async def add_entries(session: Session, entries: Sequence[Entry]) -> list[UUID]:
    """Adds to the ledger, within a unit of work; their ids. Each is told in the event log.

    For channels and the core's own code: nothing is checked. Of two entries of the same time the later one of
    the list counts.
    """
    unit = session.unit
    assert unit is not None
    entity = session.crm.catalog.of(ConsentEntry)
    rows: list[dict[str, Any]] = [
        {
            "id": new_id(),
            "customer_id": entry.customer,
            "channel": entry.channel,
            "address": entry.address,
            "purpose": entry.purpose,
            "state": entry.state,
            "basis": entry.basis,
            "source": entry.source,
            "note": entry.note,
            "occurred_at": entry.occurred_at or unit.now,
        }
        for entry in entries
    ]
    if rows:
        await storage.insert(
            unit.transaction, entity, [{name: row[name] for name in entity.columns} for row in rows]
        )
    for row in rows:
        shown = tuple(name for name in entity.columns if row[name] is not None)
        unit.record(session, "created", entity, row["id"], None, told(session.crm.catalog, entity, row, shown))
    return [row["id"] for row in rows]


class RecordConsentInput(BaseModel):
    """That somebody gave or withdrew consent."""

    model_config = ConfigDict(extra="forbid")

    customer_id: Annotated[UUID, IdOf(Customer)] | None = Field(
        default=None, description="The customer; needed unless there is an address"
    )
    channel: str = Field(description="The channel, like email or sms")
    address: str | None = Field(
        default=None, description="The address; without it the entry is about the customer on this channel"
    )
    purpose: str = Field(
        pattern=f"^({PURPOSE})$",
        description="What for: service, marketing, or any other word; * is everything",
    )
    state: State = Field(description="Whether it was given or withdrawn")
    basis: Basis | None = Field(default=None, description="The lawful basis")
    source: str | None = Field(default=None, max_length=1000, description="How it was told: a form, a call")
    note: str | None = Field(default=None, max_length=10_000, description="Free text")
    occurred_at: AwareDatetime | None = Field(default=None, description="When it was told; now by default")


async def record_consent(context: Context, inputs: Sequence[RecordConsentInput]) -> Sequence[UUID | UserError]:
    """Adds entries to the ledger."""
    session = context.session
    wanted = [item.customer_id for item in inputs if item.customer_id is not None]
    known: set[UUID] = set()
    if wanted:
        prefix = context.crm.catalog.of(Customer).prefix
        rows = await session.find(Customer).where({"id": {"in": list(dict.fromkeys(wanted))}}).all()
        known = {decode_id(prefix, row["id"]) for row in rows}
    results: dict[int, UUID | UserError] = {}
    entries: dict[int, Entry] = {}
    for index, item in enumerate(inputs):
        try:
            entries[index] = _entry(context, item, known)
        except _Refused as refused:
            results[index] = UserError(index, (refused.field,), refused.code, str(refused))
    ids = await add_entries(session, list(entries.values()))
    results |= dict(zip(entries, ids, strict=True))
    return [results[index] for index in range(len(inputs))]


class _Refused(Exception):
    def __init__(self, field: str, code: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.code = code


def _entry(context: Context, item: RecordConsentInput, known: set[UUID]) -> Entry:
    crm = context.crm
    try:
        kind = crm.composition.kinds.channel(item.channel)
    except LookupError as problem:
        raise _Refused("channel", "invalid", str(problem.args[0])) from None
    if item.customer_id is None and item.address is None:
        raise _Refused("customer_id", "required", "a customer or an address is needed: whose consent it is")
    if item.customer_id is not None and item.customer_id not in known:
        raise _Refused("customer_id", "not_found", "there is no such customer")
    address = None
    if item.address is not None:
        try:
            address = kind.normalize(item.address, crm.settings.default_region)
        except AddressError as problem:
            raise _Refused("address", "invalid", str(problem)) from None
    if item.occurred_at is not None and item.occurred_at > datetime.now(UTC) + AHEAD:
        raise _Refused("occurred_at", "invalid", "lies ahead; what was not told yet can't be recorded")
    values = item.model_dump(exclude={"customer_id", "address"})
    return Entry(**values, customer=item.customer_id, address=address)


# --- links by which consent is withdrawn -------------------------------------------------------------------


def withdrawal_token(settings: Settings, ask: Ask) -> str:
    """A text for a link by which whoever got a message withdraws consent. It tells nothing to who reads it.

    It works as long as its key is in ``[security]``. Raises :class:`SecretsError` where there is no key.
    """
    customer = None if ask.customer is None else ask.customer.hex
    return vault(settings, USE).seal({"c": customer, "h": ask.channel, "a": ask.address, "p": ask.purpose})


def read_withdrawal_token(settings: Settings, token: str) -> Ask | None:
    """What a token withdraws; None for one that was not made here."""
    try:
        found = vault(settings, USE).open(token)
    except (SecretsError, ValueError):
        return None
    customer = None if found["c"] is None else UUID(found["c"])
    return Ask(customer, found["h"], found["a"], found["p"])


async def withdraw(session: Session, ask: Ask, source: str) -> UUID | None:
    """Adds to the ledger that consent was withdrawn; None, and nothing added, where it says so already."""

    async def work(joined: Session) -> UUID | None:
        if (await allowed(joined, [ask]))[0].state == "withdrawn":
            return None
        known = ask.customer
        if known is not None and not await rows_by(joined, Customer, "id", [known], live=False):
            known = None
        entry = Entry(ask.channel, ask.purpose, "withdrawn", known, ask.address, source=source)
        return (await add_entries(joined, [entry]))[0]

    return await session.transact(work)


# --- reading -----------------------------------------------------------------------------------------------


class CurrentConsent(BaseModel):
    """What a customer said last about a purpose on a channel."""

    channel: str = Field(description="The channel, like email or sms")
    purpose: str = Field(description="What for; * is everything")
    state: State = Field(description="Whether it was given or withdrawn")
    basis: Basis | None = Field(description="The lawful basis")
    since: datetime = Field(description="When it was told (UTC)")


async def _current(
    context: Context, parents: Sequence[Mapping[str, Any]], arguments: Mapping[str, Any]
) -> list[list[CurrentConsent]]:
    """The field ``Customer.consents``: one statement for the addresses, two for the entries.

    It tells what the ledger says of addresses that the caller may read, but for entries about customers who are
    out of reach; and nothing to who may not read the ledger.
    """
    session = context.session
    ids = [decode_id(Customer.options.prefix, parent["id"]) for parent in parents]
    points = (
        await session.find(ContactPoint)
        .select("customer_id", "channel", "address")
        .where({"customer_id": {"in": ids}})
        .all()
    )
    owners: dict[tuple[str, str], set[UUID]] = defaultdict(set)
    kinds = context.crm.composition.kinds
    for point in points:
        customer_id = decode_id(Customer.options.prefix, point["customer_id"])
        for channel in kinds.kin(point["channel"]) if point["channel"] in kinds else (point["channel"],):
            owners[channel, point["address"]].add(customer_id)
    newest: dict[UUID, dict[tuple[str, str], Mapping[str, Any]]] = defaultdict(dict)
    for row in await _entries(session, ids, sorted(owners)):
        about = set(owners.get((row["channel"], row["address"]), ()))
        for customer in about | {row["customer_id"]}:
            newest[customer][row["channel"], row["purpose"]] = row
    return [
        [
            CurrentConsent(
                channel=row["channel"],
                purpose=row["purpose"],
                state=row["state"],
                basis=row["basis"],
                since=row["occurred_at"],
            )
            for _, row in sorted(newest[id].items())
        ]
        for id in ids
    ]


_TOLD = ("id", "channel", "address", "purpose", "state", "basis", "occurred_at")


async def _entries(
    session: Session, customers: Sequence[UUID], addresses: Sequence[tuple[str, str]]
) -> list[dict[str, Any]]:
    """Entries of customers, or of addresses on their channels, oldest first."""
    entity = session.crm.catalog.of(ConsentEntry)
    source = reader(session)
    asked = session.find(ConsentEntry).select(
        "id", "channel", "address", "purpose", "state", "basis", "occurred_at"
    )
    seen = await asked.where({"customer_id": {"in": list(customers)}}).all()
    of_customers = [decode_id(entity.prefix, row["id"]) for row in seen]
    found = await storage.select_by(source, entity, "id", of_customers)
    by_address: dict[UUID, dict[str, Any]] = {}
    for chunk in storage.chunks(addresses):
        keys = Keys(source.dialect, (("channel", Kind.TEXT), ("address", Kind.TEXT)), chunk)
        names = list(entity.columns)
        sql = (
            f"SELECT {storage.quoted(names, 'e')} FROM {keys.sql} {storage.join(source.dialect)} "
            f"{storage.table_of(entity)} e{' ON' if source.dialect == 'postgresql' else ' WHERE'} "
            f'e."channel" = k."channel" AND e."address" = k."address"'
        )
        for row in await source.fetch(sql, keys.parameters):
            decoded = storage.decode_row(entity, names, row, source.dialect)
            by_address[decoded["id"]] = decoded
    others = {row["customer_id"] for row in by_address.values()} - {None, *customers}
    reached = set(customers)
    if others:
        rows = await session.find(Customer).where({"id": {"in": sorted(others)}}).all()
        reached |= {decode_id(Customer.options.prefix, row["id"]) for row in rows}
    for id, decoded in by_address.items():
        if decoded["customer_id"] is None or decoded["customer_id"] in reached:
            found[id] = decoded
    return sorted(found.values(), key=lambda row: (row["occurred_at"], row["id"]))


CONSENT_ACTIONS: tuple[Action[Any], ...] = (
    Action(
        "record_consent",
        RecordConsentInput,
        run=record_consent,
        permission=RECORD_CONSENT.name,
        entity=ConsentEntry,
        description="Records that somebody gave or withdrew consent; the ledger is only ever added to",
    ),
)
CONSENT_FIELDS: tuple[FieldDeclaration, ...] = (
    batch(
        Customer,
        "consents",
        list[CurrentConsent],
        needs=["id"],
        resolve=_current,
        description="What the customer said last about each purpose on each channel, also by their addresses",
    ),
)

__all__ = [
    "CONSENT_ACTIONS",
    "CONSENT_FIELDS",
    "EVERYTHING",
    "RECORD_CONSENT",
    "SERVICE",
    "Answer",
    "Ask",
    "CurrentConsent",
    "Entry",
    "add_entries",
    "allowed",
    "read_withdrawal_token",
    "record_consent",
    "withdraw",
    "withdrawal_token",
]
