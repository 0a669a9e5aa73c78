import hashlib
import itertools
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from sidecar.auth.signing.aws_chunks import ResignedBody, SignedBody
from sidecar.auth.signing.aws_keys import AwsKeys
from sidecar.auth.signing.config import AwsSigv4
from sidecar.auth.signing.sigv4 import AwsSigner
from sidecar.core.body import NO_BODY, Body, Headers
from sidecar.core.call import Call, Reply
from sidecar.core.clock import Clock, SystemClock
from sidecar.core.errors import BadRequest, BodyTooLarge, CredentialUnavailable
from sidecar.core.headers import find, find_all
from sidecar.core.units import Size
from tests.auth.signing.aws import Judge, judging
from tests.auth.signing.keeping import REF
from tests.kit.clock import ManualClock
from tests.layers.calls import read_all
from tests.upstream.sending import Answer, Way, call_of

EMPTY = hashlib.sha256(b"").hexdigest().encode()
EXAMPLE = AwsKeys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", None)  # AWS's.
FORM = (b"Content-Type", b"application/x-www-form-urlencoded")


class Ring:
    """Keys at hand."""

    def __init__(self, keys: AwsKeys | None) -> None:
        self._keys = keys

    def keys(self) -> AwsKeys:
        """Give them."""
        if self._keys is None:
            raise CredentialUnavailable("reading the AWS keys from their store failed")
        return self._keys

    def release(self) -> None:
        """Let go of nothing."""


def signer(
    service: str = "s3",
    keys: AwsKeys | None = EXAMPLE,
    *,
    clock: Clock | None = None,
    authority: bytes = b"examplebucket.s3.amazonaws.com",
    base_path: bytes = b"",
    is_tls: bool = True,
    body_max: int = 2**20,
) -> AwsSigner:
    """Make a signer in us-east-1."""
    config = AwsSigv4(region="us-east-1", service=service, access_key=REF, secret_key=REF, body_max=Size(body_max))
    clock = clock or ManualClock(wall_at=datetime(2013, 5, 24, tzinfo=UTC).timestamp())
    return AwsSigner(config, Ring(keys), clock, authority=authority, base_path=base_path, is_tls=is_tls)


def call_with(
    method: str = "PUT", target: bytes = b"/key", body: Body = NO_BODY, headers: Headers | None = None
) -> Call:
    """Make a call."""
    return Call("aws", method, target, headers or [], body)


def signature(call: Call) -> str:
    """Give the signature that is on a call."""
    (value,) = find_all(call.headers, b"authorization")
    return value.rpartition(b"Signature=")[2].decode()


def judged(call: Call, keys: AwsKeys, service: str, authority: str, base_path: bytes = b"") -> str:
    """Compute the signature with botocore alone, from the bytes as they are sent."""
    (authorization,) = find_all(call.headers, b"authorization")
    signed = authorization.partition(b"SignedHeaders=")[2].partition(b",")[0].split(b";")
    request: Any = AWSRequest(method=call.method, url=f"https://{authority}{(base_path + call.target).decode()}")
    request.headers["Host"] = authority
    for name, value in call.headers:
        if name.lower() in signed:
            request.headers[name.decode()] = value.decode()
    request.context["timestamp"] = request.headers["X-Amz-Date"]
    kind = S3SigV4Auth if service == "s3" else SigV4Auth
    auth: Any = kind(Credentials(keys.access_key, keys.secret_key, keys.token), service, "us-east-1")
    return str(auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request))


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/?lifecycle", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        (b"/?max-keys=2&prefix=J", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ],
)
async def test_the_examples_in_awss_documentation(target: bytes, expected: str) -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html"""
    call = call_with("GET", target)
    await signer().sign(call)
    assert call.headers == [
        (b"X-Amz-Date", b"20130524T000000Z"),
        (b"X-Amz-Content-SHA256", EMPTY),
        (
            b"Authorization",
            b"AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
            b"SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=" + expected.encode(),
        ),
    ]
    assert call.target == target


@pytest.mark.parametrize("service", ["execute-api", "dynamodb", "bedrock"])
@pytest.mark.parametrize("base_path", [b"", b"/prod"])
@pytest.mark.parametrize(
    "target",
    [
        b"/",
        b"/a/b",
        b"/model/anthropic.claude%3A1/invoke",
        b"/model/anthropic.claude:1/invoke",
        b"/a%2Fb//c/../d;p=1@2",
        b"/%C3%A9/x~y?b=2&a=1&a=0",
        b"/sp%20ace?q=%20&r=%2B&empty=",
    ],
)
async def test_botocore_agrees_on_every_path_as_it_is_sent(service: str, base_path: bytes, target: bytes) -> None:
    """The base path stands in front, the target keeps its bytes, and the query is sorted for the signature alone."""
    keys = AwsKeys("AK", secrets.token_hex(20), secrets.token_hex(20))
    body = secrets.token_bytes(100)
    call = call_with("POST", target, Body.of(body), [FORM, (b"X-Amz-Target", b"Some.Thing")])
    await signer(service, keys, authority=b"api.test:8443", base_path=base_path).sign(call)
    assert call.target == target
    assert signature(call) == judged(call, keys, service, "api.test:8443", base_path)
    assert find(call.headers, b"x-amz-content-sha256") == hashlib.sha256(body).hexdigest().encode()
    assert find(call.headers, b"x-amz-security-token") == (keys.token or "").encode()
    assert call.body.take_all() == body


async def test_the_apps_placeholders_are_replaced() -> None:
    """An SDK signs with whatever it was given; none of that may reach AWS, in headers nor in the query."""
    placeholders = [
        (b"authorization", b"AWS4-HMAC-SHA256 Credential=no"),
        (b"X-AMZ-DATE", b"no"),
        (b"x-amz-security-token", b"no"),
        (b"X-Amz-Content-Sha256", b"no"),
        (b"x-amz-meta-own", b"  two   blanks "),
    ]
    call = call_with("GET", b"/key?X-Amz-Signature=no&X-Amz-Credential=no&x=1", headers=placeholders)
    await signer().sign(call)
    assert call.target == b"/key?x=1"
    assert [value for _, value in call.headers if value == b"no"] == []
    assert find_all(call.headers, b"x-amz-date") == [b"20130524T000000Z"]
    assert find(call.headers, b"x-amz-security-token") is None
    assert signature(call) == judged(call, EXAMPLE, "s3", "examplebucket.s3.amazonaws.com")
    assert b"x-amz-meta-own" in find_all(call.headers, b"authorization")[0]


# Bodies.


async def test_a_long_body_streams_to_s3_over_tls_unsigned() -> None:
    """TLS keeps it whole, and nothing of it is held here."""
    body = Body(100)
    call = call_with(body=body)
    await signer(body_max=99).sign(call)
    assert find(call.headers, b"x-amz-content-sha256") == b"UNSIGNED-PAYLOAD"
    assert call.body is body


async def test_a_long_body_streams_to_s3_without_tls_in_signed_chunks() -> None:
    """For S3's likes inside of a network; each chunk has its signature."""
    call = call_with(body=Body.of(b"x" * 100), headers=[(b"Content-Encoding", b"gzip")])
    await signer(body_max=99, is_tls=False).sign(call)
    assert find(call.headers, b"x-amz-content-sha256") == b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    assert find(call.headers, b"x-amz-decoded-content-length") == b"100"
    assert find_all(call.headers, b"content-encoding") == [b"aws-chunked,gzip"]
    assert isinstance(call.body, SignedBody)
    assert len(await read_all(call.body)) == call.body.length


@pytest.mark.parametrize("is_tls", [True, False])
async def test_a_hash_that_the_sdk_has_made_is_taken(*, is_tls: bool) -> None:
    """S3 checks the body against it, so it need not be here."""
    body, claimed = Body(10**9), secrets.token_hex(32).encode()
    call = call_with(body=body, headers=[(b"x-amz-content-sha256", claimed)])
    await signer(is_tls=is_tls).sign(call)
    assert find_all(call.headers, b"x-amz-content-sha256") == [claimed]
    assert call.body is body


async def test_a_hash_is_not_taken_where_nobody_checks_it() -> None:
    """Only S3 reads that header; the others hash the body themselves."""
    call = call_with("POST", body=Body.of(b"hi"), headers=[(b"x-amz-content-sha256", EMPTY)])
    await signer("dynamodb").sign(call)
    assert find(call.headers, b"x-amz-content-sha256") == hashlib.sha256(b"hi").hexdigest().encode()


@pytest.mark.parametrize("has_trailers", [True, False])
async def test_chunks_that_the_sdk_has_signed_are_signed_anew(*, has_trailers: bool) -> None:
    """With its placeholder, that is: as SDKs do when they speak plain http to us."""
    claimed = b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD" + (b"-TRAILER" if has_trailers else b"")
    source = Body(500)
    call = call_with(body=source, headers=[(b"X-Amz-Content-Sha256", claimed), (b"Content-Encoding", b"aws-chunked")])
    await signer().sign(call)
    assert find_all(call.headers, b"x-amz-content-sha256") == [claimed]
    assert find_all(call.headers, b"content-encoding") == [b"aws-chunked"]
    assert isinstance(call.body, ResignedBody)
    assert call.body.length == 500


async def test_chunks_that_are_not_signed_pass_as_they_are() -> None:
    """Their checksum stands in the trailer."""
    source = Body()
    call = call_with(body=source, headers=[(b"x-amz-content-sha256", b"STREAMING-UNSIGNED-PAYLOAD-TRAILER")])
    await signer().sign(call)
    assert call.body is source
    assert find(call.headers, b"x-amz-content-sha256") == b"STREAMING-UNSIGNED-PAYLOAD-TRAILER"


async def test_what_cannot_be_signed_is_refused_in_words() -> None:
    """Never sent with a signature that is wrong."""
    with pytest.raises(BodyTooLarge, match="all of it is needed"):
        await signer("dynamodb", body_max=99).sign(call_with(body=Body(100)))
    unknown = Body()
    unknown.feed(b"x" * 100)
    with pytest.raises(BodyTooLarge, match="all of it is needed"):
        await signer(body_max=99).sign(call_with(body=unknown))
    ecdsa = (b"x-amz-content-sha256", b"STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD")
    with pytest.raises(BadRequest, match="SigV4"):
        await signer().sign(call_with(body=Body(9), headers=[ecdsa]))
    with pytest.raises(BadRequest, match="UTF-8"):
        await signer().sign(call_with(headers=[(b"x-amz-meta-a", b"\xff")]))


def reply(status: int, date: bytes | None) -> Reply:
    """Make an answer of AWS's."""
    return Reply(status, b"", [] if date is None else [(b"Date", date)], NO_BODY)


@pytest.mark.parametrize(
    ("status", "date", "expected"),
    [
        (403, b"Fri, 24 May 2013 00:05:00 GMT", b"20130524T000500Z"),
        (400, b"Thu, 23 May 2013 23:50:00 GMT", b"20130523T235000Z"),
        (403, b"Fri, 24 May 2013 00:01:00 GMT", None),
        (200, b"Fri, 24 May 2013 00:05:00 GMT", None),
        (403, b"yesterday", None),
        (403, b"\xff", None),
        (403, None, None),
    ],
)
async def test_a_clock_that_is_off_is_set_by_a_refusal(status: int, date: bytes | None, expected: bytes | None) -> None:
    """Once: the second refusal means something else."""
    sign = signer()
    call = call_with("GET")
    await sign.sign(call)
    refusal = reply(status, date)
    assert sign.is_refused(refusal) == (expected is not None)
    assert sign.refuse(call, refusal) == (expected is not None)
    await sign.sign(call)
    assert find_all(call.headers, b"x-amz-date") == [expected or b"20130524T000000Z"]
    assert not sign.refuse(call, refusal)


async def test_without_keys_no_body_is_waited_for() -> None:
    """The refusal comes at once."""
    with pytest.raises(CredentialUnavailable, match="AWS keys"):
        await signer(keys=None).sign(call_with(body=Body(10)))


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({}, "access_key"),
        ({"access_key": REF}, "access_key"),
        ({"access_key": REF, "secret_key": REF, "credentials": "default"}, "credentials"),
        ({"credentials": "default", "region": "eu central"}, "region"),
        ({"credentials": "default", "service": "s3/x"}, "service"),
    ],
)
def test_what_does_not_go_together_is_told_at_load(settings: dict[str, Any], field: str) -> None:
    """A missing key and two identities are both slips of the pen."""
    config = AwsSigv4(**{"region": "eu-central-1", "service": "s3", **settings})
    assert [name for name, _ in config.problems()] == [field]
    assert AwsSigv4(region="eu-central-1", service="s3", credentials="default").problems() == []


# Before a judge that is not ours.


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    """Run moto, which computes every signature anew."""
    with judging() as running:
        yield running


class Asking:
    """Sends signed calls to the judge, byte for byte."""

    def __init__(self, judge: Judge, way: Way, secret_key: str | None = None) -> None:
        self._keys = AwsKeys(judge.access_key, secret_key or judge.secret_key, None)
        self._judge = judge
        self._way = way

    async def ask(
        self, service: str, method: str, target: bytes, body: Body = NO_BODY, headers: Headers | None = None, **how: Any
    ) -> Answer:
        """Sign and send."""
        call = call_of(method, target, body, headers)
        sign = signer(service, self._keys, clock=SystemClock(), authority=self._judge.authority, **how)
        await sign.sign(call)
        return await self._way.finish(call, await self._way.begin(call))


async def test_a_judge_that_computes_each_signature_lets_ours_in_and_a_wrong_key_not(judge: Judge) -> None:
    """Moto with botocore, over IAM's query protocol."""
    async with Way(f"http://127.0.0.1:{judge.port}") as way:
        form = Body.of(b"Action=ListUsers&Version=2010-05-08")
        answer = await Asking(judge, way).ask("iam", "POST", b"/", form, [FORM])
        assert (answer.status, b"<UserName>pod</UserName>" in answer.body) == (200, True)
        wrong = await Asking(judge, way, secrets.token_hex(20)).ask("iam", "POST", b"/", Body.of(b"Action=ListUsers"))
        assert (wrong.status, b"SignatureDoesNotMatch" in wrong.body) == (403, True)


async def test_a_judge_lets_our_s3_calls_in_however_their_bodies_travel(judge: Judge) -> None:
    """In hand, streaming unsigned, in signed chunks, and with names that need encoding."""
    async with Way(f"http://127.0.0.1:{judge.port}") as way:
        asking = Asking(judge, way)
        assert (await asking.ask("s3", "PUT", b"/bucket")).status == 200
        names = [b"plain", b"a%2Bb", b"sp%20ace/x~y_z-.k", b"%C3%A9", b"a%3Db%5B1%5D"]
        ways: list[dict[str, Any]] = [{}, {"body_max": 1}, {"body_max": 1, "is_tls": False}]
        for name, how in itertools.product(names, ways):
            content = secrets.token_bytes(100_000)
            headers = [(b"Content-Type", b"text/plain"), (b"x-amz-meta-a", b" two  blanks ")]
            stored = await asking.ask("s3", "PUT", b"/bucket/" + name, Body.of(content), headers, **how)
            assert stored.status == 200, stored.body
            found = await asking.ask("s3", "GET", b"/bucket/" + name)
            assert (found.status, found.body) == (200, content), how
        listed = await asking.ask("s3", "GET", b"/bucket?list-type=2&prefix=a%2B")
        assert (listed.status, listed.body.count(b"<Key>")) == (200, 1)


async def test_a_judge_lets_in_what_an_sdk_has_cut_into_chunks(judge: Judge) -> None:
    """Signed with a placeholder; it arrives as it was meant."""
    chunks = b"5;chunk-signature=%b\r\nhello\r\n0;chunk-signature=%b\r\n\r\n" % (b"0" * 64, b"0" * 64)
    headers = [
        (b"X-Amz-Content-Sha256", b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
        (b"X-Amz-Decoded-Content-Length", b"5"),
        (b"Content-Encoding", b"aws-chunked"),
    ]
    async with Way(f"http://127.0.0.1:{judge.port}") as way:
        asking = Asking(judge, way)
        await asking.ask("s3", "PUT", b"/chunked")
        stored = await asking.ask("s3", "PUT", b"/chunked/key", Body.of(chunks), headers)
        assert stored.status == 200, stored.body
        assert (await asking.ask("s3", "GET", b"/chunked/key")).body == b"hello"
