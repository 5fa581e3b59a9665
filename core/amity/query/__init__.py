"""Reads: a query tree becomes one SQL statement, in which the database builds the JSON of the answer."""

from .compile import compile_roots
from .errors import OutOfRange, QueryError
from .run import Answer, FieldError, ReadFailed, read
from .statement import Statement
from .where import parse_order, parse_where

__all__ = [
    "Answer",
    "FieldError",
    "OutOfRange",
    "QueryError",
    "ReadFailed",
    "Statement",
    "compile_roots",
    "parse_order",
    "parse_where",
    "read",
]
