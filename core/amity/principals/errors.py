"""What signing in raises. Nothing of it tells whether there is such an account."""

from __future__ import annotations


class SignInFailed(Exception):
    """Raised where e-mail address and password are not those of an active user; which of them, it doesn't say."""

    def __init__(self, message: str = "e-mail address or password is wrong") -> None:
        super().__init__(message)


class TooManyAttempts(SignInFailed):
    """Raised for an account, there or not, that was tried too often; ``seconds`` is how long to wait."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds
        super().__init__(f"too many attempts; try again in {seconds} seconds")


__all__ = ["SignInFailed", "TooManyAttempts"]
