"""Migrations: what the entities declare, what the migration files make of it, what the database has.

One app a plugin, one set of files for both databases, on Tortoise's migration format.
"""

from .errors import MigrationError, MigrationsPending
from .indexes import IndexDifference, index_differences
from .make import drift, make
from .manifest import Manifest, TableManifest, manifests, refresh_manifest, write_manifest
from .migrate import Progress, applied, migrate, pending

__all__ = [
    "IndexDifference",
    "Manifest",
    "MigrationError",
    "MigrationsPending",
    "Progress",
    "TableManifest",
    "applied",
    "drift",
    "index_differences",
    "make",
    "manifests",
    "migrate",
    "pending",
    "refresh_manifest",
    "write_manifest",
]
