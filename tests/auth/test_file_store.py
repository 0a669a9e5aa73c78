import fcntl
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sidecar.auth.secrets.file import SECRET_MAX, FileStore, FileStoreConfig
from sidecar.auth.secrets.store import StoreConflict, StoreFailed
from sidecar.core.tasks import Tasks

OUTSIDE = "the secret of somebody else"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The mounted directory, with a file beside it that is none of ours."""
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    (tmp_path / "outside").write_text(OUTSIDE)
    (tmp_path / "outside").chmod(0o600)
    return mounted


@pytest.fixture
def store(folder: Path) -> FileStore:
    """A store over the mounted directory."""
    return FileStore(FileStoreConfig(path=str(folder)))


def write(folder: Path, content: bytes, name: str = "key", mode: int = 0o600) -> None:
    """Write a secret's file."""
    (folder / name).write_bytes(content)
    (folder / name).chmod(mode)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"value", b"value"),
        (b"value\n", b"value"),
        (b"value\r\n", b"value"),
        (b"value\n\n", b"value\n"),
        (b"  value ", b"  value "),
        (b"two\nlines\n", b"two\nlines"),
        (b"\xff\x00\xfe\n", b"\xff\x00\xfe"),
    ],
)
async def test_one_newline_at_the_end_is_trimmed(
    content: bytes, expected: bytes, folder: Path, store: FileStore
) -> None:
    """Editors and `echo` leave one; everything else is the secret's own."""
    write(folder, content)
    assert (await store.fetch("key")).reveal() == expected


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n", b" \t\n "])
async def test_an_empty_or_blank_file_is_no_secret(content: bytes, folder: Path, store: FileStore) -> None:
    """It is what a template that was not filled leaves behind."""
    write(folder, content)
    with pytest.raises(StoreFailed, match="is empty"):
        await store.fetch("key")


async def test_what_cannot_be_read_is_told_with_its_path(folder: Path, store: FileStore) -> None:
    """A missing file, a directory, a pipe that nobody would ever fill."""
    with pytest.raises(StoreFailed, match=r"key cannot be read: No such file"):
        await store.fetch("key")
    (folder / "inner").mkdir()
    with pytest.raises(StoreFailed, match=r"inner"):
        await store.fetch("inner")


async def test_a_file_that_is_too_large_is_no_secret(folder: Path, store: FileStore) -> None:
    """The bound is that of a Kubernetes Secret."""
    write(folder, b"x" * SECRET_MAX)
    assert len((await store.fetch("key")).reveal()) == SECRET_MAX
    write(folder, b"x" * (SECRET_MAX + 1))
    with pytest.raises(StoreFailed, match="not a secret"):
        await store.fetch("key")


@pytest.mark.parametrize(
    ("mode", "is_taken"), [(0o400, True), (0o600, True), (0o644, True), (0o666, False), (0o602, False)]
)
async def test_a_file_that_anyone_may_write_is_refused(
    mode: int, is_taken: bool, folder: Path, store: FileStore
) -> None:
    """Whoever may write it decides whose account the app pays into."""
    write(folder, b"value", mode=mode)
    if is_taken:
        assert (await store.fetch("key")).reveal() == b"value"
    else:
        with pytest.raises(StoreFailed, match="chmod o-w") as refused:
            await store.fetch("key")
        assert "value" not in str(refused.value)


@pytest.mark.parametrize("path", ["../outside", "inner/../../outside", "/etc/hostname", ".."])
async def test_a_path_cannot_leave_the_directory(path: str, folder: Path, store: FileStore) -> None:
    """A reference names a file of this store."""
    (folder / "inner").mkdir()
    with pytest.raises(StoreFailed, match="leads out of"):
        await store.fetch(path)


async def test_an_absolute_path_inside_is_still_no_path_below(folder: Path, store: FileStore) -> None:
    """Paths in references are relative, so that a store can be mounted elsewhere."""
    write(folder, b"value")
    with pytest.raises(StoreFailed, match="leads out of"):
        await store.fetch(str(folder / "key"))


async def test_a_file_in_a_folder_below_is_read(folder: Path, store: FileStore) -> None:
    """`files:production/stripe` is a path."""
    (folder / "production").mkdir()
    write(folder / "production", b"value", "stripe")
    assert (await store.fetch("production/stripe")).reveal() == b"value"


async def test_the_swap_of_a_mounted_version_is_seen(folder: Path, store: FileStore) -> None:
    """The kubelet moves the `..data` link; the path of the file itself never changes."""
    for version, value in (("..1", b"first"), ("..2", b"first")):
        (folder / version).mkdir()
        write(folder / version, value)
    (folder / "..data").symlink_to("..1")
    (folder / "key").symlink_to("..data/key")
    first = await store.fetch("key")
    assert not await store.has_changed("key", first.version)
    (folder / "..new").symlink_to("..2")
    (folder / "..new").replace(folder / "..data")
    assert await store.has_changed("key", first.version)
    assert not await store.has_changed("key", (await store.fetch("key")).version)


async def test_a_file_written_over_in_place_is_seen(folder: Path, store: FileStore) -> None:
    """Also when its length stays the same: the time of writing tells."""
    write(folder, b"first")
    os.utime(folder / "key", ns=(1, 1))
    version = (await store.fetch("key")).version
    write(folder, b"other")
    assert await store.has_changed("key", version)
    assert (await store.fetch("key")).version != version


async def test_a_file_that_is_gone_has_changed(folder: Path, store: FileStore) -> None:
    """So it is read, and the reading says what is wrong."""
    write(folder, b"first")
    version = (await store.fetch("key")).version
    (folder / "key").unlink()
    assert await store.has_changed("key", version)


async def test_the_version_does_not_tell_the_value(folder: Path, store: FileStore) -> None:
    """It stands in log lines."""
    write(folder, b"made-at-run-time")
    secret = await store.fetch("key")
    assert "made" not in secret.version
    assert "made" not in repr(secret)


async def test_a_link_that_leads_out_is_refused(folder: Path, store: FileStore) -> None:
    """Whoever may write into the directory could have another pod's token sent to a vendor."""
    (folder / "key").symlink_to("../outside")
    (folder / "folder").symlink_to("..")
    for path in ("key", "folder/outside"):
        with pytest.raises(StoreFailed, match="leads out of") as refused:
            await store.fetch(path)
        assert OUTSIDE not in str(refused.value)


async def test_a_pipe_that_nobody_fills_is_not_waited_for(folder: Path, store: FileStore) -> None:
    """The start of the pod would hang."""
    os.mkfifo(folder / "key", 0o600)
    with pytest.raises(StoreFailed, match="not a regular file"):
        await store.fetch("key")


# Writing.

NUMBERS = b'{"client_id": "pod", "large": 123456789012345678901234567890, "small": 1.50, "token": "old"}'


async def version_of(store: FileStore, path: str = "key") -> str:
    """The version that is there now."""
    return (await store.fetch(path)).version


def names(folder: Path) -> list[str]:
    """Everything in a directory."""
    return sorted(place.name for place in folder.iterdir())


@contextmanager
def read_only() -> Iterator[Path]:
    """A directory with a file that we may read and nothing else, as a mounted Secret is; root may everything."""
    is_root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as name:
        mounted = Path(name)
        write(mounted, b"first", mode=0o444)
        mounted.chmod(0o555)
        if is_root:
            os.seteuid(65534)
        try:
            yield mounted
        finally:
            if is_root:
                os.seteuid(0)
            mounted.chmod(0o700)


def unmount(folder: Path) -> None:
    """Take the directory away."""
    folder.rmdir()


async def test_a_written_file_is_ours_alone_and_nothing_else_is_left(folder: Path, store: FileStore) -> None:
    """Also where the one before could be read by others."""
    write(folder, b"old", mode=0o644)
    version = await store.put("key", None, b"new", await version_of(store))
    assert (folder / "key").read_bytes() == b"new"
    assert stat.S_IMODE((folder / "key").stat().st_mode) == 0o600
    assert names(folder) == ["key"]
    assert version == await version_of(store)
    assert not await store.has_changed("key", version)


async def test_the_other_fields_stay_as_they_are_byte_for_byte(folder: Path, store: FileStore) -> None:
    """A number that no float holds is not ours to round."""
    write(folder, NUMBERS)
    await store.put("key", "token", 'new "é'.encode(), await version_of(store))
    written = (folder / "key").read_bytes()
    assert b'"large":123456789012345678901234567890,"small":1.50' in written
    assert json.loads(written)["token"] == 'new "é'


@pytest.mark.parametrize("value", [b"new", b"new\n", b"new\r", b"new\r\n", b"\nnew\n\n", b"\xff\x00"])
async def test_what_was_written_is_what_is_read(value: bytes, folder: Path, store: FileStore) -> None:
    """Reading trims one line break, which must not be the value's own."""
    await store.put("key", None, value, "")
    assert (await store.fetch("key")).reveal() == value


@pytest.mark.parametrize(
    ("content", "field", "value", "why"),
    [
        (b"former", None, b" \n", "an empty value is no secret"),
        (b"former", None, b"x" * (SECRET_MAX + 1), "is not a secret"),
        (b"former", "token", b"new", "is not JSON"),
        (b'["former"]', "token", b"new", "is no JSON object"),
        (b'{"token": "former"}', "token", b"\xff", "not UTF-8"),
    ],
)
async def test_what_is_no_secret_is_not_written(
    content: bytes, field: str | None, value: bytes, why: str, folder: Path, store: FileStore
) -> None:
    """What is there stays, and no half of a file is left beside it."""
    write(folder, content)
    with pytest.raises(StoreFailed, match=why) as refused:
        await store.put("key", field, value, await version_of(store))
    assert "former" not in str(refused.value)
    assert (folder / "key").read_bytes() == content
    assert names(folder) == ["key"]


async def test_a_file_that_another_wrote_is_not_written_over(folder: Path, store: FileStore) -> None:
    """Its refresh token is the newer one."""
    write(folder, b"first")
    os.utime(folder / "key", ns=(1, 1))
    version = await version_of(store)
    write(folder, b"other")
    with pytest.raises(StoreConflict, match="read it again"):
        await store.put("key", None, b"ours", version)
    with pytest.raises(StoreConflict):
        await store.put("key", None, b"ours", "")
    assert (folder / "key").read_bytes() == b"other"


async def test_a_file_that_is_gone_is_not_made_anew(folder: Path, store: FileStore) -> None:
    """Somebody took it away on purpose."""
    write(folder, b"first")
    version = await version_of(store)
    (folder / "key").unlink()
    with pytest.raises(StoreConflict):
        await store.put("key", None, b"ours", version)
    assert names(folder) == []


async def test_another_sidecar_that_writes_now_is_a_conflict(folder: Path, store: FileStore) -> None:
    """Pods that share a volume exclude each other by a lock on the directory."""
    write(folder, b"first")
    version = await version_of(store)
    directory = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        with pytest.raises(StoreConflict):
            await store.put("key", None, b"ours", version)
    finally:
        os.close(directory)
    await store.put("key", None, b"ours", version)


async def test_a_read_only_directory_is_told_with_what_helps() -> None:
    """A mounted Kubernetes Secret is one."""
    with read_only() as mounted:
        store = FileStore(FileStoreConfig(path=str(mounted)))
        version = await version_of(store)
        with pytest.raises(StoreFailed, match=r"key cannot be written: .*a mounted Secret is read-only"):
            await store.put("key", None, b"ours", version)
        assert names(mounted) == ["key"]


async def test_a_link_stays_and_what_it_leads_to_is_written(folder: Path, store: FileStore) -> None:
    """A tree that is swapped by links keeps its shape."""
    (folder / "inner").mkdir()
    write(folder / "inner", b"first")
    (folder / "key").symlink_to("inner/key")
    await store.put("key", None, b"ours", await version_of(store))
    assert (folder / "key").is_symlink()
    assert (folder / "inner" / "key").read_bytes() == b"ours"


async def test_nothing_is_written_outside_of_the_directory(folder: Path, store: FileStore) -> None:
    """Neither by a path nor through a link."""
    (folder / "key").symlink_to("../outside")
    for path in ("key", "../outside", "/etc/hostname"):
        with pytest.raises(StoreFailed, match="leads out of"):
            await store.put(path, None, b"ours", "")
    assert (folder.parent / "outside").read_text() == OUTSIDE


async def test_a_mount_that_is_away_is_not_made_up_for(folder: Path, store: FileStore) -> None:
    """What would be written into a directory of our own is gone with the pod."""
    unmount(folder)
    for path in ("key", "inner/key"):
        with pytest.raises(StoreFailed, match="cannot be written: No such file"):
            await store.put(path, None, b"ours", "")
    assert names(folder.parent) == ["outside"]


async def test_writes_of_one_store_wait_for_each_other(folder: Path, store: FileStore) -> None:
    """Two services that rotate at the same moment are no conflict."""
    tasks = Tasks()
    puts = [tasks.spawn(store.put(f"key-{number}", None, b"value", ""), "put") for number in range(20)]
    for put in puts:
        await put
    assert len(names(folder)) == 20
