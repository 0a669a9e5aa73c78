"""Endpoints: the vendor's token and device endpoints, asked as the client that the service is."""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from sidecar.auth.login.device import Prompt, read_prompt
from sidecar.auth.login.failed import LoginFailed
from sidecar.auth.network import Network
from sidecar.auth.oauth.certificate import CertifiedContext
from sidecar.auth.oauth.client import authenticate
from sidecar.auth.oauth.config import ClientCredentials, RefreshToken, TokenRequest, references
from sidecar.auth.oauth.endpoint import TokenEndpoint
from sidecar.auth.oauth.material import Material
from sidecar.auth.oauth.minter import Minter
from sidecar.auth.oauth.token import Token, TokenRefused
from sidecar.auth.oauth.url import TokenUrl
from sidecar.auth.secrets.held import Held
from sidecar.core.clock import Clock
from sidecar.core.ids import Ids
from sidecar.core.secret import SecretRef

_KEPT = frozenset({"code", "code_verifier", "device_code"})

Fields = list[tuple[str, str]]


class Endpoints:
    """Both endpoints of one service."""

    def __init__(
        self, grant: RefreshToken, hold: Callable[[SecretRef], Held], network: Network, clock: Clock, ids: Ids
    ) -> None:
        self._grant = grant
        self._hold = hold
        self._network = network
        self._clock = clock
        self._ids = ids

    async def redeem(self, fields: Fields) -> Token:
        """Ask for a token with the parameters of another grant, as the same client. Raises TokenRefused."""
        common: dict[str, Any] = {name: getattr(self._grant, name) for name in TokenRequest.__struct_fields__}
        given = dict(fields)
        common |= {"scopes": (), "resources": (), "params": {**self._grant.params, **given}}
        client = ClientCredentials(grant_type=given["grant_type"], **common)
        try:
            return await Minter(client, self._hold, self._network, self._clock).mint()
        except TokenRefused as refused:
            raise _without(refused, given) from None  # It knows the client's secrets, not the code.

    async def prompt(self, url: TokenUrl, scope: str, params: dict[str, str]) -> Prompt:
        """Ask the device endpoint for a code to type (RFC 8628 section 3.1). Raises LoginFailed."""
        grant = self._grant
        material = self._material()
        headers, who = authenticate(grant, material, self._clock.wall(), self._ids.take(32))
        named = who if any(name == "client_id" for name, _ in who) else [("client_id", grant.client_id), *who]
        fields = [*named, *([("scope", scope)] if scope else []), *params.items()]
        context = None
        if grant.client_auth == "tls_client_auth":
            assert grant.client_certificate is not None
            assert grant.client_key is not None
            certified = CertifiedContext(lambda: self._network.own_context(grant.ca_file))
            context = certified.get(material.value(grant.client_certificate), material.value(grant.client_key))
        # Other servers want JSON bodies at the token endpoint; who has a device endpoint follows its RFC.
        at = replace(grant, token_url=url, body="form")
        try:
            answer = await TokenEndpoint(at, self._network, self._clock).post(headers, fields, context)
            return read_prompt(answer.status, answer.body)
        except TokenRefused as refused:
            raise LoginFailed(f"device_url: {material.masked(refused)}") from None
        except LoginFailed as failed:  # In the server's words, which may repeat what was sent.
            raise LoginFailed(str(material.masked(TokenRefused(str(failed))))) from None

    def _material(self) -> Material:
        values = {}
        for reference in references(self._grant):
            held = self._hold(reference)
            if held.secret is None:
                raise LoginFailed(f"{reference} could not be read: {held.problem}")
            values[reference] = held.secret.reveal()
        return Material(values)


def _without(refused: TokenRefused, given: dict[str, str]) -> TokenRefused:
    """Give the refusal without the code and the verifier."""
    material = Material({})
    for name in _KEPT & given.keys():
        material.sent(given[name])
    return material.masked(refused)
