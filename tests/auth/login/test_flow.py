"""The ways to a refresh token, with a vendor that plays turns."""

import asyncio
import secrets
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from sidecar.auth.login.authorization import Authorization, challenge
from sidecar.auth.login.config import LoginConfig
from sidecar.auth.login.device import Prompt, read_prompt
from sidecar.auth.login.failed import LoginFailed
from sidecar.auth.login.flow import by_browser, by_device, by_paste
from sidecar.auth.login.keep import PAUSE, TRIES_MAX, keep, look
from sidecar.auth.login.login import way_of
from sidecar.auth.oauth.token import Token, TokenRefused
from sidecar.auth.oauth.url import TokenUrl
from sidecar.auth.secrets.store import StoreConflict, StoreFailed
from sidecar.core.secret import Secret
from tests.auth.oauth.minting import REF, MemoryStore
from tests.kit.clock import ManualClock

CONFIG = LoginConfig(authorize_url=TokenUrl.parse("https://id.crm.example/authorize"))


class Vendor:
    """A token endpoint that plays its turns, then gives a token."""

    def __init__(self, *turns: str) -> None:
        self.turns = list(turns)
        self.asked: list[dict[str, str]] = []
        self.refresh_token = secrets.token_hex(16)

    async def redeem(self, fields: list[tuple[str, str]]) -> Token:
        """Answer a token request."""
        self.asked.append(dict(fields))
        if self.turns:
            error = self.turns.pop(0)
            raise TokenRefused(f"400 {error}", error=error, is_retryable=error in {"", "slow_down"})
        return Token(b"access", got_at=0.0, refresh_token=Secret(self.refresh_token.encode(), ""))


class Person:
    """What is said to somebody, and what they do."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.urls: list[str] = []
        self.pasted = ""

    def say(self, text: str) -> None:
        """Hear."""
        self.heard.append(text)

    def read_line(self) -> str:
        """Paste."""
        return self.pasted

    def open_browser(self, url: str) -> bool:
        """Open."""
        self.urls.append(url)
        return True


def url_of(authorization: Authorization) -> str:
    """Give where to go."""
    return authorization.url("checkout", "contacts")


def query(url: str) -> dict[str, str]:
    """Give the fields of an address."""
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


async def test_by_browser_the_code_comes_by_itself(clock: ManualClock) -> None:
    """And goes to the token endpoint with the verifier whose challenge the browser carried."""
    vendor, person = Vendor(), Person()
    arrived = asyncio.Event()
    loop = asyncio.get_running_loop()

    def open_browser(url: str) -> bool:
        loop.call_soon_threadsafe(arrived.set)
        return person.open_browser(url)

    task = asyncio.ensure_future(by_browser(CONFIG, url_of, vendor, clock, person.say, open_browser))
    await arrived.wait()
    asked = query(person.urls[0])
    while not task.done():
        async with (
            aiohttp.ClientSession() as session,
            session.get(asked["redirect_uri"], params={"code": "c1", "state": asked["state"]}) as answer,
        ):
            if answer.status == 200:
                break
    token = await task
    assert token.refresh_token is not None
    (redeemed,) = vendor.asked
    assert (redeemed["grant_type"], redeemed["code"]) == ("authorization_code", "c1")
    assert redeemed["redirect_uri"] == asked["redirect_uri"]
    assert challenge(redeemed["code_verifier"]) == asked["code_challenge"]
    assert person.urls[0] in "".join(person.heard)


async def test_by_paste_the_address_is_typed_in(clock: ManualClock) -> None:
    """Nobody listens then: the port is only a place to be sent to."""
    vendor, person = Vendor(), Person()

    def read_line() -> str:
        asked = query("".join(person.heard).split("\n\n")[1].strip())
        return f"{asked['redirect_uri']}?code=c2&state={asked['state']}\n"

    await by_paste(CONFIG, url_of, vendor, clock, person.say, read_line)
    assert vendor.asked[0]["code"] == "c2"
    with pytest.raises(aiohttp.ClientConnectorError):
        async with aiohttp.ClientSession() as session:
            await session.get(vendor.asked[0]["redirect_uri"])


async def test_a_code_that_is_not_taken_is_told(clock: ManualClock) -> None:
    """In the token endpoint's words."""
    person = Person()
    person.pasted = "code"
    with pytest.raises(LoginFailed, match="the code was not taken: 400 invalid_grant"):
        await by_paste(CONFIG, url_of, Vendor("invalid_grant"), clock, person.say, person.read_line)


def prompt(**more: Any) -> Prompt:
    """Make what a device endpoint answers."""
    return Prompt({
        "device_code": "d1", "user_code": "WDJB", "verification_uri": "https://crm.example/device",
        "expires_in": 600, "interval": 5, **more,
    })  # fmt: skip


async def test_by_device_it_asks_until_somebody_typed_the_code(clock: ManualClock) -> None:
    """At the vendor's pace."""
    vendor, person = Vendor("authorization_pending", "slow_down", ""), Person()
    task = asyncio.ensure_future(by_device(prompt(), vendor, clock, person.say))
    times: list[int] = []
    for second in range(60):
        if len(vendor.asked) > len(times):
            times.append(second)
        await clock.advance(1)
    assert (await task).refresh_token is not None
    assert times == [5, 10, 20, 40]  # Five seconds, then ten, then twice as long since nobody answered.
    assert vendor.asked[0]["device_code"] == "d1"
    assert "WDJB" in person.heard[0]
    assert "d1" not in "".join(person.heard)


async def test_by_device_a_refusal_ends_it(clock: ManualClock) -> None:
    """Somebody pressed no."""
    task = asyncio.ensure_future(by_device(prompt(), Vendor("access_denied"), clock, Person().say))
    await clock.advance(5)
    with pytest.raises(LoginFailed, match="told not to allow it"):
        await task


def test_the_device_endpoint_is_not_taken_for_a_token_endpoint() -> None:
    """An answer with a token in it is no prompt."""
    with pytest.raises(LoginFailed):
        read_prompt(200, b'{"access_token":"x"}')


# The store.


def token(value: str | None = "new") -> Token:
    """Make what the vendor gave."""
    stored = None if value is None else Secret(value.encode(), "")
    return Token(b"access", got_at=0.0, refresh_token=stored)


async def test_the_refresh_token_replaces_what_was_there(clock: ManualClock) -> None:
    """And the person is told before they consent."""
    store, person = MemoryStore(b"old"), Person()
    await look(store, REF, person.say)
    assert "version 1, will be replaced" in person.heard[0]
    assert await keep(store, REF, token(), clock) == "2"
    assert store.written == [b"new"]


async def test_somebody_who_wrote_in_between_is_overwritten(clock: ManualClock) -> None:
    """The consent that was given last counts."""
    store = MemoryStore(b"old")
    store.before_write = lambda: store.change(b"theirs")
    task = asyncio.ensure_future(keep(store, REF, token(), clock))
    await clock.advance(PAUSE)
    assert await task == "3"
    assert store.value == b"new"


async def test_a_store_that_is_away_is_tried_for_a_while(clock: ManualClock) -> None:
    """A consent is people's time."""
    store = MemoryStore(b"old")
    store.failing_writes = StoreFailed("vault: sealed")
    task = asyncio.ensure_future(keep(store, REF, token(), clock))
    await clock.advance(PAUSE * (TRIES_MAX - 2))
    store.failing_writes = None
    await clock.advance(PAUSE)
    assert await task == "2"
    store.failing_writes = StoreFailed("vault: sealed")
    task = asyncio.ensure_future(keep(store, REF, token("lost"), clock))
    await clock.advance(PAUSE * TRIES_MAX)
    with pytest.raises(LoginFailed, match=r"could not be written .* vault: sealed") as failed:
        await task
    assert "lost;" not in str(failed.value)


async def test_what_is_not_there_yet_is_written_as_the_first(clock: ManualClock) -> None:
    """The version to replace is none."""
    versions: list[str] = []

    class Empty(MemoryStore):
        async def put(self, path: str, field: str | None, value: bytes, version: str) -> str:  # noqa: ARG002
            versions.append(version)
            if version:
                raise StoreConflict("there is none")
            return "1"

    store, person = Empty(b""), Person()
    store.failing_reads = StoreFailed("vault: there is no such secret")
    await look(store, REF, person.say)
    assert "no such secret" in person.heard[0]
    assert await keep(store, REF, token(), clock) == "1"
    assert versions == [""]


async def test_without_a_refresh_token_it_says_how_to_get_one(clock: ManualClock) -> None:
    """The most frequent mistake, and the store stays as it was."""
    store = MemoryStore(b"old")
    with pytest.raises(LoginFailed, match="access_type"):
        await keep(store, REF, token(None), clock)
    assert store.written == []


@pytest.mark.parametrize(
    ("has_page", "has_device", "device", "no_browser", "expected"),
    [
        (True, True, False, False, "browser"), (True, True, False, True, "paste"), (True, True, True, False, "device"),
        (False, True, False, False, "device"), (True, False, True, False, None),
    ],
)  # fmt: skip
def test_the_way_is_the_one_asked_for_if_the_vendor_has_it(
    has_page: bool, has_device: bool, device: bool, no_browser: bool, expected: str | None
) -> None:
    """Without a page to go to, the device's way is the only one."""
    url = TokenUrl.parse("https://id.crm.example/x")
    config = LoginConfig(authorize_url=url if has_page else None, device_url=url if has_device else None)
    if expected is None:
        with pytest.raises(LoginFailed, match=r"no login\.device_url"):
            way_of(config, device=device, no_browser=no_browser)
    else:
        assert way_of(config, device=device, no_browser=no_browser) == expected
