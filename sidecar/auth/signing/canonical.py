"""Canonical: how AWS reads a request target before it checks the signature. What is sent keeps its bytes.

Botocore's signer takes paths and queries as its own serialiser writes them; an app's may be written otherwise and mean
the same. So they are decoded and encoded anew here, as S3 does on its side: `/a=b?x=[1]` is signed as
`/a%3Db?x=%5B1%5D`. That is what S3 itself shows in its refusals (the curl project's issue 13754), and a plain `+` means
a blank to it, in paths as in queries. All others encode the path once more as it came (aws-sdk-js, issue 853).
"""

from collections.abc import Callable
from urllib.parse import quote, unquote_to_bytes

_UNRESERVED = "-_.~"  # And letters and digits: RFC 3986 section 2.3.
# What a presigned URL carries in its query; the app's are placeholders.
_PRESIGNED = frozenset({
    b"x-amz-algorithm", b"x-amz-credential", b"x-amz-date", b"x-amz-expires", b"x-amz-security-token",
    b"x-amz-signature", b"x-amz-signedheaders",
})  # fmt: skip


def s3_path(path: bytes) -> str:
    """Give the path as S3 signs it: each byte encoded once, slashes as they are, nothing normalised."""
    return quote(unquote_to_bytes(path.replace(b"+", b" ")), safe="/" + _UNRESERVED) or "/"


def plain_path(path: bytes, normalize: Callable[[str], str]) -> str:
    """Give the path as all others sign it: normalised by botocore's `normalize`, and encoded once more."""
    # Latin-1 has a letter for each byte, and none of them is lost on the way back.
    return quote(normalize(path.decode("latin-1")).encode("latin-1"), safe="/" + _UNRESERVED) or "/"


def query_pairs(query: bytes) -> str:
    """Give the query with names and values encoded anew: `a&b=x+y` is `a=&b=x%20y`. The signer sorts it."""
    pairs = [pair.partition(b"=") for pair in query.split(b"&") if pair]
    return "&".join(f"{_encoded(name)}={_encoded(value)}" for name, _, value in pairs)


def _encoded(text: bytes) -> str:
    return quote(unquote_to_bytes(text.replace(b"+", b" ")), safe=_UNRESERVED)


def without_presigning(target: bytes) -> bytes:
    """Take the app's placeholder signature out of a target; one without stays as it is."""
    path, mark, query = target.partition(b"?")
    pairs = query.split(b"&")
    kept = [pair for pair in pairs if unquote_to_bytes(pair.partition(b"=")[0]).lower() not in _PRESIGNED]
    if len(kept) == len(pairs):
        return target
    return path + mark + b"&".join(kept) if kept else path
