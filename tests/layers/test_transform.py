import pytest

from sidecar import __version__
from sidecar.core.body import Headers
from sidecar.core.call import Call
from sidecar.layers.transform import ApiVersion, HeaderRules, transform
from tests.layers.calls import Innermost, call_for, through

NONE = HeaderRules()


async def sent(call: Call, rules: HeaderRules = NONE, version: ApiVersion | None = None, *forward: str) -> Call:
    """Send a call that has a User-Agent through the layer; give it as it left."""
    call.has_user_agent = True
    innermost = Innermost()
    await through(transform(rules, NONE, version, forward), call, innermost)
    return innermost.call


async def test_without_rules_headers_and_target_are_as_they_came() -> None:
    """Nothing is touched that nobody asked for."""
    headers: Headers = [(b"x-A", b"1"), (b"X-a", b"2")]
    call = await sent(call_for(target=b"/a%2Fb?x=[1]&&", headers=headers))
    assert (call.headers, call.target) == (headers, b"/a%2Fb?x=[1]&&")


async def test_headers_are_removed_then_set_then_added() -> None:
    """Names are compared without case; what is not named keeps its place."""
    rules = HeaderRules(set={"X-Set": "new"}, add={"X-Kept": "second"}, remove=("x-gone",))
    before: Headers = [(b"X-GONE", b"1"), (b"x-set", b"old"), (b"X-Kept", b"first"), (b"x-SET", b"older")]
    call = await sent(call_for(headers=before), rules)
    assert call.headers == [(b"X-Kept", b"first"), (b"X-Set", b"new"), (b"X-Kept", b"second")]


async def test_removing_and_setting_one_name_sets_it() -> None:
    """The order is the same in every config: removed first."""
    rules = HeaderRules(set={"X-Team": "a"}, remove=("X-Team",))
    assert (await sent(call_for(headers=[(b"X-Team", b"b")]), rules)).headers == [(b"X-Team", b"a")]


async def test_answers_are_changed_by_rules_of_their_own() -> None:
    """`response_headers` does not touch the request, nor `headers` the answer."""
    outwards = HeaderRules(set={"Cache-Control": "no-store"}, add={"X-Via": "sidecar"}, remove=("Server",))
    innermost = Innermost(headers=[(b"server", b"v"), (b"X-Via", b"vendor"), (b"cache-control", b"private")])
    layer = transform(HeaderRules(set={"X-In": "1"}), outwards, None)
    reply = await through(layer, call_for(headers=[(b"Server", b"mine")]), innermost)
    assert (b"Server", b"mine") in innermost.call.headers
    assert reply.headers == [(b"X-Via", b"vendor"), (b"Cache-Control", b"no-store"), (b"X-Via", b"sidecar")]


async def test_a_pinned_version_in_a_header_wins_over_the_apps_and_over_set() -> None:
    """A pin is one place; no other value may stand beside it."""
    rules = HeaderRules(set={"API-VERSION": "1"})
    version = ApiVersion(value="2026-04-01", header="Api-Version")
    call = await sent(call_for(headers=[(b"api-version", b"2")]), rules, version)
    assert call.headers == [(b"Api-Version", b"2026-04-01")]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/x", b"/x?v=7"),
        (b"/x?a=1&v=6&b=%20;[2]", b"/x?a=1&b=%20;[2]&v=7"),
        (b"/x?v=6", b"/x?v=7"),
        (b"/x?v", b"/x?v=7"),
        (b"/x?vv=1&xv=2", b"/x?vv=1&xv=2&v=7"),
        (b"/x?", b"/x?v=7"),
    ],
)
async def test_a_pinned_version_in_the_query_replaces_the_apps(target: bytes, expected: bytes) -> None:
    """Other parameters stay byte for byte, in their order."""
    assert (await sent(call_for(target=target), NONE, ApiVersion(value="7", query="v"))).target == expected


@pytest.mark.parametrize(
    ("target", "expected"), [(b"/x?y=1", b"/v7/x?y=1"), (b"/", b"/v7/"), (b"//a%2F", b"/v7//a%2F")]
)
async def test_a_pinned_version_in_the_path_stands_in_front(target: bytes, expected: bytes) -> None:
    """The app's paths need no version."""
    assert (await sent(call_for(target=target), NONE, ApiVersion(value="v7", path=True))).target == expected


async def test_the_user_agent_is_ours_only_where_the_app_has_none() -> None:
    """A rule of the service's wins over both."""
    innermost = Innermost()
    await through(transform(NONE, NONE, None), call_for(), innermost)
    assert innermost.call.headers == [(b"User-Agent", f"sidecar/{__version__}".encode())]
    innermost = Innermost()
    rules = HeaderRules(set={"User-Agent": "shop/1"})
    await through(transform(rules, NONE, None), call_for(), innermost)
    assert innermost.call.headers == [(b"User-Agent", b"shop/1")]


async def test_only_the_named_credentials_of_the_app_go_on() -> None:
    """`forward` is a list, compared without case."""
    call = call_for()
    call.app_credentials = [(b"Authorization", b"a"), (b"Cookie", b"b"), (b"Cookie", b"c")]
    assert (await sent(call, NONE, None, "cookie")).headers == [(b"Cookie", b"b"), (b"Cookie", b"c")]
