"""Principals from the database: who somebody is, and by which roles they act.

One statement brings a session or key, the facts about its user, and the ids and versions of the roles. What roles
grant is kept in memory for as long as their versions are the same, so that it is read once and still never stale.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import orjson

from ..access import EVERY, Facts, Principal, Role, RowRule, TypeGrant, Verb
from ..change import storage
from ..database import DatabaseError
from ..database.base import Row
from ..entity import InvalidId, Kind, Record, decode_id, encode_id, new_id
from ..entity.values import decode, encode
from ..model import ApiKey, Customer, Grant, PermissionGrant, RoleMember, Team, User, UserSession
from ..model import Role as RoleEntity
from ..query import QueryError
from .errors import SignInFailed, TooManyAttempts
from .passwords import Passwords
from .rules import parse_grant
from .tokens import KEY, SESSION, new_token, read_token
from .trusted import in_name_of

if TYPE_CHECKING:
    from ..change.unit import Unit
    from ..crm import Crm, Session

log = logging.getLogger("amity.access")
PORTAL = "portal"
"""The role of customers who act for themselves."""
TOUCHED = timedelta(minutes=1)
"""How often the last use of a session or key is written down at most."""
Fetch = Callable[[str, Sequence[Any]], Awaitable[list[Row]]]
MAX_ACCOUNT = 320
"""Characters of an account's name that are told apart; no e-mail address is longer."""
MAX_PRINCIPALS = 1_000
"""Principals of sign-ins that are kept, by what was read of them."""
MAX_ACCOUNTS = 10_000
"""Accounts whose failed attempts are remembered at most."""


class Access:
    """``crm.access``: principals by user, customer, session and key, and signing in."""

    def __init__(self, crm: Crm) -> None:
        self._crm = crm
        self._roles: dict[UUID, Role] = {}
        self._principals: dict[tuple[Row, ...], Principal] = {}
        self._attempts = _Attempts(
            crm.settings.sign_in.attempts, timedelta(minutes=crm.settings.sign_in.attempt_minutes)
        )
        self.passwords = Passwords(crm.settings.sign_in)

    async def user(self, which: UUID | str) -> Principal:
        """An active user, by id or e-mail address. Raises LookupError."""
        column, value = "id", which
        if isinstance(which, str):
            column, value = ("email", which.strip().lower()) if "@" in which else ("id", self._id(User, which))
        kind = Kind.ID if column == "id" else Kind.TEXT
        users = f"{self._table(User)} u {self._of_user()}"
        sql = f'SELECT {_USER}, {_ROLE} FROM {users} WHERE u."{column}" = {self._mark(1)} AND {_LIVE}'
        rows = await self._read(sql, (self._encode(kind, value),))
        if not rows or not rows[0][1]:
            raise LookupError(f"there is no active user {which}")
        return await self._user(rows)

    async def customer(self, which: UUID | str) -> Principal:
        """A customer, acting under the role ``portal``. Raises LookupError."""
        id = self._id(Customer, which)
        table, roles = self._table(Customer), self._table(RoleEntity)
        sql = (
            f'SELECT c."id", r."id", r."version" FROM {table} c LEFT JOIN {roles} r '
            f'ON r."name" = {self._mark(2)} AND r."deleted_at" IS NULL '
            f'WHERE c."id" = {self._mark(1)} AND c."deleted_at" IS NULL'
        )
        rows = await self._read(sql, (self._encode(Kind.ID, id), PORTAL))
        if not rows:
            raise LookupError(f"there is no customer {which}")
        return await self._customer(id, [row[1:] for row in rows])

    async def by_session(self, token: str) -> Principal | None:
        """Who is signed in with a token; None if it is none, has ended, or its user is not active any more."""
        read = read_token(SESSION, token)
        if read is None:
            return None
        rows = await self._read(self._by_session, (self._encode(Kind.ID, read.id),))
        if not rows:
            return None
        *_, kept, expires_at, last_used_at = rows[0]
        now = datetime.now(UTC)
        if not read.matches(kept) or not rows[0][1] or self._time(expires_at) <= now:
            return None
        ends = now + timedelta(days=self._crm.settings.sign_in.session_days)
        await self._touch(UserSession, read.id, self._time(last_used_at), now, {"expires_at": ends})
        return await self._signed_in(tuple(tuple(row[:5]) for row in rows))

    @cached_property
    def _by_session(self) -> str:
        return (
            f'SELECT {_USER}, {_ROLE}, s."token_hash", s."expires_at", s."last_used_at" '
            f'FROM {self._table(UserSession)} s JOIN {self._table(User)} u ON u."id" = s."user_id" '
            f"{self._of_user()} "
            f'WHERE s."id" = {self._mark(1)} AND s."deleted_at" IS NULL AND {_LIVE}'
        )

    async def by_key(self, text: str) -> Principal | None:
        """Who shows an API key; None if it is none, has expired or was revoked, or whom it acts as is gone."""
        read = read_token(KEY, text)
        if read is None:
            return None
        sql = (
            'SELECT u."id", u."active", t."id", r."id", r."version", k."secret_hash", k."expires_at", '
            'k."last_used_at", k."revoked_at", k."user_id", k."customer_id", c."id", k."plugin", k."name" '
            f"FROM {self._table(ApiKey)} k "
            f'JOIN {self._table(RoleEntity)} r ON r."id" = k."role_id" AND r."deleted_at" IS NULL '
            f'LEFT JOIN {self._table(User)} u ON u."id" = k."user_id" AND u."deleted_at" IS NULL '
            f'LEFT JOIN {self._table(Team)} t ON t."id" = u."team_id" AND t."deleted_at" IS NULL '
            f'LEFT JOIN {self._table(Customer)} c ON c."id" = k."customer_id" AND c."deleted_at" IS NULL '
            f'WHERE k."id" = {self._mark(1)} AND k."deleted_at" IS NULL'
        )
        rows = await self._read(sql, (self._encode(Kind.ID, read.id),))
        if not rows:
            return None
        row = rows[0]
        kept, expires_at, last_used_at, revoked_at, user, customer, there, plugin, name = row[5:]
        now = datetime.now(UTC)
        ended = revoked_at is not None or (expires_at is not None and self._time(expires_at) <= now)
        gone = (user is not None and not row[1]) or (customer is not None and there is None)
        if not read.matches(kept) or ended or gone:
            return None
        await self._touch(ApiKey, read.id, self._time(last_used_at), now, {})
        return await self._keyed(encode_id(ApiKey.options.prefix, read.id), row, customer, plugin, name)

    async def sign_in(self, email: str, password: str, user_agent: str = "") -> str:
        """The token of a new session.

        Raises :class:`SignInFailed`, alike and after the same time whatever is wrong, and
        :class:`TooManyAttempts` for an account that was tried too often.
        """
        email = email.strip().lower()
        self._attempts.count(email)
        sql = (
            f'SELECT u."id", u."password_hash" FROM {self._table(User)} u '
            f'WHERE u."email" = {self._mark(1)} AND u."active" AND {_LIVE}'
        )
        found = await self._read(sql, (email,)) if _storable(email) else []
        id, kept = (UUID(str(found[0][0])), found[0][1]) if found else (None, None)
        verified = await self.passwords.verify(password, kept)
        if verified is None or id is None:
            raise SignInFailed
        self._attempts.forget(email)
        return await self._open(id, user_agent, verified.renewed)

    async def sign_out(self, token: str) -> None:
        """Ends the session of a token, if it is one."""
        read = read_token(SESSION, token)
        principal = await self.by_session(token) if read else None
        if read is not None and principal is not None:
            await self._crm.acting_as(in_name_of(principal)).delete(UserSession, [read.id])

    async def role(self, name: str) -> Role:
        """A role with what it grants, by its name. Raises LookupError."""
        sql = (
            f'SELECT r."id", r."version" FROM {self._table(RoleEntity)} r '
            f'WHERE r."name" = {self._mark(1)} AND r."deleted_at" IS NULL'
        )
        roles = await self._resolved(await self._read(sql, (name,)))
        if not roles:
            raise LookupError(f"there is no role {name!r}")
        return roles[0]

    async def roles_of(self, user: UUID) -> tuple[Role, ...]:
        """The roles of a user, active or not."""
        members, roles = self._table(RoleMember), self._table(RoleEntity)
        sql = (
            f'SELECT {_ROLE} FROM {members} m JOIN {roles} r ON r."id" = m."role_id" AND r."deleted_at" IS NULL '
            f'WHERE m."user_id" = {self._mark(1)} AND m."deleted_at" IS NULL'
        )
        return await self._resolved(await self._read(sql, (self._encode(Kind.ID, user),)))

    async def has_password(self, user: UUID, password: str | None) -> bool:
        """Whether a password is that of a user. Raises :class:`TooManyAttempts`."""
        account = str(user)
        self._attempts.count(account)
        sql = f'SELECT u."password_hash" FROM {self._table(User)} u WHERE u."id" = {self._mark(1)} AND {_LIVE}'
        found = await self._read(sql, (self._encode(Kind.ID, user),))
        kept = found[0][0] if found else None
        verified = await self.passwords.verify(password or "", kept)
        if verified is not None:
            self._attempts.forget(account)
        return verified is not None

    # --- principals -----------------------------------------------------------------------------------------

    async def _user(self, rows: Sequence[Row]) -> Principal:
        id, _, team = rows[0][:3]
        user = UUID(str(id))
        facts = Facts(user=user, team=None if team is None else UUID(str(team)))
        roles = await self._resolved([row[3:5] for row in rows])
        return Principal("user", encode_id(User.options.prefix, user), roles=roles, facts=facts)

    async def _signed_in(self, rows: tuple[Row, ...]) -> Principal:
        """The same for the same rows: they have the versions of the roles."""
        found = self._principals.get(rows)
        if found is not None:
            return found
        principal = await self._user(rows)
        if len(principal.roles) == sum(row[3] is not None for row in rows):
            if len(self._principals) >= MAX_PRINCIPALS:
                self._principals.clear()
            self._principals[rows] = principal
        return principal

    async def _customer(self, id: UUID, roles: Sequence[Row]) -> Principal:
        name = encode_id(Customer.options.prefix, id)
        return Principal("customer", name, roles=await self._resolved(roles), facts=Facts(customer=id))

    async def _keyed(self, key: str, row: Row, customer: Any, plugin: str | None, name: str) -> Principal:
        roles = await self._resolved([row[3:5]])
        if customer is not None:
            id = UUID(str(customer))
            return Principal(
                "customer",
                encode_id(Customer.options.prefix, id),
                roles=roles,
                facts=Facts(customer=id),
                key=key,
            )
        if row[0] is not None:
            found = await self._user([(*row[:3], None, None)])
            return Principal("user", found.name, roles=roles, facts=found.facts, key=key)
        if plugin is not None:
            return Principal("plugin", plugin, roles=roles, key=key)
        return Principal("key", key, roles=roles, key=key)

    async def _open(self, id: UUID, user_agent: str, renewed: str | None) -> str:
        """A new session of a user, and what is noted of it."""
        try:
            principal = in_name_of(await self.user(id))
        except LookupError as error:  # not active any more, since this moment
            raise SignInFailed from error
        token = new_token(SESSION, new_id())

        async def work(session: Session) -> None:
            assert session.unit is not None
            now = session.unit.now
            ends = now + timedelta(days=self._crm.settings.sign_in.session_days)
            row = {
                "id": token.id,
                "user_id": id,
                "user_agent": user_agent.replace("\x00", "")[:300],
                "expires_at": ends,
                "last_used_at": now,
            }
            result = await session.create(UserSession, [row])
            if result.errors:
                raise SignInFailed(result.errors[0].message)
            await keep(session.unit, UserSession, token.id, {"token_hash": token.hash})
            noted: dict[str, Any] = {"last_sign_in_at": now}
            if renewed is not None:
                noted["password_hash"] = renewed
            await keep(session.unit, User, id, noted)

        await self._crm.acting_as(principal).transact(work)
        return token.text

    async def _touch(
        self, model: type[Record], id: UUID, before: datetime | None, now: datetime, values: Mapping[str, datetime]
    ) -> None:
        """Notes that a session or key was used, at most once a minute, and without an event."""
        if before is not None and now - before < TOUCHED:
            return
        entity = self._crm.catalog.of(model)
        row = {"id": id, "last_used_at": now, **values}
        try:
            await self._crm.database.transact(
                lambda transaction: storage.update(
                    transaction, entity, [row], [name for name in row if name != "id"]
                )
            )
        except DatabaseError as error:
            log.warning("the last use of %s could not be written down: %s", encode_id(entity.prefix, id), error)

    # --- roles ----------------------------------------------------------------------------------------------

    async def _resolved(self, stamps: Sequence[Row]) -> tuple[Role, ...]:
        """Roles by (id, version), as they are in memory or are read now."""
        wanted = {UUID(str(id)): version for id, version in stamps if id is not None}
        stale = [
            id
            for id, version in wanted.items()
            if (held := self._roles.get(id)) is None or held.version != version
        ]
        if stale:
            read = await self.load_roles(stale, self._read)
            for id in stale:
                self._roles.pop(id, None)  # of one that was deleted this moment, nothing is left
            self._roles |= read
        found = (self._roles.get(id) for id in wanted)
        return tuple(sorted((role for role in found if role is not None), key=lambda role: role.name))

    async def load_roles(self, ids: Collection[UUID], fetch: Fetch) -> dict[UUID, Role]:
        """What roles grant, by one statement, which ``fetch`` runs: on its own, or within a transaction."""
        roles, grants, permissions = (self._table(model) for model in (RoleEntity, Grant, PermissionGrant))
        postgresql = self._crm.database.dialect == "postgresql"
        chosen = "= ANY($1::uuid[])" if postgresql else "IN (SELECT value FROM json_each(?1))"
        where = f'WHERE r."deleted_at" IS NULL AND r."id" {chosen}'
        sql = (
            'SELECT r."id", r."version", r."name", g."entity", g."action", g."rows", g."field_names", '
            f'g."check_rows", g."presets" FROM {roles} r LEFT JOIN {grants} g ON g."role_id" = r."id" '
            f'AND g."deleted_at" IS NULL {where} UNION ALL '
            'SELECT r."id", r."version", r."name", NULL, p."permission", NULL, NULL, NULL, NULL '
            f'FROM {roles} r JOIN {permissions} p ON p."role_id" = r."id" AND p."deleted_at" IS NULL {where}'
        )
        bound: Any = list(ids) if postgresql else orjson.dumps([str(id) for id in ids]).decode()
        found: dict[UUID, list[Row]] = {}
        for row in await fetch(sql, (bound,)):
            found.setdefault(UUID(str(row[0])), []).append(row)
        return {id: self._role(id, rows) for id, rows in found.items()}

    def _role(self, id: UUID, rows: Sequence[Row]) -> Role:
        grants: dict[tuple[str, Verb], TypeGrant] = {}
        permissions: set[str] = set()
        for row in rows:
            _, _, name, code, action, *said = row
            if code is None:
                if action is not None:
                    permissions.add(action)
                continue
            rule, fields, check, presets = (decode(Kind.JSON, item, self._crm.database.dialect) for item in said)
            grant = self._grant(name, code, action, rule, fields, check, presets)
            if grant is not None:
                grants[code, cast(Verb, action)] = grant
        return Role(rows[0][2], id, rows[0][1], grants, frozenset(permissions))

    def _grant(
        self, role: str, code: str, action: str, rows: Any, fields: Any, check: Any, presets: Any
    ) -> TypeGrant | None:
        """A grant as it is kept; what can't be read any more, as a field has gone, grants nothing."""
        entity = self._crm.catalog.by_code(code)
        if code != EVERY and entity is None:
            return None  # its plugin is not enabled
        try:
            return parse_grant(self._crm.catalog, entity, rows, fields, check, presets)
        except QueryError as error:
            log.warning("the role %s can't %s %s: its grant %s", role, action, code, error)
            return TypeGrant(rows=RowRule("none"), fields=frozenset())

    # --- statements -----------------------------------------------------------------------------------------

    def _of_user(self) -> str:
        """Team and roles of the user ``u``, as far as they live."""
        members, roles, teams = (self._table(model) for model in (RoleMember, RoleEntity, Team))
        return (
            f'LEFT JOIN {teams} t ON t."id" = u."team_id" AND t."deleted_at" IS NULL '
            f'LEFT JOIN {members} m ON m."user_id" = u."id" AND m."deleted_at" IS NULL '
            f'LEFT JOIN {roles} r ON r."id" = m."role_id" AND r."deleted_at" IS NULL'
        )

    def _table(self, model: type[Record]) -> str:
        return f'"{self._crm.catalog.of(model).table}"'

    def _mark(self, number: int) -> str:
        return f"${number}" if self._crm.database.dialect == "postgresql" else f"?{number}"

    def _encode(self, kind: Kind, value: Any) -> Any:
        return encode(kind, value, self._crm.database.dialect)

    def _time(self, value: Any) -> Any:
        return decode(Kind.DATETIME, value, self._crm.database.dialect)

    def _id(self, model: type[Record], which: UUID | str) -> UUID:
        if isinstance(which, UUID):
            return which
        try:
            return decode_id(model.options.prefix, which, self._crm.catalog.prefixes)
        except InvalidId as error:
            raise LookupError(str(error)) from error

    async def _read(self, sql: str, parameters: Sequence[Any]) -> list[Row]:
        return await self._crm.database.read(sql, parameters)


_USER = 'u."id", u."active", t."id"'
_ROLE = 'r."id", r."version"'
_LIVE = 'u."deleted_at" IS NULL'


async def keep(unit: Unit, model: type[Record], id: UUID, values: Mapping[str, Any]) -> None:
    """Writes columns that no input, event or answer knows: secrets, and what is noted without a change."""
    entity = unit.crm.catalog.of(model)
    await storage.update(unit.transaction, entity, [{"id": id, **values}], list(values))


def _storable(text: str) -> bool:
    """Whether a text can be in the database at all."""
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


@dataclass
class _Failures:
    count: int
    since: datetime


class _Attempts:
    """Failed attempts by account, in this process."""

    def __init__(self, allowed: int, window: timedelta) -> None:
        self._allowed = allowed
        self._window = window
        self._failures: dict[str, _Failures] = {}

    def count(self, account: str) -> None:
        """Counts an attempt, before it is known whether it fails: many at once are still many.

        Raises :class:`TooManyAttempts` for an account that has to wait.
        """
        account, now = account[:MAX_ACCOUNT], datetime.now(UTC)
        failures = self._failures.get(account)
        if failures is not None:
            left = failures.since + self._window - now
            if left <= timedelta():
                del self._failures[account]
            elif failures.count >= self._allowed:
                raise TooManyAttempts(max(1, round(left.total_seconds())))
        if len(self._failures) >= MAX_ACCOUNTS:
            self._failures = {
                name: item for name, item in self._failures.items() if now - item.since < self._window
            }
        if len(self._failures) >= MAX_ACCOUNTS and account not in self._failures:
            self._failures.pop(next(iter(self._failures)))
        self._failures.setdefault(account, _Failures(0, now)).count += 1

    def forget(self, account: str) -> None:
        self._failures.pop(account[:MAX_ACCOUNT], None)


__all__ = ["PORTAL", "Access", "keep"]
