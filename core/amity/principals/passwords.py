"""Passwords: kept as argon2id hashes, made and compared in threads, a few at a time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from pwdlib import PasswordHash
from pwdlib.exceptions import PwdlibError
from pwdlib.hashers.argon2 import Argon2Hasher

from ..settings import SignInSettings

MIN_LENGTH = 8
MAX_LENGTH = 1_000
AT_ONCE = 4
"""Hashes that are computed at the same time; each takes its share of memory."""


@dataclass(frozen=True)
class Verified:
    """That a password is right; ``renewed`` is a hash by today's settings, where the one kept is by others."""

    renewed: str | None = None


class Passwords:
    """Hashes and compares passwords by the settings of a CRM."""

    def __init__(self, settings: SignInSettings) -> None:
        hasher = Argon2Hasher(
            time_cost=settings.argon2_passes,
            memory_cost=settings.argon2_memory,
            parallelism=settings.argon2_lanes,
        )
        self._hash = PasswordHash((hasher,))
        self._free = asyncio.Semaphore(AT_ONCE)
        self._nobody: str | None = None

    async def hash(self, password: str) -> str:
        """The hash to keep."""
        async with self._free:
            return await asyncio.to_thread(self._hash.hash, password)

    async def verify(self, password: str, kept: str | None) -> Verified | None:
        """Whether the password is that of a hash; takes as long where there is none."""
        async with self._free:
            return await asyncio.to_thread(self._verify, password, kept)

    def _verify(self, password: str, kept: str | None) -> Verified | None:
        if kept is None:
            if self._nobody is None:
                self._nobody = self._hash.hash("nobody has this password")
            self._compare(password, self._nobody)
            return None
        return self._compare(password, kept)

    def _compare(self, password: str, kept: str) -> Verified | None:
        try:
            right, renewed = self._hash.verify_and_update(password, kept)
        except (PwdlibError, UnicodeEncodeError):  # half of a surrogate pair is no character of a password
            return None
        return Verified(renewed) if right else None


def problem(password: str) -> str | None:
    """Why a password can't be taken, if so."""
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        return f"has {len(password)} characters; expected {MIN_LENGTH} to {MAX_LENGTH}"
    if not password.isprintable():
        return "has characters that can't be typed"
    return None


__all__ = ["Passwords", "Verified", "problem"]
