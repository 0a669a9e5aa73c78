"""Login: what `sidecar login SERVICE` does, from the first look at the store to the refresh token in it."""

import webbrowser
from collections.abc import Callable
from typing import Literal, NamedTuple

from sidecar.auth.login.authorization import Authorization
from sidecar.auth.login.config import LoginConfig
from sidecar.auth.login.endpoints import Endpoints
from sidecar.auth.login.failed import LoginFailed, shown
from sidecar.auth.login.flow import by_browser, by_device, by_paste
from sidecar.auth.login.keep import keep, look
from sidecar.auth.oauth.config import RefreshToken
from sidecar.auth.oauth.token import Token
from sidecar.auth.secrets.store import SecretStore
from sidecar.core.clock import Clock

Way = Literal["browser", "paste", "device"]


class Terminal(NamedTuple):
    """The person who logs in."""

    say: Callable[[str], None]
    read_line: Callable[[], str]
    open_browser: Callable[[str], bool] = webbrowser.open


def way_of(config: LoginConfig, *, device: bool, no_browser: bool) -> Way:
    """Choose the way by what was asked for, and by what the vendor has. Raises LoginFailed."""
    if device or config.authorize_url is None:
        if config.device_url is None:
            raise LoginFailed("the service has no login.device_url; write it, or go without --device")
        return "device"
    return "paste" if no_browser else "browser"


async def log_in(
    grant: RefreshToken,
    config: LoginConfig,
    way: Way,
    endpoints: Endpoints,
    store: SecretStore,
    clock: Clock,
    terminal: Terminal,
) -> str:
    """Have somebody consent, and store the refresh token; gives its version. Raises LoginFailed."""
    ref = grant.refresh_token
    await look(store, ref, terminal.say)
    token = await _token(grant, config, way, endpoints, clock, terminal)
    version = await keep(store, ref, token, clock)
    scope = token.extra.get("scope")
    granted = f", for {shown(scope)}" if isinstance(scope, str) and scope else ""
    terminal.say(f"The refresh token is at {ref}, version {version}{granted}. Running sidecars find it by themselves.")
    return version


async def _token(
    grant: RefreshToken, config: LoginConfig, way: Way, endpoints: Endpoints, clock: Clock, terminal: Terminal
) -> Token:
    scope = grant.scope_separator.join(grant.scopes if config.scopes is None else config.scopes)

    def url_of(authorization: Authorization) -> str:
        return authorization.url(grant.client_id, scope)

    if way == "browser":
        return await by_browser(config, url_of, endpoints, clock, terminal.say, terminal.open_browser)
    if way == "paste":
        return await by_paste(config, url_of, endpoints, clock, terminal.say, terminal.read_line)
    assert config.device_url is not None
    prompt = await endpoints.prompt(config.device_url, scope, config.params)
    return await by_device(prompt, endpoints, clock, terminal.say)
