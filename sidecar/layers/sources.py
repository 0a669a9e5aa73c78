"""Sources: where the tokens of a service come from; they live on over reloads, as machines do."""

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any

from sidecar.auth.oauth.bearer import Proofs
from sidecar.auth.oauth.config import Grant, RefreshToken, references
from sidecar.auth.oauth.dpop import DpopKey, Prover
from sidecar.auth.oauth.fleet import FleetSupply
from sidecar.auth.oauth.minter import Minter
from sidecar.auth.oauth.renewal import Renewal
from sidecar.auth.oauth.rotation import Rotation
from sidecar.auth.oauth.sealed import Seal
from sidecar.auth.oauth.source import TokenSource
from sidecar.auth.oauth.supply import Direct, Supply
from sidecar.auth.oauth.token import Token
from sidecar.auth.schemes import Auth
from sidecar.auth.signing.config import GithubApp
from sidecar.auth.signing.github_app import GithubMinter
from sidecar.core.call import Call
from sidecar.layers.machines import Machines
from sidecar.layers.shared import Shared
from sidecar.upstream.origin import BaseUrl


class Sources:
    """The token sources of one service."""

    def __init__(self, service: str, shared: Shared, machines: Machines) -> None:
        self._service = service
        self._shared = shared
        self._machines = machines

    def expiry(self, source: TokenSource) -> list[tuple[tuple[str, ...], float]]:
        """Give the metric's series: none without a token."""
        at = source.expires_at_unix()
        return [] if at is None else [((self._service,), at)]

    def encourage(self, auth: Grant | GithubApp, source: TokenSource) -> Callable[[], None]:
        """Have the source try again as soon as a secret changes that its last failure may have come from."""
        hold = self._shared.secrets.hold
        named = [auth.private_key] if isinstance(auth, GithubApp) else references(auth)
        if isinstance(auth, RefreshToken):
            named.append(auth.refresh_token)
        let_go = [hold(reference).on_change(lambda _: source.encourage()) for reference in named]

        def release() -> None:
            for each in let_go:
                each()

        return release

    def snapshot(self, auth: Grant | GithubApp, now: float) -> dict[str, Any]:
        """Show the state of one section's token, and of its grant where that rotates; a value never."""
        shown = self.of(auth).snapshot(now)
        rotation = self._machines.find(Rotation, self._section(auth), "")
        return shown if rotation is None else shown | {"grant": rotation.snapshot()}

    def of(self, auth: Grant | GithubApp) -> TokenSource:
        """Give the source for one section; the same as long as that, its store and its trust are."""
        return self._machines.get(TokenSource, self._section(auth), partial(self._make_source, auth))

    def _section(self, auth: Auth) -> tuple[object, ...]:
        """Give what a source stands on: the same settings in another store, or with other trust, are another."""
        return auth, self._shared.secrets, self._shared.network

    def _make_source(self, auth: Grant | GithubApp) -> TokenSource:
        shared = self._shared
        supply: Supply
        if isinstance(auth, GithubApp):
            minter = GithubMinter(auth, shared.secrets.hold, shared.network, shared.clock)
            supply, endpoint = Direct(minter), str(auth.api_base)
        else:
            grant = self.minter(auth)
            endpoint = str(auth.token_url)
            supply = self.rotation(auth) if isinstance(auth, RefreshToken) else Direct(grant)
        if shared.store.is_shared:
            supply = self._fleet(auth, supply)
        return TokenSource(
            self._service, supply, Renewal(shared.jitter), shared.paces.get(endpoint), shared.clock, shared.tasks,
            shared.secrets.know, shared.tell, self._count_renewal,
        )  # fmt: skip

    def _fleet(self, auth: Grant | GithubApp, inner: Supply) -> Supply:
        """Have the pods that share the store mint once, each for the same settings."""
        shared, key = self._shared, self._shared.token_key
        # A token that is bound to a key of this process is no use to another.
        is_bound = not isinstance(auth, GithubApp) and auth.dpop
        seal = None if key is None or is_bound else Seal(key, shared.secrets.hold(key))
        # References and settings, no values: what differs in any of them is another token.
        name = f"{self._service}:{hashlib.sha256(repr(auth).encode()).hexdigest()[:16]}"
        return FleetSupply(
            inner, shared.store, seal, name, shared.ids.take(32), shared.clock, shared.tasks, shared.jitter, shared.tell
        )

    def minter(self, auth: Grant) -> Minter:
        """Give what asks for the tokens of one section."""
        return self._machines.get(Minter, self._section(auth), partial(self._make_minter, auth))

    def _make_minter(self, auth: Grant) -> Minter:
        shared = self._shared
        return Minter(auth, shared.secrets.hold, shared.network, shared.clock)

    def rotation(self, auth: RefreshToken) -> Rotation:
        """Give the grant of one section."""
        shared, minter = self._shared, self.minter(auth)
        store = shared.secrets.store(auth.refresh_token)
        know, tell = shared.secrets.know, shared.tell
        return self._machines.get(
            Rotation,
            self._section(auth),
            lambda: Rotation(self._service, minter, store, auth.refresh_token, shared.clock, know, tell),
        )

    def _count_renewal(self, result: str) -> None:
        self._shared.metrics.counter("sidecar_token_renewals_total", self._service, result).count()


def proofs_by(minter: Minter, base_url: BaseUrl) -> Proofs:
    """Prove by the key to which each token is bound, under the URL that the vendor sees (RFC 9449 section 4.2)."""
    last: Prover | None = None

    def prove(call: Call, token: Token) -> bytes:
        nonlocal last
        assert isinstance(token.bound_to, DpopKey), "the minter saw to it"
        if last is None or last.key is not token.bound_to:
            last = Prover(token.bound_to, None if last is None else last.nonce)
        url = (base_url.root + base_url.base_path + call.target).decode("latin-1")
        return last.proof(call.method, url, minter.wall(), token.value).encode()

    def hear(nonce: str) -> bool:
        assert last is not None, "a call went out before"
        return last.hear(nonce)

    return Proofs(prove, hear)
