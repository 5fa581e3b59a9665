"""What mail servers and mail programs report about messages that were sent: bounces, receipts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.parser import HeaderParser
from typing import Literal

from amity.messages import Receipt

from .automatic import has_no_return_path
from .headers import Headers, parse_ids
from .mime import Content, parse_head

_MAX_REASON = 1_000
_MAX_RECIPIENTS = 200
_BOUNCED = re.compile(
    r"(?i)^\W*(undeliver|undelivered mail|mail delivery (failed|failure|system|subsystem)|non remis|unzustellbar"
    r"|delivery status notification|delivery (has )?fail|delivery notification|failure notice|returned mail"
    r"|mail system error|(mail|message) could not be delivered|rejected mail|no se puede entregar)"
)
_DAEMON = re.compile(r"(?i)^(mailer-daemon|mail-daemon|postmaster|mdaemon|microsoftexchange[0-9a-f]+)@")
_ENHANCED = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?![\d.])")
_REPLY = re.compile(r"(?<![\d.])([45]\d\d)[ -](?=[#\d]*\s?\w)")
_COPY = re.compile(
    r"(?im)^[\s>-]*(below this line is a copy of the message|this is a copy of (the|your) message|original message"
    r"|returned message|headers of the message|copy of the (original )?message|unsent message|original headers).*$"
)
_MESSAGE_ID = re.compile(r"(?im)^[\s>|]*message-id:\s*(<[^<>\s]{1,998}>)")
_TO = re.compile(r"<([^<>\s@]{1,64}@[^<>\s@]{1,255})>")


@dataclass(frozen=True)
class Report:
    """A report on a message that was sent. ``receipts`` is empty where it changes nothing, like for a delay."""

    message_ids: Sequence[str]
    """The message that it is about, if it says which."""
    receipts: Sequence[Receipt]


def report_of(headers: Headers, content: Content, sender: str, when: datetime | None) -> Report | None:
    """What a message reports; None if it is no report."""
    returned = _returned_ids(content)
    for kind, data in content.reports:
        blocks = _blocks(data)
        if kind.endswith("delivery-status"):
            return _delivery(blocks, returned or _ids_in_text(content), when)
        if kind.endswith("disposition-notification"):
            return _disposition(blocks, returned, when)
    if content.reports:
        return Report(returned, ())
    return _bounce(headers, content, sender, returned, when)


def _delivery(blocks: Sequence[Headers], ids: Sequence[str], when: datetime | None) -> Report:
    """RFC 3464: one block for each recipient, behind one for the message."""
    receipts = []
    for block in blocks[: _MAX_RECIPIENTS + 1]:
        action = block.raw("action").lower().partition(" ")[0].strip("();,")
        status = _delivery_status(action)
        if status is None or not ids:
            continue
        diagnostic = _typed(block.raw("diagnostic-code"))
        code = block.raw("status").partition(" ")[0]
        address = _typed(block.raw("original-recipient")) or _typed(block.raw("final-recipient"))
        reason = " ".join(part for part in (code, diagnostic) if part)
        receipts.append(
            Receipt(
                ids[0],
                status,
                when,
                reason=(reason or "the mail server gave no reason")[:_MAX_REASON] if status == "failed" else None,
                permanent=status == "failed" and _is_permanent(code, diagnostic),
                address=address.strip("<>") or None,
            )
        )
    return Report(ids, receipts)


def _delivery_status(action: str) -> Literal["failed", "delivered"] | None:
    if action == "failed":
        return "failed"
    return "delivered" if action in ("delivered", "relayed", "expanded") else None


def _disposition(blocks: Sequence[Headers], returned: Sequence[str], when: datetime | None) -> Report:
    """RFC 8098: what became of the message at whoever got it."""
    block = next((found for found in blocks if "disposition" in found), None)
    ids = (block.ids("original-message-id") if block is not None else []) or list(returned)
    if block is None or not ids:
        return Report(ids, ())
    disposition = block.raw("disposition").lower().rpartition(";")[2]
    read = "displayed" in disposition
    address = _typed(block.raw("original-recipient")) or _typed(block.raw("final-recipient"))
    receipt = Receipt(ids[0], "read" if read else "delivered", when, address=address.strip("<>") or None)
    return Report(ids, (receipt,))


def _bounce(
    headers: Headers, content: Content, sender: str, returned: Sequence[str], when: datetime | None
) -> Report | None:
    """Reports of servers that write only for people: qmail, Exim, and many appliances."""
    failed = headers.addresses("x-failed-recipients")
    subject = headers.text("subject")
    from_server = _DAEMON.match(sender) is not None or has_no_return_path(headers)
    if not failed and not (from_server and _BOUNCED.match(subject)):
        return None
    text = (content.text or "")[:100_000]
    copy = _COPY.search(text)
    said = text[: copy.start()] if copy else text
    ids = (
        list(returned) or _ids_in_text(content) or headers.ids("in-reply-to")[:1] or headers.ids("references")[-1:]
    )
    if not ids:
        return Report((), ())
    code = _ENHANCED.search(said)
    reply = _REPLY.search(said)
    found = code[1] if code else reply[1] if reply else ""
    delayed = re.search(r"(?i)\b(delay(ed)?|warning)\b", subject) is not None and not found.startswith("5")
    if delayed:
        return Report(ids, ())
    line = next((line for line in said.split("\n") if found and found in line), "")
    address = failed[0].address if failed else next(iter(_TO.findall(said)), None)
    reason = " ".join((line or subject).split())[:_MAX_REASON]
    return Report(ids, (Receipt(ids[0], "failed", when, reason, _is_permanent(found, said), address),))


def _is_permanent(code: str, text: str) -> bool:
    """5.x.x and 5xx are permanent, 4.x.x and 4xx are not, neither is what says no code at all."""
    if code[:1] in ("2", "4", "5"):
        return code.startswith("5")
    enhanced = _ENHANCED.search(text)
    reply = _REPLY.search(text)
    found = enhanced[1] if enhanced else reply[1] if reply else ""
    return found.startswith("5")


def _blocks(data: bytes) -> list[Headers]:
    """The groups of fields of a report. They are parted by empty lines."""
    text = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").decode("ascii", "surrogateescape")
    blocks = [block for block in re.split(r"\n{2,}", text.strip("\n")) if block.strip()]
    return [Headers(HeaderParser().parsestr(f"{block}\n\n")) for block in blocks[: 2 * _MAX_RECIPIENTS]]


def _typed(value: str) -> str:
    """The value of a field like ``rfc822; a@example.com``."""
    kind, found, rest = value.partition(";")
    return (rest if found and re.fullmatch(r"[\w.-]*", kind.strip()) else value).strip()


def _returned_ids(content: Content) -> list[str]:
    return [known for data in content.returned[:1] for known in parse_head(data).ids("message-id")][:1]


def _ids_in_text(content: Content) -> list[str]:
    found = _MESSAGE_ID.findall((content.text or "")[:100_000])
    return [known for text in found[:1] for known in parse_ids(text)]


__all__ = ["Report", "report_of"]
