"""Which database a URL means."""

from __future__ import annotations

from .base import ConnectionFailed, Database


def connect(url: str, *, pool_size: int = 10, statement_timeout: float = 30.0) -> Database:
    """The database behind ``sqlite:///relative/path``, ``sqlite:////absolute/path`` or ``postgresql://…``."""
    scheme = url.split(":", 1)[0]
    if scheme == "sqlite":
        from .sqlite import SQLite  # each driver is loaded only where it is used

        return SQLite(url, statement_timeout=statement_timeout)
    if scheme in ("postgresql", "postgres"):
        try:
            from .postgresql import PostgreSQL
        except ImportError as error:
            raise ConnectionFailed(
                "PostgreSQL needs the extra amity[postgres]; install it with `pip install 'amity[postgres]'`"
            ) from error
        return PostgreSQL(url, pool_size=pool_size, statement_timeout=statement_timeout)
    raise ConnectionFailed(
        f"the database URL {url.split('@')[-1]!r} is not understood; "
        "expected sqlite:///path or postgresql://user@host/name"
    )
