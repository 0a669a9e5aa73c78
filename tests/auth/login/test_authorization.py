"""The request that the browser carries, and what is believed of the redirect."""

import base64
import hashlib
import secrets
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from sidecar.auth.login.authorization import Authorization, challenge
from sidecar.auth.login.config import LoginConfig
from sidecar.auth.login.failed import LoginFailed, NotOurs
from sidecar.auth.oauth.url import TokenUrl

REDIRECT = "http://127.0.0.1:5000/callback"
ISSUER = "https://id.crm.example"


def config(**more: object) -> LoginConfig:
    """Make a section."""
    return LoginConfig(**{"authorize_url": TokenUrl.parse("https://id.crm.example/authorize"), **more})  # type: ignore[arg-type]


def asked(authorization: Authorization, scope: str = "contacts offline_access") -> dict[str, str]:
    """Give what the browser is sent with."""
    query = parse_qs(urlsplit(authorization.url("checkout", scope)).query, strict_parsing=True)
    return {name: values[0] for name, values in query.items() if len(values) == 1}


def redirect(**fields: str) -> str:
    """Give the address that the vendor sends the browser to."""
    return f"{REDIRECT}?{urlencode(fields)}"


def test_the_challenge_is_the_one_of_the_rfc() -> None:
    """RFC 7636 appendix B."""
    assert challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_the_request_has_what_the_rfcs_want() -> None:
    """Response type, client, redirect, scope, state, and the challenge by S256, never plain."""
    authorization = Authorization(config(params={"access_type": "offline", "prompt": "consent"}), REDIRECT)
    fields = asked(authorization)
    assert set(fields) == {
        "response_type", "client_id", "redirect_uri", "scope", "state", "code_challenge", "code_challenge_method",
        "access_type", "prompt",
    }  # fmt: skip
    assert (fields["response_type"], fields["client_id"], fields["redirect_uri"]) == ("code", "checkout", REDIRECT)
    assert (fields["scope"], fields["code_challenge_method"]) == ("contacts offline_access", "S256")
    verifier = dict(authorization.parameters("c"))["code_verifier"]
    assert 43 <= len(verifier) <= 128
    digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    assert fields["code_challenge"] == digest
    assert verifier not in authorization.url("checkout", "")


def test_a_query_in_authorize_url_stays() -> None:
    """RFC 6749 section 3.1."""
    url = TokenUrl.parse("https://id.crm.example/authorize?tenant=7")
    assert Authorization(config(authorize_url=url), REDIRECT).url("c", "").startswith(f"{url}&response_type=code")


def test_every_login_has_its_own_state_and_verifier() -> None:
    """One that was seen is of no use for the next."""
    first, second = Authorization(config(), REDIRECT), Authorization(config(), REDIRECT)
    assert asked(first)["state"] != asked(second)["state"]
    assert first.parameters("c") != second.parameters("c")


def test_the_code_of_our_redirect_is_taken() -> None:
    """As a URL, and as the target of a request."""
    authorization = Authorization(config(), REDIRECT)
    state = asked(authorization)["state"]
    code = secrets.token_urlsafe()
    assert authorization.code(redirect(code=code, state=state)) == code
    assert authorization.code(f"/callback?code={code}&state={state}") == code


@pytest.mark.parametrize(
    "change", ["no state", "wrong state", "state twice", "code twice", "long", "no query", "not a url", "many"]
)
def test_a_redirect_that_is_not_ours_is_refused(change: str) -> None:
    """Cross-site request forgery: somebody else's code would put their account behind this service."""
    authorization = Authorization(config(), REDIRECT)
    state = asked(authorization)["state"]
    target = {
        "no state": redirect(code="c"),
        "wrong state": redirect(code="c", state=state[:-1]),
        "state twice": redirect(code="c", state=state) + "&state=x",
        "code twice": redirect(code="c", state=state) + "&code=d",
        "long": redirect(code="c" * 20_000, state=state),
        "no query": REDIRECT,
        "not a url": "http://[::1",
        "many": redirect(code="c", state=state) + "".join(f"&x{number}=" for number in range(100)),
    }[change]
    with pytest.raises(NotOurs) as refused:
        authorization.code(target)
    assert state not in str(refused.value)


def test_the_issuer_is_checked_where_it_is_known() -> None:
    """RFC 9207: a code from one vendor must not be shown to another."""
    authorization = Authorization(config(issuer=ISSUER), REDIRECT)
    state = asked(authorization)["state"]
    assert authorization.code(redirect(code="c", state=state, iss=ISSUER)) == "c"
    for other in (f"{ISSUER}/", "https://evil.example", ""):
        with pytest.raises(NotOurs, match=r"login\.issuer"):
            authorization.code(redirect(code="c", state=state, iss=other))
    with pytest.raises(NotOurs, match="does not say who issued it"):
        authorization.code(redirect(code="c", state=state))
    with pytest.raises(NotOurs, match="does not say who issued it"):
        authorization.code(redirect(error="access_denied", state=state))


def test_an_issuer_that_nobody_configured_is_passed_over() -> None:
    """There is nothing to compare it with."""
    authorization = Authorization(config(), REDIRECT)
    assert authorization.code(redirect(code="c", state=asked(authorization)["state"], iss="x")) == "c"


def test_what_the_vendor_says_instead_of_a_code_is_told() -> None:
    """Without what a terminal would obey."""
    authorization = Authorization(config(), REDIRECT)
    state = asked(authorization)["state"]
    with pytest.raises(LoginFailed, match="told not to allow it") as denied:
        authorization.code(redirect(error="access_denied", state=state))
    assert not isinstance(denied.value, NotOurs)
    with pytest.raises(LoginFailed, match=r"invalid_scope: no  ?\[31m such") as refused:
        authorization.code(redirect(error="invalid_scope", error_description="no \x1b[31m\nsuch", state=state))
    assert str(refused.value).isprintable()
    with pytest.raises(LoginFailed, match="neither a code nor an error"):
        authorization.code(redirect(state=state))


def test_what_was_pasted_may_be_the_address_or_the_code() -> None:
    """The address is checked like a redirect; the code is bound to this login by PKCE."""
    authorization = Authorization(config(), REDIRECT)
    state = asked(authorization)["state"]
    assert authorization.typed(f"  {redirect(code='4/0Ab', state=state)}\n") == "4/0Ab"
    assert authorization.typed(" 4/0Ab_c-d~e.f \n") == "4/0Ab_c-d~e.f"
    with pytest.raises(NotOurs):
        authorization.typed(redirect(code="c", state="x"))
    for text in ("", "  \n", "two words", "ä", "x" * 5000):
        with pytest.raises(LoginFailed):
            authorization.typed(text)


def test_nothing_shows_what_is_kept() -> None:
    """Neither state nor verifier stands in a traceback."""
    authorization = Authorization(config(), REDIRECT)
    assert repr(authorization) == f"Authorization({REDIRECT})"


@pytest.mark.parametrize(
    ("section", "field"),
    [
        (LoginConfig(), "authorize_url"),
        (config(authorize_url=TokenUrl.parse("http://id.crm.example/authorize")), "authorize_url"),
        (config(device_url=TokenUrl.parse("http://id.crm.example/device")), "device_url"),
        (config(redirect_port=70_000), "redirect_port"),
        (config(redirect_path="callback"), "redirect_path"),
        (config(redirect_path="/a?b"), "redirect_path"),
        (config(params={"state": "fixed"}), "params.state"),
        (config(params={"code_challenge_method": "plain"}), "params.code_challenge_method"),
    ],
)
def test_a_section_that_cannot_be_meant_is_refused(section: LoginConfig, field: str) -> None:
    """With the key that is wrong."""
    assert [name for name, _ in section.problems()] == [field]


def test_a_section_with_a_url_alone_is_right() -> None:
    """And one on loopback, for tests of one's own."""
    assert config().problems() == []
    assert config(authorize_url=TokenUrl.parse("http://localhost:9/authorize")).problems() == []
