"""Running actions, the core's and the plugins'."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import BaseModel, ValidationError

from ..access import AccessDenied, permission_denied
from ..contracts import Action, ChangeResult, Context, Refs, UserError
from .errors import ChangeError, PluginError, Rejected, UnknownAction
from .plugins import call
from .refusals import Refusals
from .unit import in_unit
from .write import check_mode

if TYPE_CHECKING:
    from ..crm import Session


async def run(
    session: Session,
    name: str,
    inputs: Sequence[Mapping[str, Any] | BaseModel],
    *,
    on_error: str = "reject_all",
) -> ChangeResult:
    """Runs an action on a batch, in one unit of work unless the action manages its own.

    Results are aligned with the inputs: ``ids`` for an action on an entity, else ``values``; None where an
    input was refused. A user error rolls everything back, unless ``on_error="skip_invalid"``.

    Raises :class:`UnknownAction`, :class:`~amity.access.AccessDenied`, and :class:`PluginError` where the
    action itself fails.
    """
    check_mode(on_error)
    owned = session.crm.composition.actions.get(name)
    if owned is None:
        known = session.crm.composition.actions
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(known))}"
        raise UnknownAction(f"there is no action {name!r}; {hint} Is the plugin that brings it enabled?")
    action: Action[Any] = owned.value
    if not session.rights.may(action.permission):
        raise permission_denied(session.principal, name, action.permission)
    refusals = Refusals()
    kinds = session.crm.catalog.prefixes
    read = {
        index: item for index, raw in enumerate(inputs) if (item := _read(action, kinds, index, raw, refusals))
    }
    result = _result(action, len(inputs), {}, refusals)
    if not read or (refusals and on_error == "reject_all"):
        return result

    async def work(joined: Session) -> ChangeResult:
        outcome = await _call(joined, owned.plugin, action, read)
        found = Refusals(refusals.errors)
        results: dict[int, Any] = {}
        for index, value in outcome.items():
            if isinstance(value, UserError):
                found.errors.append(dataclasses.replace(value, index=index))
            else:
                results[index] = value
        if found and on_error == "reject_all":
            results = {}
        return _result(action, len(inputs), results, found)

    async def rejecting(joined: Session) -> ChangeResult:
        done = await work(joined)
        if done.errors and on_error == "reject_all":
            raise Rejected(done)
        return done

    if not action.transactional:
        return await work(session)
    try:
        if session.unit is None:
            return await in_unit(session, rejecting, hopeful=owned.plugin == "core")
        async with session.unit.savepoint():
            return await rejecting(session)
    except Rejected as rejected:
        refused: ChangeResult = rejected.args[0]
        return refused


def _read(
    action: Action[Any],
    kinds: Mapping[str, str],
    index: int,
    raw: Mapping[str, Any] | BaseModel,
    refusals: Refusals,
) -> BaseModel | None:
    """One input as the action's model; refused if it is none."""
    if isinstance(raw, BaseModel) and isinstance(raw, action.input):
        return raw
    if not isinstance(raw, Mapping):
        refusals.refuse(index, (), "invalid", f"expected an object with fields, got {type(raw).__name__}")
        return None
    known, allowed = _known(action.input)  # type: ignore[arg-type]
    strange = () if known.issuperset(raw) else [key for key in raw if key not in known]
    if strange and action.input.model_config.get("extra") != "allow":
        for key in strange:
            close = difflib.get_close_matches(str(key), allowed, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(sorted(allowed))}"
            refusals.refuse(index, (str(key),), "unknown_field", f"{action.name} has no field {key!r}; {hint}")
        raw = {key: value for key, value in raw.items() if key not in strange}
    item: BaseModel | None = None
    try:
        item = action.input.model_validate(raw, context={"kinds": kinds})
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            code = {"missing": "required", "extra_forbidden": "unknown_field"}.get(problem["type"], "invalid")
            message = problem["msg"].removeprefix("Value error, ")
            refusals.refuse(index, tuple(problem["loc"]), code, message)
    return None if index in refusals else item


@lru_cache(maxsize=256)
def _known(model: type[BaseModel]) -> tuple[frozenset[str], frozenset[str]]:
    """Keys that input of a model may have, and those of them that are told."""
    told = frozenset(info.alias or name for name, info in model.model_fields.items())
    return told | model.model_fields.keys(), told


async def _call(
    session: Session, plugin: str, action: Action[Any], read: Mapping[int, BaseModel]
) -> dict[int, Any]:
    context = Context.of(session, plugin)

    async def work() -> Sequence[Any]:
        return await action.run(context, list(read.values()))

    results: Any = await call(plugin, "action", action.name, None, work, passing=(ChangeError, AccessDenied))
    if isinstance(results, Refs):
        results = results.ids
    if not isinstance(results, Sequence) or len(results) != len(read):
        number = len(results) if isinstance(results, Sequence) else type(results).__name__
        raise PluginError(
            plugin,
            "action",
            action.name,
            f"returned {number} results for {len(read)} inputs; expected one for each",
        )
    for value in results:
        if action.entity is not None and not isinstance(value, (UUID, UserError)):
            problem = f"returned {value!r}; expected the id of a {action.entity.__name__}, or a UserError"
            raise PluginError(plugin, "action", action.name, problem)
    return dict(zip(read, results, strict=True))


def _result(action: Action[Any], count: int, results: Mapping[int, Any], refusals: Refusals) -> ChangeResult:
    aligned = tuple(results.get(index) for index in range(count))
    if action.entity is not None:
        return ChangeResult(ids=aligned, errors=refusals.sorted())
    return ChangeResult(ids=(None,) * count, errors=refusals.sorted(), values=aligned)
