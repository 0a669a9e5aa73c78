import os
from pathlib import Path

import pytest

from sidecar.auth.secrets.file import SECRET_MAX, FileStore, FileStoreConfig
from sidecar.auth.secrets.store import StoreFailed

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
