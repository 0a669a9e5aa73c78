"""AWS SigV4: signs each call as AWS wants it, by botocore's signer, over the bytes as they are sent.

The hash of the body stands in the signature, so it goes first:
- a body up to `body_max` is taken in hand and hashed;
- at S3 a longer one streams: over TLS as UNSIGNED-PAYLOAD (TLS keeps it whole), without TLS in chunks that are signed
  one by one (STREAMING-AWS4-HMAC-SHA256-PAYLOAD);
- at S3 a hash that the app's SDK has sent already is taken as it is: S3 checks the body against it;
- what the app has cut into signed chunks with its placeholder is signed anew, chunk by chunk, while it streams;
- all other services want the hash, so a longer body is refused.

The moment of signing is that of AWS's clock: a refusal carries its `Date`, and where ours differs by more than a
minute the signature is made once more (AWS takes five).
"""

import hashlib
import hmac
import re
import time
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from sidecar.auth.signing.aws_chunks import ChunkSigner, ResignedBody, SignedBody
from sidecar.auth.signing.aws_keys import AwsKeys, KeySource
from sidecar.auth.signing.canonical import plain_path, query_pairs, s3_path, without_presigning
from sidecar.auth.signing.config import AwsSigv4
from sidecar.auth.signing.received import received
from sidecar.core.body import NO_BODY, Headers
from sidecar.core.call import Call, Reply
from sidecar.core.clock import Clock
from sidecar.core.errors import BadRequest
from sidecar.core.headers import find

_S3 = frozenset({"s3", "s3express", "s3-outposts", "s3-object-lambda"})
_UNSIGNED = b"UNSIGNED-PAYLOAD"
_UNSIGNED_TRAILER = b"STREAMING-UNSIGNED-PAYLOAD-TRAILER"
_CHUNKS = b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
_CHUNKS_TRAILER = b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
_HASH = re.compile(rb"[0-9a-f]{64}")
SKEW_MIN = 60.0  # Seconds. Clocks nearer than this are taken as equal.
_REFUSALS = frozenset({400, 401, 403})  # RequestTimeTooSkewed, RequestExpired, InvalidSignatureException.
_EMPTY = hashlib.sha256(b"").hexdigest().encode()

# Ours take their place; the app's are placeholders.
_REPLACED = frozenset({b"authorization", b"x-amz-date", b"x-amz-security-token", b"x-amz-content-sha256"})
# Signed beside Host and X-Amz-*: what changes the meaning. Others may be changed on the way by a proxy.
_SIGNED = frozenset({b"content-type", b"content-md5"})


class _Payload(NamedTuple):
    """What stands for the body in the signature, and how its chunks are signed, if they are."""

    hash: bytes
    chunks: type[SignedBody] | type[ResignedBody] | None = None


class AwsSigner:
    """Signs the calls of one service; `authority` and `base_path` are its base URL's, as they are sent."""

    def __init__(
        self, config: AwsSigv4, source: KeySource, clock: Clock, *, authority: bytes, base_path: bytes, is_tls: bool
    ) -> None:
        from botocore.auth import S3SigV4Auth  # noqa: PLC0415 - heavy: only for who uses it
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415 - heavy
        from botocore.utils import normalize_url_path  # noqa: PLC0415 - heavy

        # S3's signer takes a path as it is; what others do to theirs is done in canonical.py.
        self._auth, self._request, self._normalize = S3SigV4Auth, AWSRequest, normalize_url_path
        self._config = config
        self._source = source
        self._clock = clock
        self._authority = authority.decode()
        self._base_path = base_path
        self._is_tls = is_tls
        self._is_s3 = config.service in _S3
        self._skew = 0.0  # Seconds that AWS's clock is ahead of ours, as a refusal said.

    def release(self) -> None:
        """Let go: the service goes away."""
        self._source.release()

    def is_refused(self, reply: Reply) -> bool:
        """Whether the signature may have been refused for its moment: AWS's clock is another than the one it is of."""
        if reply.status not in _REFUSALS:
            return False
        skew = self._skew_by(reply)
        return skew is not None and abs(skew - self._skew) > SKEW_MIN

    def refuse(self, call: Call, reply: Reply) -> bool:  # noqa: ARG002 - as for the credentials that have tokens
        """Take AWS's clock, and say whether the call may go again with another signature."""
        may_again = self.is_refused(reply)
        if may_again:
            self._skew = self._skew_by(reply) or 0.0
        return may_again

    def _skew_by(self, reply: Reply) -> float | None:
        date = find(reply.headers, b"date")
        try:
            return (
                None if date is None else parsedate_to_datetime(date.decode("ascii")).timestamp() - self._clock.wall()
            )
        except (ValueError, OverflowError):
            return None

    async def sign(self, call: Call) -> None:
        """Sign a call.

        Raises CredentialUnavailable with the step that failed, BodyTooLarge for a body that is needed whole, and
        BadRequest for what cannot be signed.
        """
        self._source.keys()  # Without keys nothing is waited for.
        payload = await self._payload(call)
        keys = self._source.keys()
        call.target = without_presigning(call.target)
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._clock.wall() + self._skew))
        headers = [field for field in call.headers if field[0].lower() not in _REPLACED]
        if payload.chunks is SignedBody:
            headers = _announcing_chunks(headers, call.body.length)
        headers += [(b"X-Amz-Date", moment.encode()), (b"X-Amz-Content-SHA256", payload.hash)]
        if keys.token:
            headers.append((b"X-Amz-Security-Token", keys.token.encode()))
        signature, authorization, scope = self._sign(call, headers, keys, moment)
        call.headers = [*headers, (b"Authorization", authorization)]
        if payload.chunks is not None:
            signer = ChunkSigner(signing_key(keys.secret_key, scope), moment, scope, signature)
            call.body = (
                SignedBody(call.body, signer)
                if payload.chunks is SignedBody
                else ResignedBody(call.body, signer, has_trailers=payload.hash == _CHUNKS_TRAILER)
            )

    def _sign(self, call: Call, headers: Headers, keys: AwsKeys, moment: str) -> tuple[str, bytes, str]:
        """Give the signature, the Authorization with it, and its scope."""
        path, _, query = (self._base_path + call.target).partition(b"?")
        shown = s3_path(path) if self._is_s3 else plain_path(path, self._normalize)
        request: Any = self._request(method=call.method, url=f"https://{self._authority}{shown}?{query_pairs(query)}")
        request.context["timestamp"] = moment
        request.headers["Host"] = self._authority
        for name, value in headers:
            key = name.lower()
            if key in _SIGNED or key.startswith(b"x-amz-"):
                request.headers[key.decode("ascii")] = _text(key, value)
        auth: Any = self._auth(keys, self._config.service, self._config.region)
        signed = auth.signed_headers(auth.headers_to_sign(request))
        signature = str(auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request))
        authorization = (
            f"AWS4-HMAC-SHA256 Credential={auth.scope(request)}, SignedHeaders={signed}, Signature={signature}"
        )
        return signature, authorization.encode(), str(auth.credential_scope(request))

    async def _payload(self, call: Call) -> _Payload:
        """Decide what stands for the body in the signature."""
        body = call.body
        if body is NO_BODY:
            return _Payload(_EMPTY)
        streams = self._streaming(call) if self._is_s3 else None
        if streams is not None:
            return streams
        content = await received(call, self._config.body_max, self._clock)
        return _Payload(hashlib.sha256(content).hexdigest().encode())

    def _streaming(self, call: Call) -> _Payload | None:
        """Say how a body streams to S3; None: it does not."""
        claimed = find(call.headers, b"x-amz-content-sha256") or b""
        if claimed in (_CHUNKS, _CHUNKS_TRAILER):
            return _Payload(claimed, ResignedBody)
        if claimed == _UNSIGNED_TRAILER:
            return _Payload(claimed)
        if claimed.startswith(b"STREAMING-"):
            raise BadRequest(f"{claimed.decode('ascii', 'replace')} is not signed here; use SigV4 with HMAC-SHA256")
        length = call.body.length
        if length is None:
            return None  # S3 wants to know the length, so the body is taken in hand.
        if _HASH.fullmatch(claimed) or (claimed == _UNSIGNED and self._is_tls):
            return _Payload(claimed)
        if length <= self._config.body_max:
            return None
        return _Payload(_UNSIGNED) if self._is_tls else _Payload(_CHUNKS, SignedBody)


def _announcing_chunks(headers: Headers, data_bytes: int | None) -> Headers:
    """Say that the body is in chunks of AWS's kind, and how long it is without them."""
    encodings = [value for name, value in headers if name.lower() == b"content-encoding"]
    kept = [field for field in headers if field[0].lower() != b"content-encoding"]
    return [
        *kept,
        (b"Content-Encoding", b",".join([b"aws-chunked", *encodings])),
        (b"X-Amz-Decoded-Content-Length", b"%d" % (data_bytes or 0)),
    ]


def signing_key(secret_key: str, scope: str) -> bytes:
    """Give the key of one day, region and service, from which each chunk's signature is made."""
    key = b"AWS4" + secret_key.encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _text(name: bytes, value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise BadRequest(f"the header {name.decode('ascii')} is not UTF-8, so AWS could not check it") from None
