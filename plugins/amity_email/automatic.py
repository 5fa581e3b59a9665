"""Whether a machine wrote a message: auto-replies, lists, newsletters, mail servers."""

from __future__ import annotations

import re
from collections.abc import Collection

from .headers import Headers

_SUBJECT = re.compile(
    r"(?i)^\s*(automatic reply|automatische antwort|automatisch antwoord|réponse automatique|respuesta automática"
    r"|risposta automatica|resposta automática|automatiskt svar|autosvar|auto(matic)?[- ]?reply|autoresponse"
    r"|out of (the )?office|abwesenheitsnotiz|abwesend|absence du bureau)\b"
)
_PRECEDENCE = {"bulk", "junk", "list", "auto_reply", "auto-reply"}
_MARKS = (
    "x-autoreply",
    "x-autorespond",
    "x-autoresponder",
    "x-mail-autoreply",
    "x-auto-reply-from",
    "x-failed-recipients",
    "x-loop",
)
_SENDERS = re.compile(r"(?i)^(mailer-daemon|postmaster|mail-daemon|double-bounce|bounces?([+-].*)?)@")


def is_automatic(headers: Headers, sender: str, own: Collection[str] = ()) -> bool:
    """Whether nobody should be answered automatically, as nobody wrote (RFC 3834, and what came before it).

    A list that is called like one of our ``own`` addresses is how a group of ours gets its mail.
    """
    submitted = headers.raw("auto-submitted").lower().partition(";")[0].strip()
    if submitted and submitted != "no":
        return True
    if headers.raw("x-auto-response-suppress").lower().strip() not in ("", "none"):
        return True
    if any(mark in headers for mark in _MARKS):
        return True
    listed = headers.raw("list-id").rpartition("<")[2].strip("> ").lower()
    ours = listed in {address.replace("@", ".") for address in own}
    if not ours and (listed or headers.raw("precedence").lower().strip() in _PRECEDENCE):
        return True
    if has_no_return_path(headers) or _SENDERS.match(sender):
        return True
    return _SUBJECT.match(headers.text("subject")) is not None


def has_no_return_path(headers: Headers) -> bool:
    """Whether it was sent with an empty return path, as reports of mail servers are."""
    return headers.raw("return-path").replace(" ", "") == "<>"


__all__ = ["has_no_return_path", "is_automatic"]
