"""core.0001_foundation: what the core keeps beside its entities."""

from tortoise import migrations

from amity.database.operations import InstallFold, RunSql


class Migration(migrations.Migration):
    initial = True

    operations = [
        InstallFold(),
        # batches of the event log; a batch gets its position after it was committed
        RunSql(
            postgresql="""
                CREATE TABLE core_event_batch (
                    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                    position bigint CONSTRAINT core_event_batch_position UNIQUE
                );
                CREATE INDEX core_event_batch_unnumbered ON core_event_batch (id) WHERE position IS NULL
            """,
            sqlite="""
                CREATE TABLE core_event_batch (
                    id INTEGER PRIMARY KEY AUTOINCREMENT,
                    position INTEGER UNIQUE
                );
                CREATE INDEX core_event_batch_unnumbered ON core_event_batch (id) WHERE position IS NULL
            """,
            undo_postgresql="DROP TABLE core_event_batch",
            undo_sqlite="DROP TABLE core_event_batch",
        ),
        # how far each subscriber has read the log, and who is reading for it now
        RunSql(
            postgresql="""
                CREATE TABLE core_subscriber (
                    name text COLLATE "C" PRIMARY KEY,
                    position bigint NOT NULL,
                    number integer NOT NULL,
                    leased_until timestamptz,
                    lease text COLLATE "C",
                    failures integer NOT NULL DEFAULT 0,
                    last_error text COLLATE "C"
                )
            """,
            sqlite="""
                CREATE TABLE core_subscriber (
                    name TEXT NOT NULL PRIMARY KEY,
                    position INTEGER NOT NULL,
                    number INTEGER NOT NULL,
                    leased_until TEXT,
                    lease TEXT,
                    failures INTEGER NOT NULL DEFAULT 0,
                    last_error TEXT
                )
            """,
            undo_postgresql="DROP TABLE core_subscriber",
            undo_sqlite="DROP TABLE core_subscriber",
        ),
        # what each plugin keeps in this database
        RunSql(
            postgresql="""
                CREATE TABLE core_plugin (
                    name text COLLATE "C" PRIMARY KEY,
                    version text COLLATE "C" NOT NULL,
                    manifest jsonb NOT NULL,
                    enabled boolean NOT NULL,
                    updated_at timestamptz NOT NULL
                )
            """,
            sqlite="""
                CREATE TABLE core_plugin (
                    name TEXT NOT NULL PRIMARY KEY,
                    version TEXT NOT NULL,
                    manifest TEXT NOT NULL,
                    enabled INTEGER NOT NULL,
                    updated_at TEXT NOT NULL
                )
            """,
            undo_postgresql="DROP TABLE core_plugin",
            undo_sqlite="DROP TABLE core_plugin",
        ),
    ]
