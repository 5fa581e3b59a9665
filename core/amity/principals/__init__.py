"""Principals from the database: roles and what they grant, users, customers, API keys, signing in."""

from .errors import SignInFailed, TooManyAttempts
from .loading import Access
from .who import Who, who

__all__ = ["Access", "SignInFailed", "TooManyAttempts", "Who", "who"]
