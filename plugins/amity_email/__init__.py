"""Amity's e-mail channel: a connection is a mailbox, written to by SMTP, read by IMAP or posted messages.

The parser works by itself::

    items = parse(raw)  # what the core takes in: a message, receipts, or something unreadable
"""

from .account import EmailAccount
from .channel import EmailChannel
from .parse import parse
from .plugin import Email

__all__ = ["Email", "EmailAccount", "EmailChannel", "parse"]
