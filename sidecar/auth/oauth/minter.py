"""Minter: one token for one request; what makes it is put together anew each time, so a rotated secret counts."""

import asyncio
import math
import secrets
import ssl
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from sidecar.auth.network import Network
from sidecar.auth.oauth.answer import read_answer
from sidecar.auth.oauth.certificate import CertifiedContext
from sidecar.auth.oauth.client import authenticate
from sidecar.auth.oauth.config import Grant, JwtBearer, references
from sidecar.auth.oauth.dpop import DpopKey, Prover
from sidecar.auth.oauth.endpoint import Answer, Fields, TokenEndpoint
from sidecar.auth.oauth.grant import ask, held_token
from sidecar.auth.oauth.material import Material
from sidecar.auth.oauth.token import Token, TokenRefused
from sidecar.auth.secrets.held import Held
from sidecar.core.clock import Clock
from sidecar.core.secret import Secret, SecretRef

SKEW_MIN = 5.0  # Seconds. Clocks nearer than this are taken as equal: `Date` has whole seconds, and travels.


class _Request(NamedTuple):
    headers: Fields
    fields: Fields
    context: ssl.SSLContext | None

    def __repr__(self) -> str:
        return "_Request(***)"


class _Refused(NamedTuple):
    refused: TokenRefused
    learnt: str  # What the endpoint taught with it, so that the next request may be right: "nonce", "clock" or "".


class Minter:
    """Mints tokens of one grant. It keeps no token: caching, pacing and trying again are for those who ask it."""

    def __init__(self, grant: Grant, hold: Callable[[SecretRef], Held], network: Network, clock: Clock) -> None:
        self._grant = grant
        self._clock = clock
        self._held = {reference: hold(reference) for reference in references(grant)}
        self._endpoint = TokenEndpoint(grant, network, clock)
        self._certified = CertifiedContext(partial(network.own_context, grant.ca_file))
        self._trust = partial(network.context, grant.ca_file)
        self._prover: Prover | None = None
        self._prover_made_of: bytes | None = None  # The stored key, where there is one.
        self._skew = 0.0  # Seconds that the endpoint's clock is ahead of ours, as its last answer said.
        self._signs = grant.dpop or grant.client_auth == "private_key_jwt" or isinstance(grant, JwtBearer)

    def wall(self) -> float:
        """Give Unix time as the authorization server has it, as far as its answers told: for what is signed."""
        return self._clock.wall() + self._skew

    async def mint(self, refresh_token: Secret | None = None) -> Token:
        """Ask for a token. Raises TokenRefused, whose sentence holds nothing that was sent.

        It asks once more at once when the endpoint wants its nonce in the proof (RFC 9449 section 8), and when what was
        signed was refused while our clock differs from the endpoint's.
        """
        learnt = {""}
        while True:
            material = self._material()
            result = await self._attempt(material, refresh_token)
            if isinstance(result, Token):
                return result
            if result.learnt in learnt:
                raise material.masked(result.refused)
            learnt.add(result.learnt)

    async def _attempt(self, material: Material, refresh_token: Secret | None) -> Token | _Refused:
        started_at = self._clock.now()
        skew = self._skew
        try:
            prover = await self._prover_for(material)
            request = await self._request(material, refresh_token, prover)
            answer = await self._endpoint.post(*request)
        except TokenRefused as refused:
            return _Refused(refused, "")
        is_new_nonce = prover is not None and prover.hear(answer.dpop_nonce)
        self._hear_date(answer.date)
        try:
            token = self._read(answer, material, started_at)
        except TokenRefused as refused:
            refused.retry_after = answer.retry_after
            if is_new_nonce and refused.error == "use_dpop_nonce":
                return _Refused(refused, "nonce")
            is_clock = self._signs and abs(self._skew - skew) > SKEW_MIN and 400 <= answer.status < 500
            return _Refused(refused, "clock" if is_clock else "")
        token.bound_to = None if prover is None else prover.key
        return token

    def _material(self) -> Material:
        values = {}
        for reference, held in self._held.items():
            if held.secret is None:
                raise TokenRefused(
                    f"a secret for the token request could not be read: {held.problem}",
                    is_retryable=True,
                    is_unsent=True,
                )
            values[reference] = held.secret.reveal()
        return Material(values)

    async def _request(self, material: Material, refresh_token: Secret | None, prover: Prover | None) -> _Request:
        held = await held_token(self._grant, material, refresh_token)
        build = partial(self._build, material, held, self.wall(), prover)
        if self._signs or self._grant.client_auth == "tls_client_auth":
            return await asyncio.to_thread(build)  # Signing and reading certificates take their time.
        return build()

    async def _prover_for(self, material: Material) -> Prover | None:
        """Give what proves by the key that holds now; None without DPoP. Raises TokenRefused if that is no key."""
        grant = self._grant
        if not grant.dpop:
            return None
        stored = None if grant.dpop_key is None else material.value(grant.dpop_key)
        if self._prover is None or self._prover_made_of != stored:
            key = await asyncio.to_thread(DpopKey, stored)
            # Another may have been quicker while the key was made, and tokens be bound to its key.
            if self._prover is None or self._prover_made_of != stored:
                self._prover = Prover(key, None if self._prover is None else self._prover.nonce)
                self._prover_made_of = stored
        return self._prover

    def _build(self, material: Material, held: str | None, wall: float, prover: Prover | None) -> _Request:
        grant = self._grant
        fields = ask(grant, material, wall, secrets.token_urlsafe(16), held)
        headers, who = authenticate(grant, material, wall, secrets.token_urlsafe(16))
        if prover is not None:
            headers = [*headers, ("DPoP", prover.proof("POST", str(grant.token_url), wall))]
        context = None
        if grant.client_auth == "tls_client_auth":
            assert grant.client_certificate is not None
            assert grant.client_key is not None
            certificate, key = material.value(grant.client_certificate), material.value(grant.client_key)
            context = self._certified.get(certificate, key, self._trust())
        ours = [field for field in [*fields, *who] if field[0] not in grant.params]
        return _Request(headers, [*ours, *grant.params.items()], context)

    def _hear_date(self, date: float | None) -> None:
        if date is not None:
            skew = date - self._clock.wall()
            self._skew = skew if abs(skew) > SKEW_MIN else 0.0

    def _read(self, answer: Answer, material: Material, started_at: float) -> Token:
        token = read_answer(answer.status, answer.content_type, answer.body, started_at, self.wall(), material.mask)
        if token.expires_at == math.inf and self._grant.token_life is not None:
            token.expires_at = started_at + self._grant.token_life
        if self._grant.dpop and token.kind != "DPoP":
            raise TokenRefused(
                "the authorization server gave a token that is not bound to our key: its token_type is not DPoP"
            )
        return token
