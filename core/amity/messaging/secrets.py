"""What is encrypted and signed, with the keys of ``[security]``.

The first key encrypts and signs, all of them decrypt and verify, so that a key can be replaced: put the new
one first, run ``amity connections rotate``, and take the old one away when no signed link is needed any more.
Each use has keys of its own, derived from those of the settings: a text made for one use is none for another.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import BaseModel, SecretBytes, SecretStr

from ..settings import Settings, holds_secrets

NO_KEY = (
    "there is no key to encrypt with; `amity connections new-key` makes one, for keys in [security] "
    "or AMITY_SECURITY__KEYS"
)


class SecretsError(ValueError):
    """Raised when something can't be encrypted, decrypted or signed. The message says what to do."""


def new_key() -> str:
    """A key for ``[security] keys``: 32 random bytes, URL-safe base64."""
    return Fernet.generate_key().decode()


@dataclass(frozen=True)
class Vault:
    """Encrypts, decrypts and signs for one use."""

    use: str
    keys: tuple[str, ...] = field(repr=False)

    def seal(self, values: Mapping[str, Any]) -> str:
        """JSON values as a text that only a key opens. Raises :class:`SecretsError` where there is no key."""
        return self._fernet().encrypt(orjson.dumps(values)).decode()

    def open(self, text: str) -> dict[str, Any]:
        """What was sealed. Raises :class:`SecretsError`."""
        try:
            opened: dict[str, Any] = orjson.loads(self._fernet().decrypt(text.encode()))
        except InvalidToken:
            message = "none of the keys in [security] opens it; add the key that it was encrypted with to the end"
            raise SecretsError(message) from None
        return opened

    def sealed_anew(self, text: str) -> str:
        """The same, encrypted with the first key. Raises :class:`SecretsError`."""
        try:
            return self._fernet().rotate(text).decode()
        except InvalidToken:
            message = "none of the keys in [security] opens it; add the key that it was encrypted with to the end"
            raise SecretsError(message) from None

    def sign(self, text: str) -> str:
        """A signature of 43 characters, safe in URLs. Raises :class:`SecretsError` where there is no key."""
        return _signature(self._derived()[0], text)

    def verify(self, text: str, signature: str) -> bool:
        """Whether one of the keys made the signature, compared in constant time."""
        given = signature.encode("utf-8", "replace")
        matches = [hmac.compare_digest(_signature(key, text).encode(), given) for key in self._derived()]
        return any(matches)

    def _fernet(self) -> MultiFernet:
        return MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in self._derived()])

    def _derived(self) -> tuple[bytes, ...]:
        if not self.keys:
            raise SecretsError(NO_KEY)
        return tuple(_derive(key, self.use) for key in self.keys)


def vault(settings: Settings, use: str) -> Vault:
    """The vault for one use: ``connections``, ``files``, ``consent``, or a plugin's own."""
    return Vault(use, tuple(key.get_secret_value() for key in settings.security.keys))


@lru_cache(maxsize=64)
def _derive(key: str, use: str) -> bytes:
    derivation = HKDF(algorithm=SHA256(), length=32, salt=None, info=f"amity:{use}".encode())
    return derivation.derive(base64.urlsafe_b64decode(key))


def _signature(key: bytes, text: str) -> str:
    digest = hmac.digest(key, text.encode(), "sha256")
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


# --- secrets among other values ----------------------------------------------------------------------------


def secret_fields(model: type[BaseModel]) -> frozenset[str]:
    """Keys of a model's input that are secrets, or have some within: those with a ``SecretStr`` in their type."""
    found = set()
    for name, info in model.model_fields.items():
        if holds_secrets(info.annotation):
            found |= {name, info.alias or name}
    return frozenset(found)


def revealed(value: Any) -> Any:
    """The same values, with the plain text of each ``SecretStr``: for encrypting them."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, SecretBytes):
        return value.get_secret_value().decode()
    if isinstance(value, BaseModel):
        return revealed(value.model_dump())
    if isinstance(value, Mapping):
        return {key: revealed(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [revealed(item) for item in value]
    return value


MASK = "•••"


def masked(text: str, secrets: Any) -> str:
    """A text for people, without any of the secrets: what a server answered may repeat a password."""
    for secret in sorted(_texts(revealed(secrets)), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text


def _texts(value: Any) -> set[str]:
    if isinstance(value, Mapping):
        return {text for item in value.values() for text in _texts(item)}
    if isinstance(value, list):
        return {text for item in value for text in _texts(item)}
    # the encoded forms are what protocols repeat
    if isinstance(value, str) and len(value) >= 4:
        return {value, repr(value)[1:-1], base64.b64encode(value.encode()).decode().rstrip("=")}
    return set()


__all__ = ["NO_KEY", "SecretsError", "Vault", "masked", "new_key", "revealed", "secret_fields", "vault"]
