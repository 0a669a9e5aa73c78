"""Login: `sidecar login SERVICE`; from a config to what a login stands on, and the word about it afterwards."""

import asyncio
import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from sidecar import __version__
from sidecar.admin.ask import Unreachable, ask
from sidecar.auditing import who_we_are
from sidecar.auth.login.config import LoginConfig
from sidecar.auth.login.endpoints import Endpoints
from sidecar.auth.login.failed import LoginFailed
from sidecar.auth.login.login import Terminal, Way, log_in, way_of
from sidecar.auth.oauth.config import RefreshToken, references
from sidecar.auth.secrets.held import HeldSecrets
from sidecar.config.model import Config
from sidecar.core.clock import SystemClock
from sidecar.core.ids import Ids
from sidecar.core.tasks import Tasks
from sidecar.generation import network_of, open_stores
from sidecar.telemetry.audit.once import append_once
from sidecar.telemetry.metrics import Metrics
from sidecar.upstream.resolve import Resolver
from sidecar.upstream.tls import Trust


class _Wish(NamedTuple):
    """Whose login, and how."""

    service: str
    grant: RefreshToken
    login: LoginConfig
    way: Way


def login(config: Config, service: str, terminal: Terminal, *, device: bool, no_browser: bool) -> None:
    """Have somebody consent, store the refresh token, and have it recorded. Blocks. Raises LoginFailed."""
    wish = _wish(config, service, device=device, no_browser=no_browser)
    version = asyncio.run(_log_in(config, wish, terminal))
    problem = _record(config, wish, version)
    if problem:
        raise LoginFailed(f"the refresh token is stored, but the audit log does not have it: {problem}")


def _wish(config: Config, service: str, *, device: bool, no_browser: bool) -> _Wish:
    if service not in config.services:
        raise LoginFailed(f"there is no service {service}; known are: {', '.join(sorted(config.services)) or 'none'}")
    grant = config.services[service].config.auth
    if not isinstance(grant, RefreshToken):
        raise LoginFailed(f'nobody logs in for {service}: its auth is not of kind "oauth2_refresh_token"')
    if grant.login is None:
        raise LoginFailed(
            f"services.{service}.auth.login is missing; write where somebody consents, such as "
            'login = { authorize_url = "https://..." }'
        )
    return _Wish(service, grant, grant.login, way_of(grant.login, device=device, no_browser=no_browser))


async def _log_in(config: Config, wish: _Wish, terminal: Terminal) -> str:
    """Open the stores as the running sidecar does, and log in; gives the version of what was stored."""
    clock, tasks = SystemClock(), Tasks()
    resolver, trust = Resolver(clock), Trust()
    network = network_of(resolver, trust)
    stores = open_stores(config, clock, _no_jitter, network, _silent)
    secrets = HeldSecrets(stores, _silent, _unmasked, clock, Metrics(), tasks)
    try:
        await _check_trust(trust, wish)
        for reference in references(wish.grant):
            secrets.hold(reference)
        await secrets.refresh()
        endpoints = Endpoints(wish.grant, secrets.hold, network, clock, Ids())
        store = secrets.store(wish.grant.refresh_token)
        return await log_in(wish.grant, wish.login, wish.way, endpoints, store, clock, terminal)
    finally:
        await secrets.close()
        await tasks.stop()
        await resolver.stop()


async def _check_trust(trust: Trust, wish: _Wish) -> None:
    try:
        await asyncio.to_thread(trust.context, wish.grant.ca_file)
    except ValueError as error:
        raise LoginFailed(f"services.{wish.service}.auth.ca_file: {error}") from None


def _record(config: Config, wish: _Wish, version: str) -> str:
    """Tell the running sidecar, which looks at the store at once and has it in its audit log.

    Where none runs it is written here. Gives what went wrong.
    """
    try:
        ask(config.listen.admin, f"/api/services/{wish.service}/login", {"version": version})
    except Unreachable as unreachable:
        if config.audit is None:
            return ""
        return _append(config, wish, version, str(unreachable))
    return ""


def _append(config: Config, wish: _Wish, version: str, unreachable: str) -> str:
    assert config.audit is not None
    if config.audit.file is None:
        return unreachable
    secret = str(wish.grant.refresh_token)
    try:
        is_there = append_once(
            config.audit, who_we_are(), __version__, SystemClock().wall, "login",
            service=wish.service, secret=secret, version=version,
        )  # fmt: skip
    except OSError as error:
        return f"cannot write {config.audit.file}: {error.strerror or error}"
    return "" if is_there else unreachable


def _no_jitter() -> float:
    return 0.5


def _silent(level: str, msg: str, /, **fields: object) -> None:
    """Write no line: what goes wrong is told by the one who needs it."""


def _unmasked(patterns: Iterable[bytes]) -> Callable[[], None]:  # noqa: ARG001 - there is no log to mask them in
    return _nothing


def _nothing() -> None:
    """Forget nothing."""


def at_terminal() -> Terminal:
    """Give the person who runs the command."""
    return Terminal(partial(print, flush=True), sys.stdin.readline)
