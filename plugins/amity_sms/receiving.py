"""What a gateway posts becomes messages and receipts."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from amity import ConsentChange, Inbound, Item, Media, Party, RawRequest, Receipt, Unreadable

from .account import SmsAccount
from .keywords import keyword
from .signatures import form_of

MAX_MEDIA = 20
"""Files that one message may have; Twilio's limit is ten."""


class Misshapen(Exception):
    """Raised for an item that lacks something. The message says what, and where it was expected."""


def items_of(account: SmsAccount, request: RawRequest) -> Sequence[Item]:
    """The messages and receipts of a verified request; what can't be understood is among them, with its reason.

    Parts of one long message that come together are joined.
    """
    try:
        raw = _raw_items(account, request)
    except Misshapen as error:
        digest = hashlib.sha256(request.body).hexdigest()
        return [Unreadable(reference=digest[:32], reason=str(error), raw=request.body)]
    items: list[Item] = []
    parts: defaultdict[str, dict[int, Any]] = defaultdict(dict)
    for item in raw:
        try:
            if at(item, account.receipt.status) is not None:
                receipt = _receipt(account, item)
                if receipt is not None:
                    items.append(receipt)
            elif key := _joins(account, item):
                parts[key].setdefault(_number(account, item), item)
            else:
                items.append(_inbound(account, item))
        except Misshapen as error:
            text = json.dumps(item, ensure_ascii=False, default=str)
            digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
            items.append(Unreadable(digest[:32], str(error), text.encode("utf-8", "replace")))
    for found in parts.values():
        items += _joined(account, [found[number] for number in sorted(found)])
    return items


def at(item: Any, path: str) -> Any:
    """What stands at a path like ``messages.0.id``; None if nothing does."""
    for name in path.split("."):
        if isinstance(item, Mapping):
            item = item.get(name)
        elif isinstance(item, list) and name.isdecimal() and int(name) < len(item):
            item = item[int(name)]
        else:
            return None
    return item


def _raw_items(account: SmsAccount, request: RawRequest) -> list[Any]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        return [form_of(request)]
    try:
        found = json.loads(request.body)
    except (ValueError, RecursionError) as error:
        raise Misshapen(f"the body is neither a form nor JSON: {error}") from None
    if account.items is not None:
        found = at(found, account.items)
    if isinstance(found, Mapping):
        return [found]
    if not isinstance(found, list):
        where = f"at {account.items!r}" if account.items else "in the body"
        raise Misshapen(f"expected an object, or a list of them, {where}")
    return found


def _text(item: Any, path: str | None) -> str | None:
    value = None if path is None else at(item, path)
    if value is None or isinstance(value, (dict, list)):
        return None
    return str(value)


def _needed(item: Any, path: str) -> str:
    text = (_text(item, path) or "").strip()
    if not text:
        raise Misshapen(f"{path!r} is missing or empty")
    return text


def _receipt(account: SmsAccount, item: Any) -> Receipt | None:
    names = account.receipt
    word = _needed(item, names.status)
    status = account.statuses.get(word.casefold())
    if status is None:
        raise Misshapen(f"nothing is known of the status {word!r}; add it to the account's statuses")
    if status == "ignored":
        return None
    return Receipt(
        message_id=_needed(item, names.id),
        status=status,
        occurred_at=_time(_text(item, names.time)),
        reason=_reason(word, _text(item, names.reason)) if status == "failed" else None,
        permanent=status == "failed",
    )


def _reason(word: str, detail: str | None) -> str:
    return f"{word}: {detail}" if detail else word


def _inbound(account: SmsAccount, item: Any) -> Inbound:
    names = account.inbound
    text = _text(item, names.text)
    media = tuple(_media(account, item))
    if text is None and not media:
        raise Misshapen(f"{names.text!r} is missing")
    asked = keyword(text or "")
    changes: tuple[ConsentChange, ...] = ()
    if asked == "stop":
        changes = (ConsentChange("withdrawn", "*", f"text message {text!r}"),)
    elif asked == "start":
        changes = (ConsentChange("given", account.start_purpose, f"text message {text!r}"),)
    part, to = _text(item, names.part), _text(item, names.to)
    return Inbound(
        message_id=_needed(item, names.id),
        address=_needed(item, names.sender),
        parties=(Party("to", to),) if to else (),
        occurred_at=_time(_text(item, names.time)),
        body=text or None,
        media=media,
        # whoever ends or resumes the messages expects no answer of a person; who asks for help does
        automatic=asked in ("stop", "start"),
        consent=changes,
        fields={
            **({"sms_keyword": asked} if asked else {}),
            **({"sms_part": f"{part}/{_text(item, names.parts)}"} if part and _joins(account, item) else {}),
        },
    )


def _media(account: SmsAccount, item: Any) -> Iterator[Media]:
    names = account.inbound
    for number in range(MAX_MEDIA if names.media else 0):
        url = _text(item, f"{names.media}{number}")
        if not url:
            return
        kind = names.media_type and _text(item, f"{names.media_type}{number}")
        kind = kind or "application/octet-stream"
        extension = kind.partition("/")[2].partition(";")[0]
        yield Media(name=f"{number + 1}.{extension}", media_type=kind, reference=url)


# --- long messages that come in parts -----------------------------------------------------------------------


def _joins(account: SmsAccount, item: Any) -> str | None:
    """What a part has in common with the others of its message: sender and reference."""
    reference = _text(item, account.inbound.reference)
    total = _text(item, account.inbound.parts) or "1"
    if not reference or not total.isdecimal() or int(total) < 2:
        return None
    return f"{_needed(item, account.inbound.sender)} {reference} {total}"


def _number(account: SmsAccount, item: Any) -> int:
    text = _needed(item, account.inbound.part or "")
    if not text.isdecimal() or len(text) > 3:
        raise Misshapen(f"{account.inbound.part!r} is {text[:20]!r}; expected the number of a part")
    return int(text)


def _joined(account: SmsAccount, parts: Sequence[Any]) -> list[Item]:
    """One message of all parts, or, where some are missing, each as a message of its own."""
    found = [_inbound(account, part) for part in parts]
    if len(found) < int(_needed(parts[0], account.inbound.parts or "")):
        return list(found)
    body = "".join(part.body or "" for part in found)
    return [replace(found[0], body=body, automatic=False, consent=(), fields={})]


def _time(text: str | None) -> datetime | None:
    """A time in ISO 8601, Unix seconds or milliseconds, or as in e-mail; None if it is none of these."""
    if not text:
        return None
    try:
        if text.isdecimal():
            seconds = int(text) / (1000 if len(text) > 11 else 1)
            return datetime.fromtimestamp(seconds, UTC)
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        try:
            found = parsedate_to_datetime(text)
        except (ValueError, TypeError, IndexError):
            return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
