"""Whose file it is, how old it is, and who has it: all looked at before anything is written."""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sidecar.store.base import StoreDown
from sidecar.store.sqlite import file as sqlite_file
from sidecar.store.sqlite import schema
from tests.store.sqlite.conftest import Opened

LIFE = 1e6


def ask(path: Path, question: str) -> Any:
    """Ask a file that nobody has open."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(question).fetchall()
    finally:
        connection.close()


def allow(path: Path, mode: int) -> None:
    """Say who may do what there."""
    path.chmod(mode)


def change(path: Path, *statements: str) -> None:
    """Do something to a file that nobody has open."""
    connection = sqlite3.connect(path)
    try:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    finally:
        connection.close()


async def refusal(opened: Opened) -> str:
    """Open it, and give the sentence that refuses; the file is as it was then."""
    before = opened.path.read_bytes()
    with pytest.raises(StoreDown) as refused:
        async with opened.store():
            pass
    assert opened.path.read_bytes() == before
    return str(refused.value)


async def test_a_new_file_is_ours_alone(opened: Opened) -> None:
    """Nobody else may read it nor its log, whatever the umask; it is marked as ours, in the newest schema."""
    umask = os.umask(0)
    try:
        async with opened.store() as store:
            await store.records.put("k", b"v", LIFE)
            files = sorted(opened.path.parent.iterdir())
            assert [file.name for file in files] == ["state.db", "state.db-wal"]
            assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    finally:
        os.umask(umask)
    assert ask(opened.path, "PRAGMA application_id") == [(schema.APPLICATION_ID,)]
    assert ask(opened.path, "PRAGMA user_version") == [(len(schema.STEPS),)]
    assert [file.name for file in opened.path.parent.iterdir()] == ["state.db"]


async def test_an_empty_file_is_a_new_one(opened: Opened) -> None:
    """A process that was killed just after it made the file leaves an empty one."""
    opened.path.touch()
    async with opened.store() as store:
        assert await store.records.put("k", b"v", LIFE) is not None


async def test_the_file_of_another_program_is_refused(opened: Opened) -> None:
    """By its tables, or by its mark; nothing is written to it."""
    change(opened.path, "CREATE TABLE theirs (a)")
    assert await refusal(opened) == f"the file {opened.path} is somebody else's database; name another path in [store]"
    opened.path.unlink()
    change(opened.path, "PRAGMA application_id = 7", "PRAGMA user_version = 1", "CREATE TABLE records (a)")
    assert "is somebody else's database" in await refusal(opened)


async def test_a_file_that_is_no_database_is_refused(opened: Opened) -> None:
    """As a config or a log would be, named by mistake."""
    opened.path.write_text("[store]\nkind = 'sqlite'\n" * 100)
    sentence = await refusal(opened)
    assert sentence.startswith(f"the file {opened.path} is no database of ours (file is not a database)")
    assert sentence.endswith("name another path in [store]")


async def test_a_folder_that_is_not_there_is_told(opened: Opened) -> None:
    """No folder is made: it would be one that nothing keeps."""
    opened.path = opened.path.parent / "nowhere" / "state.db"
    with pytest.raises(StoreDown, match=r"nowhere/state\.db cannot be opened for writing .*; its folder must exist"):
        async with opened.store():
            pass


async def test_a_folder_that_may_not_be_written_is_told(
    opened: Opened, child: Callable[..., Any], tmp_path: Path
) -> None:
    """With a new file, and with one that is there already."""
    async with opened.store():
        pass
    for folder in (tmp_path, *list(tmp_path.parents)[:2]):
        folder.chmod(0o755)
    opened.path.chmod(0o444)
    allow(tmp_path, 0o555)
    try:
        for path in (opened.path, tmp_path / "new.db"):
            process = await child("readonly", path)
            out, errors = await process.communicate()
            assert not errors, errors.decode()
            ready, sentence = out.decode().splitlines()
            assert ready == "ready"
            assert sentence.startswith(f"the store {path} cannot be opened for writing (")
            assert sentence.endswith("); its folder must exist and be ours")
    finally:
        allow(tmp_path, 0o755)


async def test_a_second_process_is_told_whose_it_is(
    opened: Opened, child: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits a while, as the one before it may be about to end; then it says why it does not start."""
    monkeypatch.setattr(sqlite_file, "LOCK_SECONDS", 0.1)
    process = await child("put", opened.path, "x")
    try:
        assert await process.stdout.readline() == b"opening\n"
        assert (await process.stdout.readline()).startswith(b"put ")
        with pytest.raises(StoreDown, match=r"another process has the store .* open; one file belongs to one sidecar"):
            async with opened.store():
                pass
    finally:
        process.kill()
        await process.communicate()
    async with opened.store() as store:
        assert store.is_up


async def test_the_next_process_waits_for_the_one_before_it(opened: Opened, child: Callable[..., Any]) -> None:
    """In a restart both are there for a moment: the lock is waited for."""
    process = await child("put", opened.path, "x")
    assert await process.stdout.readline() == b"opening\n"
    assert (await process.stdout.readline()).startswith(b"put ")

    async def open_it() -> bool:
        async with opened.store() as store:
            return store.is_up

    opening = asyncio.create_task(open_it())
    for _ in range(50):  # It goes on writing while we are at the door.
        await process.stdout.readline()
    assert not opening.done()
    process.kill()
    await process.communicate()
    assert await opening


async def test_a_file_of_a_newer_sidecar_is_refused(opened: Opened) -> None:
    """A step that this one does not know may mean anything."""
    async with opened.store():
        pass
    newer = len(schema.STEPS) + 1
    change(opened.path, f"PRAGMA user_version = {newer}")
    sentence = await refusal(opened)
    assert f"was written by a newer sidecar (schema {newer}; this one knows {len(schema.STEPS)})" in sentence


async def test_an_older_file_takes_the_steps_that_it_lacks(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each once, in order; what was stored before is there."""
    async with opened.store() as store:
        await store.records.put("old", b"v", LIFE)
    monkeypatch.setattr(
        schema, "STEPS", (*schema.STEPS, "ALTER TABLE clock ADD COLUMN a;\n", "UPDATE clock SET a = 'b';\n")
    )
    for _ in range(2):  # The second time there is nothing to do.
        async with opened.store() as store:
            assert (await store.records.get("old") or b"")[0] == b"v"
            rows = await store._file.run(lambda connection: connection.execute("SELECT a FROM clock").fetchall())
            assert rows in ([("b",)], [(None,)])  # The time is written anew after the step.
    assert ask(opened.path, "PRAGMA user_version") == [(len(schema.STEPS),)]


async def test_a_step_that_fails_leaves_the_file_as_it_was(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """All steps are one transaction: the older sidecar can still open it."""
    async with opened.store() as store:
        await store.records.put("old", b"v", LIFE)
    with monkeypatch.context() as patched:
        patched.setattr(schema, "STEPS", (*schema.STEPS, "DELETE FROM records;\n", "SELECT no_such_column;\n"))
        with pytest.raises(StoreDown, match="no such column"):
            async with opened.store():
                pass
    async with opened.store() as store:
        assert await store.records.get("old") is not None


async def test_every_published_step_of_the_schema_makes_the_newest(opened: Opened) -> None:
    """A file of any age becomes what a new one is."""
    async with opened.store():
        pass
    newest = ask(opened.path, "SELECT name, sql FROM sqlite_master ORDER BY name")
    for taken in range(1, len(schema.STEPS)):
        opened.path.unlink()
        statements = [one for step in schema.STEPS[:taken] for one in map(str.strip, step.split(";\n")) if one]
        mark = (f"PRAGMA application_id = {schema.APPLICATION_ID}", f"PRAGMA user_version = {taken}")
        change(opened.path, *statements, *mark)
        async with opened.store():
            pass
        assert ask(opened.path, "SELECT name, sql FROM sqlite_master ORDER BY name") == newest


async def test_a_smaller_bound_than_the_file_keeps_what_is_there(opened: Opened) -> None:
    """Less is let in, nothing is lost."""
    async with opened.store() as store:
        for number in range(500):
            await store.records.put(f"{number}", b"x" * 3000, LIFE)
    async with opened.store(2**20) as store:
        assert await store.records.get("499") is not None
