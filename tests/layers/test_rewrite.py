import pytest

from sidecar.core.body import Body, Headers
from sidecar.core.call import Reply
from sidecar.layers.rewrite import Rewriter, RewrittenBody, rewrite
from tests.layers.calls import Innermost, call_for, read_all, through

HERE = b"http://localhost:4000/crm"
CRM = Rewriter(b"https://api.crm.example", b"/v2", 443)
WITH_PORT = Rewriter(b"http://localhost:8080", b"", 80)

MOVED = [
    (b"https://api.crm.example/v2/x?y=%2F#z", HERE + b"/x?y=%2F#z"),
    (b"https://api.crm.example/v2", HERE),
    (b"https://api.crm.example/v2?x=1", HERE + b"?x=1"),
    (b"HTTPS://API.CRM.example/v2/x", HERE + b"/x"),
    (b"https://api.crm.example:443/v2/x", HERE + b"/x"),
    (b"//api.crm.example/v2/x", HERE + b"/x"),
    (b"/v2/x", HERE + b"/x"),
    (b"/v2", HERE),
    (b"/v2?x", HERE + b"?x"),
]

LEFT = [
    b"https://api.crm.example/v1/x",
    b"https://api.crm.example/v22/x",
    b"https://api.crm.example/V2/x",
    b"https://api.crm.example/",
    b"https://api.crm.example",
    b"https://api.crm.example:444/v2/x",
    b"https://api.crm.example.evil/v2/x",
    b"https://xapi.crm.example/v2/x",
    b"https://apixcrm.example/v2/x",
    b"https://user@api.crm.example/v2/x",
    b"http://api.crm.example/v2/x",
    b"https://other.example/?u=https://api.crm.example/v2/x",
    b"/v1/x",
    b"/v22",
    b"x",
    b"v2/x",
    b"../v2/x",
    b"?page=2",
    b"",
]


@pytest.mark.parametrize(("url", "expected"), MOVED)
def test_a_url_under_the_base_url_leads_here(url: bytes, expected: bytes) -> None:
    """However the vendor writes its own address; the rest of the URL stays byte for byte."""
    assert CRM.url(url, HERE) == expected


@pytest.mark.parametrize("url", LEFT)
def test_any_other_url_is_left_alone(url: bytes) -> None:
    """Another host, another path, a relative reference: the credential is not for those, or they work as they are."""
    assert CRM.url(url, HERE) == url


def test_a_port_that_is_not_the_schemes_own_has_to_be_there() -> None:
    """It is another origin without it."""
    assert WITH_PORT.url(b"http://localhost:8080/x", HERE) == HERE + b"/x"
    for url in (b"http://localhost/x", b"http://localhost:80800/x", b"http://localhost:808/x"):
        assert WITH_PORT.url(url, HERE) == url


def test_at_the_root_every_absolute_path_is_the_vendors() -> None:
    """Two slashes at its beginning name a host, and not ours."""
    assert WITH_PORT.url(b"/x", HERE) == HERE + b"/x"
    assert WITH_PORT.url(b"//evil.example/x", HERE) == b"//evil.example/x"


def test_every_target_of_a_link_field_is_moved_by_itself() -> None:
    """RFC 8288: several targets with parameters, commas inside of them, and other hosts between."""
    link = (
        b'<https://api.crm.example/v2/i?page=2,3>; rel="next", <https://other.example/v2>; rel="help", '
        b'</v2/i?page=9>; rel="last"; title="<b>", <?page=1>; rel=first'
    )
    assert CRM.link(link, HERE) == (
        b"<" + HERE + b'/i?page=2,3>; rel="next", <https://other.example/v2>; rel="help", <'
        + HERE + b'/i?page=9>; rel="last"; title="<b>", <?page=1>; rel=first'
    )  # fmt: skip


async def test_only_the_fields_that_hold_urls_are_moved() -> None:
    """Names in any spelling; duplicates and order survive."""
    url = b"https://api.crm.example/v2/x"
    headers: Headers = [
        (b"location", url),
        (b"X-Location", url),
        (b"CONTENT-LOCATION", url),
        (b"Link", b"<" + url + b">"),
        (b"link", b"<" + url + b">; rel=self"),
        (b"Set-Cookie", b"back=" + url),
    ]
    call = call_for()
    call.address = HERE
    reply = await through(rewrite(CRM, has_bodies=False), call, Innermost(302, headers))
    assert reply.headers == [
        (b"location", HERE + b"/x"),
        (b"X-Location", url),
        (b"CONTENT-LOCATION", HERE + b"/x"),
        (b"Link", b"<" + HERE + b"/x>"),
        (b"link", b"<" + HERE + b"/x>; rel=self"),
        (b"Set-Cookie", b"back=" + url),
    ]


# Bodies.


async def rewritten(text: bytes, *headers: tuple[bytes, bytes], method: str = "GET", status: int = 200) -> Reply:
    """Send an answer with a JSON body through the layer."""
    call = call_for(method)
    call.address = HERE
    fields = list(headers or [(b"Content-Type", b"application/json")])
    return await through(rewrite(CRM, has_bodies=True), call, Innermost(status, fields, text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'"https://api.crm.example/v2/x"', b'"' + HERE + b'/x"'),
        (b'{"u":"https:\\/\\/api.crm.example\\/v2\\/x"}', b'{"u":"' + HERE + b'\\/x"}'),
        (b'["https://api.crm.example/v2","https://api.crm.example:443/v2?x"]', b'["' + HERE + b'","' + HERE + b'?x"]'),
        (b'{"https://api.crm.example/v2/k":1}', b'{"' + HERE + b'/k":1}'),
    ],
)
async def test_urls_in_json_are_moved(text: bytes, expected: bytes) -> None:
    """Whole strings that begin with the base URL, slashes escaped or not."""
    reply = await rewritten(text)
    assert await read_all(reply.body) == expected


@pytest.mark.parametrize(
    "text",
    [
        b'"see https://api.crm.example/v2/x"',
        b'"https://api.crm.example/v22"',
        b'"https://api.crm.example/v1/x"',
        b'"https://other.example/v2"',
        b'"/v2/x"',
        b'"https://api.crm.example"',
        b"",
        b"{}",
    ],
)
async def test_any_other_text_in_json_is_left_alone(text: bytes) -> None:
    """A sentence that mentions a URL is no link; a path alone may mean anything."""
    assert await read_all((await rewritten(text)).body) == text


@pytest.mark.parametrize(
    ("headers", "is_moved"),
    [
        ([(b"Content-Type", b"application/json; charset=utf-8")], True),
        ([(b"content-type", b"application/hal+json")], True),
        ([(b"Content-Type", b"Application/JSON"), (b"Content-Encoding", b"identity")], True),
        ([(b"Content-Type", b"application/json"), (b"Content-Encoding", b"gzip")], False),
        ([(b"Content-Type", b"text/html")], False),
        ([(b"Content-Type", b"application/jsonl")], False),
        ([(b"X-Type", b"application/json")], False),
    ],
)
async def test_only_json_that_is_not_compressed_is_rewritten(headers: Headers, is_moved: bool) -> None:
    """Everything else goes through as it came."""
    text = b'"https://api.crm.example/v2"'
    reply = await rewritten(text, *headers)
    assert (await read_all(reply.body) != text) is is_moved


async def test_a_rewritten_body_has_no_length_and_no_digest_of_the_old_one() -> None:
    """A stale length would break the app's framing; a stale digest its trust."""
    reply = await rewritten(
        b'"https://api.crm.example/v2"',
        (b"Content-Type", b"application/json"),
        (b"content-length", b"28"),
        (b"Content-MD5", b"x"),
        (b"Content-Digest", b"x"),
        (b"ETag", b'"1"'),
    )
    assert reply.headers == [(b"Content-Type", b"application/json"), (b"ETag", b'"1"')]
    assert reply.body.length is None


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 206)])
async def test_a_part_of_a_body_and_an_answer_without_one_are_left_alone(method: str, status: int) -> None:
    """The offsets of a range would no longer be true; a HEAD's length is that of the vendor's body."""
    fields = [(b"Content-Type", b"application/json"), (b"Content-Length", b"28")]
    reply = await rewritten(b'"https://api.crm.example/v2"', *fields, method=method, status=status)
    assert reply.headers == fields


async def test_the_vendor_is_asked_not_to_compress_where_bodies_are_rewritten() -> None:
    """What is compressed cannot be rewritten, so the app's wish is taken out."""
    innermost = Innermost()
    call = call_for(headers=[(b"accept-encoding", b"gzip, br"), (b"Accept", b"*/*")])
    await through(rewrite(CRM, has_bodies=True), call, innermost)
    assert innermost.call.headers == [(b"Accept", b"*/*"), (b"Accept-Encoding", b"identity")]


async def test_trailers_come_behind_a_rewritten_body() -> None:
    """They are known only when the vendor's last byte is in."""
    inner = Body()
    body = RewrittenBody(inner, CRM, HERE)
    inner.feed(b'{"a":1}')
    inner.trailers.append((b"X-Sum", b"1"))
    inner.finish()
    assert await read_all(body) == b'{"a":1}'
    assert body.trailers == [(b"X-Sum", b"1")]


async def test_a_break_in_the_vendors_body_is_one_in_ours() -> None:
    """It must not look like an end."""
    inner = Body()
    body = RewrittenBody(inner, CRM, HERE)
    inner.feed(b"[" + b"1," * 200)
    inner.fail(ConnectionError("broken off"))
    assert await body.read()
    with pytest.raises(ConnectionError):
        await body.read()
