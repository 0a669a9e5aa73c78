"""`pool = true`: several credentials for one service, each with limits of its own."""

import json
import secrets
from pathlib import Path

import pytest

from sidecar.auth.pool import split
from tests.kit.exchange import Request
from tests.kit.pod import Pod
from tests.kit.vendor import Vendor, answer

AUTH = 'auth = { kind = "bearer", secret = "files:keys", pool = true }'


def carried(vendor: Vendor) -> list[str]:
    """Give what the calls carried, in their order."""
    return [request.values("Authorization")[0].decode().removeprefix("Bearer ") for request in vendor.requests]


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        (b'["one","two"]', [b"one", b"two"]),
        (b"one\ntwo\r\n\n  three \n", [b"one", b"two", b"three"]),
        (b"one\none", [b"one"]),
        (b"[one", [b"[one"]),
        (b"", []),
    ],
)
def test_a_stored_value_is_a_json_list_or_lines(value: bytes, texts: list[bytes]) -> None:
    """Whichever is easier to keep in the store at hand."""
    assert split(value) == texts


async def test_calls_go_round(tmp_path: Path) -> None:
    """Each carries the next one; a value that goes is not used any more, and a new one is."""
    keys = [secrets.token_hex(16) for _ in range(4)]
    async with Vendor.echoing() as vendor:
        pod = Pod(tmp_path, vendor, service=AUTH)
        pod.write_secret("keys", json.dumps(keys[:3]))
        async with pod, pod.app() as app:
            for _ in range(6):
                assert (await app.ask("GET", "/vendor/x")).status == 200
            assert carried(vendor) == keys[:3] * 2
            pod.write_secret("keys", "\n".join(keys[1:]))
            await pod.sidecar._generation.shared.secrets.refresh()  # type: ignore[union-attr]
            for _ in range(3):
                assert (await app.ask("GET", "/vendor/x")).status == 200
            assert sorted(carried(vendor)[6:]) == sorted(keys[1:])


async def test_one_that_is_throttled_is_passed_over(tmp_path: Path) -> None:
    """The vendor counts by the key, so a 429 for one says nothing about the others; the retry goes by another."""
    keys = [secrets.token_hex(16) for _ in range(2)]

    def reply(request: Request) -> bytes:
        if request.values("Authorization")[0].decode().endswith(keys[0]):
            return answer(status=429, headers=[(b"Retry-After", b"60")])
        return answer(b"fine")

    async with Vendor.answering(reply) as vendor:
        pod = Pod(tmp_path, vendor, service=AUTH)
        pod.write_secret("keys", "\n".join(keys))
        async with pod, pod.app() as app:
            statuses = [(await app.ask("GET", "/vendor/x")).status for _ in range(5)]
        assert statuses == [429, 200, 200, 200, 200]
        assert carried(vendor) == [keys[0], *[keys[1]] * 4]


async def test_each_has_a_bucket_of_its_own_and_the_soonest_time_is_told(tmp_path: Path) -> None:
    """Two keys at three an hour each are six calls; the seventh hears when the first permit is free."""
    service = f'{AUTH}\nrate_limit = {{ rate = "3/h", burst = 3 }}'
    async with Vendor.echoing() as vendor:
        pod = Pod(tmp_path, vendor, service=service)
        pod.write_secret("keys", "\n".join(secrets.token_hex(16) for _ in range(2)))
        async with pod, pod.app() as app:
            for _ in range(6):
                assert (await app.ask("GET", "/vendor/x")).status == 200
            refused = await app.ask("GET", "/vendor/x")
        assert (refused.status, refused.value("Sidecar-Error")) == (429, "rate_limited")
        assert 0 < int(refused.value("Retry-After")) <= 1200
        shown = pod.snapshot()["services"]["vendor"]["rate_limit"]
        assert [one["of"] for one in shown] == ["credential 1", "credential 2"]


async def test_without_a_credential_the_reason_is_told(tmp_path: Path) -> None:
    """An empty value is no pool."""
    async with Vendor.echoing() as vendor:
        pod = Pod(tmp_path, vendor, service=AUTH)
        pod.write_secret("keys", "[]")
        async with pod, pod.app() as app:
            refused = await app.ask("GET", "/vendor/x")
        assert refused.value("Sidecar-Error") == "credential_unavailable"
        assert "one credential in each line" in refused.json()["detail"]
        assert not vendor.requests
