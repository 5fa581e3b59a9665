"""Channels of all plugins, and the channels that addresses belong to."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, SecretStr

from ..channels import CHANNELS, ChannelKind, Channels
from ..contracts import Owned
from ..messages import Capabilities, Channel
from .values import Composition
from .work import Work, hook, typed

_METHODS = {"sends": "send", "receives": "receive", "fetches": "fetch"}
_ASYNC = ("receive", "send", "listen")


def channels(work: Work, composition: Composition) -> dict[str, Owned[Any]]:
    """The plugins' channels by name."""
    found: dict[str, Owned[Any]] = {}
    for info, item in hook(work, composition, "channels"):
        if isinstance(item, type) and issubclass(item, Channel):
            work.problems.append(
                f"plugin {info.name!r}: the hook channels returned the class {item.__name__}; expected an instance"
            )
            continue
        if not typed(work, info, "channels", item, Channel):
            continue
        name = getattr(item, "name", None)
        problems = _problems(item, name)
        work.problems.extend(f"plugin {info.name!r}: the channel {name!r}: {text}" for text in problems)
        other = found.get(str(name))
        if other is not None:
            work.problems.append(
                f"plugins {other.plugin!r} and {info.name!r} both have a channel {name!r}; "
                "one of them must choose another name, or be disabled"
            )
        elif not problems:
            found[item.name] = Owned(info.name, item)
    return found


def kinds(channels: Mapping[str, Owned[Any]]) -> Channels:
    """The core's channels, with those of plugins in their place or besides them."""
    own = dict(CHANNELS)
    for name, owned in channels.items():
        channel: Channel[Any] = owned.value
        core = CHANNELS.get(name)
        space = channel.space or (core.space if core else name)
        description = channel.description or (core.description if core else name)
        own[name] = ChannelKind(name, description, space, channel.normalize)
    return Channels(own.values())


def _problems(channel: Channel[Any], name: object) -> list[str]:
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]{0,49}", name):
        return ["its name must be a lower-case word of at most 50 characters"]
    problems = []
    account: Any = channel.account
    if not (isinstance(account, type) and issubclass(account, BaseModel)):
        problems.append(f"its account is {account!r}; expected a pydantic model")
    else:
        problems += _secret_problems(account)
    can: Any = channel.can
    if not isinstance(can, Capabilities):
        return [*problems, f"can is {can!r}; expected Capabilities(…)"]
    for flag, method in _METHODS.items():
        if getattr(can, flag) != _overrides(channel, method):
            said = "says" if getattr(can, flag) else "does not say"
            does = "does not define" if getattr(can, flag) else "defines"
            problems.append(f"can {said} {flag}, but it {does} {method}")
    problems += [
        f"its {method} is not async; define it with async def"
        for method in _ASYNC
        if _overrides(channel, method) and not inspect.iscoroutinefunction(getattr(channel, method))
    ]
    problems += [
        f"its {method} is no asynchronous generator; define it with async def, and yield"
        for method in ("fetch", "media")
        if _overrides(channel, method) and inspect.iscoroutinefunction(getattr(channel, method))
    ]
    if _overrides(channel, "listen") and not channel.can.fetches:
        problems.append("it can be listened to, but has nothing to fetch; define fetch")
    if channel.timeout <= 0 or channel.batch < 1:
        problems.append(f"timeout is {channel.timeout} and batch {channel.batch}; expected more than nothing")
    return problems


def _secret_problems(account: type[BaseModel]) -> list[str]:
    """Secrets are kept apart from the rest, so they must be seen from the outside."""
    return [
        f"its account has the field {name!r}, which sounds secret; make it a SecretStr, to be kept encrypted"
        for name, field in account.model_fields.items()
        if re.search(r"(^|_)(password|secret|token|api_key|private_key)$", name)
        and not is_secret(field.annotation)
    ]


def is_secret(annotation: Any) -> bool:
    """Whether a field of an account is a ``SecretStr``, or one that may be None."""
    return annotation is SecretStr or SecretStr in getattr(annotation, "__args__", ())


def _overrides(channel: Channel[Any], method: str) -> bool:
    return getattr(type(channel), method) is not getattr(Channel, method)
