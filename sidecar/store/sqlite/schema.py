"""Schema: what stands in the file, and how an older file becomes a newer one.

`application_id` says that a file is ours, `user_version` how many of the steps it has taken. A step that is published
is never changed; a new one is added.
"""

import sqlite3

from sidecar.store.base import StoreDown

APPLICATION_ID = 0x51DECA12

STEPS = (
    """
    CREATE TABLE records (
        key TEXT PRIMARY KEY,
        value BLOB NOT NULL,
        version INTEGER NOT NULL,
        ends_at REAL NOT NULL -- Unix seconds.
    );
    CREATE INDEX records_by_end ON records (ends_at);
    CREATE TABLE clock (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        seen_at REAL NOT NULL -- The latest Unix time that a process wrote: time does not go back.
    );
    """,
)


def prepare(connection: sqlite3.Connection, path: str, page_bytes: int) -> None:
    """Bring a new or an older file to the newest schema. Raises StoreDown where it is not ours, sqlite3.Error."""
    mark = connection.execute("PRAGMA application_id").fetchone()[0]
    taken = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if mark != APPLICATION_ID and (mark or taken or tables):
        raise StoreDown(f"the file {path} is somebody else's database; name another path in [store]")
    if taken > len(STEPS):
        raise StoreDown(
            f"the store {path} was written by a newer sidecar (schema {taken}; this one knows {len(STEPS)}); "
            "run the newer one, or name another path in [store]"
        )
    if not tables:
        connection.execute(f"PRAGMA page_size = {page_bytes}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN EXCLUSIVE")
    for step in STEPS[taken:]:
        for statement in filter(None, map(str.strip, step.split(";\n"))):
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {len(STEPS)}")
    connection.execute("COMMIT")
