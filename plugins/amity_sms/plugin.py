"""The plugin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amity import Channel, Plugin, __version__

from .channel import SmsChannel


class Sms(Plugin):
    """Text messages by way of any HTTP gateway: sent, received, with receipts and words like STOP."""

    name = "sms"
    version = __version__
    core = ">=0.1,<1"

    def channels(self) -> Sequence[Channel[Any]]:
        return [SmsChannel()]
