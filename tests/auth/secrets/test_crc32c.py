import pytest

from sidecar.auth.secrets.gcp.crc32c import crc32c


@pytest.mark.parametrize(
    ("content", "checksum"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_the_checksum_is_that_of_the_rfc(content: bytes, checksum: int) -> None:
    """RFC 3720 appendix B.4, and the check value of the catalogue."""
    assert crc32c(content) == checksum
