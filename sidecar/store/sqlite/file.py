"""File: one SQLite database, one thread that owns it, and group commit.

Whoever asks while a commit is under way is in the next one: however many ask at once, the disk is forced to hold it
(fdatasync) once for all of them, and none is answered before. The file is locked for as long as the process lives, and
free again when it is killed; what was acknowledged is in its write-ahead log then, which the next process reads.

With journal_mode=WAL and synchronous=FULL a commit is on the disk when it returns
(https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar

from sidecar.store.base import StoreDown, StoreFailed, StoreFull
from sidecar.store.sqlite.schema import prepare

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]
After = Callable[[Any], None]

GROUP_MAX = 256  # Questions in one commit. More wait for the next: the first of them shall not wait for all.
WAITING_MAX = 20_000  # Questions that wait for the writer. Full: StoreFull at once, and nothing was written.
LOCK_SECONDS = 5.0  # For another process, such as the one before us, to let the file go.
PAGE_BYTES = 4096
CACHE_KIB = 4096  # Of pages in memory; the rest is the system's cache of the file.


class _Asked(NamedTuple):
    work: Work
    answer: "asyncio.Future[Any]"
    after: After | None


class SqliteFile:
    """The file at `path`, at most `bytes_max` long."""

    def __init__(self, path: str, bytes_max: int) -> None:
        self.path = path
        self.bytes_max = bytes_max
        self.bytes = 0  # As long as it is since the last commit.
        self.beside_bytes = 0  # What lies in files beside it, and is not left for it.
        self._left_for = -1  # The `beside_bytes` that the bound of its pages was set for.
        self._inbox: SimpleQueue[_Asked | None] = SimpleQueue()
        self._waiting = 0  # Asked and not answered.
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False
        self.problem = ""  # A sentence, while the last commit failed.
        self.commits = 0

    @property
    def is_open(self) -> bool:
        """Whether it may be asked."""
        return self._thread is not None and not self._is_closed

    async def open(self) -> None:
        """Lock the file, look whether it is ours, and bring it to our schema. Raises StoreFailed with what helps."""
        self._loop = asyncio.get_running_loop()
        connection = await asyncio.to_thread(self._connect)
        self._thread = threading.Thread(target=self._serve, args=(connection,), name="sqlite", daemon=True)
        self._thread.start()

    async def run(self, work: Callable[[sqlite3.Connection], T], after: After | None = None) -> T:
        """Have `work` done in the writer's thread, and give what it gave once it is on the disk.

        It runs in a savepoint of its own: an error undoes it alone. It is done even if the caller goes away meanwhile;
        `after` hears what it gave, or the error, all the same. Raises StoreFailed, and whatever `work` raises.
        """
        refused = self._refusal()
        if refused is not None or self._loop is None:
            if after is not None:
                after(refused)
            raise refused or StoreDown(f"the store {self.path} is closed")
        answer: asyncio.Future[T] = self._loop.create_future()
        self._waiting += 1
        self._inbox.put(_Asked(work, answer, after))
        return await answer

    async def close(self) -> None:
        """Finish what was asked, and let the file go."""
        if self._is_closed or self._thread is None:
            return
        self._is_closed = True
        self._inbox.put(None)
        await asyncio.to_thread(self._thread.join)

    def _refusal(self) -> StoreFailed | None:
        if not self.is_open:
            return StoreDown(f"the store {self.path} is closed")
        if self._waiting >= WAITING_MAX:
            return StoreFull(f"the store {self.path} is behind: {WAITING_MAX} questions wait for its disk")
        return None

    # In the writer's thread.

    def _connect(self) -> sqlite3.Connection:
        try:
            # For nobody else to read: it was said between the app and its vendors. SQLite makes its log alike.
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            connection = sqlite3.connect(
                self.path, timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=256
            )
        except (OSError, sqlite3.Error) as error:
            raise failure(self.path, error) from None
        try:
            # Exclusive before the first read: there is no shared memory beside the file then, and one process only.
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            prepare(connection, self.path, PAGE_BYTES)
            self._bound(connection)
            self._measure(connection)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        except sqlite3.Error as error:
            connection.close()
            raise failure(self.path, error) from None
        except BaseException:
            connection.close()
            raise
        return connection

    def _serve(self, connection: sqlite3.Connection) -> None:
        assert self._loop is not None
        is_over = False
        while not is_over:
            group = [self._inbox.get()]
            try:
                while group[-1] is not None and len(group) < GROUP_MAX:
                    group.append(self._inbox.get_nowait())
            except Empty:
                pass
            is_over = group[-1] is None
            asked = [one for one in group if one is not None]
            if asked:
                results = self._commit(connection, asked)
                self._loop.call_soon_threadsafe(self._answer, asked, results)
        connection.close()

    def _commit(self, connection: sqlite3.Connection, asked: list[_Asked]) -> list[Any]:
        """Do all in one transaction; give for each what it gave, or the error."""
        try:
            if self._left_for != self.beside_bytes:
                self._bound(connection)
            connection.execute("BEGIN IMMEDIATE")
            results = [self._do(connection, one.work) for one in asked]
            connection.execute("COMMIT")
            self._measure(connection)
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            failed = failure(self.path, error)
            self.problem = str(failed)
            # Each its own: an error that is raised in several places gathers their tracebacks.
            return [type(failed)(*failed.args) for _ in asked]
        self.commits += 1
        self.problem = ""
        return results

    def _bound(self, connection: sqlite3.Connection) -> None:
        self._left_for = beside = self.beside_bytes
        connection.execute(f"PRAGMA max_page_count = {max(1, (self.bytes_max - beside) // PAGE_BYTES)}")

    def _measure(self, connection: sqlite3.Connection) -> None:
        self.bytes = connection.execute("PRAGMA page_count").fetchone()[0] * PAGE_BYTES

    def _do(self, connection: sqlite3.Connection, work: Work) -> Any:
        connection.execute("SAVEPOINT one")
        try:
            result = work(connection)
        except Exception as error:
            if not connection.in_transaction:  # SQLite itself undid everything: the disk is full, or worse.
                raise
            connection.execute("ROLLBACK TO one")
            result = failure(self.path, error) if isinstance(error, sqlite3.Error) else error
        connection.execute("RELEASE one")
        return result

    # In the loop.

    def _answer(self, asked: list[_Asked], results: list[Any]) -> None:
        for one, result in zip(asked, results, strict=True):
            self._waiting -= 1
            if one.after is not None:
                one.after(result)
            if one.answer.done():  # Whoever asked went away.
                continue
            if isinstance(result, Exception):
                one.answer.set_exception(result)
            else:
                one.answer.set_result(result)


def failure(path: str, error: Exception) -> StoreFailed:
    """Say what SQLite met, and what helps."""
    text = str(error)
    code = getattr(error, "sqlite_errorname", "")
    if code.startswith("SQLITE_FULL"):
        return StoreFull(f"the store {path} is full: bytes_max is reached, or the disk is full; nothing was written")
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StoreDown(f"another process has the store {path} open; one file belongs to one sidecar")
    if code.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return StoreDown(
            f"the store {path} is damaged ({text}); stop, keep a copy of it, and rescue what is readable with "
            f'"sqlite3 {path} .recover", or move it away to begin with an empty one'
        )
    if code.startswith(("SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_READONLY")) or isinstance(error, OSError):
        return StoreDown(f"the store {path} cannot be opened for writing ({text}); its folder must exist and be ours")
    return StoreDown(f"the store {path} failed: {text}")
