import asyncio
import json
import secrets
import traceback
from pathlib import Path

import pytest

from sidecar.auth.secrets.store import StoreFailed
from sidecar.auth.secrets.vault.http import ANSWER_MAX
from sidecar.core.tasks import Tasks
from tests.auth.secrets.vault.scripted import SEALED, VALUE, Script, asking, opened, token_file, write
from tests.kit.certificates import Authority
from tests.kit.clock import ManualClock
from tests.kit.exchange import Request
from tests.kit.process import free_ports
from tests.kit.vendor import Vendor, answer


async def test_every_question_says_who_asks_and_where(tmp_path: Path, clock: ManualClock) -> None:
    """The request header keeps a page in a browser from asking; agents insist on it."""
    async with asking(Script(), tmp_path, clock, namespace="team/payments") as (store, vendor):
        assert (await store.fetch("app")).reveal() == b'{"k": "v"}'
    asked = vendor.requests[-1]
    assert asked.target == b"/v1/secret/data/app"
    assert asked.values("X-Vault-Token") == [b"t"]
    assert asked.values("X-Vault-Request") == [b"true"]
    assert asked.values("X-Vault-Namespace") == [b"team/payments"]


async def test_a_path_goes_into_the_url_as_a_path(tmp_path: Path, clock: ManualClock) -> None:
    """Nothing in a reference ends the path early."""
    async with asking(Script(), tmp_path, clock) as (store, vendor):
        with pytest.raises(StoreFailed, match="is not there"):
            await store.fetch("a?version=1/é%2F..")
    assert vendor.requests[-1].target == b"/v1/secret/data/a%3Fversion%3D1/%C3%A9%252F.."


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (500, {"errors": ["1 error occurred:\n\t* storage  is\taway"]}, "1 error occurred: * storage is away (500)"),
        (400, {"errors": []}, "it gave no reason (400)"),
        (503, {"errors": ["Vault is sealed"]}, "it is sealed (503)"),
        (503, b"<html>no healthy upstream</html>", "it gave no reason (503)"),
        (429, {"errors": ["request path rate limited"]}, "request path rate limited (429)"),
        (500, {"errors": ["\x1b[31mred\u202e" + "x" * 1000]}, "[31mred" + "x" * 290),
        (500, {"errors": "text"}, "it gave no reason (500)"),
        (204, b"", "the answer is not one of Vault's; is the address right?"),
        (200, b"<html>Log in</html>", "the answer is not one of Vault's; is the address right?"),
        (200, {"data": None}, "the answer is not one of Vault's; is the address right?"),
        (200, b"x" * (ANSWER_MAX + 1), f"the answer is over {ANSWER_MAX} bytes"),
    ],
)
async def test_what_went_wrong_is_told_in_the_servers_words(
    status: int, body: object, said: str, tmp_path: Path, clock: ManualClock
) -> None:
    """On one line, bounded, with nothing that a terminal obeys."""
    async with asking(Script(**{"data/app": (status, body)}), tmp_path, clock) as (store, _):
        with pytest.raises(StoreFailed, match="reading secret/app at http://localhost:") as failure:
            await store.fetch("app")
    assert said in str(failure.value)
    assert str(failure.value).isprintable()
    assert len(str(failure.value)) < 500


async def test_a_server_that_repeats_secrets_in_its_errors_is_not_quoted(tmp_path: Path, clock: ManualClock) -> None:
    """Neither the token, nor what was to be written."""
    token, value = secrets.token_hex(16), secrets.token_hex(16)

    def repeat(request: Request) -> bytes:
        if request.method == "GET":
            return Script()(request)
        told = f"bad request: {request.values('X-Vault-Token')} {json.loads(request.body)}"
        return write((400, {"errors": [told]}))

    async with asking(repeat, tmp_path, clock, token=token) as (store, _):
        version = (await store.fetch("app")).version
        with pytest.raises(StoreFailed, match=r"bad request: .*\*\*\*") as failure:
            await store.put("app", "k", value.encode(), version)
    shown = "".join(traceback.format_exception(failure.value))
    assert token not in shown
    assert value not in shown


async def test_a_document_that_is_no_json_is_not_repeated(tmp_path: Path, clock: ManualClock) -> None:
    """It may hold a secret; and the error of the reader is in no chain."""
    value = secrets.token_hex(16)
    body = f'{{"data": {{"data": {{"k": "{value}"'.encode()
    async with asking(Script(**{"data/app": (200, body)}), tmp_path, clock) as (store, _):
        with pytest.raises(StoreFailed) as failure:
            await store.fetch("app")
    assert value not in "".join(traceback.format_exception(failure.value))
    assert failure.value.__suppress_context__


async def test_a_server_that_does_not_answer_is_given_up(tmp_path: Path, clock: ManualClock) -> None:
    """After the timeout, also in the middle of an answer."""
    until = asyncio.Event()
    raw = write(VALUE)
    tasks = Tasks()
    for at in (0, 40, len(raw) - 2):
        async with (
            Vendor.stalling(raw, at, until) as vendor,
            opened(vendor.url, token_file(tmp_path, "token"), clock) as store,
        ):
            reading = tasks.spawn(store.fetch("app"), "read")
            await vendor.wait_for_request()
            await clock.advance(4.9)
            assert not reading.done()
            await clock.advance(0.2)
            with pytest.raises(StoreFailed, match="no answer within timeout = 5s"):
                await reading
            until.set()
        until.clear()


async def test_a_server_that_is_not_there_is_told(tmp_path: Path, clock: ManualClock) -> None:
    """By the address, and by what the system says."""
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    async with opened(url, token_file(tmp_path, "token"), clock) as store:
        with pytest.raises(StoreFailed, match=f"at {url} failed: connecting failed: Connect call failed|refused"):
            await store.fetch("app")


async def test_a_server_that_breaks_off_is_told(tmp_path: Path, clock: ManualClock) -> None:
    """In the head, and in the body."""
    raw = write(VALUE)
    for at in (0, 10, len(raw) - 2):
        async with (
            Vendor.cutting(raw, at) as vendor,
            opened(vendor.url, token_file(tmp_path, "token"), clock) as store,
        ):
            with pytest.raises(StoreFailed, match=r"it broke off|it did not speak HTTP"):
                await store.fetch("app")


async def test_the_guard_holds_for_stores_too(tmp_path: Path, clock: ManualClock) -> None:
    """Private addresses by the operator's word, metadata by nobody's."""
    file = token_file(tmp_path, "token")
    async with opened("http://127.0.0.1:8200", file, clock, allow_private=False) as store:
        with pytest.raises(StoreFailed, match=r"127\.0\.0\.1 .*loopback.*allow_private = true"):
            await store.fetch("app")
    async with opened("http://169.254.169.254", file, clock) as store:
        with pytest.raises(StoreFailed, match=r"cloud metadata.*allow_private does not change that"):
            await store.fetch("app")


async def test_a_certificate_is_verified_against_ca_file(tmp_path: Path, clock: ManualClock) -> None:
    """An internal authority is the rule; none of the system's vouches for it."""
    authority = Authority()
    ca_file = str(authority.write_to(tmp_path / "ca.pem"))
    async with asking(Script(), tmp_path, clock, tls=authority.server(), ca_file=ca_file) as (store, _):
        assert (await store.fetch("app")).reveal() == b'{"k": "v"}'
    async with (
        Vendor.answering(Script(), tls=authority.server()) as vendor,
        opened(vendor.url, token_file(tmp_path, "token"), clock) as stranger,
    ):
        with pytest.raises(StoreFailed, match=r"its certificate is not trusted: .*certificate"):
            await stranger.fetch("app")


async def test_a_ca_file_that_cannot_be_read_is_told(tmp_path: Path, clock: ManualClock) -> None:
    """At the first question; the start of the pod does not hang on it."""
    async with opened("https://127.0.0.1:1", token_file(tmp_path, "token"), clock, ca_file="/nowhere.pem") as store:
        with pytest.raises(StoreFailed, match=r"/nowhere\.pem cannot be read"):
            await store.fetch("app")


def redirecting(status: int, to: str, leader: str) -> object:
    """A standby: it leads to `to`, and names `leader` when asked."""

    def say(request: Request) -> bytes:
        if request.target == b"/v1/sys/leader":
            return write((200, {"ha_enabled": True, "leader_address": leader}))
        if b"/data/" in request.target:
            return answer(status=status, headers=[(b"Location", (to + request.target.decode()).encode())])
        return Script()(request)

    return say


async def test_a_standby_leads_to_the_leader_that_the_cluster_names(tmp_path: Path, clock: ManualClock) -> None:
    """Vault's own redirect; the active node gets the very same question."""
    async with (
        Vendor.answering(Script()) as leader,
        asking(redirecting(307, leader.url, leader.url), tmp_path, clock) as (store, _),
    ):
        assert (await store.fetch("app")).reveal() == b'{"k": "v"}'
        assert leader.requests[0].target == b"/v1/secret/data/app"
        assert leader.requests[0].values("X-Vault-Token") == [b"t"]
        await store.close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_other_redirect_is_followed(status: int, tmp_path: Path, clock: ManualClock) -> None:
    """The token would go wherever a proxy on the way says; the sentence names the host and no more."""
    async with (
        Vendor.answering(Script()) as elsewhere,
        asking(redirecting(status, elsewhere.url, "https://leader:8200"), tmp_path, clock) as (store, _),
    ):
        with pytest.raises(StoreFailed, match=f"answered {status}.*not followed .to {elsewhere.url}.;") as refused:
            await store.fetch("app")
        assert "active node" in str(refused.value)
    assert elsewhere.requests == []


@pytest.mark.parametrize(
    "to", ["", "/v1", "http://evil@localhost:1", "ftp://localhost:1", "http://localhost:1/elsewhere", "http://[::1"]
)
async def test_a_redirect_that_is_none_of_vaults_is_not_followed(to: str, tmp_path: Path, clock: ManualClock) -> None:
    """Also when the leader is named just so."""
    async with asking(redirecting(307, to, to), tmp_path, clock) as (store, vendor):
        with pytest.raises(StoreFailed):
            await store.fetch("app")
    assert {request.target for request in vendor.requests} <= {
        b"/v1/auth/token/lookup-self", b"/v1/secret/data/app", b"/v1/sys/leader",
    }  # fmt: skip


async def test_a_redirect_to_a_redirect_ends(tmp_path: Path, clock: ManualClock) -> None:
    """One step, to the leader; a leader does not lead on."""
    async with (
        Vendor.answering(answer(status=307, headers=[(b"Location", b"http://localhost:1/")])) as leader,
        asking(redirecting(307, leader.url, leader.url), tmp_path, clock) as (store, _),
    ):
        with pytest.raises(StoreFailed, match="the active node answered 307"):
            await store.fetch("app")
        await store.close()


async def test_a_store_that_is_closed_in_the_middle_leaves_nothing_open(tmp_path: Path, clock: ManualClock) -> None:
    """A reload closes it while a reading is under way."""
    tasks = Tasks()
    until = asyncio.Event()
    async with (
        Vendor.stalling(write(SEALED), 0, until) as vendor,
        opened(vendor.url, token_file(tmp_path, "token"), clock) as store,
    ):
        reading = tasks.spawn(store.fetch("app"), "read")
        await vendor.wait_for_request()
        await store.close()
        until.set()
        with pytest.raises(StoreFailed):
            await reading
        await vendor.until(lambda: vendor.connections_open == 0)
