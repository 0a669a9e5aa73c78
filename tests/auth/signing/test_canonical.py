import pytest
from botocore.utils import normalize_url_path

from sidecar.auth.signing.canonical import plain_path, query_pairs, s3_path, without_presigning


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"", "/"),
        (b"/", "/"),
        (b"/bucket/plain-1_2.3~4", "/bucket/plain-1_2.3~4"),
        # As S3's own refusal shows it: github.com/curl/curl/issues/13754.
        (b"/lasca/asset_id=my-asset/dt=2024-05-22", "/lasca/asset_id%3Dmy-asset/dt%3D2024-05-22"),
        # github.com/aws/aws-sdk-js/issues/853.
        (b"/%3Fa=b%20c", "/%3Fa%3Db%20c"),
        (b"/a%2Bb", "/a%2Bb"),
        (b"/a+b", "/a%20b"),
        (b"/%c3%a9", "/%C3%A9"),
        (b"/\xc3\xa9", "/%C3%A9"),
        (b"/a//b/../c/.", "/a//b/../c/."),
        (b"/%41%7e", "/A~"),
        (b"/a%2Fb", "/a/b"),
        (b"/100%", "/100%25"),
        (b"/x;y@z:1!$&'()*,[]", "/x%3By%40z%3A1%21%24%26%27%28%29%2A%2C%5B%5D"),
    ],
)
def test_a_path_as_s3_signs_it(path: bytes, expected: str) -> None:
    """Whatever spelling the app chose, it is the one that S3 makes of it."""
    assert s3_path(path) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"", "/"),
        (b"/", "/"),
        (b"/model/claude%3A1/invoke", "/model/claude%253A1/invoke"),
        (b"/model/claude:1/invoke", "/model/claude%3A1/invoke"),
        # github.com/aws/aws-sdk-js/issues/853.
        (b"/_search/%3Fa=b%20c", "/_search/%253Fa%3Db%2520c"),
        (b"/a//b/./c/../d", "/a/b/d"),
        (b"/a+b[1]", "/a%2Bb%5B1%5D"),
        (b"/\xc3\xa9", "/%C3%A9"),
    ],
)
def test_a_path_as_all_others_sign_it(path: bytes, expected: str) -> None:
    """Normalised, and what is encoded is encoded once more."""
    assert plain_path(path, normalize_url_path) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"", ""),
        (b"acl", "acl="),
        (b"a=1&&b=2&", "a=1&b=2"),
        (b"x=[1]&y=%20+", "x=%5B1%5D&y=%20%20"),
        (b"prefix=a%2Bb%2fc", "prefix=a%2Bb%2Fc"),
        (b"%74=%74&k=a=b", "t=t&k=a%3Db"),
        (b"\xc3\xa9=1", "%C3%A9=1"),
    ],
)
def test_a_query_is_encoded_anew(query: bytes, expected: str) -> None:
    """Names and values, in the order of the app: the signer sorts them."""
    assert query_pairs(query) == expected


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/x", b"/x"),
        (b"/x?y=[1]&&z=%20+&", b"/x?y=[1]&&z=%20+&"),
        (b"/x?X-Amz-Signature=abc&y=1&x-amz-date=2&X%2DAmz-Credential=3", b"/x?y=1"),
        (b"/x?X-Amz-Signature=abc", b"/x"),
        (b"/x?q=X-Amz-Signature", b"/x?q=X-Amz-Signature"),
    ],
)
def test_a_presigned_placeholder_is_taken_out(target: bytes, expected: bytes) -> None:
    """Two signatures are refused; nothing else of the target changes its bytes."""
    assert without_presigning(target) == expected
