"""The order of the layers, shown by what a refusal at one of them leaves undone."""

from collections.abc import Callable
from typing import Any

import pytest

from sidecar.auth.credential import Credential
from sidecar.auth.schemes import Bearer
from sidecar.auth.secrets.held import Held
from sidecar.auth.secrets.known import Known
from sidecar.core.body import Body
from sidecar.core.call import Call, Handler, Layer, Reply
from sidecar.core.errors import BodyTooLarge, CredentialUnavailable, NotAllowed, Shed
from sidecar.core.secret import Secret, SecretRef
from sidecar.core.units import Duration, Size
from sidecar.layers.access import Rule
from sidecar.layers.admission import Gate
from sidecar.layers.credentials import credentials
from sidecar.layers.entitling import NONE
from sidecar.layers.hedge.config import HedgeConfig
from sidecar.layers.service import ServiceConfig
from sidecar.layers.stack import build, compose
from sidecar.layers.transform import ApiVersion, HeaderRules
from sidecar.telemetry.redact import Redactor
from sidecar.upstream.origin import BaseUrl
from tests.kit.clock import ManualClock
from tests.layers.calls import Innermost, call_for
from tests.layers.watched import Watched

REF = SecretRef.parse("files:key")
OFF: dict[str, Any] = {"retry": False, "circuit_breaker": False, "bulkhead": False}


class Stack:
    """One route with all its layers, and a vendor below."""

    def __init__(self, *, secret: bytes | None = b"made-at-run-time", gate: Gate | None = None) -> None:
        self.gate = gate or Gate(10)
        self.innermost = Innermost(302, [(b"Location", b"https://api.crm.example/v2/2026/next")])
        self.watched = Watched(ManualClock())
        held = Held(REF, Known(Redactor().know))
        if secret is not None:
            held.put(Secret(secret, "1"))
        config = ServiceConfig(
            base_url=BaseUrl.parse("https://api.crm.example/v2"),
            auth=Bearer(secret=REF),
            timeout=Duration(7),
            body_max=Size(10),
            allow=(Rule.parse("* /contacts/**"),),
            headers=HeaderRules(set={"Authorization": "of a rule", "X-Team": "checkout"}),
            response_headers=HeaderRules(set={"X-Out": "1"}),
            api_version=ApiVersion(value="2026", path=True),
        )
        assert isinstance(config.auth, Bearer)
        entitlement = NONE._replace(inner=credentials(Credential(config.auth, held, Redactor().know)))
        self.handler = build(config, self.watched.parts(config, self.gate, entitlement), self.innermost)

    async def send(self, target: bytes = b"/contacts/1", body: Body | None = None) -> tuple[Call, Reply | Exception]:
        """Send a call; give it and what came of it."""
        call = call_for("POST", target) if body is None else call_for("POST", target, body=body)
        call.address = b"http://localhost:4000/crm"
        try:
            return call, await self.handler(call)
        except Exception as error:  # noqa: BLE001 - what was raised is what is looked at
            return call, error


async def test_a_call_passes_all_layers_in_both_directions() -> None:
    """Rules see the app's path, the vendor gets its own, and addresses come back as the app knows them."""
    stack = Stack()
    call, reply = await stack.send()
    assert isinstance(reply, Reply)
    seen = stack.innermost.call
    assert seen.target == b"/2026/contacts/1"
    assert (b"X-Team", b"checkout") in seen.headers
    assert seen.deadline_at == 1007.0
    assert reply.headers == [(b"Location", b"http://localhost:4000/crm/next"), (b"X-Out", b"1")]
    assert call.path_template == "/contacts/**"


async def test_the_credential_is_put_on_last() -> None:
    """No rule for headers can stand in its place."""
    stack = Stack()
    await stack.send()
    values = [value for name, value in stack.innermost.call.headers if name.lower() == b"authorization"]
    assert values == [b"Bearer made-at-run-time"]


@pytest.mark.parametrize(
    ("spoil", "expected", "inside"),
    [
        (lambda: (Stack(secret=None, gate=Gate(1)), b"/admin", Body(99), True), Shed, 1),
        (lambda: (Stack(secret=None), b"/admin", Body(99), False), BodyTooLarge, 1),
        (lambda: (Stack(secret=None), b"/admin", Body(9), False), NotAllowed, 1),
        (lambda: (Stack(secret=None), b"/contacts/1", Body(9), False), CredentialUnavailable, 1),
    ],
    ids=["admission", "body_bound", "access", "credentials"],
)
async def test_of_several_reasons_to_refuse_the_outer_one_is_told(
    spoil: Callable[[], tuple[Stack, bytes, Body, bool]], expected: type[Exception], inside: int
) -> None:
    """Each stands where it costs least: shed before any work, refuse before a credential is spent."""
    stack, target, body, is_full = spoil()
    if is_full:
        stack.gate.may_enter()
    call, refused = await stack.send(target, body)
    assert type(refused) is expected
    assert not stack.innermost.calls
    assert call.is_observed
    assert call.deadline_at == 1007.0
    assert stack.gate.inside == inside
    assert (b"X-Team", b"checkout") not in call.headers or expected is CredentialUnavailable


async def test_what_is_not_configured_has_no_layer() -> None:
    """A service with nothing to say costs nothing: only what protects the pod stands around its transport."""
    watched, gate, innermost = Watched(ManualClock()), Gate(1), Innermost()
    config = ServiceConfig(base_url=BaseUrl.parse("https://api.crm.example"), rewrite_urls=False, **OFF)
    call = call_for(target=b"/../anything")
    call.has_user_agent = True
    reply = await build(config, watched.parts(config, gate), innermost)(call)
    assert reply.headers == []
    assert (innermost.call.target, innermost.call.headers) == (b"/../anything", [])


async def test_hedges_have_a_share_of_the_calls_without_retries_too() -> None:
    """The budget is a share of what it has counted, and with `retry = false` nobody else counts."""
    watched, clock = Watched(ManualClock()), ManualClock()
    config = ServiceConfig(
        base_url=BaseUrl.parse("https://api.crm.example"), hedge=HedgeConfig(), rewrite_urls=False, **OFF
    )
    parts = watched.parts(config, Gate(100))
    assert parts.budget is not None
    before = parts.budget.left(clock.now())
    handler = build(config, parts, Innermost())
    for _ in range(20):
        await handler(call_for())
    assert parts.budget.left(clock.now()) == before + 4.0


async def test_compose_puts_the_first_layer_outermost() -> None:
    """Read from the top."""
    order: list[str] = []

    def layer(name: str) -> Layer:
        def around(inner: Handler) -> Handler:
            async def named(call: Call) -> Reply:
                order.append(name)
                reply = await inner(call)
                order.append(f"/{name}")
                return reply

            return named

        return around

    await compose([layer("a"), layer("b")], Innermost())(call_for())
    assert order == ["a", "b", "/b", "/a"]
