"""What the core's entities ask of their values, beyond type and form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..channels import AddressError, Channels, normalize_email
from ..database.grams import search_fold
from ..entity import EntityType, Record
from ..model import ContactPoint, Interaction, User
from .delivery import moves_forward
from .refusals import Refusals

Values = dict[str, Any]


@dataclass(slots=True)
class Circumstances:
    """What a rule may look at besides the values: the row as it is, and how to refuse."""

    index: int
    before: Mapping[str, Any] | None
    new: bool
    channels: Channels
    region: str
    refusals: Refusals

    def refuse(self, field: str, message: str) -> None:
        self.refusals.refuse(self.index, (field,), "invalid", message)


def concern(entity: EntityType) -> bool:
    """Whether there is a rule for values of this entity."""
    return entity.model in _RULES


def normalized(entity: EntityType, values: Mapping[str, Any], where: Circumstances) -> dict[str, Any]:
    """The values that input sets, in the form in which they are kept; what can't be is refused."""
    result = dict(values)
    rule = _RULES.get(entity.model)
    if rule is not None:
        rule(result, where)
    return result


def search_text(entity: EntityType, row: Mapping[str, Any]) -> str:
    """The folded texts that a row is found by, a line each."""
    return "\n".join(search_fold(row[name] or "") for name in entity.options.searchable)


def _contact_point(values: Values, where: Circumstances) -> None:
    if "channel" not in values and "address" not in values:
        return
    both = {**(where.before or {}), **values}
    name, address = both.get("channel"), both.get("address")
    if name is None:
        return
    try:
        kind = where.channels.channel(name)
    except LookupError as problem:
        where.refuse("channel", str(problem.args[0]))
        return
    if address is None:
        return
    try:
        values["address"] = kind.normalize(address, where.region)
    except AddressError as problem:
        where.refuse("address" if "address" in values else "channel", str(problem))


def _user(values: Values, where: Circumstances) -> None:
    if values.get("email") is None:
        return
    try:
        values["email"] = normalize_email(values["email"])
    except AddressError as problem:
        where.refuse("email", str(problem))


_EXCHANGED = frozenset(("channel", "direction", "address", "subject", "body", "occurred_at"))
"""Columns of a message that came in or went out: nobody rewrites what was said."""


def _interaction(values: Values, where: Circumstances) -> None:
    before, after = (where.before or {}).get("delivery"), values.get("delivery")
    if "delivery" in values and after != before and not moves_forward(before, after):
        where.refuse("delivery", f"only moves forward, and {before} does not lead to {after or 'nothing'}")
    both = {**(where.before or {}), **values}
    name, address = both.get("channel"), both.get("address")
    if name is not None and ("channel" in values or "address" in values):
        try:
            kind = where.channels.channel(name)
        except LookupError as problem:
            where.refuse("channel", str(problem.args[0]))
            return
        if address is not None:
            try:
                values["address"] = kind.normalize(address, where.region)
            except AddressError as problem:
                # whoever writes in has an address, even if nobody understands it
                if both.get("direction") != "inbound":
                    where.refuse("address" if "address" in values else "channel", str(problem))
    if where.before is not None and where.before["connection_id"] is not None:
        for field in _EXCHANGED & values.keys():
            if values[field] != where.before[field]:
                message = "is what was said in a message that was exchanged, and stays as it is"
                where.refusals.refuse(where.index, (field,), "read_only", message)
    if "identity" not in values:
        if values.get("customer_id") is not None:
            values["identity"] = "matched"
        elif where.new:
            values["identity"] = "unknown"


_RULES: Mapping[type[Record], Callable[[Values, Circumstances], None]] = {
    ContactPoint: _contact_point,
    User: _user,
    Interaction: _interaction,
}
