"""Tokens: who a visitor is, as this server signed it, and as the company's own back end did.

A visitor's token is ``payload.signature``: the payload is JSON in base64url without padding, the signature is
made with a key of ``[security]``, for this use alone.

An identity has the form of a JSON Web Token (RFC 7519) with ``alg`` HS256, which every language has a library
for; its claims are ``sub`` (what the company calls its user), ``exp``, and optionally ``email`` and ``name``.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from dataclasses import dataclass, replace
from typing import Any, Protocol
from uuid import UUID

import orjson

LONGEST = 4096
"""Characters of a token, at most."""
LONGEST_IDENTITY = 86_400
"""Seconds that an identity may be valid for, at most."""
SKEW = 60
"""Seconds that clocks may differ by."""
VALID = 400 * 86_400
"""Seconds after which a visitor who did not come back is forgotten by the server."""
RESUMED = 86_400
"""Seconds that a page may go on as a signed-in visitor, whose identity has expired meanwhile."""


class TokenError(ValueError):
    """Raised for a token that is not ours, or not valid any more. The message says what is wrong with it."""


class Signer(Protocol):
    """Signs texts, and tells whether a signature is its own; :class:`amity.messaging.secrets.Vault` is one."""

    def sign(self, text: str) -> str: ...

    def verify(self, text: str, signature: str) -> bool: ...


@dataclass(frozen=True)
class Visitor:
    """An anonymous visitor of one connection, as the token says. ``issued`` is in seconds since 1970."""

    connection: UUID
    id: str
    issued: int


@dataclass(frozen=True)
class Identity:
    """Who a visitor is, in the words of the company's own back end."""

    subject: str
    email: str | None
    name: str | None


def new_visitor(connection: UUID, now: float) -> Visitor:
    """Somebody who was never here; the id can't be guessed."""
    return Visitor(connection, secrets.token_urlsafe(18), int(now))


def renewed(visitor: Visitor, now: float) -> Visitor:
    """The same visitor, remembered from now on."""
    return replace(visitor, issued=int(now))


def sign(visitor: Visitor, signer: Signer) -> str:
    """The token of a visitor."""
    payload = _encode(orjson.dumps([1, visitor.connection.hex, visitor.id, visitor.issued]))
    return f"{payload}.{signer.sign(payload)}"


def read(token: str, connection: UUID, signer: Signer, now: float) -> Visitor:
    """The visitor of a token that was signed for this connection. Raises :class:`TokenError`."""
    version, owner, id, issued = _verified(token, signer)
    visitor = Visitor(UUID(owner), id, issued)
    if version != 1 or visitor.connection != connection:
        raise TokenError("it is for another connection")
    if now - visitor.issued > VALID:
        raise TokenError("it is too old")
    return visitor


def sign_resumption(connection: UUID, key: str, signer: Signer, now: float) -> str:
    """What a page goes on with after a connection was lost: who it is already. Never stored in the browser."""
    payload = _encode(orjson.dumps([2, connection.hex, key, int(now)]))
    return f"{payload}.{signer.sign(payload)}"


def read_resumption(token: str, connection: UUID, signer: Signer, now: float) -> str:
    """The key of the visitor. Raises :class:`TokenError`."""
    version, owner, key, issued = _verified(token, signer)
    if version != 2 or UUID(owner) != connection or now - issued > RESUMED:
        raise TokenError("it is for something else, or too old")
    return str(key)


def sign_identity(
    secret: str,
    subject: str,
    *,
    now: float,
    seconds: int = 3600,
    email: str | None = None,
    name: str | None = None,
) -> str:
    """What the company's own back end makes: an identity that is valid for ``seconds`` from ``now`` on."""
    header = _encode(orjson.dumps({"alg": "HS256", "typ": "JWT"}))
    claims = {"sub": subject, "exp": int(now) + seconds, "email": email, "name": name}
    payload = _encode(orjson.dumps({key: value for key, value in claims.items() if value is not None}))
    signed = f"{header}.{payload}"
    return f"{signed}.{_encode(hmac.digest(secret.encode(), signed.encode(), 'sha256'))}"


def read_identity(token: str, secret: str, now: float) -> Identity:
    """The identity that the company's own back end signed. Raises :class:`TokenError`."""
    parts = token.split(".")
    if len(parts) != 3 or not token.isascii() or len(token) > LONGEST:
        raise TokenError("the identity is no JSON Web Token")
    expected = hmac.digest(secret.encode(), f"{parts[0]}.{parts[1]}".encode(), "sha256")
    # the algorithm is ours to choose, not the token's: "none" or another one does not get this far
    if not hmac.compare_digest(expected, _decode(parts[2])):
        raise TokenError("the signature of the identity is wrong; is it signed with this connection's secret?")
    header, claims = _mapping(parts[0]), _mapping(parts[1])
    if header.get("alg") != "HS256":
        raise TokenError("the algorithm of the identity is not HS256")
    expires = claims.get("exp")
    if not isinstance(expires, (int, float)) or isinstance(expires, bool):
        raise TokenError("the identity has no exp; expected seconds since 1970")
    if expires < now - SKEW:
        raise TokenError("the identity has expired")
    if expires > now + LONGEST_IDENTITY + SKEW:
        raise TokenError(f"the identity is valid for too long; at most {LONGEST_IDENTITY} seconds")
    subject, email, name = claims.get("sub"), claims.get("email"), claims.get("name")
    if not isinstance(subject, str) or not 0 < len(subject) <= 200 or not subject.isprintable():
        raise TokenError("the identity has no sub; expected a text of up to 200 characters")
    return Identity(subject, _text(email, "email", 320), _text(name, "name", 200))


def _verified(token: str, signer: Signer) -> list[Any]:
    payload, dot, signature = token.partition(".")
    if not dot or not token.isascii() or len(token) > LONGEST:
        raise TokenError("it is no token")
    if not signer.verify(payload, signature):
        raise TokenError("the signature is not ours")
    values: list[Any] = orjson.loads(_decode(payload))
    return values


def _text(value: Any, name: str, longest: int) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= longest or not value.isprintable():
        raise TokenError(f"{name} of the identity is no text of up to {longest} characters")
    return value


def _mapping(part: str) -> dict[str, Any]:
    try:
        value = orjson.loads(_decode(part))
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise TokenError("the identity is no JSON Web Token")
    return value


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise TokenError("it is no token") from None
