"""Templates: messages with variables, in several languages, rendered for many customers at once.

The language is a small part of Jinja: variables, ``if``, ``for`` over given lists, and a few filters. Whatever
else Jinja knows is refused when a template is saved, and so is a path that leads nowhere. Values are plain: an
attribute of a template is a key of a mapping, and never one of a Python object.
"""

from __future__ import annotations

import asyncio
import difflib
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, Undefined, nodes
from jinja2.runtime import LoopContext
from jinja2.sandbox import SandboxedEnvironment
from pydantic import BaseModel, ConfigDict, Field

from ..change import Update
from ..contracts import Action, ChangeResult, Context, IdOf, Permission, UserError
from ..entity import Catalog, EntityType, Kind, decode_id
from ..model import Conversation, Customer, Deal, TemplateText, User
from ..model import Template as TemplateEntity
from ..query import QueryError
from ..query.find import Related, selection_of
from ..tree import Many, Root
from .html import sanitized

if TYPE_CHECKING:
    from ..crm import Session

SAVE_TEMPLATE = Permission("core.save_template", "Write templates of messages, and preview them")
ROOTS: Mapping[str, type[Any]] = {"customer": Customer, "user": User, "deal": Deal, "conversation": Conversation}
"""What a template may speak of, besides variables of its own."""
MAX_SOURCE = 100_000
"""Characters of a text."""
MAX_OUTPUT = 500_000
"""Characters that a text may become."""
MAX_ITEMS = 200
"""Items of a list that is repeated over."""
MAX_SECONDS = 5.0
"""How long a text may take."""
MAX_NESTING = 2
"""Loops within each other."""
MAX_WORK = 5_000_000
"""Parts of a text, each as often as the longest lists would repeat it."""
_WORD = re.compile(r"[a-z][a-z0-9_]{0,49}")
_LANGUAGE = r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*"


# --- the language ------------------------------------------------------------------------------------------


class _Absent(Undefined):
    """A value that is not there: false in ``if``, replaced by ``default``, noted where it would be written.

    Without ``noted`` it is of a value that can't have fields, and writing it fails.
    """

    __slots__ = ("_noted", "_path")

    def __init__(self, path: str, noted: list[str] | None) -> None:
        super().__init__(name=path)
        self._path = path
        self._noted = noted

    def __str__(self) -> str:
        if self._noted is None:
            raise TemplateError(f"there is nothing that has a field {self._path!r}")
        if self._path not in self._noted:
            self._noted.append(self._path)
        return f"[{self._path}]"

    __html__ = __str__

    def __eq__(self, other: object) -> bool:
        return other is None or isinstance(other, Undefined)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment]


class _Object(dict[str, Any]):
    """A mapping of a template, which knows its own path, so that what it lacks can be told."""

    def __init__(self, values: Mapping[str, Any], path: str, noted: list[str]) -> None:
        super().__init__({key: _plain(value, f"{path}.{key}", noted) for key, value in values.items()})
        self.path = path
        self.noted = noted


def _plain(value: Any, path: str, noted: list[str]) -> Any:
    """A JSON value as templates see it."""
    if value is None:
        return _Absent(path, noted)
    if isinstance(value, Mapping):
        return _Object(value, path, noted)
    if isinstance(value, (list, tuple)):
        if len(value) > MAX_ITEMS:
            raise ValueError(f"{path} has {len(value)} items; at most {MAX_ITEMS} are allowed")
        return [_plain(item, path, noted) for item in value]
    return value


_deadline: ContextVar[float] = ContextVar("amity_template_deadline", default=math.inf)


def _in_time() -> None:
    """Called wherever a text can be made to work hard. Raises TemplateError once it took too long."""
    if time.monotonic() > _deadline.get():
        raise TemplateError(f"it takes longer than {MAX_SECONDS:g} seconds")


def _timed(work: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(work)
    def timed(*arguments: Any) -> Any:
        _in_time()
        return work(*arguments)

    return timed


class _Environment(SandboxedEnvironment):
    """Jinja, without a way to any attribute of a Python object."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        _in_time()
        if isinstance(obj, _Object):
            return obj[attribute] if attribute in obj else _Absent(f"{obj.path}.{attribute}", obj.noted)
        if isinstance(obj, _Absent):
            return _Absent(f"{obj._path}.{attribute}", obj._noted)
        if isinstance(obj, LoopContext) and attribute in _LOOP:
            return getattr(obj, attribute)
        return _Absent(attribute, None)

    def getitem(self, obj: Any, argument: Any) -> Any:
        raise TemplateError("square brackets can't be used here")


def _upper(value: Any) -> str:
    return str(value).upper()


def _lower(value: Any) -> str:
    return str(value).lower()


def _capitalize(value: Any) -> str:
    return str(value).capitalize()


def _default(value: Any, otherwise: Any = "") -> Any:
    return otherwise if isinstance(value, Undefined) or value in ("", None) else value


def _join(value: Any, separator: str = ", ") -> str:
    items = [value] if isinstance(value, str) else list(value)
    return str(separator)[:20].join(str(item) for item in items[:MAX_ITEMS])


def _length(value: Any) -> int:
    return len(value)


def _truncate(value: Any, length: int = 100) -> str:
    text = str(value)
    return text if len(text) <= length else f"{text[: max(0, length - 1)]}…"


_FORM = re.compile(r"(%-?[YymdBbAaHMSIpj]|[^%])*")
"""What ``strftime`` is given: it knows widths, too, that fill the memory."""


def _date(value: Any, form: str = "%Y-%m-%d") -> str:
    """A day or a time, written as ``strftime`` does."""
    if isinstance(value, Undefined):
        return str(value)
    if len(str(form)) > 100 or not _FORM.fullmatch(str(form)):
        raise ValueError(f"{form!r} is no form of a date; expected one like %d.%m.%Y")
    return datetime.fromisoformat(str(value)).strftime(str(form))


def _money(value: Any) -> str:
    """An amount in its currency's main unit: ``1,054.00 USD``."""
    if not isinstance(value, Mapping):
        return str(value)
    amount, currency = value.get("amount"), value.get("currency")
    if isinstance(amount, Undefined) or amount is None:
        return str(amount)
    digits = _DIGITS.get(str(currency), 2)
    whole = abs(int(amount))
    main, rest = divmod(whole, 10**digits)
    sign = "-" if int(amount) < 0 else ""
    return f"{sign}{main:,}{f'.{rest:0{digits}d}' if digits else ''} {currency}"


_WHOLE = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THOUSANDTHS = "BHD IQD JOD KWD LYD OMR TND"
_DIGITS = {**dict.fromkeys(_WHOLE.split(), 0), **dict.fromkeys(_THOUSANDTHS.split(), 3)}
"""Currencies (ISO 4217) whose minor unit is not a hundredth."""

FILTERS: Mapping[str, Callable[..., Any]] = {
    "capitalize": _capitalize,
    "date": _date,
    "default": _default,
    "join": _join,
    "length": _length,
    "lower": _lower,
    "money": _money,
    "truncate": _truncate,
    "upper": _upper,
}
TESTS = frozenset(("defined", "undefined"))
_LOOP = frozenset(("index", "index0", "first", "last", "length"))
_ALLOWED = (
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.Getattr,
    nodes.Const,
    nodes.If,
    nodes.For,
    nodes.Filter,
    nodes.Test,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.CondExpr,
)
_CALLED = {
    nodes.Call: "calls",
    nodes.Getitem: "square brackets",
    nodes.Assign: "set",
    nodes.AssignBlock: "set",
    nodes.Macro: "macros",
    nodes.Include: "include",
    nodes.Import: "import",
    nodes.FromImport: "import",
    nodes.Extends: "extends",
    nodes.Block: "blocks",
    nodes.FilterBlock: "filter blocks",
    nodes.CallBlock: "call blocks",
    nodes.With: "with",
    nodes.List: "lists of its own",
    nodes.Tuple: "lists of its own",
    nodes.Dict: "mappings of its own",
}


def _environment(html: bool) -> _Environment:
    # a line that holds nothing but a tag leaves no empty line behind
    environment = _Environment(undefined=StrictUndefined, autoescape=html, trim_blocks=True, lstrip_blocks=True)
    environment.filters = {name: _timed(work) for name, work in FILTERS.items()}
    environment.tests = {name: test for name, test in environment.tests.items() if name in TESTS}
    environment.globals = {}
    return environment


_ENVIRONMENTS = {html: _environment(html) for html in (False, True)}


@lru_cache(maxsize=2048)
def _compiled(text: str, html: bool) -> Template:
    return _ENVIRONMENTS[html].from_string(text)


@dataclass(frozen=True)
class Problem:
    """What is wrong with a text, and in which line."""

    line: int
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}"


@dataclass(frozen=True)
class Checked:
    """A text that was looked at: the paths that it reads, by root, and what is wrong with it."""

    paths: Mapping[str, frozenset[str]]
    problems: tuple[Problem, ...]


def check_text(catalog: Catalog, text: str, variables: Sequence[str]) -> Checked:
    """Checks a template's text against the catalog and the template's own variables."""
    if len(text) > MAX_SOURCE:
        return Checked({}, (Problem(1, f"has {len(text)} characters; at most {MAX_SOURCE} are allowed"),))
    try:
        parsed = _ENVIRONMENTS[False].parse(text)
        found = _Check(catalog, frozenset(variables))
        found.body(parsed.body)
        if not found.problems:
            _compiled(text, False)
    except TemplateSyntaxError as error:
        return Checked({}, (Problem(error.lineno, error.message or "can't be read"),))
    except (TemplateError, RecursionError, ValueError) as error:
        return Checked({}, (Problem(1, str(error) or type(error).__name__),))
    return Checked({root: frozenset(paths) for root, paths in found.paths.items()}, tuple(found.problems))


@dataclass
class _Check:
    """Walks through a text's syntax tree."""

    catalog: Catalog
    variables: frozenset[str]
    paths: dict[str, set[str]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    loops: tuple[str, ...] = ()
    """Names of the loops that lead here."""
    work: int = 0

    def wrong(self, node: nodes.Node, message: str) -> None:
        problem = Problem(node.lineno, message)
        if problem not in self.problems:
            self.problems.append(problem)

    def body(self, found: Sequence[nodes.Node]) -> None:
        for node in found:
            self.node(node)

    def node(self, node: nodes.Node) -> None:
        before, self.work = self.work, self.work + MAX_ITEMS ** len(self.loops)
        if before <= MAX_WORK < self.work:
            self.wrong(node, "is too long to be repeated over lists within lists")
        if not isinstance(node, _ALLOWED):
            what = _CALLED.get(type(node), f"{type(node).__name__} expressions")
            self.wrong(node, f"{what} can't be used; there are variables, if, for and filters")
        elif isinstance(node, (nodes.Name, nodes.Getattr)):
            self.path(node)
        elif isinstance(node, nodes.For):
            self.loop(node)
        elif isinstance(node, nodes.Filter):
            self.filter(node)
        elif isinstance(node, nodes.Test):
            self.test(node)
        else:
            self.body(list(node.iter_child_nodes()))

    def filter(self, node: nodes.Filter) -> None:
        if node.name not in FILTERS:
            close = difflib.get_close_matches(node.name, FILTERS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(FILTERS))}"
            self.wrong(node, f"there is no filter {node.name!r}; {hint}")
        if node.node is None:
            self.wrong(node, "filter blocks can't be used; put the filter behind a variable")
        if node.dyn_args is not None or node.dyn_kwargs is not None or node.kwargs:
            self.wrong(node, f"the filter {node.name!r} takes plain values")
        if not all(isinstance(item, (nodes.Const, nodes.Name, nodes.Getattr)) for item in node.args):
            self.wrong(node, f"the filter {node.name!r} takes plain values")
        if len(node.args) > (0 if node.name in ("upper", "lower", "capitalize", "length", "money") else 1):
            self.wrong(node, f"the filter {node.name!r} has too many arguments")
        self.body([item for item in (node.node, *node.args) if item is not None])

    def test(self, node: nodes.Test) -> None:
        if node.name not in TESTS or node.args or node.kwargs:
            self.wrong(node, f"there is no test {node.name!r}; there are {', '.join(sorted(TESTS))}")
        self.node(node.node)

    def loop(self, node: nodes.For) -> None:
        if not isinstance(node.target, nodes.Name) or not _WORD.fullmatch(node.target.name):
            self.wrong(node, "a loop has one variable, a lower-case word: {% for item in items %}")
            return
        name = node.target.name
        if name in ROOTS or name in self.variables or name == "loop":
            self.wrong(node, f"the loop's variable {name!r} has the name of something else")
        if node.recursive or node.test is not None:
            self.wrong(node, "a loop can't be recursive or filtered; use if within it")
        if len(self.loops) >= MAX_NESTING:
            self.wrong(node, f"loops can be nested {MAX_NESTING} deep")
        root, steps = _spelled(node.iter)
        if root is None or (
            root not in self.variables and root not in self.loops and not self.is_json(root, steps)
        ):
            self.wrong(node, "a loop goes over a variable of the template that holds a list")
        self.node(node.iter)
        outer, self.loops = self.loops, (*self.loops, name)
        self.body(node.body)
        self.loops = outer
        self.body(node.else_)

    def is_json(self, root: str, steps: Sequence[str]) -> bool:
        """Whether a path leads into a column of JSON, which may hold lists."""
        return root in ROOTS and _reached(self.catalog, self.catalog.of(ROOTS[root]), steps).json

    def path(self, node: nodes.Node) -> None:
        root, steps = _spelled(node)
        if root is None:
            self.wrong(node, "only variables have attributes")
        elif root == "loop" and self.loops:
            if len(steps) != 1 or steps[0] not in _LOOP:
                self.wrong(node, f"loop has {', '.join(sorted(_LOOP))}")
        elif root in self.loops or root in self.variables:
            return
        elif root not in ROOTS:
            known = [*ROOTS, *sorted(self.variables)]
            close = difflib.get_close_matches(root, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
            self.wrong(node, f"there is no variable {root!r}; {hint} Variables of its own stand in variables")
        elif not steps:
            self.wrong(node, f"{root!r} is a record; name one of its fields, like {root}.id")
        else:
            self.field(node, root, steps)

    def field(self, node: nodes.Node, root: str, steps: Sequence[str]) -> None:
        reached = _reached(self.catalog, self.catalog.of(ROOTS[root]), steps)
        if reached.problem is not None:
            self.wrong(node, f"{'.'.join((root, *steps))}: {reached.problem}")
        else:
            self.paths.setdefault(root, set()).add(reached.path)


def _spelled(node: nodes.Node) -> tuple[str | None, list[str]]:
    """``customer.organization.name`` as its root and the steps from there."""
    steps: list[str] = []
    while isinstance(node, nodes.Getattr):
        steps.insert(0, node.attr)
        node = node.node
    return (node.name, steps) if isinstance(node, nodes.Name) else (None, steps)


@dataclass(frozen=True)
class _Reached:
    """Where a path leads: the field to read for it, whether that is JSON, and what is wrong with the path."""

    path: str
    json: bool = False
    problem: str | None = None


def _reached(catalog: Catalog, entity: EntityType, steps: Sequence[str]) -> _Reached:
    for number, step in enumerate(steps):
        rest, path = steps[number + 1 :], ".".join(steps[: number + 1])
        column = None if step in entity.internal else entity.columns.get(step)
        if step in entity.currencies:
            if rest in ([], ["amount"], ["currency"]):
                return _Reached(path)
            return _Reached(path, problem="money has amount and currency, and the filter money")
        if column is not None or step in entity.expressions:
            json = column is not None and column.kind is Kind.JSON
            return _Reached(path, json, None if json or not rest else f"{entity.name}.{step} has no fields")
        if step in entity.batches:
            return _Reached(path, problem=f"{entity.name}.{step} can't be used in a template")
        relation, many = entity.to_one.get(step), entity.to_many.get(step)
        if relation is not None:
            entity = catalog[relation.target]
        elif many is not None and many.single:
            entity = catalog[many.target]
        elif many is not None:
            return _Reached(path, problem=f"{entity.name}.{step} are several; a template can't choose one")
        else:
            return _Reached(path, problem=_unknown(entity, step))
    return _Reached(".".join(steps), problem=f"is a {entity.name}; name one of its fields")


def _unknown(entity: EntityType, name: str) -> str:
    fields = (*entity.columns, *entity.money, *entity.expressions, *entity.to_one)
    known = [field for field in fields if field not in entity.internal]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
    return f"{entity.name} has no field {name!r}; {hint}"


# --- rendering ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RenderRequest:
    """A template to be rendered for somebody. ``default_language`` is the connection's."""

    template: UUID
    customer: UUID | None = None
    user: UUID | None = None
    deal: UUID | None = None
    conversation: UUID | None = None
    language: str | None = None
    default_language: str | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Rendered:
    """A message that a template became."""

    template: UUID
    language: str
    purpose: str
    channel: str | None
    subject: str | None
    body: str | None
    html: str | None
    missing: tuple[str, ...] = ()
    """What was needed and not there; each stands in the text in brackets. Empty unless it is a preview."""


@dataclass(frozen=True)
class Unrendered:
    """Why a template became no message, for people."""

    reason: str
    missing: tuple[str, ...] = ()
    """What was needed and is not there, like ``customer.given_name``."""


async def render(
    session: Session, requests: Sequence[RenderRequest], *, preview: bool = False
) -> list[Rendered | Unrendered]:
    """Renders templates, in the order of the requests: one statement for the templates, one for all values.

    The session's principal must be able to read both; what it can't read is missing. A message that lacks
    something is not rendered, unless it is a ``preview``.
    """
    if not requests:
        return []
    templates = await _templates(session, [request.template for request in requests])
    values = await _values(session, requests, templates)

    def work() -> list[Rendered | Unrendered]:
        return [_rendered(request, templates.get(request.template), values, preview) for request in requests]

    return await asyncio.to_thread(work)


@dataclass(frozen=True)
class _Loaded:
    """A template with its texts, the oldest first."""

    row: Mapping[str, Any]
    texts: Sequence[Mapping[str, Any]]
    paths: Mapping[str, frozenset[str]]


async def _templates(session: Session, ids: Sequence[UUID]) -> dict[UUID, _Loaded]:
    texts = Related("texts", ["id", "language", "subject", "body", "html"], order_by=["id"])
    query = session.find(TemplateEntity).where({"id": {"in": list(dict.fromkeys(ids))}})
    rows = await query.select("id", "channel", "purpose", "variables", texts).all()
    catalog = session.crm.catalog
    found = {}
    for row in rows:
        paths: dict[str, set[str]] = {}
        for text in row["texts"]:
            for name in PARTS:
                for root, read in _paths(catalog, text[name], tuple(row["variables"])).items():
                    paths.setdefault(root, set()).update(read)
        id = decode_id(TemplateEntity.options.prefix, row["id"])
        found[id] = _Loaded(row, row["texts"], {root: frozenset(read) for root, read in paths.items()})
    return found


def _paths(catalog: Catalog, text: str | None, variables: tuple[str, ...]) -> Mapping[str, frozenset[str]]:
    """What a saved text reads. Paths that were there when it was saved, and are not any more, are missing."""
    return {} if not text else check_text(catalog, text, variables).paths


Values = Mapping[str, Mapping[UUID, Mapping[str, Any]]]


async def _values(
    session: Session, requests: Sequence[RenderRequest], templates: Mapping[UUID, _Loaded]
) -> Values:
    """Records by root and id, with all fields that any of the templates reads, by one statement."""
    catalog = session.crm.catalog
    roots: dict[str, Root] = {}
    asked: dict[str, list[UUID]] = {}
    for root, model in ROOTS.items():
        ids = list(dict.fromkeys(id for request in requests if (id := getattr(request, root)) is not None))
        paths = {path for loaded in templates.values() for path in loaded.paths.get(root, ())}
        if root == "customer":
            paths.add("locale")
        if ids and paths:
            asked[root] = ids
            entity = catalog.of(model)
            roots[root] = Many(entity.name, ids, selection_of(catalog, entity, sorted(paths)))
    answer = (await session.read(roots)).parsed()
    return {
        root: {id: row for id, row in zip(ids, answer[root], strict=True) if row is not None}
        for root, ids in asked.items()
    }


def _rendered(
    request: RenderRequest, loaded: _Loaded | None, values: Values, preview: bool
) -> Rendered | Unrendered:
    if loaded is None:
        return Unrendered("there is no such template")
    strange = sorted(request.variables.keys() - set(loaded.row["variables"]))
    if strange:
        known = ", ".join(loaded.row["variables"]) or "none"
        return Unrendered(f"the template has no variable {strange[0]!r}; it has {known}")
    customer = values.get("customer", {}).get(request.customer, {}) if request.customer else {}
    languages = [text["language"] for text in loaded.texts]
    language = choose_language(languages, request.language, customer.get("locale"), request.default_language)
    if language is None:
        asked = f" in {request.language!r}; there are {', '.join(languages)}" if languages else ""
        return Unrendered(f"the template has no text{asked}")
    text = next(text for text in loaded.texts if text["language"] == language)
    noted: list[str] = []
    parts: dict[str, str | None] = {}
    try:
        context: dict[str, Any] = {
            name: _plain(request.variables.get(name), name, noted) for name in loaded.row["variables"]
        }
        for root in ROOTS:
            id = getattr(request, root)
            context[root] = _plain(values.get(root, {}).get(id), root, noted)
        for name in PARTS:
            parts[name] = None if text[name] is None else _written(text[name], name == "html", context)
    except (TemplateError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        return Unrendered(f"the text in {language} can't be rendered: {error}", tuple(noted))
    if noted and not preview:
        return Unrendered(f"{', '.join(noted)} {'is' if len(noted) == 1 else 'are'} missing", tuple(noted))
    if parts["subject"] is not None:
        parts["subject"] = " ".join(parts["subject"].split())[:500]
    row = loaded.row
    return Rendered(
        template=request.template,
        language=language,
        purpose=row["purpose"],
        channel=row["channel"],
        subject=parts["subject"],
        body=parts["body"],
        html=parts["html"],
        missing=tuple(noted),
    )


def _written(text: str, html: bool, context: Mapping[str, Any]) -> str:
    pieces: list[str] = []
    length = 0
    token = _deadline.set(time.monotonic() + MAX_SECONDS)
    try:
        for piece in _compiled(text, html).generate(context):
            length += len(piece)
            if length > MAX_OUTPUT:
                raise ValueError(f"it becomes longer than {MAX_OUTPUT} characters")
            pieces.append(piece)
    finally:
        _deadline.reset(token)
    return "".join(pieces)


def choose_language(languages: Sequence[str], asked: str | None, *others: str | None) -> str | None:
    """The language of a text: what was asked for, else the first of ``others`` that there is, else the first text.

    ``de-CH`` is satisfied by ``de``. What was asked for is not replaced by another language: None if it is absent.
    """
    for wanted in (asked, *others):
        if wanted is not None:
            parts = wanted.split("-")
            for count in range(len(parts), 0, -1):
                for language in languages:
                    if language.lower() == "-".join(parts[:count]).lower():
                        return language
        if wanted is asked and asked is not None:
            return None
    return languages[0] if languages else None


# --- saving ------------------------------------------------------------------------------------------------

PARTS = ("subject", "body", "html")


class TemplateTextInput(BaseModel):
    """A template in one language. It needs a body or HTML."""

    model_config = ConfigDict(extra="forbid")

    language: str = Field(
        pattern=f"^{_LANGUAGE}$", max_length=35, description="Language (BCP 47), like de or de-CH"
    )
    subject: str | None = Field(default=None, max_length=500, description="Subject, one line")
    body: str | None = Field(default=None, description="Plain text")
    html: str | None = Field(default=None, description="HTML; values are escaped in it")


class SaveTemplateInput(BaseModel):
    """A template, whole: languages that are not among its texts are taken away."""

    model_config = ConfigDict(extra="forbid")

    id: Annotated[UUID, IdOf(TemplateEntity)] | None = Field(
        default=None, description="The template to change; by default the one with the name, or a new one"
    )
    name: str = Field(min_length=1, max_length=200, description="Name to know it by; unique")
    channel: str | None = Field(default=None, description="The channel it is for; null for any")
    purpose: str = Field(
        default="service",
        pattern="^[a-z][a-z0-9_]{0,49}$",
        description="What it is sent for, like service or marketing; consent is by purpose",
    )
    variables: list[str] = Field(
        default_factory=list, description="Names of variables that whoever sends it brings"
    )
    texts: list[TemplateTextInput] = Field(min_length=1, description="Its texts; the first is the fallback")


class PreviewTemplateInput(BaseModel):
    """A template, and whom to show it for."""

    model_config = ConfigDict(extra="forbid")

    template_id: Annotated[UUID, IdOf(TemplateEntity)] = Field(description="The template")
    customer_id: Annotated[UUID, IdOf(Customer)] | None = Field(default=None, description="The customer")
    user_id: Annotated[UUID, IdOf(User)] | None = Field(default=None, description="The user who sends it")
    deal_id: Annotated[UUID, IdOf(Deal)] | None = Field(default=None, description="The deal")
    conversation_id: Annotated[UUID, IdOf(Conversation)] | None = Field(
        default=None, description="The conversation"
    )
    language: str | None = Field(default=None, description="Language (BCP 47); the customer's by default")
    variables: dict[str, Any] = Field(default_factory=dict, description="Values of the template's own variables")


class PreviewedTemplate(BaseModel):
    """What a template would become."""

    language: str = Field(description="The language that was chosen")
    subject: str | None
    body: str | None
    html: str | None = Field(description="Made harmless, to be shown in a page")
    missing: list[str] = Field(
        description="What is needed and not there, like customer.given_name; it would not be sent"
    )


async def save_templates(context: Context, inputs: Sequence[SaveTemplateInput]) -> Sequence[UUID | UserError]:
    """Saves templates whose texts are right; what is wrong is told with its line."""
    session = context.session
    wrong: dict[int, UserError] = {}
    for index, item in enumerate(inputs):
        problem = _problem(context, index, item)
        if problem is not None:
            wrong[index] = problem
    right = {index: item for index, item in enumerate(inputs) if index not in wrong}
    known = await _known(session, list(right.values()))
    new = {index: item for index, item in right.items() if item.id is None and item.name not in known}
    old = {index: item for index, item in right.items() if index not in new}
    rows = [_columns(item) for item in new.values()]
    made = await session.create(TemplateEntity, rows, on_error="skip_invalid", read_only=True)
    updates = [Update(item.id or known[item.name], _columns(item)) for item in old.values()]
    changed = await session.update(TemplateEntity, updates, on_error="skip_invalid", read_only=True)
    ids = {**_placed(list(new), made, wrong), **_placed(list(old), changed, wrong)}
    await _save_texts(session, {id: right[index].texts for index, id in ids.items()})
    return [ids[index] if index in ids else wrong[index] for index in range(len(inputs))]


def _problem(context: Context, index: int, item: SaveTemplateInput) -> UserError | None:
    """The first thing that is wrong with a template."""
    if item.channel is not None:
        try:
            context.crm.composition.kinds.channel(item.channel)
        except LookupError as problem:
            return UserError(index, ("channel",), "invalid", str(problem.args[0]))
    for number, name in enumerate(item.variables):
        if not _WORD.fullmatch(name) or name in ROOTS or name in ("loop", "true", "false", "none", "not"):
            message = f"{name!r} can't be the name of a variable; expected a lower-case word, and none of "
            message += ", ".join((*ROOTS, "loop"))
            return UserError(index, ("variables", number), "invalid", message)
    seen: set[str] = set()
    for number, text in enumerate(item.texts):
        here = ("texts", number)
        if text.language.lower() in seen:
            return UserError(index, (*here, "language"), "duplicate", f"there are two texts in {text.language}")
        seen.add(text.language.lower())
        if not text.body and not text.html:
            return UserError(index, (*here, "body"), "required", "a body or HTML is needed")
        for name in PARTS:
            problems = check_text(context.crm.catalog, getattr(text, name) or "", item.variables).problems
            if problems:
                return UserError(index, (*here, name), "invalid", "; ".join(map(str, problems)))
    return None


async def _known(session: Session, items: Sequence[SaveTemplateInput]) -> dict[str, UUID]:
    """Ids of the templates that are there, by name."""
    names = list(dict.fromkeys(item.name for item in items if item.id is None))
    if not names:
        return {}
    rows = await session.find(TemplateEntity).select("id", "name").where({"name": {"in": names}}).all()
    return {row["name"]: decode_id(TemplateEntity.options.prefix, row["id"]) for row in rows}


def _columns(item: SaveTemplateInput) -> dict[str, Any]:
    return {
        "name": item.name,
        "channel": item.channel,
        "purpose": item.purpose,
        "variables": list(dict.fromkeys(item.variables)),
    }


def _placed(places: Sequence[int], result: ChangeResult, wrong: dict[int, UserError]) -> dict[int, UUID]:
    """Ids by the place of the input; errors go to ``wrong``."""
    for error in result.errors:
        place = places[error.index]
        wrong.setdefault(place, UserError(place, error.path, error.code, error.message))
    return {place: id for place, id in zip(places, result.ids, strict=True) if id is not None}


async def _save_texts(session: Session, texts: Mapping[UUID, Sequence[TemplateTextInput]]) -> None:
    """Makes the texts of templates what is given."""
    if not texts:
        return
    query = session.find(TemplateText).select("id", "template_id", "language")
    kept: dict[tuple[UUID, str], str] = {}
    for row in await query.where({"template_id": {"in": list(texts)}}).all():
        kept[decode_id(TemplateEntity.options.prefix, row["template_id"]), row["language"]] = row["id"]
    new, changed = [], []
    for template, items in texts.items():
        for item in items:
            values = item.model_dump()
            id = kept.pop((template, item.language), None)
            if id is None:
                new.append({**values, "template_id": template})
            else:
                changed.append(Update(id, values))
    # first away with what goes, as a language may come back in other letters
    for result in (
        await session.delete(TemplateText, list(kept.values())),
        await session.update(TemplateText, changed, read_only=True),
        await session.create(TemplateText, new, read_only=True),
    ):
        if result.errors:
            raise QueryError(f"texts of templates could not be saved: {result.errors[0].message}")


async def preview_templates(
    context: Context, inputs: Sequence[PreviewTemplateInput]
) -> Sequence[PreviewedTemplate | UserError]:
    """Shows what templates would become."""
    requests = [
        RenderRequest(
            template=item.template_id,
            customer=item.customer_id,
            user=item.user_id,
            deal=item.deal_id,
            conversation=item.conversation_id,
            language=item.language,
            variables=item.variables,
        )
        for item in inputs
    ]
    results: list[PreviewedTemplate | UserError] = []
    for index, found in enumerate(await render(context.session, requests, preview=True)):
        if isinstance(found, Unrendered):
            results.append(UserError(index, (), "invalid", found.reason))
        else:
            results.append(
                PreviewedTemplate(
                    language=found.language,
                    subject=found.subject,
                    body=found.body,
                    html=None if found.html is None else sanitized(found.html),
                    missing=list(found.missing),
                )
            )
    return results


TEMPLATE_ACTIONS: tuple[Action[Any], ...] = (
    Action(
        "save_template",
        SaveTemplateInput,
        run=save_templates,
        permission=SAVE_TEMPLATE.name,
        entity=TemplateEntity,
        description="Saves a template with its texts, whose variables are checked",
    ),
    Action(
        "preview_template",
        PreviewTemplateInput,
        run=preview_templates,
        permission=SAVE_TEMPLATE.name,
        output=PreviewedTemplate,
        description="Shows what a template would become for a customer, and what is missing",
    ),
)

__all__ = [
    "FILTERS",
    "SAVE_TEMPLATE",
    "TEMPLATE_ACTIONS",
    "PreviewedTemplate",
    "RenderRequest",
    "Rendered",
    "Unrendered",
    "check_text",
    "choose_language",
    "preview_templates",
    "render",
    "save_templates",
]
