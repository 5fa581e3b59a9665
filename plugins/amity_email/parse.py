"""A raw message (RFC 5322), as a channel hands it to the core."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from amity.messages import Inbound, Item, Media, Party, Unreadable

from .automatic import is_automatic
from .charsets import clean
from .headers import Address, Headers, usable_id, written_at
from .mime import Content, TooManyParts, content_of, parse_head, parse_parts
from .reports import report_of

MAX_PARTIES = 500
MAX_SUBJECT = 500
_MACHINES = ("noreply", "no-reply", "no_reply", "donotreply", "do-not-reply", "notification", "mailer")
_log = logging.getLogger("amity.plugin.email")


def parse(
    raw: bytes,
    *,
    reference: str = "",
    own: Collection[str] = (),
    sent: bool = False,
    received_at: datetime | None = None,
) -> Sequence[Item]:
    """What a raw message is: a message, receipts, or something unreadable. Never raises.

    ``own`` are the mailbox's addresses, in lower case; ``sent`` says that it is a copy of what was sent from
    there. ``reference`` names it, if it is unreadable; ``received_at`` is when its server got it.
    """
    try:
        return _parse(raw, reference, own, sent, received_at)
    except Exception as error:
        # whatever this is, the rest of the batch must not wait for it
        _log.exception("a message could not be parsed; it is kept as it came")
        return (_unreadable(raw, reference, f"it could not be parsed: {type(error).__name__}"),)


def _parse(
    raw: bytes, reference: str, own: Collection[str], sent: bool, received_at: datetime | None
) -> Sequence[Item]:
    whole, raw = raw, _bare(raw)
    headers = parse_head(raw)
    if not raw.strip():
        return (_unreadable(whole, reference, "it is empty"),)
    if not any(name in headers for name in ("from", "sender", "reply-to", "return-path", "subject", "date", "to")):
        return (_unreadable(whole, reference, "it has no header fields, so it is no e-mail"),)
    content = _content(raw)
    sender = _sender(headers)
    when = written_at(headers, received_at)
    if not sent:
        report = report_of(headers, content, sender.address if sender else "", when)
        if report is not None and report.receipts:
            return report.receipts
    other = _other_side(headers, sender, own, sent)
    if other is None:
        looked = "To, Cc and Bcc" if sent else "From, Sender, Reply-To and Return-Path"
        return (_unreadable(whole, reference, f"it has no address in {looked}"),)
    about = report.message_ids if not sent and report is not None else ()
    return (
        Inbound(
            message_id=_message_id(headers, raw),
            address=other.address,
            name=other.name,
            occurred_at=when,
            subject=headers.text("subject")[:MAX_SUBJECT] or None,
            body=content.text,
            html=content.html,
            direction="outbound" if sent else "inbound",
            replies_to=_replies_to(headers, about),
            parties=_parties(headers),
            media=_media(content, whole),
            automatic=bool(about) or is_automatic(headers, sender.address if sender else "", own),
            language=_language(headers),
            fields=_fields(headers, other),
        ),
    )


def _bare(raw: bytes) -> bytes:
    """A message without what files and streams put in front: byte order marks, empty lines, mbox's From line."""
    raw = raw.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n")
    if raw.startswith((b"From ", b">From ")):
        raw = raw.partition(b"\n")[2]
    return raw


def _content(raw: bytes) -> Content:
    try:
        return content_of(parse_parts(raw))
    except (TooManyParts, RecursionError):
        return Content(cut=True)


def _unreadable(raw: bytes, reference: str, reason: str) -> Unreadable:
    return Unreadable(reference or hashlib.sha256(raw).hexdigest(), reason, raw)


def _sender(headers: Headers) -> Address | None:
    for name in ("from", "sender", "reply-to", "return-path", "x-original-from"):
        found = headers.addresses(name)
        if found:
            return found[0]
    return None


def _other_side(headers: Headers, sender: Address | None, own: Collection[str], sent: bool) -> Address | None:
    """The customer: who wrote, or whom it was written to."""
    if sent:
        to = [address for name in ("to", "cc", "bcc") for address in headers.addresses(name)]
        return next((address for address in to if address.address.lower() not in own), to[0] if to else None)
    if sender is None:
        return None
    local = sender.address.lower().partition("@")[0]
    if sender.address.lower() in own or local.startswith(_MACHINES):
        # forms of web sites write in their own name, and say whom to answer
        answer = [found for found in headers.addresses("reply-to") if found.address.lower() not in own]
        if answer and not answer[0].address.lower().startswith(_MACHINES):
            return answer[0] if answer[0].name else Address(answer[0].address, sender.name)
    return sender


def _message_id(headers: Headers, raw: bytes) -> str:
    """The Message-ID; where there is none to rely on, one from what the message says.

    Fields that servers add on the way do not count, so that the same message by two ways is one.
    """
    known = next((found for value in headers.all("message-id") if (found := usable_id(_bracketed(value)))), None)
    if known is not None:
        return known
    digest = hashlib.sha256()
    for name in ("from", "date", "subject", "to"):
        digest.update("\0".join([name, *headers.all(name), ""]).encode())
    digest.update(raw.replace(b"\r\n", b"\n").partition(b"\n\n")[2])
    return f"{digest.hexdigest()[:40]}@no-message-id.invalid"


def _bracketed(value: str) -> str:
    inside = value.partition("<")[2].partition(">")[0]
    return "".join((inside or value).split())


def _replies_to(headers: Headers, about: Sequence[str]) -> Sequence[str]:
    """The messages that it answers, nearest first."""
    nearest = [*about, *headers.ids("in-reply-to"), *reversed(headers.ids("references"))]
    own = usable_id(_bracketed(headers.raw("message-id")))
    return [known for known in dict.fromkeys(nearest) if known != own]


def _parties(headers: Headers) -> Sequence[Party]:
    found = [
        Party(role, address.address, address.name)
        for role in ("from", "to", "cc", "bcc")
        for address in headers.addresses(role)
    ]
    return list({(party.role, party.address.lower()): party for party in reversed(found)}.values())[::-1][
        :MAX_PARTIES
    ]


def _media(content: Content, raw: bytes) -> Sequence[Media]:
    if not content.cut:
        return content.media
    # more than is taken apart: the whole is kept, so that nothing is lost
    whole = Media(name="message.eml", media_type="message/rfc822", data=raw, size=len(raw))
    return [*content.media, whole]


def _language(headers: Headers) -> str | None:
    said = headers.raw("content-language").partition(",")[0].strip()
    return said if 2 <= len(said) <= 35 and said.replace("-", "").isalnum() and said.isascii() else None


def _fields(headers: Headers, other: Address) -> dict[str, Any]:
    """What has no place of its own."""
    fields: dict[str, Any] = {}
    answer = [found.address for found in headers.addresses("reply-to")]
    if answer and answer[0].lower() != other.address.lower():
        fields["reply_to"] = answer[0]
    listed = clean(headers.text("list-id"))[:300]
    if listed:
        fields["list_id"] = listed
    return fields


__all__ = ["parse"]
