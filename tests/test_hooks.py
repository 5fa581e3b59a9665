"""Every hook is documented with its exact signature, and used by a plugin."""

from __future__ import annotations

import ast
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import amity
from amity import SYSTEM, Channel, Crm, Customer, Plugin, contracts, messages
from amity.entity import EntityOptions
from amity.plugin import HOOKS, LAYER_HOOKS
from amity.testing import ChannelCase
from amity_graphql import GraphQLHooks

from .conftest import MakeCrm

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
DECLARED: dict[str, Callable[..., Any]] = {
    **{name: getattr(Plugin, name) for name in HOOKS},
    **{name: getattr(GraphQLHooks, name) for name in LAYER_HOOKS},
}
DECLARATIONS = (
    contracts.expression,
    contracts.batch,
    contracts.Action,
    contracts.IdOf,
    contracts.UserError,
    contracts.Permission,
    contracts.RoleGrant,
    contracts.RolePermission,
    contracts.Need,
    contracts.NeedPermission,
    contracts.Validator,
    contracts.Proposed,
    contracts.Problem,
    contracts.Subscriber,
    contracts.LogEvent,
    contracts.Scorer,
    contracts.Scored,
    contracts.Purchases,
    contracts.TimelineEntry,
    contracts.Job,
    contracts.Context,
)

CHANNELS = (ROOT / "docs" / "channels.md").read_text(encoding="utf-8")
MESSAGES = (
    messages.Capabilities,
    messages.Connected,
    messages.RawRequest,
    messages.Outbound,
    messages.OutboundFile,
    messages.Inbound,
    messages.Party,
    messages.Media,
    messages.ConsentChange,
    messages.Receipt,
    messages.Unreadable,
    messages.Sent,
    messages.Refused,
    messages.Reply,
)


def signature(item: Callable[..., Any]) -> str:
    """``entities(self) -> Sequence[type[Record]]``"""
    shown = inspect.signature(item)
    parameters = []
    for parameter in shown.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in parameters:
            parameters.append("*")
        annotation = "" if parameter.annotation is parameter.empty else f": {parameter.annotation}"
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        parameters.append(f"{parameter.name}{annotation}{default}")
    result = "" if shown.return_annotation in (shown.empty, None, "None") else f" -> {shown.return_annotation}"
    return f"{item.__name__}({', '.join(parameters)}){result}".replace('"', "'")


def classes() -> Iterator[tuple[Path, ast.ClassDef]]:
    """Plugin classes of tests, examples and the bundled plugins."""
    for folder in ("tests", "examples", "graphql", "plugins"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef) and any("Plugin" in ast.unparse(base) for base in node.bases):
                    yield file, node


USED = {item.name for _, node in classes() for item in node.body if isinstance(item, ast.FunctionDef)}


@pytest.mark.parametrize("name", DECLARED)
def test_a_hook_stands_in_the_docs_with_its_signature(name: str) -> None:
    assert f"#### `{signature(DECLARED[name])}`" in PAGE


@pytest.mark.parametrize("declaration", DECLARATIONS, ids=lambda item: item.__name__)
def test_a_declaration_stands_in_the_docs_with_its_signature(declaration: Callable[..., Any]) -> None:
    assert f"#### `{signature(declaration)}`" in PAGE


@pytest.mark.parametrize("value", MESSAGES, ids=lambda item: item.__name__)
def test_a_value_of_channels_stands_in_the_docs_with_its_signature(value: Callable[..., Any]) -> None:
    assert f"#### `{signature(value)}`" in CHANNELS


@pytest.mark.parametrize("name", [name for name in vars(Channel) if name[0] != "_"])
def test_everything_of_a_channel_stands_in_the_docs(name: str) -> None:
    item = getattr(Channel, name)
    if inspect.isfunction(item):
        assert f"#### `{signature(item)}`" in CHANNELS
    else:
        assert f"| `{name}` |" in CHANNELS


@pytest.mark.parametrize("name", [name for name in vars(ChannelCase) if name[0] != "_" and name != "defines"])
def test_everything_of_a_case_of_a_channel_stands_in_the_docs(name: str) -> None:
    item = getattr(ChannelCase, name)
    if inspect.isfunction(item):
        name = f"{name}({', '.join(list(inspect.signature(item).parameters)[1:])})"
    assert f"| `{name}` |" in CHANNELS


@pytest.mark.parametrize("name", DECLARED)
def test_a_hook_is_implemented_by_a_plugin(name: str) -> None:
    assert name in USED, f"no plugin of tests, examples, graphql and plugins implements the hook {name}"


def test_every_method_of_plugin_that_is_no_hook_is_known() -> None:
    public = {name for name, item in vars(Plugin).items() if inspect.isfunction(item) and name[0] != "_"}
    assert public - set(HOOKS) == {"layer"}


@pytest.mark.parametrize("name", list(inspect.signature(EntityOptions).parameters))
def test_an_option_of_entities_stands_in_the_docs(name: str) -> None:
    assert f"| `{name}` |" in PAGE


@pytest.mark.parametrize(
    "name", ["name", "version", "core", "requires", "after", "migrations", "hookspecs", "settings"]
)
def test_an_attribute_of_plugin_stands_in_the_docs(name: str) -> None:
    assert name in Plugin.__annotations__
    assert f"| `{name}` |" in PAGE


def test_every_public_name_can_be_imported() -> None:
    assert not [name for name in amity.__all__ if not hasattr(amity, name)]


# --- lifespan ----------------------------------------------------------------------------------------------


class Door(Plugin):
    """Notes when it is opened and closed."""

    name = "door"

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self._seen: list[str] = []

    def lifespan(self, crm: Crm) -> AbstractAsyncContextManager[None]:
        return self._opened(crm)

    @asynccontextmanager
    async def _opened(self, crm: Crm) -> AsyncIterator[None]:
        count = await crm.acting_as(SYSTEM).find(Customer).count()
        self._seen.append(f"opened with {count} customers")
        yield
        self._seen.append("closed")


class Jammed(Plugin):
    """Can't be opened."""

    name = "jammed"
    after = ("door",)

    def lifespan(self, crm: Crm) -> AbstractAsyncContextManager[None]:
        raise RuntimeError("jammed")


async def test_a_lifespan_is_entered_when_the_crm_opens_and_left_when_it_closes(make_crm: MakeCrm) -> None:
    door = Door()
    async with make_crm([door]):
        assert door._seen == ["opened with 0 customers"]
    assert door._seen == ["opened with 0 customers", "closed"]


async def test_a_lifespan_that_fails_closes_what_was_opened(make_crm: MakeCrm) -> None:
    door = Door()
    with pytest.raises(RuntimeError, match="jammed"):
        async with make_crm([Jammed(), door]):
            pass
    assert door._seen == ["opened with 0 customers", "closed"]
