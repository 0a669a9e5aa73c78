import pytest

from sidecar.auth.oauth.url import TokenUrl


@pytest.mark.parametrize(
    ("text", "host", "without_query"),
    [
        ("https://id.crm.example/token", "id.crm.example", "https://id.crm.example/token"),
        ("https://ID.crm.example:8443/t?p=policy", "id.crm.example", "https://ID.crm.example:8443/t"),
        ("http://[::1]:80/token", "::1", "http://[::1]:80/token"),
        ("https://10.0.0.1", "10.0.0.1", "https://10.0.0.1"),
    ],
)
def test_a_url_is_taken_apart(text: str, host: str, without_query: str) -> None:
    """A query may stand in it (RFC 6749 section 3.2); a DPoP proof names it without."""
    url = TokenUrl.parse(text)
    assert (url, url.host, url.without_query) == (text, host, without_query)
    assert url.is_tls == text.startswith("https")


@pytest.mark.parametrize(
    "text",
    [
        None, 5, "", "id.crm.example/token", "ftp://id.crm.example", "https://", "https:///token", "https://a b/c",
        "https://me:s3cr3t@id.crm.example/", "https://s3cr3t@id.crm.example", "https://id.crm.example/#s3cr3t",
        "https://id.crm.example:0/", "https://id.crm.example:s3cr3t/", "https://[s3cr3t/", "https://s3cr3t_.example./",
        "https://s3cr3t.ä/", "https://x\n.example",
    ],
)  # fmt: skip
def test_what_is_no_url_is_refused_without_repeating_it(text: object) -> None:
    """What stands in the wrong place may be a password."""
    with pytest.raises(ValueError, match=r"[a-z]{3}") as refused:
        TokenUrl.parse(text)
    assert "s3cr3t" not in str(refused.value)
