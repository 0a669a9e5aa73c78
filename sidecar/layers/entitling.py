"""Entitling: from a service's `auth` to the layers that put it on its calls."""

from collections.abc import Callable, Container
from functools import partial
from typing import Any, NamedTuple, Protocol, cast

from sidecar.auth.credential import Credential
from sidecar.auth.oauth.bearer import TokenCredential
from sidecar.auth.oauth.config import Grant, RefreshToken, TokenRequest
from sidecar.auth.oauth.source import TokenSource
from sidecar.auth.oauth.token import Token
from sidecar.auth.pool import CredentialPool
from sidecar.auth.previous import Remembers, RotatedCredential
from sidecar.auth.schemes import ApiKey, Auth, Basic, Bearer
from sidecar.auth.secrets.held import Held
from sidecar.auth.secrets.known import Known
from sidecar.auth.signing.aws_keys import KeySource, RoleKeys, StoredKeys, default_chain
from sidecar.auth.signing.config import AwsSigv4, GithubApp, Hmac, Mtls, Passthrough
from sidecar.auth.signing.hmac_signer import HmacSigner
from sidecar.auth.signing.mtls import ClientCertificate
from sidecar.auth.signing.passthrough import PassthroughCredential
from sidecar.auth.signing.sigv4 import AwsSigner
from sidecar.core.call import Call, Handler, Layer, Reply
from sidecar.layers.credentials import credentials
from sidecar.layers.entitled import entitle, entitled
from sidecar.layers.lanes import Lanes
from sidecar.layers.machines import Machines
from sidecar.layers.shared import Shared
from sidecar.layers.sources import Sources, proofs_by
from sidecar.upstream.origin import BaseUrl


class Entitlement(NamedTuple):
    """What entitles the calls of one route."""

    outer: Layer | None  # Waits for what is not there yet, and replaces what the vendor refused.
    inner: Layer | None  # Puts it on each attempt.
    name: str  # Of the credential, for the audit: a reference or a kind, never a value.
    version: Callable[[], str]  # Of what is in use now, for the audit.
    release: Callable[[], None]
    pool: Callable[[Lanes], None] | None = None  # Opens the lanes of a pool; `inner` is not there then.
    is_noted: bool = False  # There is an audit log, for which each attempt notes what it carries.


def _nothing() -> None:
    """Let go of nothing."""


def _unversioned() -> str:
    return ""


NONE = Entitlement(None, None, "", _unversioned, _nothing)


class Signs(Protocol):
    """A signer that may need the body, and so has to wait."""

    async def sign(self, call: Call) -> None:
        """Sign a call."""


class Sign:
    """Signs each attempt, innermost."""

    __slots__ = ("_inner", "_signer")

    def __init__(self, signer: Signs, inner: Handler) -> None:
        self._signer = signer
        self._inner = inner

    async def __call__(self, call: Call) -> Reply:
        """Sign, and send."""
        await self._signer.sign(call)
        return await self._inner(call)


class Skewed:
    """A signature that is refused for its moment is made once more, by the vendor's clock."""

    def __init__(self, signer: AwsSigner) -> None:
        self.is_refused = signer.is_refused
        self.refuse = signer.refuse

    def is_ready(self) -> bool:
        """Say yes: the signer itself tells what is missing."""
        return True

    async def ready(self, call: Call) -> None:
        """Wait for nothing."""

    def put_on(self, call: Call) -> None:
        """Put nothing on: the signer does."""

    async def another(self, call: Call) -> bool:  # noqa: ARG002 - another kind waits for it
        """Sign with the other clock at once."""
        return True


class Entitling:
    """Makes the entitlements of one service. Sources of tokens live on over reloads, as machines do."""

    def __init__(self, service: str, shared: Shared, machines: Machines) -> None:
        self._service = service
        self._shared = shared
        self._machines = machines
        self._sources = Sources(service, shared, machines)
        self._made: list[tuple[Auth, int, Entitlement]] = []  # As many as there are different sections.
        self._let_go: list[Callable[[], None]] = []
        self.certificate: ClientCertificate | None = None  # Of the service's connections, if they show one.

    def of(self, auth: Auth | None, base_url: BaseUrl, replay_max: int) -> Entitlement:
        """Give the entitlement for one `auth`; the same for the same."""
        if auth is None:
            return NONE
        for known, known_max, entitlement in self._made:
            if (known, known_max) == (auth, replay_max):
                return entitlement
        made = self._make(auth, base_url, replay_max)
        made = made._replace(is_noted=self._shared.audit is not None)
        self._made.append((auth, replay_max, made))
        return made

    def _minting(self) -> list[Grant | GithubApp]:
        """Give the sections whose tokens are minted, each once."""
        found: list[Grant | GithubApp] = []
        for auth, _, _ in self._made:
            if isinstance(auth, TokenRequest | GithubApp) and auth not in found:
                found.append(auth)
        return found

    def start(self) -> None:
        """Have the first tokens minted before the first call asks for one."""
        for _, source in self._machines.all(TokenSource):
            source.start()

    def encourage(self) -> None:
        """Have the tokens that could not be had asked for again."""
        for _, source in self._machines.all(TokenSource):
            source.encourage()

    def on_moved(self, move: Callable[[str], None]) -> None:
        """Call `move` with the address of the API that a token's answer names (`base_url_from`)."""
        for auth, _, _ in self._made:
            if isinstance(auth, TokenRequest) and auth.base_url_from is not None:
                self._let_go.append(self._sources.of(auth).on_token(partial(_tell_base, auth.base_url_from, move)))

    async def close(self) -> None:
        """Let renewals under way land, as the process ends: what they bring may exist only once."""
        for _, source in self._machines.all(TokenSource):
            await source.close()

    def retire(self, kept: Container[int]) -> None:
        """Hear of no further value, and close what is not among the machines `kept` by a newer generation."""
        for _, _, entitlement in self._made:
            entitlement.release()
        for let_go in self._let_go:
            let_go()
        if self.certificate is not None:
            self.certificate.release()
        self._shared.metrics.unwatch(self)
        for _, source in self._machines.all(TokenSource):
            if id(source) not in kept:
                self._shared.tasks.spawn(source.close(), f"token of {self._service}")

    def snapshot(self) -> dict[str, Any]:
        """Show the tokens' states, for people; a value never."""
        now = self._shared.clock.now()
        shown = [self._sources.snapshot(auth, now) for auth in self._minting()]
        return {"token": shown[0] if len(shown) == 1 else shown} if shown else {}

    def _make(self, auth: Auth, base_url: BaseUrl, replay_max: int) -> Entitlement:
        if isinstance(auth, Bearer | ApiKey | Basic):
            return self._static(auth, replay_max)
        if isinstance(auth, Hmac):
            return self._hmac(auth, base_url)
        if isinstance(auth, AwsSigv4):
            return self._aws(auth, base_url, replay_max)
        if isinstance(auth, Mtls):
            return self._mtls(auth)
        if isinstance(auth, Passthrough):
            passthrough = PassthroughCredential()
            return Entitlement(None, credentials(passthrough), "passthrough", _unversioned, passthrough.release)
        return self._tokens(auth, base_url, replay_max)

    def _static(self, auth: Bearer | ApiKey | Basic, replay_max: int) -> Entitlement:
        shared = self._shared
        held, store = shared.secrets.hold(auth.secret), shared.secrets.store(auth.secret)
        if not isinstance(auth, Basic) and auth.pool:
            return self._pooled(auth, held)
        name, version = str(auth.secret), lambda: held.secret.version if held.secret is not None else ""
        if not hasattr(store, "fetch_previous"):
            plain = Credential(auth, held, shared.secrets.know)
            return Entitlement(None, credentials(plain), name, version, plain.release)
        remembers = cast("Remembers", store)
        rotated = RotatedCredential(auth, held, shared.secrets.know, remembers, shared.clock, shared.tell)
        return Entitlement(entitled(rotated, replay_max), entitle(rotated), name, version, rotated.release)

    def _pooled(self, auth: Bearer | ApiKey, held: Held) -> Entitlement:
        """Open the lanes of each route when it is built; they hear of every change."""

        def open_lanes(lanes: Lanes) -> None:
            pool = lanes.pool = CredentialPool(auth, held, self._shared.secrets.know, lanes.use)
            self._let_go.append(pool.release)

        version = lambda: held.secret.version if held.secret is not None else ""  # noqa: E731
        return Entitlement(None, None, str(auth.secret), version, _nothing, open_lanes)

    def _hmac(self, auth: Hmac, base_url: BaseUrl) -> Entitlement:
        shared = self._shared
        held = shared.secrets.hold(auth.secret)
        signer = HmacSigner(
            auth, held, shared.clock, partial(shared.ids.take, 32), authority=base_url.authority,
            base_path=base_url.base_path,
        )  # fmt: skip
        inner = (lambda handler: Sign(signer, handler)) if signer.needs_body else credentials(signer)
        version = lambda: held.secret.version if held.secret is not None else ""  # noqa: E731
        return Entitlement(None, inner, str(auth.secret), version, signer.release)

    def _aws(self, auth: AwsSigv4, base_url: BaseUrl, replay_max: int) -> Entitlement:
        shared = self._shared
        keys: KeySource
        if auth.access_key is None or auth.secret_key is None:
            known = Known(shared.secrets.know)
            keys = RoleKeys(default_chain(auth.region), shared.clock, shared.tasks, shared.tell, known)
            name = "aws role"
        else:
            hold = shared.secrets.hold
            token = None if auth.session_token is None else hold(auth.session_token)
            keys, name = StoredKeys(hold(auth.access_key), hold(auth.secret_key), token), str(auth.secret_key)
        signer = AwsSigner(
            auth, keys, shared.clock, authority=base_url.authority, base_path=base_url.base_path,
            is_tls=base_url.is_tls,
        )  # fmt: skip
        outer = entitled(Skewed(signer), replay_max)
        return Entitlement(outer, lambda handler: Sign(signer, handler), name, _unversioned, signer.release)

    def _mtls(self, auth: Mtls) -> Entitlement:
        assert self.certificate is not None, "made with the connections of the service"
        return Entitlement(None, credentials(self.certificate), str(auth.certificate), _unversioned, _nothing)

    def _tokens(self, auth: Grant | GithubApp, base_url: BaseUrl, replay_max: int) -> Entitlement:
        source, proofs = self._sources.of(auth), None
        let_go = self._sources.encourage(auth, source)
        self._shared.metrics.watch_series("sidecar_token_expires_at", partial(self._sources.expiry, source), self)
        if isinstance(auth, RefreshToken):
            grant = self._sources.rotation(auth)
            self._shared.metrics.watch("sidecar_grant_state", (self._service,), lambda: grant.level, self)
        if not isinstance(auth, GithubApp) and auth.dpop:
            proofs = proofs_by(self._sources.minter(auth), base_url)
        credential = TokenCredential(source, self._shared.clock, proofs=proofs)
        name = f"token of {self._service}"
        return Entitlement(
            entitled(credential, replay_max), entitle(credential), name, lambda: str(source.number), let_go
        )


def _tell_base(member: str, move: Callable[[str], None], token: Token) -> None:
    told = token.extra.get(member)
    if isinstance(told, str):
        move(told)
