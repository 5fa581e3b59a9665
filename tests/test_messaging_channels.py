"""Channels in a composition, the addresses that they bring, and connections that are listened to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from amity import (
    SYSTEM,
    Capabilities,
    Channel,
    CompositionError,
    Connected,
    Connection,
    ContactPoint,
    Crm,
    Outbound,
    Plugin,
    Refused,
    Sent,
    Update,
)
from amity.composition import compose
from amity.messaging import listening
from amity.settings import from_mapping

from .conftest import MakeCrm
from .courier import Courier, Couriers, Desk, couriers


def bringing(*channels: Any) -> type[Plugin[Any]]:
    class Birds(Plugin):
        """Brings channels."""

        name = "birds"

        def channels(self) -> Sequence[Channel[Any]]:
            return channels

    return Birds


def problems(*plugins: type[Plugin[Any]]) -> str:
    with pytest.raises(CompositionError) as caught:
        compose(from_mapping({}), plugins)
    return "\n".join(caught.value.problems)


class Open(BaseModel):
    """An account without a secret that sounds like one."""

    user: str = ""
    api_token: str = ""


class Sealed(BaseModel):
    """An account with a secret."""

    api_token: SecretStr | None = None


class Owl(Channel[Sealed]):
    """Sends at night."""

    name = "owl"
    account = Sealed
    can = Capabilities(sends=True)

    async def send(self, connection: Connected[Sealed], messages: Sequence[Outbound]) -> Sequence[Sent | Refused]:
        return [Sent() for _ in messages]


class Misnamed(Owl):
    """Has a name with a capital."""

    name = "Owl!"


class Leaky(Owl):
    """Does not hide its token."""

    account = Open  # type: ignore[assignment]


class Silent(Owl):
    """Says that it receives, and does not say that it sends."""

    can = Capabilities(receives=True)


class Waiting(Owl):
    """Waits, and has nothing to fetch."""

    async def listen(self, connection: Connected[Sealed]) -> None:
        await asyncio.sleep(1)


class Blocking(Owl):
    """Forgot to be async."""

    def send(self, connection: Any, messages: Any) -> Any:
        return []


@pytest.mark.parametrize(
    ("channel", "told"),
    [
        (Owl, "plugin 'birds': the hook channels returned the class Owl; expected an instance"),
        ("owl", "plugin 'birds': the hook channels returned 'owl'; expected values of Channel"),
        (Misnamed(), "the channel 'Owl!': its name must be a lower-case word of at most 50 characters"),
        (Leaky(), "its account has the field 'api_token', which sounds secret; make it a SecretStr"),
        (Silent(), "the channel 'owl': can says receives, but it does not define receive"),
        (Silent(), "the channel 'owl': can does not say sends, but it defines send"),
        (Waiting(), "it can be listened to, but has nothing to fetch; define fetch"),
        (Blocking(), "its send is not async; define it with async def"),
    ],
)
def test_what_is_wrong_with_a_channel_is_told(channel: Any, told: str) -> None:
    assert told in problems(bringing(channel))


def test_two_plugins_can_not_bring_one_channel() -> None:
    class Others(bringing(Owl())):  # type: ignore[misc]
        """Brings owls too."""

        name = "others"

    assert "plugins 'birds' and 'others' both have a channel 'owl'" in problems(bringing(Owl()), Others)


class Texts(Owl):
    """The core's text messages, sent by owls."""

    name = "sms"


async def test_a_channel_of_a_plugin_has_addresses(make_crm: MakeCrm) -> None:
    async with make_crm([bringing(Owl(), Texts())]) as crm:
        kinds = crm.composition.kinds
        assert list(kinds) == ["email", "phone", "sms", "webchat", "web", "letter", "owl"]
        assert kinds.kin("sms") == ("sms", "phone")
        assert kinds.kin("owl") == ("owl",)
        assert kinds["sms"].normalize("(212) 555-0123", "US") == "+12125550123"
        session = crm.acting_as(SYSTEM)
        made = await session.create("Customer", [{"kind": "person", "name": "Ann"}])
        point = {"customer_id": made.ids[0], "channel": "owl", "address": " tower "}
        assert not (await session.create(ContactPoint, [point])).errors
        assert (await session.resolve([("owl", "tower")]))[0].customer_id == made.ids[0]


class Bell(Courier):
    """A courier who rings."""

    def __init__(self) -> None:
        self.rung = asyncio.Event()
        self.heard = 0

    async def listen(self, connection: Connected[Desk]) -> None:
        self.heard += 1
        await self.rung.wait()
        self.rung.clear()


class Bells(Couriers):
    """Couriers who ring."""

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self.bell = Bell()

    def channels(self) -> Sequence[Channel[Any]]:
        return [self.bell]


async def until(holds: Any) -> None:
    async with asyncio.timeout(10):
        while not await holds():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_news_of_a_connection_are_fetched_at_once_by_one_process(
    make_crm: MakeCrm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "LOOK", 0.05)
    monkeypatch.setattr(listening, "SHORTEST", 0.01)
    inbox = tmp_path / "inbox"
    inbox.write_text("", "utf-8")
    async with couriers(make_crm, tmp_path) as post:
        bells, other = Bells(), Bells()
        async with Crm(post.crm.settings, [bells]) as crm:
            await until(lambda: _heard(bells))
            async with Crm(post.crm.settings, [other]):
                inbox.write_text(json.dumps({"message_id": "m1", "address": "ann"}), "utf-8")
                bells.bell.rung.set()
                await until(lambda: _count(post, 1))
                assert other.bell.heard == 0
            heard = bells.bell.heard
            await crm.acting_as(SYSTEM).update(Connection, [Update(post.id, {"name": "bell"})])
            await asyncio.sleep(0.2)
            assert bells.bell.heard == heard
            await crm.acting_as(SYSTEM).update(Connection, [Update(post.id, {"active": False})])
            await asyncio.sleep(0.2)
            bells.bell.rung.set()
            await asyncio.sleep(0.1)
            assert bells.bell.heard == heard
        # the next process takes over at once, as the lease was given back
        await post.session.update(Connection, [Update(post.id, {"active": True})])
        async with Crm(post.crm.settings, [other]):
            await until(lambda: _heard(other))


async def _heard(bells: Bells) -> bool:
    return bells.bell.heard > 0


async def _count(post: Any, number: int) -> bool:
    return bool(await post.session.find("Interaction").count() == number)
