"""``amity access``: roles, what they grant, who has them, and API keys."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from ..access import SYSTEM, VERBS, Rights
from ..contracts import ChangeResult
from ..crm import Crm
from ..entity import EntityType
from ..model import ApiKey, Grant, PermissionGrant, Role, RoleMember, User
from ..tree import All, Ancestors, AnyOf, Compare, Condition, Not, Quantified, Reaches, Through
from .app import App


@click.group()
def access() -> None:
    """Roles, what they grant, who has them, and API keys."""


# --- looking ----------------------------------------------------------------------------------------------------


@access.command()
@click.pass_obj
def roles(app: App) -> None:
    """List the roles, and who has them."""

    async def work(crm: Crm) -> tuple[list[Any], list[Any]]:
        system = crm.acting_as(SYSTEM)
        found = await system.find(Role).select("id", "name", "description").order_by("name").all()
        members = system.find(RoleMember).select("role.name", "user.name", "user.email").order_by("user.name")
        return found, await members.all()

    found, members = app.run(work, dispatch=False)
    table = _table("role", "what it is for", "users")
    for role in found:
        users = [item["user"] for item in members if item["role"] and item["role"]["name"] == role["name"]]
        names = ", ".join(user["email"] or user["name"] for user in users if user)
        table.add_row(role["name"], role["description"], names)
    Console(markup=False).print(table)


@access.command()
@click.argument("role")
@click.pass_obj
def show(app: App, role: str) -> None:
    """Show what ROLE grants."""

    async def work(crm: Crm) -> tuple[list[Any], list[Any]]:
        system = crm.acting_as(SYSTEM)
        if not await system.find(Role).where({"name": {"eq": role}}).count():
            raise click.ClickException(f"there is no role {role!r}; `amity access roles` lists them")
        where = {"role": {"name": {"eq": role}}}
        names = ("entity", "action", "rows", "field_names", "check_rows", "presets")
        grants = await system.find(Grant).select(*names).where(where).order_by("entity", "action").all()
        permissions = system.find(PermissionGrant).select("permission").where(where).order_by("permission")
        return grants, await permissions.all()

    grants, permissions = app.run(work, dispatch=False)
    table = _table("entity", "action", "rows", "fields", "check", "presets")
    for grant in grants:
        fields = "all" if grant["field_names"] is None else ", ".join(grant["field_names"])
        rest = [_json(grant[name]) for name in ("check_rows", "presets")]
        table.add_row(grant["entity"], grant["action"], _json(grant["rows"]), fields, *rest)
    Console(markup=False).print(table)
    for permission in permissions:
        click.echo(f"permission: {permission['permission']}")


@access.command()
@click.argument("user")
@click.argument("entity")
@click.option("--role", help="Acting under this role only.")
@click.pass_obj
def explain(app: App, user: str, entity: str, role: str | None) -> None:
    """Show what USER (an e-mail address or id) may do with ENTITY: which rows, with which fields."""

    async def work(crm: Crm) -> list[str]:
        try:
            kind = crm.catalog.of(entity)
            principal = await crm.access.user(user)
        except LookupError as error:
            raise click.ClickException(str(error)) from error
        rights = crm.policy.rights(principal.under(role) if role else principal)
        held = ", ".join(item.name for item in rights.principal.roles) or "no role"
        return [f"{rights.principal} ({held})", *(_explained(rights, kind, verb) for verb in VERBS)]

    for line in app.run(work, dispatch=False):
        click.echo(line)


def _explained(rights: Rights, entity: EntityType, verb: Any) -> str:
    if not rights.granted(entity, verb):
        return f"{verb}: nothing"
    rows = rights.check(entity, verb) if verb == "create" else rights.rows(entity, verb)
    fields = rights.fields(entity, verb)
    names = "all fields" if fields is None else ", ".join(sorted(fields)) or "no fields"
    return f"{verb}: {'all rows' if rows is None else 'rows where ' + told(rows)}; {names}"


def told(condition: Condition) -> str:
    """A condition in words, for people."""
    match condition:
        case All(items):
            return "(" + " and ".join(told(item) for item in items) + ")" if items else "always"
        case AnyOf(items):
            return "(" + " or ".join(told(item) for item in items) + ")" if items else "never"
        case Not(item):
            return f"not {told(item)}"
        case Compare(field, operator, value):
            return f"{field} {operator} {value}"
        case Through(relation, inner):
            return f"{relation}.{told(inner)}"
        case Quantified(relation, quantifier, inner):
            return f"{quantifier} of {relation}: {told(inner)}"
        case Reaches(reference, targets):
            kinds = [name if inner is None else f"{name} with {told(inner)}" for name, inner in targets.items()]
            return f"{reference} is {' or '.join(kinds) or 'nothing'}"
        case Ancestors(relations, inner, itself):
            return f"{'it and ' if itself else ''}every {' and '.join(relations)} above it: {told(inner)}"
    return "never"


# --- giving and taking ------------------------------------------------------------------------------------------

_ACTION = click.argument("action", type=click.Choice(VERBS))


@access.command()
@click.argument("role")
@click.argument("entity")
@_ACTION
@click.option("--rows", default="all", show_default=True, help="all, own, team, none, or a filter as JSON.")
@click.option("--fields", help="Names of fields, with commas; all by default.")
@click.option("--check", help="What rows must meet once they are written, like --rows; by default the same.")
@click.option("--presets", help="Fields that are set to these values, as a JSON object.")
@click.pass_obj
def grant(
    app: App,
    role: str,
    entity: str,
    action: str,
    rows: str,
    fields: str | None,
    check: str | None,
    presets: str | None,
) -> None:
    """Let ROLE do ACTION with ENTITY (* for every one)."""
    given: dict[str, Any] = {"role": role, "entity": entity, "action": action, "rows": _rule(rows, "--rows")}
    if fields is not None:
        given["fields"] = [name.strip() for name in fields.split(",") if name.strip()]
    if check is not None:
        given["check"] = _rule(check, "--check")
    if presets is not None:
        given["presets"] = _rule(presets, "--presets")
    _run(app, "grant", given)
    click.echo(f"{role} may {action} {entity}.")


@access.command()
@click.argument("role")
@click.argument("entity")
@_ACTION
@click.pass_obj
def revoke(app: App, role: str, entity: str, action: str) -> None:
    """Take from ROLE that it may do ACTION with ENTITY."""
    _run(app, "revoke", {"role": role, "entity": entity, "action": action})
    click.echo(f"{role} may not {action} {entity} any more.")


@access.command("grant-permission")
@click.argument("role")
@click.argument("permission")
@click.pass_obj
def grant_permission(app: App, role: str, permission: str) -> None:
    """Give PERMISSION to ROLE."""
    _run(app, "grant_permission", {"role": role, "permission": permission})
    click.echo(f"{role} has {permission}.")


@access.command("revoke-permission")
@click.argument("role")
@click.argument("permission")
@click.pass_obj
def revoke_permission(app: App, role: str, permission: str) -> None:
    """Take PERMISSION from ROLE."""
    _run(app, "revoke_permission", {"role": role, "permission": permission})
    click.echo(f"{role} has {permission} no more.")


@access.command("add-role")
@click.argument("name")
@click.option("--description", default="", help="What it is for.")
@click.pass_obj
def add_role(app: App, name: str, description: str) -> None:
    """Make a role that may do nothing yet."""
    _run(app, "create_role", {"name": name, "description": description})
    click.echo(f"Made {name}; `amity access grant {name} …` lets it do something.")


@access.command()
@click.argument("user")
@click.argument("role")
@click.pass_obj
def assign(app: App, user: str, role: str) -> None:
    """Give ROLE to USER (an e-mail address or id)."""
    _run(app, "assign_role", {"user": user, "role": role})
    click.echo(f"{user} has the role {role}.")


@access.command()
@click.argument("user")
@click.argument("role")
@click.pass_obj
def unassign(app: App, user: str, role: str) -> None:
    """Take ROLE from USER."""
    _run(app, "unassign_role", {"user": user, "role": role})
    click.echo(f"{user} has the role {role} no more.")


# --- users ------------------------------------------------------------------------------------------------------

_FROM_STDIN = click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")


@access.command("add-user")
@click.argument("email")
@click.option("--name", help="Full name; by default what is before the @.")
@click.option("--role", "roles", multiple=True, help="A role; may be given several times.")
@_FROM_STDIN
@click.pass_obj
def add_user(app: App, email: str, name: str | None, roles: Sequence[str], password_stdin: bool) -> None:
    """Make a user who can sign in as EMAIL, or let one that is there do so."""
    password = _password(password_stdin)

    async def work(crm: Crm) -> None:
        system = crm.acting_as(SYSTEM, origin="cli")
        row: dict[str, Any] = {"email": email}
        if name or not await system.find(User).where({"email": {"eq": email.strip().lower()}}).count():
            row["name"] = name or email.partition("@")[0]
        _told(await system.upsert(User, [row], on=("email",)))
        _told(await system.run("set_password", [{"user": email, "password": password}]))
        for role in roles:
            _told(await system.run("assign_role", [{"user": email, "role": role}]))

    app.run(work)
    click.echo(f"{email} can sign in" + (f", with the role {', '.join(roles)}." if roles else "."))


@access.command()
@click.argument("user")
@_FROM_STDIN
@click.pass_obj
def passwd(app: App, user: str, password_stdin: bool) -> None:
    """Set the password of USER, who is signed out everywhere."""
    _run(app, "set_password", {"user": user, "password": _password(password_stdin)})
    click.echo(f"{user} has another password.")


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))


# --- keys -------------------------------------------------------------------------------------------------------


@access.group()
def key() -> None:
    """API keys."""


@key.command()
@click.argument("name")
@click.option("--role", required=True, help="The role that it acts with.")
@click.option("--user", help="The user that it acts as, by e-mail address or id.")
@click.option("--customer", help="The customer that it acts as.")
@click.option("--plugin", help="The plugin that it acts as.")
@click.option("--expires", help="When it ends, like 2030-01-31T00:00:00Z; never by default.")
@click.pass_obj
def create(app: App, /, name: str, role: str, expires: str | None, **whom: str | None) -> None:
    """Make an API key, for what NAME says. Prints the key, this once."""
    given = {"name": name, "role": role, "expires_at": expires, **whom}
    result = _run(app, "create_api_key", {field: value for field, value in given.items() if value is not None})
    click.echo(result.values[0].text)


@key.command("list")
@click.pass_obj
def list_keys(app: App) -> None:
    """List the API keys."""

    async def work(crm: Crm) -> list[Any]:
        fields = ("id", "name", "role.name", "user.email", "customer.name", "plugin", *_TIMES)
        return await crm.acting_as(SYSTEM).find(ApiKey).select(*fields).order_by("name").all()

    table = _table("id", "name", "role", "acts as", "last used", "ends")
    for row in app.run(work, dispatch=False):
        acts = (row["user"] or {}).get("email") or (row["customer"] or {}).get("name") or row["plugin"] or "itself"
        ends = f"revoked {row['revoked_at']}" if row["revoked_at"] else row["expires_at"] or "never"
        table.add_row(
            row["id"], row["name"], (row["role"] or {}).get("name"), acts, row["last_used_at"] or "", ends
        )
    Console(markup=False).print(table)


_TIMES = ("last_used_at", "expires_at", "revoked_at")


@key.command("revoke")
@click.argument("id")
@click.pass_obj
def revoke_key(app: App, id: str) -> None:
    """End the key with this ID (key_…) at once."""
    _run(app, "revoke_api_key", {"key": id})
    click.echo(f"{id} is nobody's key any more.")


# --- what the commands share ------------------------------------------------------------------------------------


def _run(app: App, action: str, given: Mapping[str, Any]) -> ChangeResult:
    async def work(crm: Crm) -> ChangeResult:
        result = await crm.acting_as(SYSTEM, origin="cli").run(action, [given])
        _told(result)
        return result

    return app.run(work)


def _told(result: ChangeResult) -> None:
    if result.errors:
        lines = [".".join(str(part) for part in error.path) + ": " + error.message for error in result.errors]
        raise click.ClickException("\n".join(lines))


def _rule(text: str, option: str) -> Any:
    """A word as it is, anything else as JSON."""
    if not text.lstrip().startswith("{"):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise click.ClickException(f"{option} is no JSON: {error}") from error


def _json(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading)
    return table


__all__ = ["access"]
