"""Entities: how they are declared, and the catalog of all that were composed."""

from .base import Entity, Record, Staged
from .catalog import (
    BatchField,
    Catalog,
    Column,
    EntityType,
    ExpressionField,
    GenericReference,
    Kind,
    MoneyField,
    TimelineSource,
    TimelineStep,
    ToMany,
    ToOne,
    camel,
    snake,
)
from .custom import CustomField
from .ids import InvalidId, decode_id, encode_id, new_id, split_id
from .index import SqlIndex, Unique
from .options import EDITABLE, EntityOptions, Generic

__all__ = [
    "EDITABLE",
    "BatchField",
    "Catalog",
    "Column",
    "CustomField",
    "Entity",
    "EntityOptions",
    "EntityType",
    "ExpressionField",
    "Generic",
    "GenericReference",
    "InvalidId",
    "Kind",
    "MoneyField",
    "Record",
    "SqlIndex",
    "Staged",
    "TimelineSource",
    "TimelineStep",
    "ToMany",
    "ToOne",
    "Unique",
    "camel",
    "decode_id",
    "encode_id",
    "new_id",
    "snake",
    "split_id",
]
