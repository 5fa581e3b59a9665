"""Connections: accounts of channels, made and changed by actions, their secrets encrypted.

What an app sends as ``settings`` is checked by the channel's account model. The fields of the model that are
secrets go to a column that no read, event or export knows; the others stay readable.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..change import Update, storage
from ..contracts import Action, ChangeResult, Context, IdOf, Permission, UserError
from ..entity import encode_id
from ..messages import Channel, Connected
from ..model import Connection, Team
from .reading import reader, rows_by
from .secrets import SecretsError, Vault, masked, revealed, secret_fields, vault

if TYPE_CHECKING:
    from ..crm import Crm, Session

MANAGE_CONNECTIONS = Permission("core.manage_connections", "Make, change and try the accounts of channels")
USE = "connections"
"""What the vault of secrets is for."""
CHECK_TIMEOUT = 60.0
"""Seconds that trying a connection may take."""


class CreateConnectionInput(BaseModel):
    """A new account of a channel."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    channel: str = Field(description="The channel, like email or sms")
    name: str = Field(min_length=1, max_length=200, description="Name to know it by; unique")
    settings: dict[str, Any] = Field(
        default_factory=dict,
        repr=False,
        description="What the channel asks for: servers, numbers, passwords. Secrets are kept encrypted and "
        "never shown again",
    )
    active: bool = Field(default=True, description="Whether messages come in and go out by it")
    team_id: Annotated[UUID, IdOf(Team)] | None = Field(
        default=None, description="The team that gets its conversations"
    )
    creates_prospects: bool = Field(default=False, description="Whether an unknown sender becomes a prospect")
    default_language: str | None = Field(
        default=None, max_length=35, description="Language (BCP 47) of messages to customers without one"
    )


class UpdateConnectionInput(BaseModel):
    """What changes in an account of a channel; everything else stays."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    id: Annotated[UUID, IdOf(Connection)] = Field(description="The connection")
    expected_version: int | None = Field(default=None, description="Refused if it has another version")
    name: str | None = Field(default=None, min_length=1, max_length=200, description="Name to know it by; unique")
    settings: dict[str, Any] | None = Field(
        default=None,
        repr=False,
        description="Settings and secrets that change, by name; null takes one away",
    )
    active: bool | None = Field(default=None, description="Whether messages come in and go out by it")
    team_id: Annotated[UUID, IdOf(Team)] | None = Field(
        default=None, description="The team that gets its conversations; null for none"
    )
    creates_prospects: bool | None = Field(
        default=None, description="Whether an unknown sender becomes a prospect"
    )
    default_language: str | None = Field(
        default=None, max_length=35, description="Language (BCP 47) of messages to customers without one"
    )


class CheckConnectionInput(BaseModel):
    """Which connection to try."""

    model_config = ConfigDict(extra="forbid")

    id: Annotated[UUID, IdOf(Connection)] = Field(description="The connection")


class CheckedConnection(BaseModel):
    """What trying a connection showed."""

    works: bool = Field(description="Whether nothing is wrong with it, as far as can be told")
    problem: str | None = Field(default=None, description="What is wrong, and what to do")


# --- opening -----------------------------------------------------------------------------------------------


class NotUsable(Exception):
    """Raised for a connection that can't be worked with. The message says why, and holds no secret."""


@dataclass(frozen=True)
class Opened:
    """A connection with its channel, ready to work with. ``row`` are its columns, without the secrets."""

    row: Mapping[str, Any]
    channel: Channel[Any]
    connected: Connected[Any]

    def told(self, problem: object) -> str:
        """A text about a problem, without the connection's secrets."""
        return masked(str(problem), self.connected.settings.model_dump(include=self._secrets))

    @property
    def _secrets(self) -> set[str]:
        return set(secret_fields(type(self.connected.settings)))


async def open_connections(session: Session, ids: Sequence[UUID]) -> dict[UUID, Opened | NotUsable]:
    """Connections by id, by one statement; what can't be used has the reason in its place, deleted ones none.

    For the core's own work: nobody's access is asked, and what comes back holds secrets.
    """
    found: dict[UUID, Opened | NotUsable] = {}
    for row in await rows_by(session, Connection, "id", ids):
        try:
            found[row["id"]] = _opened(session.crm, row)
        except NotUsable as problem:
            found[row["id"]] = problem
    return found


def _opened(crm: Crm, row: Mapping[str, Any]) -> Opened:
    owned = crm.composition.channels.get(row["channel"])
    if owned is None:
        message = f"the channel {row['channel']!r} is not there; enable the plugin that brings it"
        raise NotUsable(message)
    channel: Channel[Any] = owned.value
    try:
        secrets = _vault(crm).open(row["secrets"]) if row["secrets"] else {}
    except SecretsError as problem:
        raise NotUsable(f"its secrets can't be read: {problem}") from None
    try:
        account = channel.account.model_validate({**row["settings"], **secrets})
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, path))}: {message}" for path, message in _told(error, secrets))
        raise NotUsable(f"its settings are not what the channel asks for by now: {told}") from None
    connected = Connected(
        id=row["id"],
        name=row["name"],
        settings=account,
        region=crm.settings.default_region,
        public_url=public_url(crm),
    )
    return Opened({name: value for name, value in row.items() if name != "secrets"}, channel, connected)


def public_url(crm: Crm) -> str | None:
    """Where the CRM is reached from outside, without a slash at the end."""
    url = crm.settings.server.public_url
    return url.rstrip("/") if url else None


def _vault(crm: Crm) -> Vault:
    return vault(crm.settings, USE)


# --- making and changing -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Account:
    """Checked settings of a connection, apart: what may be seen, and what is encrypted."""

    settings: Mapping[str, Any]
    secrets: str | None


class _Wrong(Exception):
    """Carries user errors of one input."""

    def __init__(self, errors: Sequence[UserError]) -> None:
        self.errors = errors


def _account(crm: Crm, index: int, name: str, given: Mapping[str, Any]) -> _Account:
    """The settings of a connection, checked by the channel. Raises :class:`_Wrong`."""
    owned = crm.composition.channels.get(name)
    if owned is None:
        message = _no_channel(crm, name)
        raise _Wrong([UserError(index, ("channel",), "invalid", message)])
    model: type[BaseModel] = owned.value.account
    values = revealed(given)
    known = {key for field, info in model.model_fields.items() for key in (field, info.alias or field)}
    hidden = secret_fields(model)
    if model.model_config.get("extra") != "allow":
        strange = [_unknown(index, name, key, known) for key in values if key not in known]
        if strange:
            raise _Wrong(strange)
    secrets = {key: value for key, value in values.items() if key in hidden and value is not None}
    try:
        model.model_validate(values)
    except ValidationError as error:
        raise _Wrong(
            [UserError(index, ("settings", *path), "invalid", told) for path, told in _told(error, secrets)]
        ) from None
    if not secrets:
        sealed = None
    else:
        try:
            sealed = _vault(crm).seal(secrets)
        except SecretsError as problem:
            raise _Wrong([UserError(index, ("settings",), "refused", str(problem))]) from None
    return _Account({key: value for key, value in values.items() if key not in hidden}, sealed)


def _no_channel(crm: Crm, name: str) -> str:
    channels = crm.composition.channels
    if name in crm.composition.kinds:
        return (
            f"no plugin brings sending or receiving for the channel {name!r}; enable one that does, in plugins of "
            "amity.toml (`amity plugins` lists what is installed)"
        )
    close = difflib.get_close_matches(name, channels, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"enabled are {', '.join(sorted(channels)) or 'none'}"
    return f"there is no channel {name!r}; {hint}"


def _unknown(index: int, channel: str, key: str, known: set[str]) -> UserError:
    close = difflib.get_close_matches(key, sorted(known), n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(sorted(known)) or 'none'}"
    message = f"the channel {channel!r} has no setting {key!r}; {hint}"
    return UserError(index, ("settings", key), "unknown_field", message)


def _told(error: ValidationError, secrets: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
    """Problems of an account, with their places; what was given is not repeated."""
    return [
        (tuple(item["loc"]), masked(item["msg"].removeprefix("Value error, "), secrets))
        for item in error.errors(include_url=False, include_input=False, include_context=False)
    ]


async def create_connections(
    context: Context, inputs: Sequence[CreateConnectionInput]
) -> Sequence[UUID | UserError]:
    """Makes connections. Settings that the channel does not take are refused, and so are secrets without a key."""
    rows: dict[int, dict[str, Any]] = {}
    wrong: dict[int, UserError] = {}
    for index, item in enumerate(inputs):
        try:
            account = _account(context.crm, index, item.channel, item.settings)
        except _Wrong as problem:
            wrong[index] = problem.errors[0]
            continue
        row = item.model_dump(exclude={"settings"})
        rows[index] = {**row, "settings": account.settings, "secrets": account.secrets}
    result = await context.session.create(Connection, list(rows.values()), on_error="skip_invalid", read_only=True)
    return _aligned(len(inputs), list(rows), result, wrong)


async def update_connections(
    context: Context, inputs: Sequence[UpdateConnectionInput]
) -> Sequence[UUID | UserError]:
    """Changes connections; settings that are not named stay, secrets too."""
    changed = [item.id for item in inputs if item.settings is not None]
    # held from here on, so that nobody else's change of other settings gets lost
    entity = context.crm.catalog.of(Connection)
    before = await storage.select(reader(context.session), entity, changed, lock="update")
    updates: dict[int, Update] = {}
    wrong: dict[int, UserError] = {}
    for index, item in enumerate(inputs):
        patch = item.model_dump(exclude={"id", "expected_version", "settings"}, exclude_unset=True)
        row = before.get(item.id)
        if item.settings is not None and row is not None:
            try:
                patch |= _patched(context.crm, index, row, item.settings)
            except _Wrong as problem:
                wrong[index] = problem.errors[0]
                continue
        updates[index] = Update(item.id, patch, item.expected_version)
    result = await context.session.update(
        Connection, list(updates.values()), on_error="skip_invalid", read_only=True
    )
    return _aligned(len(inputs), list(updates), result, wrong)


def _patched(crm: Crm, index: int, row: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of a connection whose settings change."""
    try:
        secrets = _vault(crm).open(row["secrets"]) if row["secrets"] else {}
    except SecretsError as problem:
        message = f"the secrets that stay can't be read: {problem}"
        raise _Wrong([UserError(index, ("settings",), "refused", message)]) from None
    merged = {**row["settings"], **secrets, **given}
    account = _account(crm, index, row["channel"], {k: v for k, v in merged.items() if v is not None})
    owned = crm.composition.channels[row["channel"]].value
    patch: dict[str, Any] = {"settings": account.settings}
    if given.keys() & secret_fields(owned.account):
        patch["secrets"] = account.secrets
    return patch


def _aligned(
    count: int, places: Sequence[int], result: ChangeResult, wrong: Mapping[int, UserError]
) -> list[UUID | UserError]:
    """One result for each input, where only some of them became writes."""
    found: dict[int, UUID | UserError] = dict(wrong)
    for place, id in zip(places, result.ids, strict=True):
        if id is not None:
            found[place] = id
    for error in result.errors:
        place = places[error.index]
        found.setdefault(place, UserError(place, error.path, error.code, error.message))
    return [found[index] for index in range(count)]


# --- trying ------------------------------------------------------------------------------------------------


async def check_connections(
    context: Context, inputs: Sequence[CheckConnectionInput]
) -> Sequence[CheckedConnection | UserError]:
    """Tries connections, one after the other."""
    readable = context.session.find(Connection).where({"id": {"in": [item.id for item in inputs]}})
    seen = {row["id"] for row in await readable.all()}
    prefix = context.crm.catalog.of(Connection).prefix
    opened = await open_connections(context.session, [item.id for item in inputs])
    results: list[CheckedConnection | UserError] = []
    for index, item in enumerate(inputs):
        found = opened.get(item.id)
        if found is None or encode_id(prefix, item.id) not in seen:
            results.append(UserError(index, ("id",), "not_found", "there is no such connection"))
        else:
            problem = str(found) if isinstance(found, NotUsable) else await _tried(found)
            results.append(CheckedConnection(works=problem is None, problem=problem))
    return results


async def _tried(opened: Opened) -> str | None:
    """What is wrong with a connection, in words; None where nothing is."""
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            await opened.channel.check(opened.connected)
    except TimeoutError as error:
        return opened.told(error) if str(error) else f"it did not answer within {CHECK_TIMEOUT:g} seconds"
    except Exception as error:
        return opened.told(error) or type(error).__name__
    return None


# --- keys --------------------------------------------------------------------------------------------------


async def rotate(session: Session) -> int:
    """Encrypts the secrets of all connections with the first key; how many there are.

    Deleted ones are among them, as they can be restored. Raises :class:`SecretsError`, and nothing is changed,
    if there are secrets that none of the keys opens.
    """
    entity = session.crm.catalog.of(Connection)

    async def work(joined: Session) -> int:
        assert joined.unit is not None
        transaction = joined.unit.transaction
        lock = " FOR UPDATE OF t" if transaction.dialect == "postgresql" else ""
        sql = f'SELECT t."id", t."name", t."secrets" FROM "{entity.table}" t WHERE t."secrets" IS NOT NULL{lock}'
        changed = []
        for row in await reader(joined).fetch(sql):
            kept = storage.decode_row(entity, ("id", "name", "secrets"), row, transaction.dialect)
            try:
                sealed = _vault(joined.crm).sealed_anew(kept["secrets"])
            except SecretsError as problem:
                raise SecretsError(f"connection {kept['name']!r}: {problem}") from None
            changed.append({"id": kept["id"], "secrets": sealed})
        # what they say is the same, so there is nothing to tell in the log
        await storage.update(transaction, entity, changed, ["secrets"])
        return len(changed)

    return await session.transact(work)


CONNECTION_ACTIONS: tuple[Action[Any], ...] = (
    Action(
        "create_connection",
        CreateConnectionInput,
        run=create_connections,
        permission=MANAGE_CONNECTIONS.name,
        entity=Connection,
        description="Makes an account of a channel, with settings that the channel checks",
    ),
    Action(
        "update_connection",
        UpdateConnectionInput,
        run=update_connections,
        permission=MANAGE_CONNECTIONS.name,
        entity=Connection,
        description="Changes an account of a channel; settings and secrets that are not named stay",
    ),
    Action(
        "check_connection",
        CheckConnectionInput,
        run=check_connections,
        permission=MANAGE_CONNECTIONS.name,
        output=CheckedConnection,
        description="Tries whether an account of a channel works, without sending anything",
        transactional=False,
    ),
)

__all__ = [
    "CONNECTION_ACTIONS",
    "MANAGE_CONNECTIONS",
    "CheckedConnection",
    "NotUsable",
    "Opened",
    "check_connections",
    "open_connections",
    "public_url",
    "rotate",
]
