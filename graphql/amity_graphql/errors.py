"""Errors of an operation: a code for programs, a message for people, and nothing that should stay inside."""

from __future__ import annotations

import logging
from typing import Any
from uuid import uuid4

from graphql import GraphQLError

from amity.access import AccessDenied
from amity.change.errors import ChangeError, PluginError
from amity.entity import InvalidId, camel
from amity.given import is_planned
from amity.query import QueryError

log = logging.getLogger("amity.graphql")

BAD_USER_INPUT = "BAD_USER_INPUT"
NOT_ALLOWED = "NOT_ALLOWED"
UNAUTHENTICATED = "UNAUTHENTICATED"
CONFLICT = "CONFLICT"
INTERNAL = "INTERNAL"
PLUGIN_FAILED = "PLUGIN_FAILED"
PARSE_FAILED = "GRAPHQL_PARSE_FAILED"
VALIDATION_FAILED = "GRAPHQL_VALIDATION_FAILED"
LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
PERSISTED_QUERY_NOT_FOUND = "PERSISTED_QUERY_NOT_FOUND"
PERSISTED_QUERY_NOT_SUPPORTED = "PERSISTED_QUERY_NOT_SUPPORTED"
OPERATION_NOT_ALLOWED = "OPERATION_NOT_ALLOWED"
_REFERENCE = "_amity_reference"
_CODES = {"bad_request": BAD_USER_INPUT, "not_found": BAD_USER_INPUT, "conflict": CONFLICT}


class PluginFailed(Exception):
    """Raised for what code of a plugin did wrong; the cause says what."""

    def __init__(self, plugin: str, what: str, count: int = 1) -> None:
        self.plugin = plugin
        self.count = count
        super().__init__(f"plugin {plugin!r}: {what}")


def bad_input(message: str, nodes: Any = None) -> GraphQLError:
    return GraphQLError(message, nodes, extensions={"code": BAD_USER_INPUT})


def told(error: Exception, plugin: str | None = None, field: str = "a resolver") -> GraphQLError:
    """What a client is told of an exception; ``plugin`` is whose field raised it, if it was a plugin's.

    Unexpected ones are logged under a reference, which is all that the client sees of them.
    """
    if isinstance(error, GraphQLError):
        cause = error.original_error
        if cause is None or isinstance(cause, GraphQLError) or "code" in (error.extensions or {}):
            return error  # told already, perhaps with its place
        return _told(cause, plugin, field)
    return _told(error, plugin, field)


def coded(error: GraphQLError, code: str) -> GraphQLError:
    """The same error with a code, if it has none yet."""
    error.extensions = {"code": code, **(error.extensions or {})}
    return error


def placed(error: GraphQLError) -> str:
    """The message of an error with its place in the document, for people at a terminal."""
    places = [f"line {place.line}, column {place.column}" for place in error.locations or ()]
    return f"{error.message} ({'; '.join(places)})" if places else error.message


def _told(error: Exception, plugin: str | None, field: str) -> GraphQLError:
    match error:
        case QueryError():
            where = ".".join(camel(part) if isinstance(part, str) else str(part) for part in error.path)
            return _made(f"{where}: {error.message}" if where else error.message, BAD_USER_INPUT, error)
        case InvalidId():
            return _made(str(error), BAD_USER_INPUT, error)
        case AccessDenied():
            return _made(str(error), NOT_ALLOWED, error)
        case PluginFailed():
            return _made(str(error), PLUGIN_FAILED, error, plugin=error.plugin, **_count(error.count))
        case PluginError():
            return _failed(error, error.plugin, f"the {error.kind} {error.name!r}")
        case ChangeError() if error.code in _CODES:
            return _made(str(error), _CODES[error.code], error)
    if plugin is not None:
        return _failed(error, plugin, field)
    reference = _logged(error, "internal error")
    message = f"Something went wrong here; it was logged as {reference}"
    return _made(message, INTERNAL, error, reference=reference)


def _failed(error: Exception, plugin: str, what: str) -> GraphQLError:
    reference = _logged(error, f"plugin {plugin!r}: {what} failed")
    message = f"plugin {plugin!r}: {what} failed; it was logged as {reference}"
    return _made(message, PLUGIN_FAILED, error, plugin=plugin, reference=reference)


def _logged(error: Exception, what: str) -> str:
    """The reference under which an exception is in the log; several fields may fail by the same one."""
    reference: str | None = getattr(error, _REFERENCE, None)
    if is_planned():
        return ""  # tried once more without a plan
    if reference is None:
        reference = uuid4().hex[:12]
        setattr(error, _REFERENCE, reference)
        log.error("%s, %s", what, reference, exc_info=error)
    return reference


def _count(count: int) -> dict[str, Any]:
    return {"count": count} if count > 1 else {}


def _made(message: str, code: str, error: Exception, **extensions: Any) -> GraphQLError:
    return GraphQLError(message, original_error=error, extensions={"code": code, **extensions})
