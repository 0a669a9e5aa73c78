"""Schema: what stands in the file, and how an older file becomes a newer one.

`application_id` says that a file is ours, `user_version` how many of the steps it has taken. A step that is published
is never changed; a new one is added. All that are missing are taken in one transaction: a process that is killed
meanwhile leaves the file as it was.
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
    """
    CREATE TABLE lines (
        line INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE
    );
    CREATE TABLE tally ( -- What an append is held to, and people look at: counted while it changes, never anew.
        line INTEGER NOT NULL,
        state TEXT NOT NULL,
        entries INTEGER NOT NULL,
        bytes INTEGER NOT NULL, -- Of heads and bodies.
        PRIMARY KEY (line, state)
    ) WITHOUT ROWID;
    CREATE TABLE entries (
        seq INTEGER PRIMARY KEY, -- The order of arrival.
        line INTEGER NOT NULL,
        id TEXT NOT NULL,
        key TEXT NOT NULL,
        state TEXT NOT NULL,
        head BLOB NOT NULL,
        body_bytes INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        created_at REAL NOT NULL, -- Unix seconds, as all instants.
        wanted_at REAL NOT NULL, -- When it is due, once nobody of its key stands before it.
        due_at REAL, -- NULL while it does not wait, or stands behind another.
        settled_at REAL, -- NULL while it is unfinished.
        holder TEXT NOT NULL,
        is_ahead INTEGER NOT NULL, -- Due whoever stands before it.
        UNIQUE (line, id)
    );
    CREATE INDEX entries_due ON entries (line, due_at) WHERE due_at IS NOT NULL;
    CREATE INDEX entries_of_key ON entries (line, key) WHERE key <> '' AND settled_at IS NULL;
    CREATE INDEX entries_in_state ON entries (line, state);
    CREATE INDEX entries_settled ON entries (line, state, settled_at) WHERE settled_at IS NOT NULL;
    CREATE TABLE bodies ( -- Apart, since a row that is changed is written anew, whole.
        seq INTEGER PRIMARY KEY,
        value BLOB NOT NULL,
        file TEXT -- Where it lies instead, in the folder beside the database.
    );
    CREATE INDEX bodies_in_files ON bodies (file) WHERE file IS NOT NULL;
    CREATE TABLE results (
        seq INTEGER PRIMARY KEY,
        value BLOB NOT NULL,
        file TEXT
    );
    CREATE INDEX results_in_files ON results (file) WHERE file IS NOT NULL;
    """,
    # By which an entry is known, too.
    """
    ALTER TABLE entries ADD COLUMN also TEXT NOT NULL DEFAULT '';
    CREATE INDEX entries_also ON entries (line, also) WHERE also <> '';
    """,
)


def prepare(connection: sqlite3.Connection, path: str, page_bytes: int) -> None:
    """Bring a new or an older file to the newest schema.

    Raises StoreDown where it is not ours or damaged, sqlite3.Error.
    """
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
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise damaged(path, found.strip().splitlines()[-1])
    if not tables:
        connection.execute(f"PRAGMA page_size = {page_bytes}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    if taken == len(STEPS):  # Nothing is written, so a file on a full disk can be opened, and emptied.
        return
    connection.execute("BEGIN EXCLUSIVE")
    for step in STEPS[taken:]:
        for statement in filter(None, map(str.strip, step.split(";\n"))):
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {len(STEPS)}")
    connection.execute("COMMIT")


def damaged(path: str, text: str) -> StoreDown:
    """Say that a file is damaged, and what helps."""
    return StoreDown(
        f"the store {path} is damaged ({text}); stop, keep a copy of it, and rescue what is readable with "
        f'"sqlite3 {path} .recover", or move it away to begin with an empty one'
    )
