import time

import pytest

from sidecar.core.errors import NotAllowed
from sidecar.layers.access import Rule, access
from tests.layers.calls import Innermost, call_for, through

MATCHES = [
    # rule, method, path
    ("GET /v1/charges", "GET", b"/v1/charges"),
    ("GET /v1/charges", "HEAD", b"/v1/charges"),
    ("* /v1/charges", "DELETE", b"/v1/charges"),
    ("* /v1/charges", "PURGE", b"/v1/charges"),
    ("GET /v1/charges/**", "GET", b"/v1/charges"),
    ("GET /v1/charges/**", "GET", b"/v1/charges/"),
    ("GET /v1/charges/**", "GET", b"/v1/charges/ch_1/refunds"),
    ("GET /**", "GET", b"/"),
    ("GET /**", "GET", b"/a//b"),
    ("GET /v1/*/items", "GET", b"/v1/a%20b%25/items"),
    ("GET /v1/*%2F*/items", "GET", b"/v1/a%2Fb/items"),
    ("GET /v1/**", "GET", b"/v1/a%2Fb/items"),
    ("GET /a*b*c*", "GET", b"/aabbcc"),
    ("GET /*a*b", "GET", b"/xaxbxb"),
    ("GET /**", "GET", b"/a\\b"),
    ("GET /v1/{id}/items", "GET", b"/v1/42/items"),
    ("GET /v1/report-*.csv", "GET", b"/v1/report-.csv"),
    ("GET /v1/report-*.csv", "GET", b"/v1/report-2026.csv"),
    ("POST /things:batch", "POST", b"/things:batch"),
    ("GET /caf%C3%A9", "GET", b"/caf%C3%A9"),
    ("GET /a.b+c(d)", "GET", b"/a.b+c(d)"),
    ("GET /", "GET", b"/"),
]

DOES_NOT_MATCH = [
    ("GET /v1/charges", "POST", b"/v1/charges"),
    ("POST /v1/charges", "HEAD", b"/v1/charges"),
    ("HEAD /v1/charges", "GET", b"/v1/charges"),
    ("GET /v1/charges", "GET", b"/v1/charges/"),
    ("GET /v1/charges", "GET", b"/v1/charges/ch_1"),
    ("GET /v1/charges", "GET", b"/V1/charges"),
    ("GET /v1/charges", "get", b"/v1/charges"),
    ("GET /v1/charges/**", "GET", b"/v1/chargesx"),
    ("GET /v1/charges/**", "GET", b"/v1"),
    ("GET /v1/*/items", "GET", b"/v1//items"),
    ("GET /v1/*/items", "GET", b"/v1/a/b/items"),
    ("GET /v1/{id}", "GET", b"/v1/"),
    ("GET /v1/*/items", "GET", b"/v1/a%2Fb/items"),
    ("GET /v1/{id}", "GET", b"/v1/a%2fb"),
    ("GET /v1/{id}", "GET", b"/v1/a%5Cb"),
    ("GET /v1/{id}", "GET", b"/v1/a%25252fb"),
    ("GET /v1/{id}", "GET", b"/v1/a\\b"),
    ("GET /v1/r-*.csv", "GET", b"/v1/r-x%2Fy.csv"),
    ("GET /*a*b", "GET", b"/xaxbx"),
    ("GET /v1/report-*.csv", "GET", b"/v1/report-/.csv"),
    ("GET /a.b", "GET", b"/axb"),
    ("GET /v1/charges", "GET", b"/v1/%63harges"),
    ("GET /v1/charges", "GET", b"/v1%2Fcharges"),
    ("GET /caf%C3%A9", "GET", b"/caf%c3%a9"),
    ("GET /v1/charges", "GET", b"/v1/charges\n"),
]


@pytest.mark.parametrize(("rule", "method", "path"), MATCHES)
def test_a_rule_covers(rule: str, method: str, path: bytes) -> None:
    """A method or `*`, and a path byte for byte, with its stars."""
    assert Rule.parse(rule).matches(method, path)


@pytest.mark.parametrize(("rule", "method", "path"), DOES_NOT_MATCH)
def test_a_rule_does_not_cover(rule: str, method: str, path: bytes) -> None:
    """What is written in another way is another path: nothing is decoded in favour of the caller."""
    assert not Rule.parse(rule).matches(method, path)


@pytest.mark.parametrize(
    "text",
    ["", "GET", "/x", "GET  /x", "get /x", "GET x", "GET /x y", "GET /x?y=1", "GET /x#y", "GET /**/x", "GET /x**", 5,
     "GET /caf\xe9", "GET,POST /x", "GET /**/**"],
)  # fmt: skip
def test_what_is_no_rule_is_refused_with_a_sentence(text: object) -> None:
    """A rule that was meant otherwise must not open or close anything silently."""
    with pytest.raises(ValueError, match=r"\w+ .*\w"):
        Rule.parse(text)


async def test_the_first_rule_that_covers_a_call_names_its_template() -> None:
    """The log tells which rule let it pass, never the path itself."""
    innermost = Innermost()
    layer = access([Rule.parse("GET /v1/{id}"), Rule.parse("GET /**")])
    await through(layer, call_for(target=b"/v1/42?q=1"), innermost)
    assert innermost.call.path_template == "/v1/{id}"


async def test_a_template_of_the_route_is_kept() -> None:
    """The route was found first, and is the finer name."""
    innermost = Innermost()
    call = call_for(target=b"/v1/42")
    call.path_template = "/v1/{route}"
    await through(access([Rule.parse("GET /**")]), call, innermost)
    assert innermost.call.path_template == "/v1/{route}"


@pytest.mark.parametrize(
    ("method", "target"), [("POST", b"/v1/charges"), ("GET", b"/v2/charges"), ("GET", b""), ("GET", b"?/v1/charges")]
)
async def test_what_no_rule_covers_is_refused(method: str, target: bytes) -> None:
    """Nothing is sent; the query plays no part."""
    innermost = Innermost()
    with pytest.raises(NotAllowed, match="no allow rule of crm"):
        await through(access([Rule.parse("GET /v1/**")]), call_for(method, target), innermost)
    assert not innermost.calls


async def test_an_empty_list_refuses_everything() -> None:
    """It was written down, so it is meant."""
    with pytest.raises(NotAllowed):
        await through(access([]), call_for())


@pytest.mark.parametrize(
    "target",
    [b"/v1/x/../../admin", b"/v1/./x", b"/v1/%2e%2e/x", b"/v1/%2E/x", b"/v1/x%2f..%2fy", b"/v1/..;/x", b"/v1/..",
     b"/v1/%252e%252e/x", b"/v1/x\\..\\y", b"/v1/%c0%ae%c0%ae/x", b"/v1/%C0%AE/x", b"/v1/%e0%80%ae./x",
     b"/v1/%f0%80%80%ae%2e/x", b"/v1/%u002e%u002e/x", b"/v1/%uff0e./x", b"/v1/%ef%bc%8e%ef%bc%8e/x",
     b"/v1/x%c0%af..%c0%afy", b"/v1/x%c1%9c..%5cy", b"/v1/x%00/y", b"/v1/x%c0%80", b"/v1/%u0061", b"/v1/%e0%9f%bf"],
)  # fmt: skip
async def test_a_path_with_dot_segments_is_refused_even_where_a_rule_covers_it(target: bytes) -> None:
    """The vendor would resolve them, and see a path that no rule was asked about."""
    innermost = Innermost()
    with pytest.raises(NotAllowed, match="dot segments"):
        await through(access([Rule.parse("* /**")]), call_for(target=target), innermost)
    assert not innermost.calls


@pytest.mark.parametrize("target", [b"/v1/a..b", b"/v1/...", b"/v1/.well-known", b"/v1/x?path=../y", b"/v1/100%25"])
async def test_dots_that_are_no_segments_pass(target: bytes) -> None:
    """Only what may be resolved is refused."""
    innermost = Innermost()
    await through(access([Rule.parse("* /**")]), call_for(target=target), innermost)
    assert len(innermost.calls) == 1


@pytest.mark.parametrize(
    "target", ["/v1/caf%C3%A9", "/v1/%e2%82%ac", "/v1/%EF%BC%A1", "/v1/%e0%a4%85", "/v1/%f0%9f%98%80"]
)
async def test_letters_of_the_world_pass(target: str) -> None:
    """Well-formed UTF-8 is no disguise."""
    innermost = Innermost()
    await through(access([Rule.parse("* /**")]), call_for(target=target.encode()), innermost)
    assert len(innermost.calls) == 1


@pytest.mark.parametrize(
    "name",
    [b"X-HTTP-Method-Override", b"x-http-method", b"X-Method-Override", b"X-Original-URL", b"X_HTTP_METHOD_OVERRIDE"],
)
async def test_a_header_that_names_another_method_or_path_is_refused(name: bytes) -> None:
    """A vendor that obeys it would do what no rule was asked about."""
    innermost = Innermost()
    call = call_for("POST", b"/v1/x")
    call.headers.append((name, b"DELETE"))
    with pytest.raises(NotAllowed, match="another method"):
        await through(access([Rule.parse("POST /v1/**")]), call, innermost)
    assert not innermost.calls


@pytest.mark.parametrize("rule", ["GET /" + "a*" * 40, "GET /" + "*a" * 40 + "b", "GET /*a*a*a/*b*b*b/" + "*c" * 9])
def test_a_path_made_to_match_almost_takes_no_time(rule: str) -> None:
    """A pattern with many stars would be tried in every combination."""
    parsed = Rule.parse(rule)
    before = time.process_time()
    for path in (
        b"/" + b"a" * 60_000 + b"!",
        b"/" + b"a" * 20_000 + b"/" + b"b" * 20_000 + b"/" + b"c" * 20_000 + b"!",
    ):
        assert parsed.matches("GET", path) is (rule.endswith("*") and b"b" not in path)
    assert time.process_time() - before < 1
