"""Tokens of sign-ins, and API keys: an id to find them by, and a secret of which only a hash is kept.

The secret is 256 random bits, so that a fast hash is right: nobody guesses it, and it is checked all the time.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from uuid import UUID

KEY = "amity"
SESSION = "session"
_TOKEN = re.compile(r"([a-z]+)_([0-9a-f]{32})_([0-9a-f]{64})")


@dataclass(frozen=True)
class Token:
    """``amity_<id>_<secret>``"""

    kind: str
    id: UUID
    secret: str = field(repr=False)

    @property
    def text(self) -> str:
        return f"{self.kind}_{self.id.hex}_{self.secret}"

    @property
    def hash(self) -> str:
        return hashlib.sha256(self.secret.encode()).hexdigest()

    def matches(self, kept: str | None) -> bool:
        """Whether this is the token of a hash; how long it takes tells nothing."""
        return hmac.compare_digest(self.hash, kept or "")


def new_token(kind: str, id: UUID) -> Token:
    return Token(kind, id, secrets.token_hex(32))


def read_token(kind: str, text: str) -> Token | None:
    """The token in a text; None if it is no token of this kind."""
    found = _TOKEN.fullmatch(text)
    return Token(kind, UUID(hex=found[2]), found[3]) if found and found[1] == kind else None


__all__ = ["KEY", "SESSION", "Token", "new_token", "read_token"]
