"""The plugin: what it brings to a CRM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amity import Channel, Plugin, __version__

from .channel import EmailChannel


class Email(Plugin):
    """E-mail: mailboxes that are written to by SMTP, and read by IMAP or posted messages."""

    name = "email"
    version = __version__
    core = ">=0.1,<1"

    def channels(self) -> Sequence[Channel[Any]]:
        return [EmailChannel()]


__all__ = ["Email"]
