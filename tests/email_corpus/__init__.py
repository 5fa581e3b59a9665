"""Messages as they arrive in mailboxes of the real world, made by code: the same ones each time.

``corpus()`` has them all but the one of 25 MB, which ``huge()`` makes.
"""

from __future__ import annotations

from .build import OWN, Mail, envelope, multipart, part, within
from .charsets import charsets
from .machines import machines
from .oddities import oddities
from .structures import structures
from .threads import threads

HUGE = 25 * 2**20
"""Bytes of the attachment of the huge message."""


def corpus() -> list[Mail]:
    """The messages, in the order in which they were written."""
    return [*threads(), *charsets(), *structures(), *machines(), *oddities()]


def huge() -> Mail:
    """A message with an attachment of 25 MB."""
    data = bytes(range(256)) * (HUGE // 256)
    attached = part("application/zip", data, encoding="base64", disposition="attachment; filename=plans.zip")
    whole = multipart("mixed", part("text/plain", "the plans"), attached)
    raw = within(envelope("huge.message@kunde.example", subject="Plans", hours=1000), whole)
    return Mail("huge", raw, says=("the plans",), files=("plans.zip",), sizes=(HUGE,))


__all__ = ["HUGE", "OWN", "Mail", "corpus", "huge"]
