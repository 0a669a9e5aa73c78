"""Flow: the ways to a refresh token, each from the first word to the person until the token is there."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from sidecar.auth.login.authorization import Authorization
from sidecar.auth.login.config import LoginConfig
from sidecar.auth.login.device import Poll, Prompt
from sidecar.auth.login.failed import LoginFailed
from sidecar.auth.login.loopback import Loopback
from sidecar.auth.oauth.token import Token, TokenRefused
from sidecar.core.clock import Clock

CONSENT_MAX = 600.0  # Seconds that somebody may take at the vendor's page.

Fields = list[tuple[str, str]]
Say = Callable[[str], None]


class Redeemer(Protocol):
    """The token endpoint, asked as the service's client."""

    async def redeem(self, fields: Fields) -> Token:
        """Ask for a token with the parameters of a grant. Raises TokenRefused."""


async def by_browser(
    config: LoginConfig,
    url_of: Callable[[Authorization], str],
    redeemer: Redeemer,
    clock: Clock,
    say: Say,
    open_browser: Callable[[str], bool],
) -> Token:
    """Have this machine's browser go to the vendor, and wait for it to come back. Raises LoginFailed."""
    async with Loopback(config, clock) as loopback:
        authorization = Authorization(config, loopback.redirect_uri)
        url = url_of(authorization)
        say(f"Consent in the browser, at\n\n    {url}\n")
        if not await asyncio.to_thread(open_browser, url):
            say("No browser could be opened here: open this address yourself, on this machine.")
        code = await loopback.code(authorization.code, CONSENT_MAX)
    return await _redeem(redeemer, authorization.parameters(code))


async def by_paste(
    config: LoginConfig,
    url_of: Callable[[Authorization], str],
    redeemer: Redeemer,
    clock: Clock,
    say: Say,
    read_line: Callable[[], str],
) -> Token:
    """Have a browser elsewhere go to the vendor, and somebody paste where it was sent. Raises LoginFailed."""
    async with Loopback(config, clock) as loopback:
        redirect_uri = loopback.redirect_uri  # A free port; whoever has it later gets nothing: PKCE.
    authorization = Authorization(config, redirect_uri)
    say(f"Consent in a browser, wherever it is, at\n\n    {url_of(authorization)}\n")
    say(f"Then it goes to {redirect_uri}, where nobody answers. Paste that page's whole address here:")
    pasted = await asyncio.to_thread(read_line)
    return await _redeem(redeemer, authorization.parameters(authorization.typed(pasted)))


async def by_device(prompt: Prompt, redeemer: Redeemer, clock: Clock, say: Say) -> Token:
    """Have somebody type a code elsewhere, and ask until it is done. Raises LoginFailed."""
    say(f"On any device, open\n\n    {prompt.where}\n\nand type the code\n\n    {prompt.user_code}\n")
    if prompt.link:
        say(f"or open {prompt.link}, and compare the code.")
    poll = Poll(prompt, clock.now())
    while True:
        await clock.sleep(poll.next_at - clock.now())
        try:
            return await redeemer.redeem(prompt.parameters)
        except TokenRefused as refused:
            poll.hear(refused.error, clock.now(), is_retryable=refused.is_retryable)


async def _redeem(redeemer: Redeemer, fields: Fields) -> Token:
    try:
        return await redeemer.redeem(fields)
    except TokenRefused as refused:
        raise LoginFailed(f"the code was not taken: {refused}") from None
