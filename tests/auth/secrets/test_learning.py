"""A secret that comes with a handshake: written where nothing is, never over what is there, and shown to nobody."""

import asyncio
import json
import secrets
from pathlib import Path

import pytest

from sidecar.auth.secrets.file import FileStore, FileStoreConfig
from sidecar.auth.secrets.held import Held
from sidecar.auth.secrets.known import Known
from sidecar.auth.secrets.learning import BYTES_MAX, WAITING_MAX, Learning, NotKept
from sidecar.auth.secrets.store import StoreConflict
from sidecar.core.secret import Secret, SecretRef


def fresh() -> Secret:
    """Make a secret."""
    return Secret(secrets.token_hex(32).encode(), "")


class Places:
    """The places of a webhook's secrets in a directory, read as it starts and when they are hurried."""

    def __init__(self, folder: Path, *refs: str) -> None:
        self.folder = folder
        self.store = FileStore(FileStoreConfig(path=str(folder)))
        self.held = [Held(SecretRef(f"files:{ref}"), Known(lambda _: lambda: None)) for ref in refs]
        self.hurried: list[str] = []
        self.learning = Learning(self.held, lambda _: self.store, self.hurried.append)

    async def refused(self, secret: Secret) -> NotKept:
        """Offer one that is not kept."""
        with pytest.raises(NotKept) as caught:
            await self.learning.keep(secret)
        assert secret.reveal().decode() not in str(caught.value)
        return caught.value

    def there(self, name: str) -> bytes:
        """What is in a file."""
        return (self.folder / name).read_bytes()


async def test_it_is_written_where_nothing_is_and_read_at_once(tmp_path: Path) -> None:
    """So that the events that follow verify; the same once more changes nothing."""
    it, secret = Places(tmp_path, "asana"), fresh()
    for _ in range(2):
        assert await it.learning.keep(secret) == "files:asana"
        assert it.there("asana") == secret.reveal()
    assert it.hurried == ["files:asana"] * 2


@pytest.mark.parametrize("is_held", [True, False])
async def test_what_is_there_is_never_replaced(tmp_path: Path, *, is_held: bool) -> None:
    """Neither what is in memory nor what another pod wrote; a store that was away a moment ago changes nothing."""
    it, secret = Places(tmp_path, "asana"), fresh()
    (tmp_path / "asana").write_bytes(secret.reveal())
    if is_held:
        it.held[0].put(secret)
    refused = await it.refused(fresh())
    assert refused.is_final
    assert "not replaced" in str(refused)
    assert it.there("asana") == secret.reveal()
    assert await it.learning.keep(secret) == "files:asana"


@pytest.mark.parametrize("value", [{"key": "mine"}, ["a"], 7, False])
async def test_what_is_there_and_no_text_is_not_replaced_either(tmp_path: Path, value: object) -> None:
    """The reference leads to the wrong field: whoever calls first does not write over it."""
    it = Places(tmp_path, "all#hooks")
    (tmp_path / "all").write_text(json.dumps({"hooks": value, "other": "x"}))
    assert "has no text in its field hooks" in str(await it.refused(fresh()))
    assert json.loads(it.there("all")) == {"hooks": value, "other": "x"}


async def test_each_fills_the_first_empty_place(tmp_path: Path) -> None:
    """As many as were named, and no more; other fields of an object stay."""
    it = Places(tmp_path, "one", "all#two")
    (tmp_path / "all").write_text('{"other": "x"}')
    first, second = fresh(), fresh()
    assert await it.learning.keep(first) == "files:one"
    it.held[0].put(first)
    assert await it.learning.keep(second) == "files:all#two"
    assert json.loads(it.there("all")) == {"other": "x", "two": second.reveal().decode()}
    it.held[1].put(second)
    assert (await it.refused(fresh())).is_final
    assert it.there("one") == first.reveal()


async def test_of_several_at_one_instant_one_is_kept(tmp_path: Path) -> None:
    """The others are refused, and more than a few do not even wait."""
    it = Places(tmp_path, "asana")
    several = [fresh() for _ in range(WAITING_MAX + 3)]
    results = await asyncio.gather(*(it.learning.keep(secret) for secret in several), return_exceptions=True)
    kept = [secret for secret, result in zip(several, results, strict=True) if isinstance(result, str)]
    assert [secret.reveal() for secret in kept] == [it.there("asana")]
    lost = [result for result in results if isinstance(result, NotKept)]
    assert sorted(one.is_final for one in lost) == [False] * 3 + [True] * (WAITING_MAX - 1)


async def test_another_pod_that_was_faster_is_not_overwritten(tmp_path: Path) -> None:
    """The store says so; the vendor asks again, and is told then."""
    it = Places(tmp_path, "asana")

    class Raced(FileStore):
        async def put(self, path: str, field: str | None, value: bytes, version: str) -> str:
            assert version == ""
            raise StoreConflict(f"{path} {field} {len(value)}")

    it.store = Raced(FileStoreConfig(path=str(tmp_path)))
    refused = await it.refused(fresh())
    assert not refused.is_final
    assert "at the same time" in str(refused)


async def test_a_store_that_cannot_be_written_says_what_to_write(tmp_path: Path) -> None:
    """A mounted Secret, say; the vendor is not told that all is well."""
    it = Places(tmp_path / "none", "asana")
    refused = await it.refused(fresh())
    assert not refused.is_final
    assert "could not be written to files:asana" in str(refused)
    assert "that may be written" in str(refused)


@pytest.mark.parametrize("value", [b"", b"a" * (BYTES_MAX + 1), b"a\nb", "ä".encode(), b" a", b"\x00" * 20])
async def test_what_is_no_line_is_no_secret(tmp_path: Path, value: bytes) -> None:
    """It is not even looked for a place."""
    it = Places(tmp_path, "asana")
    with pytest.raises(NotKept, match="no line of ASCII"):
        await it.learning.keep(Secret(value, ""))
    assert it.hurried == []
    assert (await it.learning.keep(fresh())) == "files:asana", "nothing was there"
