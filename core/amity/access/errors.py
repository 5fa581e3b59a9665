"""What is raised when somebody lacks a right."""

from __future__ import annotations


class AccessDenied(PermissionError):
    """Raised when a principal lacks a right; nothing was written. The message names both."""


class FieldDenied(AccessDenied):
    """Raised when a principal may not read or write a field that it named; nothing was run."""


__all__ = ["AccessDenied", "FieldDenied"]
