"""What a change can't do, and nobody who sent it can mend: exceptions, each with a ``code``.

What the sender can mend comes back as :class:`~amity.contracts.UserError`, with one of these codes:

================  =============================================================================
``invalid``       the value is not of its field's type or form
``required``      a value is missing
``unknown_field`` there is no such field
``read_only``     the field is not set from outside
``not_found``     there is no such record, or none that the principal may see
``taken``         another record has this id or this unique key
``duplicate``     an earlier item of the same batch says the same
``conflict``      the record has another version than was expected
``held``          other records refer to it, so it can't be deleted
``refused``       a plugin's validator said no
================  =============================================================================
"""

from __future__ import annotations

from typing import ClassVar

from ..database import DatabaseError, UniqueViolation

_AGAIN = frozenset(("40001", "40P01"))
"""PostgreSQL's serialization failure and deadlock: others won; the same work may succeed when run again."""


class ChangeError(Exception):
    """Base of what stops a change as a whole; nothing of it was written."""

    code: ClassVar[str] = "change_failed"


class BadRequest(ChangeError, ValueError):
    """Raised when a call makes no sense: an unknown key to upsert by, an entity that can't be changed."""

    code = "bad_request"


class UnknownAction(ChangeError, LookupError):
    """Raised when no enabled plugin brings the action."""

    code = "not_found"


class Contention(ChangeError):
    """Raised when others kept changing the same rows and every retry lost. The same call may work later."""

    code = "conflict"


class PluginError(ChangeError):
    """Raised when code of a plugin fails inside a change. The change is rolled back.

    The message names the plugin, what kind of code it was, and which one; the cause is chained.
    """

    code = "plugin_failed"

    def __init__(self, plugin: str, kind: str, name: str, problem: str) -> None:
        self.plugin = plugin
        self.kind = kind
        self.name = name
        super().__init__(f"plugin {plugin!r}: the {kind} {name!r} {problem}")


class Rejected(Exception):
    """Carries user errors out of a unit of work, so that it is rolled back."""


class Overtaken(DatabaseError):
    """Raised inside a unit when another one committed what this one was about to write; it is run again."""


class Hoped(Overtaken):
    """Raised where something was taken to be there that is not; the work is run again, and looks first."""


def repeatable(error: DatabaseError) -> bool:
    """Whether the same work may succeed when run again: another change got in between."""
    return isinstance(error, (UniqueViolation, Overtaken)) or getattr(error.__cause__, "sqlstate", None) in _AGAIN
