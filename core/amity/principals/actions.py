"""Actions on roles, keys and passwords. Nobody grants a right that they lack."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from ..access import EVERY, AccessDenied, Role, TypeGrant, Verb
from ..access.coverage import covers, covers_permission, lacking
from ..change import storage
from ..change.input import Update
from ..contracts import Action, Context, IdOf, Permission, UserError
from ..entity import EntityType, InvalidId, Record, decode_id, encode_id, new_id
from ..model import ApiKey, Customer, Grant, PermissionGrant, RoleMember, User, UserSession
from ..model import Role as RoleEntity
from ..query import QueryError
from . import passwords
from .errors import TooManyAttempts
from .loading import keep
from .rules import parse_grant
from .tokens import KEY, new_token
from .trusted import trusted

MANAGE_ACCESS = Permission("core.manage_access", "Manage roles, what they grant, who has them, and API keys")
MANAGE_USERS = Permission("core.manage_users", "Set passwords and e-mail addresses of others, and sign them out")
OWN_ACCOUNT = Permission("core.own_account", "Change the own password, and sign out everywhere")
ACCESS_PERMISSIONS: tuple[Permission, ...] = (MANAGE_ACCESS, MANAGE_USERS, OWN_ACCOUNT)

_ROLE = Field(description="The role, by name or id")
_USER = Field(description="The user, by e-mail address or id")
_ENTITY = Field(description="The entity, like Customer; * for every one")
_PERMISSION = Field(description="The permission, like core.move_deal; * for every one")


class GrantedAction(StrEnum):
    """What a role may do with records of an entity."""

    READ = "read"
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


Rule = Literal["all", "own", "team", "none"] | dict[str, Any]


class _Input(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RightInput(_Input):
    """What a role may do with the records of an entity. It replaces what the role may do with them by now."""

    role: str = _ROLE
    entity: str = _ENTITY
    action: GrantedAction = Field(description="What it may do")
    rows: Rule = Field(default="all", description="To which records: all, own, team, none, or a filter")
    fields: list[str] | None = Field(default=None, description="With which fields; all by default")
    check: Rule | None = Field(
        default=None, description="What records must meet once they are written; by default the same as rows"
    )
    presets: dict[str, Any] | None = Field(
        default=None, description="Fields that are set, whatever the input says"
    )


class RightRef(_Input):
    """What a role may no longer do."""

    role: str = _ROLE
    entity: str = _ENTITY
    action: GrantedAction = Field(description="What it may do no more")


class PermissionInput(_Input):
    """A permission of a role."""

    role: str = _ROLE
    permission: str = _PERMISSION


class RoleInput(_Input):
    """A new role, without any rights."""

    name: str = Field(min_length=1, max_length=100, pattern=r"^[a-z][a-z0-9_-]*$", description="Like service-desk")
    description: str = Field(default="", max_length=500, description="What it is for")


class RoleRef(_Input):
    """A role."""

    role: str = _ROLE


class MemberInput(_Input):
    """A role of a user."""

    user: str = _USER
    role: str = _ROLE


class KeyInput(_Input):
    """A new API key. It acts as a user, a customer or a plugin, or as itself."""

    name: str = Field(min_length=1, max_length=200, description="What it is for")
    role: str = Field(description="The role that it acts with, by name or id")
    user: str | None = Field(default=None, description="The user that it acts as, by e-mail address or id")
    customer: Annotated[UUID, IdOf(Customer)] | None = Field(
        default=None, description="The customer that it acts as"
    )
    plugin: str | None = Field(default=None, description="The plugin that it acts as")
    expires_at: AwareDatetime | None = Field(default=None, description="When it ends; never by default")


class NewKey(BaseModel):
    """An API key that was made. It is shown this once, and kept nowhere."""

    id: str = Field(description="Id of the key")
    text: str = Field(repr=False, description="What programs sign in with: amity_…")


class KeyRef(_Input):
    """An API key."""

    key: Annotated[UUID, IdOf(ApiKey)] = Field(description="The key")


class PasswordInput(_Input):
    """A new password."""

    user: str | None = Field(default=None, description="The user, by e-mail address or id; oneself by default")
    password: str = Field(repr=False, description="The new password")
    old_password: str | None = Field(
        default=None, repr=False, description="The password until now, if it is the own"
    )


class UserRef(_Input):
    """A user."""

    user: str | None = Field(default=None, description="The user, by e-mail address or id; oneself by default")


class Removed(BaseModel):
    """Something that is gone."""

    id: str = Field(description="Its id")


# --- what roles grant -----------------------------------------------------------------------------------------


async def grant(context: Context, inputs: Sequence[RightInput]) -> Sequence[UUID | UserError]:
    """Lets roles do something; the role. Raises AccessDenied where the caller may not do it."""
    catalog = context.crm.catalog
    results: list[UUID | UserError] = []
    for index, item in enumerate(inputs):
        try:
            role = await _role(context, item.role)
            entity = _entity(context, item.entity)
            given = parse_grant(catalog, entity, item.rows, item.fields, item.check, item.presets)
        except _Mended as error:
            results.append(error.at(index))
            continue
        except QueryError as error:
            results.append(UserError(index, error.path, "invalid", error.message))
            continue
        _may_grant(context, entity, item.action.value, given)
        held = role.grants.get((EVERY if entity is None else entity.code, item.action.value))
        if held is not None:
            _may_grant(context, entity, item.action.value, held)
        row = {
            "role_id": role.id,
            "entity": EVERY if entity is None else entity.code,
            "action": item.action.value,
            "rows": item.rows,
            "field_names": None if given.fields is None else sorted(given.fields),
            "check_rows": item.check,
            "presets": item.presets,
        }
        results.append(await _written(context, index, role, Grant, row, ("role_id", "entity", "action")))
    return results


async def revoke(context: Context, inputs: Sequence[RightRef]) -> Sequence[UUID | UserError]:
    """Takes from roles what they may do; the role. Nobody takes away what they could not grant."""
    results: list[UUID | UserError] = []
    for index, item in enumerate(inputs):
        try:
            role = await _role(context, item.role)
            # what a plugin brought that is not enabled can be taken away too
            entity = None if "." in item.entity else _entity(context, item.entity)
        except _Mended as error:
            results.append(error.at(index))
            continue
        code = item.entity if "." in item.entity else EVERY if entity is None else entity.code
        held = role.grants.get((code, item.action.value))
        if held is not None:
            _may_grant(context, context.crm.catalog.by_code(code), item.action.value, held)
        key = {"entity": code, "action": item.action.value}
        results.append(await _removed(context, index, role, Grant, key))
    return results


async def grant_permission(context: Context, inputs: Sequence[PermissionInput]) -> Sequence[UUID | UserError]:
    """Gives permissions to roles; the role."""
    results: list[UUID | UserError] = []
    for index, item in enumerate(inputs):
        try:
            role = await _role(context, item.role)
        except _Mended as error:
            results.append(error.at(index))
            continue
        known = context.crm.composition.permissions
        if item.permission != EVERY and item.permission not in known:
            message = f"there is no permission {item.permission!r}; there are {', '.join(sorted(known))}"
            results.append(UserError(index, ("permission",), "not_found", message))
            continue
        _may_give(context, item.permission)
        row = {"role_id": role.id, "permission": item.permission}
        results.append(await _written(context, index, role, PermissionGrant, row, ("role_id", "permission")))
    return results


async def revoke_permission(context: Context, inputs: Sequence[PermissionInput]) -> Sequence[UUID | UserError]:
    """Takes permissions from roles; the role."""
    results: list[UUID | UserError] = []
    for index, item in enumerate(inputs):
        try:
            role = await _role(context, item.role)
        except _Mended as error:
            results.append(error.at(index))
            continue
        _may_give(context, item.permission)
        results.append(await _removed(context, index, role, PermissionGrant, {"permission": item.permission}))
    return results


# --- roles, and who has them ------------------------------------------------------------------------------------


async def create_role(context: Context, inputs: Sequence[RoleInput]) -> Sequence[UUID | UserError]:
    """Makes roles that may do nothing yet."""
    rows = [{"name": item.name, "description": item.description} for item in inputs]
    made = await trusted(context.session).create(RoleEntity, rows, on_error="skip_invalid")
    errors = {error.index: error for error in reversed(made.errors)}
    return [errors[index] if id is None else id for index, id in enumerate(made.ids)]


async def delete_role(context: Context, inputs: Sequence[RoleRef]) -> Sequence[Removed | UserError]:
    """Deletes roles with all that belongs to them: what they grant, who has them, the keys that act with them."""
    results: list[Removed | UserError] = []
    for index, item in enumerate(inputs):
        try:
            role = await _role(context, item.role)
        except _Mended as error:
            results.append(error.at(index))
            continue
        row = await trusted(context.session).find(RoleEntity).select("builtin").get(_id(role))
        if row is not None and row["builtin"]:
            message = f"{role.name} came with Amity and stays; revoke what it grants, or give it to nobody"
            results.append(UserError(index, ("role",), "refused", message))
            continue
        _may_hand_out(context, role, "delete the role")
        deleted = await trusted(context.session).delete(RoleEntity, [_id(role)])
        text = encode_id(RoleEntity.options.prefix, _id(role))
        results.append(_first(index, deleted.errors) or Removed(id=text))
    return results


async def assign_role(context: Context, inputs: Sequence[MemberInput]) -> Sequence[UUID | UserError]:
    """Gives roles to users; the user. Raises AccessDenied where the role may do what the caller may not."""
    results: list[UUID | UserError] = []
    for index, item in enumerate(inputs):
        try:
            role, user = await _role(context, item.role), await _user(context, item.user)
        except _Mended as error:
            results.append(error.at(index))
            continue
        _may_hand_out(context, role, "assign the role")
        row = {"user_id": user, "role_id": role.id}
        made = await trusted(context.session).upsert(RoleMember, [row], on=("user_id", "role_id"))
        results.append(_first(index, made.errors) or user)
    return results


async def unassign_role(context: Context, inputs: Sequence[MemberInput]) -> Sequence[UUID | UserError]:
    """Takes roles from users; the user."""
    results: list[UUID | UserError] = []
    for index, item in enumerate(inputs):
        try:
            role, user = await _role(context, item.role), await _user(context, item.user)
        except _Mended as error:
            results.append(error.at(index))
            continue
        _may_hand_out(context, role, "take the role")
        core = trusted(context.session)
        where = {"user_id": {"eq": user}, "role_id": {"eq": _id(role)}}
        members = await core.find(RoleMember).select("id").where(where).all()
        deleted = await core.delete(RoleMember, [member["id"] for member in members])
        results.append(_first(index, deleted.errors, ("user",)) or user)
    return results


# --- keys -------------------------------------------------------------------------------------------------------


async def create_api_key(context: Context, inputs: Sequence[KeyInput]) -> Sequence[NewKey | UserError]:
    """Makes API keys; the text of each is told this once.

    Raises AccessDenied where the role, as whom the key acts, may do what the caller may not.
    """
    results: list[NewKey | UserError] = []
    for index, item in enumerate(inputs):
        given = [name for name in ("user", "customer", "plugin") if getattr(item, name) is not None]
        try:
            role = await _role(context, item.role)
            user = None if item.user is None else await _user(context, item.user)
            if len(given) > 1:
                raise _Mended(given[1], "invalid", f"a key acts as one of {' and '.join(given)}, not as both")
            if item.plugin is not None and item.plugin not in {p.name for p in context.crm.composition.plugins}:
                raise _Mended("plugin", "not_found", f"there is no plugin {item.plugin!r}")
        except _Mended as error:
            results.append(error.at(index))
            continue
        another = item.customer is not None or (user is not None and user != context.principal.facts.user)
        _may_hand_out(context, role, "make a key with the role", for_others=another)
        if another and not context.session.rights.may(MANAGE_USERS.name):
            raise AccessDenied(
                f"{context.principal} may not make a key that acts as somebody else: "
                f"it lacks the permission {MANAGE_USERS.name}"
            )
        token = new_token(KEY, new_id())
        row = {
            "id": token.id,
            "name": item.name,
            "role_id": role.id,
            "user_id": user,
            "customer_id": item.customer,
            "plugin": item.plugin,
            "expires_at": item.expires_at,
        }
        core = trusted(context.session)
        made = await core.create(ApiKey, [row])
        if made.errors:
            results.append(_first(index, made.errors) or made.errors[0])
            continue
        assert core.unit is not None
        await keep(core.unit, ApiKey, token.id, {"secret_hash": token.hash})
        results.append(NewKey(id=encode_id(ApiKey.options.prefix, token.id), text=token.text))
    return results


async def revoke_api_key(context: Context, inputs: Sequence[KeyRef]) -> Sequence[UUID | UserError]:
    """Ends keys at once; the key."""
    core = trusted(context.session)
    assert core.unit is not None
    prefix = ApiKey.options.prefix
    asked = [item.key for item in inputs]
    seen = await context.session.find(ApiKey).where({"id": {"in": asked}}).all()
    known = {decode_id(prefix, row["id"]) for row in seen}
    places = [index for index, key in enumerate(asked) if key in known]
    updates = [Update(asked[index], {"revoked_at": core.unit.now}) for index in places]
    done = await core.update(ApiKey, updates, on_error="skip_invalid", read_only=True)
    missing = "there is no such api key"
    results: list[UUID | UserError] = [
        UserError(index, ("key",), "not_found", missing) for index in range(len(inputs))
    ]
    for index, id in zip(places, done.ids, strict=True):
        results[index] = id if id is not None else results[index]
    return results


# --- passwords and sign-ins -------------------------------------------------------------------------------------


async def set_password(context: Context, inputs: Sequence[PasswordInput]) -> Sequence[UUID | UserError]:
    """Sets passwords, and signs those users out everywhere; the user.

    One's own needs the old one. That of somebody else needs a permission, and rights that cover theirs: whoever
    sets a password can sign in with it. Not transactional, as hashing takes its time.
    """
    results: list[UUID | UserError] = []
    access = context.crm.access
    for index, item in enumerate(inputs):
        problem = passwords.problem(item.password)
        try:
            if problem:
                raise _Mended("password", "invalid", problem)
            user = await _oneself_or(context, item.user)
            if user == context.principal.facts.user:
                try:
                    right = await access.has_password(user, item.old_password)
                except TooManyAttempts as error:
                    raise _Mended("old_password", "invalid", str(error)) from error
                if not right:
                    raise _Mended("old_password", "invalid", "is not the password until now")
            else:
                await _may_act_as(context, user, "set the password of")
        except _Mended as error:
            results.append(error.at(index))
            continue
        hashed = await access.passwords.hash(item.password)

        async def work(session: Any, user: UUID = user, hashed: str = hashed) -> None:
            await keep(session.unit, User, user, {"password_hash": hashed})
            await _sign_out(session, user)

        await context.session.transact(work)
        results.append(user)
    return results


async def sign_out_everywhere(context: Context, inputs: Sequence[UserRef]) -> Sequence[UUID | UserError]:
    """Ends all sign-ins of users; the user."""
    results: list[UUID | UserError] = []
    for index, item in enumerate(inputs):
        try:
            user = await _oneself_or(context, item.user)
        except _Mended as error:
            results.append(error.at(index))
            continue
        if user != context.principal.facts.user and not context.session.rights.may(MANAGE_USERS.name):
            raise AccessDenied(
                f"{context.principal} may not sign out somebody else: it lacks the permission {MANAGE_USERS.name}"
            )
        await _sign_out(context.session, user)
        results.append(user)
    return results


async def _sign_out(session: Any, user: UUID) -> None:
    core = trusted(session)
    sessions = await core.find(UserSession).select("id").where({"user_id": {"eq": user}}).all()
    await core.delete(UserSession, [row["id"] for row in sessions])


# --- what the actions share -------------------------------------------------------------------------------------


class _Mended(Exception):
    """Something that whoever sent the input can mend."""

    def __init__(self, field: str, code: str, message: str) -> None:
        super().__init__(message)
        self.field, self.code, self.message = field, code, message

    def at(self, index: int) -> UserError:
        return UserError(index, (self.field,), self.code, self.message)


def _id(role: Role) -> UUID:
    assert role.id is not None
    return role.id


def _first(index: int, errors: Sequence[UserError], path: tuple[str | int, ...] | None = None) -> UserError | None:
    if not errors:
        return None
    error = errors[0]
    return UserError(index, error.path if path is None else path, error.code, error.message)


def _entity(context: Context, name: str) -> EntityType | None:
    """The entity of a name or code; None for ``*``."""
    if name == EVERY:
        return None
    catalog = context.crm.catalog
    try:
        return catalog.by_code(name) or catalog.of(name)
    except LookupError as error:
        raise _Mended("entity", "not_found", str(error)) from error


async def _role(context: Context, which: str) -> Role:
    """A role with what it grants, as this transaction sees it."""
    try:
        id = decode_id(RoleEntity.options.prefix, which, context.crm.catalog.prefixes)
    except InvalidId:
        id = None
    where: dict[str, Any] = {"name": {"eq": which}} if id is None else {"id": {"eq": id}}
    assert context.session.unit is not None
    found = await trusted(context.session).find(RoleEntity).select("id").where(where).all()
    if not found:
        roles = await context.session.find(RoleEntity).select("name").all()
        close = difflib.get_close_matches(which, [role["name"] for role in roles], n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise _Mended("role", "not_found", f"there is no role {which!r}{hint}")
    wanted = decode_id(RoleEntity.options.prefix, found[0]["id"], context.crm.catalog.prefixes)
    # held until the end, so that what is judged now is what is granted
    await storage.select(
        context.session.unit.transaction, context.crm.catalog.of(RoleEntity), [wanted], lock="update"
    )
    return (await context.crm.access.load_roles([wanted], context.session.unit.transaction.fetch))[wanted]


async def _user(context: Context, which: str) -> UUID:
    where: dict[str, Any]
    if "@" in which:
        where = {"email": {"eq": which.strip().lower()}}
    else:
        try:
            where = {"id": {"eq": decode_id(User.options.prefix, which, context.crm.catalog.prefixes)}}
        except InvalidId as error:
            raise _Mended("user", "invalid", str(error)) from error
    found = await context.session.find(User).select("id").where(where).all()
    if not found:
        raise _Mended("user", "not_found", f"there is no user {which}")
    return decode_id(User.options.prefix, found[0]["id"], context.crm.catalog.prefixes)


async def _oneself_or(context: Context, which: str | None) -> UUID:
    if which is not None:
        return await _user(context, which)
    if context.principal.facts.user is None:
        raise _Mended("user", "required", f"{context.principal} is no user; say whose it is")
    return context.principal.facts.user


def _may_grant(context: Context, entity: EntityType | None, verb: Verb, given: TypeGrant) -> None:
    if not covers(context.session.rights, entity, verb, given):
        what = "every entity" if entity is None else entity.plural.replace("_", " ")
        raise AccessDenied(
            f"{context.principal} may not grant to {verb} {what} so: nobody grants a right that they lack"
        )


def _may_give(context: Context, permission: str) -> None:
    if not covers_permission(context.session.rights, permission):
        raise AccessDenied(
            f"{context.principal} may not grant the permission {permission}: nobody grants a right that they lack"
        )


def _may_hand_out(context: Context, role: Role, deed: str, *, for_others: bool = False) -> None:
    missing = lacking(context.session.rights, context.crm.catalog, role, for_others=for_others)
    if missing:
        raise AccessDenied(
            f"{context.principal} may not {deed} {role.name}: nobody grants a right that they lack, and they lack "
            f"{', '.join(missing[:5])}{', …' if len(missing) > 5 else ''}"
        )


async def _may_act_as(context: Context, user: UUID, deed: str) -> None:
    """Raises :class:`AccessDenied` unless the caller may do whatever the user may."""
    if not context.session.rights.may(MANAGE_USERS.name):
        raise AccessDenied(
            f"{context.principal} may not {deed} somebody else: it lacks the permission {MANAGE_USERS.name}"
        )
    for role in await context.crm.access.roles_of(user):
        _may_hand_out(context, role, f"{deed} somebody with the role", for_others=True)


async def _written(
    context: Context, index: int, role: Role, model: type[Record], row: dict[str, Any], key: tuple[str, ...]
) -> UUID | UserError:
    written = await trusted(context.session).upsert(model, [row], on=key)
    if written.errors:
        return _first(index, written.errors) or written.errors[0]
    await _touched(context, role)
    return _id(role)


async def _removed(
    context: Context, index: int, role: Role, model: type[Record], key: dict[str, str]
) -> UUID | UserError:
    core = trusted(context.session)
    where: dict[str, Any] = {name: {"eq": value} for name, value in key.items()}
    found = await core.find(model).select("id").where({**where, "role_id": {"eq": _id(role)}}).all()
    deleted = await core.delete(model, [row["id"] for row in found])
    if deleted.errors:
        return _first(index, deleted.errors) or deleted.errors[0]
    await _touched(context, role)
    return _id(role)


async def _touched(context: Context, role: Role) -> None:
    """Raises the role's version, so that every process reads it anew. The grant itself is the event."""
    unit = context.session.unit
    assert unit is not None
    entity = context.crm.catalog.of(RoleEntity)
    rows = await storage.select(unit.transaction, entity, [_id(role)], lock="update")
    for row in rows.values():
        row.update(version=row["version"] + 1, updated_at=unit.now)
    await storage.update(unit.transaction, entity, list(rows.values()), ("version", "updated_at"))


ACCESS_ACTIONS: tuple[Action[Any], ...] = (
    Action("grant", RightInput, grant, MANAGE_ACCESS.name, RoleEntity, description="Lets a role do something"),
    Action("revoke", RightRef, revoke, MANAGE_ACCESS.name, RoleEntity, description="Lets a role no longer do it"),
    Action(
        "grant_permission",
        PermissionInput,
        grant_permission,
        MANAGE_ACCESS.name,
        RoleEntity,
        description="Gives a permission to a role",
    ),
    Action(
        "revoke_permission",
        PermissionInput,
        revoke_permission,
        MANAGE_ACCESS.name,
        RoleEntity,
        description="Takes a permission from a role",
    ),
    Action("create_role", RoleInput, create_role, MANAGE_ACCESS.name, RoleEntity, description="Makes a role"),
    Action(
        "delete_role",
        RoleRef,
        delete_role,
        MANAGE_ACCESS.name,
        output=Removed,
        description="Deletes a role, and takes it from everybody",
    ),
    Action(
        "assign_role", MemberInput, assign_role, MANAGE_ACCESS.name, User, description="Gives a role to a user"
    ),
    Action(
        "unassign_role",
        MemberInput,
        unassign_role,
        MANAGE_ACCESS.name,
        User,
        description="Takes a role from a user",
    ),
    Action(
        "create_api_key",
        KeyInput,
        create_api_key,
        MANAGE_ACCESS.name,
        output=NewKey,
        description="Makes an API key, whose text is shown this once",
    ),
    Action(
        "revoke_api_key", KeyRef, revoke_api_key, MANAGE_ACCESS.name, ApiKey, description="Ends an API key at once"
    ),
    Action(
        "set_password",
        PasswordInput,
        set_password,
        OWN_ACCOUNT.name,
        User,
        description="Sets the own password, or that of somebody else, and signs out everywhere",
        transactional=False,
    ),
    Action(
        "sign_out_everywhere",
        UserRef,
        sign_out_everywhere,
        OWN_ACCOUNT.name,
        User,
        description="Ends all sign-ins of oneself, or of somebody else",
    ),
)

__all__ = ["ACCESS_ACTIONS", "ACCESS_PERMISSIONS", "MANAGE_ACCESS", "MANAGE_USERS", "OWN_ACCOUNT", "NewKey"]
