"""File: one SQLite database, one thread that owns it, and group commit.

Whoever asks while a commit is under way is in the next one: however many ask at once, the disk is forced to hold it
(fdatasync) once for all of them, and none is answered before. The file is locked for as long as the process lives, and
free again when it is killed; what was acknowledged is in its write-ahead log then, which the next process reads.

With journal_mode=WAL and synchronous=FULL a commit is on the disk when it returns
(https://www.sqlite.org/pragma.html#pragma_synchronous). Once damage is met nothing more is asked of the file: what is
written to a damaged one may damage more.
"""

import asyncio
import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar

from sidecar.store.base import StoreDown, StoreFailed, StoreFull
from sidecar.store.sqlite.schema import damaged, prepare

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]
After = Callable[[Any], None]

GROUP_MAX = 256  # Questions in one commit. More wait for the next: the first of them shall not wait for all.
WAITING_MAX = 20_000  # Questions that wait for the writer. Full: StoreFull at once, and nothing was written.
LOCK_SECONDS = 5.0  # For another process, such as the one before us, to let the file go.
PAGE_BYTES = 4096
CACHE_KIB = 4096  # Of pages in memory; the rest is the system's cache of the file.
LOG_BYTES = 8 * 2**20  # Of the write-ahead log between commits; one large commit makes it longer for a while.


class _Asked(NamedTuple):
    work: Work
    answer: "asyncio.Future[Any]"
    after: After | None


class _Undone(Exception):
    """SQLite undid all of the transaction at one question: it does not fit into the file."""


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
        self._damage = ""  # A sentence, from when the file was found to be damaged.
        self.problem = ""  # A sentence, while the last commit failed, or the file is damaged.
        self.on_problem: Callable[[str], None] = lambda _: None  # Called in the loop after each commit that failed.
        self.commits = 0
        self.used_bytes = 0  # Of `bytes`; what was deleted is room for what comes.

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
        if self._damage:
            return StoreDown(self._damage)
        if self._waiting >= WAITING_MAX:
            return StoreFull(f"the store {self.path} is behind: {WAITING_MAX} questions wait for its disk")
        return None

    # In the writer's thread.

    def _connect(self) -> sqlite3.Connection:
        try:
            self._create()
            connection = sqlite3.connect(
                self.path, timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=256
            )
        except (OSError, sqlite3.Error) as error:
            raise failure(self.path, error) from None
        try:
            # Exclusive before the first read: there is no shared memory beside the file then, and one process only.
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA synchronous = FULL")
            prepare(connection, self.path, PAGE_BYTES)
            self._bound(connection)
            connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            self._measure(connection)
        except sqlite3.Error as error:
            connection.close()
            raise failure(self.path, error) from None
        except BaseException:
            connection.close()
            raise
        return connection

    def _create(self) -> None:
        """Make the file where there is none, for nobody else to read: it was said between the app and its vendors.

        SQLite makes its log alike. One that is there is not opened here, since closing it would end our locks on it.
        """
        try:
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except FileExistsError:
            return

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
                self._loop.call_soon_threadsafe(self._answer, asked, results, self.problem)
        with contextlib.suppress(sqlite3.Error):  # All that was answered is in the log, which the next process reads.
            connection.close()

    def _commit(self, connection: sqlite3.Connection, asked: list[_Asked]) -> list[Any]:
        """Do all in one transaction; give for each what it gave, or the error.

        Where a question does not fit into the file, SQLite undoes all that was done before it in the transaction: so
        that is done anew by itself, and what comes behind it goes into the next one.
        """
        results: list[Any] = [StoreDown(self._damage) for _ in asked] if self._damage else []
        end = len(asked)
        while len(results) < len(asked):
            part = asked[len(results) : end]
            done: list[Any] = []
            try:
                self._transact(connection, part, done)
            except _Undone as undone:
                if done:
                    end = len(results) + len(done)
                    continue
                done.append(undone.args[0])
            except Exception as error:  # noqa: BLE001 - whatever it is: all are answered, and the thread goes on
                # Each its own: an error that is raised in several places gathers their tracebacks.
                done = [failure(self.path, error) for _ in part]
                self.problem = str(done[0])
                if is_damage(error):
                    self._damage = self.problem
                else:
                    self._make_room(connection)
            results += done
            end = len(asked)
        return results

    def _transact(self, connection: sqlite3.Connection, part: list[_Asked], done: list[Any]) -> None:
        """Do them and commit, all or none. Raises _Undone where the one after `done` does not fit."""
        changed = connection.total_changes
        try:
            if self._left_for != self.beside_bytes:
                self._bound(connection)
            connection.execute("BEGIN IMMEDIATE")
            for one in part:
                done.append(self._do(connection, one.work))  # noqa: PERF401 - how far it came is what is asked
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):  # Then the next one tells.
                    connection.execute("ROLLBACK")
        self.commits += 1
        with contextlib.suppress(sqlite3.Error):  # It is committed: what is wrong now is for the next one to meet.
            self._measure(connection)
        if connection.total_changes != changed:
            self.problem = ""  # Only a commit that had to reach the disk says that it can be reached.

    def _bound(self, connection: sqlite3.Connection) -> None:
        self._left_for = beside = self.beside_bytes
        connection.execute(f"PRAGMA max_page_count = {max(1, (self.bytes_max - beside) // PAGE_BYTES)}")

    def _do(self, connection: sqlite3.Connection, work: Work) -> Any:
        connection.execute("SAVEPOINT one")
        try:
            result = work(connection)
        except Exception as error:
            result = failure(self.path, error) if isinstance(error, sqlite3.Error) else error
            if isinstance(result, StoreFull) and not connection.in_transaction:
                raise _Undone(result) from None
            if is_damage(error) or not connection.in_transaction:
                raise
            connection.execute("ROLLBACK TO one")
        connection.execute("RELEASE one")
        return result

    def _make_room(self, connection: sqlite3.Connection) -> None:
        """Bring the log into the file and empty it: where the disk is full, there is room for a delete then."""
        with contextlib.suppress(sqlite3.Error):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _measure(self, connection: sqlite3.Connection) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        free = connection.execute("PRAGMA freelist_count").fetchone()[0]
        self.bytes, self.used_bytes = pages * PAGE_BYTES, (pages - free) * PAGE_BYTES

    # In the loop.

    def _answer(self, asked: list[_Asked], results: list[Any], problem: str) -> None:
        for one, result in zip(asked, results, strict=True):
            self._waiting -= 1
            if one.after is not None:
                one.after(result)
            if one.answer.done():  # Whoever asked went away.
                continue
            if isinstance(result, StopIteration):  # A future takes none; `work` asked an iterator too much.
                one.answer.set_exception(RuntimeError(repr(result)))
            elif isinstance(result, Exception):
                one.answer.set_exception(result)
            else:
                one.answer.set_result(result)
        if problem:
            self.on_problem(problem)


def is_damage(error: Exception) -> bool:
    """Whether the file is not what was written to it."""
    return getattr(error, "sqlite_errorname", "").startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT"))


def failure(path: str, error: Exception) -> StoreFailed:
    """Say what SQLite met, and what helps."""
    text = str(error)
    code = getattr(error, "sqlite_errorname", "")
    if code.startswith("SQLITE_FULL"):
        return StoreFull(f"the store {path} is full: bytes_max is reached, or the disk is full; nothing was written")
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StoreDown(f"another process has the store {path} open; one file belongs to one sidecar")
    if code.startswith("SQLITE_NOTADB"):
        return StoreDown(f"the file {path} is no database of ours ({text}); name another path in [store]")
    if is_damage(error):
        return damaged(path, text)
    if code.startswith(("SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_READONLY")) or isinstance(error, OSError):
        return StoreDown(f"the store {path} cannot be opened for writing ({text}); its folder must exist and be ours")
    if code.startswith("SQLITE_IOERR"):
        return StoreDown(
            f"the disk of the store {path} refuses ({text}); nothing was written; look whether it is full or failing"
        )
    return StoreDown(f"the store {path} failed: {text}")
