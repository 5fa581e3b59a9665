"""The channel: how an answer reaches a visitor."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from amity import Capabilities, Channel, Connected, Outbound, Refused, Sent

from .account import WebChatAccount
from .thread import handed_over

if TYPE_CHECKING:
    from .hub import Hub

LONGEST_ANSWER = 20_000
"""Characters of an answer."""


class WebChatChannel(Channel[WebChatAccount]):
    """Web chats. Messages come by sockets, not by webhooks, so there is nothing to receive over HTTP."""

    name = "webchat"
    description = "Chat on a web site"
    account = WebChatAccount
    can = Capabilities(sends=True, receipts=True, max_length=LONGEST_ANSWER)

    def __init__(self) -> None:
        self._hubs: set[Hub] = set()

    def serve(self, hub: Hub) -> None:
        """Has the sockets of a hub told of what is sent."""
        self._hubs.add(hub)

    def leave(self, hub: Hub) -> None:
        """Ends that."""
        self._hubs.discard(hub)

    async def send(
        self, connection: Connected[WebChatAccount], messages: Sequence[Outbound]
    ) -> Sequence[Sent | Refused]:
        """Tells open sockets. The messages are stored already, so whoever is away reads them on coming back."""
        results: list[Sent | Refused] = []
        threads: dict[str, list[Outbound]] = defaultdict(list)
        for message in messages:
            if message.address.startswith(("visitor:", "user:")):
                threads[message.address].append(message)
                results.append(Sent())
            else:
                results.append(Refused(f"{message.address[:100]!r} is no visitor of a web chat"))
        for key, answers in threads.items():
            for hub in self._hubs:
                hub.announce(connection.id, key, {answer.id: handed_over(answer) for answer in answers})
        return results
