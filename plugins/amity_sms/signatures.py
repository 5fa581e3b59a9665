"""Whether what is posted here comes from the gateway: signatures over the exact bytes."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit

from amity import Forged, RawRequest

from .account import SmsAccount


def verify(account: SmsAccount, request: RawRequest, now: datetime | None = None) -> None:
    """Raises :class:`~amity.Forged` unless the account's gateway signed this request, and signed it lately."""
    if account.signature == "twilio":
        _verify_twilio(account, request)
    else:
        _verify_hmac(account, request, now or datetime.now(UTC))


def hmac_signature(secret: str, timestamp: str, body: bytes) -> str:
    """HMAC-SHA256, in hex, over the time in Unix seconds, a full stop, and the bytes of the body."""
    return hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def twilio_signature(secret: str, url: str, form: Mapping[str, str]) -> str:
    """HMAC-SHA1, in base64, over the address and the sorted names and values of the form.

    https://www.twilio.com/docs/usage/security#validating-requests
    """
    text = url + "".join(name + form[name] for name in sorted(form))
    return base64.b64encode(hmac.new(secret.encode(), text.encode(), hashlib.sha1).digest()).decode()


def _verify_hmac(account: SmsAccount, request: RawRequest, now: datetime) -> None:
    timestamp = request.headers.get(account.timestamp_header.lower(), "")
    given = request.headers.get(account.signature_header.lower(), "").removeprefix("sha256=")
    if not timestamp.isascii() or not timestamp.isdecimal() or len(timestamp) > 12:
        raise Forged(f"the header {account.timestamp_header} is missing, or no time in Unix seconds")
    if not _same(given.lower(), hmac_signature(account.secret or "", timestamp, request.body)):
        raise Forged(f"the signature in the header {account.signature_header} is missing or not the gateway's")
    off = abs(now.timestamp() - int(timestamp))
    if off > account.tolerance:
        raise Forged(f"the request was signed {off:.0f} seconds from now; {account.tolerance} are allowed")


def _verify_twilio(account: SmsAccount, request: RawRequest) -> None:
    given = request.headers.get("x-twilio-signature", "")
    secret = account.secret or ""
    form = form_of(request)
    if not any(_same(given, twilio_signature(secret, url, form)) for url in _with_and_without_port(request.url)):
        raise Forged(
            "the signature in the header X-Twilio-Signature is missing or not Twilio's; "
            f"this server takes its own address for {request.url} ([server] public_url)"
        )


def form_of(request: RawRequest) -> dict[str, str]:
    """The fields of a posted form."""
    text = request.body.decode("utf-8", "replace")
    return dict(parse_qsl(text, keep_blank_values=True))


def _with_and_without_port(url: str) -> list[str]:
    """Twilio signs addresses with and without the default port, by what it was told."""
    parts = urlsplit(url)
    ports = {"https": 443, "http": 80}
    if parts.port is None and parts.hostname and parts.scheme in ports:
        return [url, parts._replace(netloc=f"{parts.netloc}:{ports[parts.scheme]}").geturl()]
    return [url]


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())
