"""A vendor's name leads inside, or to an address that is dead: what is dialled is judged, address by address."""

import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from sidecar.upstream.resolve import AddrInfo
from tests.kit.app import Reply
from tests.kit.pod import Pod
from tests.kit.refusal import assert_refusal
from tests.kit.vendor import Vendor, answer

GUARDED = '[services.guarded]\nbase_url = "{url}"\n'  # Without allow_private, as services are by default.


async def ask(pod: Pod, service: str) -> Reply:
    """Ask on a connection of its own."""
    async with pod.app() as app:
        return await app.ask("GET", f"/{service}/v1/charges")


def leads_to(pod: Pod, *answers: Sequence[tuple[str, int]]) -> list[str]:
    """Have each look-up give the next of `answers`, then the last one again; gives the list of names asked for."""
    asked: list[str] = []

    async def lookup(host: str, port: int) -> Sequence[AddrInfo]:
        asked.append(host)
        return [_info(*address) for address in answers[min(len(asked), len(answers)) - 1]]

    pod.sidecar._grounds.resolver._lookup = lookup
    return asked


def _info(host: str, port: int) -> AddrInfo:
    if ":" in host:
        return (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::ffff:127.0.0.1]", "0x7f.1", "2130706433"])
async def test_an_address_inside_is_refused_unless_the_service_says_so(host: str, tmp_path: Path) -> None:
    """In each form in which it can be written: 502 address_denied with the way out, and nobody was connected to."""
    async with Vendor.answering(answer(b"ok")) as vendor:
        config = GUARDED.format(url=f"http://{host}:{vendor.port}")
        async with Pod(tmp_path, vendor, config=config) as pod:
            reply = await ask(pod, "guarded")
            detail = assert_refusal(
                reply, 502, "address_denied", "destination_ip_prohibited", service="guarded", attempts=1
            )
            assert "allow_private = true" in detail
            assert vendor.connections_opened == 0
            assert (await ask(pod, "vendor")).body == b"ok", "the same address, in a service that may"
            await pod.assert_nothing_left()


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "fd00:ec2::254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "100.100.100.200"]
)
async def test_a_name_that_leads_to_metadata_is_refused_in_any_case(address: str, tmp_path: Path) -> None:
    """`allow_private` opens one's own network, never the cloud's credentials."""
    async with Pod(tmp_path, "http://api.test") as pod:
        leads_to(pod, [(address, 80)])
        reply = await ask(pod, "vendor")
        detail = assert_refusal(reply, 502, "address_denied", "destination_ip_prohibited", service="vendor", attempts=1)
        assert "never" in detail
        await pod.assert_nothing_left()


async def test_what_was_judged_is_what_is_dialled(tmp_path: Path) -> None:
    """There is no second look-up between judging and dialling, in which a name could move elsewhere."""
    async with Vendor.answering(answer(b"ok")) as vendor, Pod(tmp_path, f"http://api.test:{vendor.port}") as pod:
        # On the first address nobody listens; a name asked again for the connection would lead to the second.
        asked = leads_to(pod, [("127.0.0.2", vendor.port)], [("127.0.0.1", vendor.port)])
        detail = assert_refusal(
            await ask(pod, "vendor"), 502, "connect_failed", "connection_refused", service="vendor", attempts=1
        )
        assert "127.0.0.2" in detail
        assert asked == ["api.test"]
        assert vendor.connections_opened == 0
        await pod.assert_nothing_left()


async def test_of_several_addresses_only_those_that_pass_are_tried(tmp_path: Path) -> None:
    """A poisoned answer among good ones is left out."""
    async with Vendor.answering(answer(b"ok")) as vendor, Pod(tmp_path, f"http://api.test:{vendor.port}") as pod:
        leads_to(pod, [("169.254.169.254", vendor.port), ("127.0.0.1", vendor.port)])
        assert (await ask(pod, "vendor")).body == b"ok"
        await pod.assert_nothing_left()


async def test_a_dead_ipv6_address_does_not_cost_the_call(tmp_path: Path) -> None:
    """Happy eyeballs: the other family serves, within a fraction of connect_timeout."""
    async with Vendor.answering(answer(b"ok")) as vendor, Pod(tmp_path, f"http://api.test:{vendor.port}") as pod:
        leads_to(pod, [("::1", vendor.port), ("127.0.0.1", vendor.port)])  # The vendor listens on IPv4 alone.
        assert (await ask(pod, "vendor")).body == b"ok"
        [line] = await pod.calls()
        assert (line["attempts"], line["code"]) == (1, "")
        await pod.assert_nothing_left()
