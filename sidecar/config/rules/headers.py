"""Headers: names and values that may be written into a request without breaking or betraying it."""

import re
from collections.abc import Iterator

from sidecar.auth.schemes import ApiKey, Basic, Bearer
from sidecar.config.problem import Problem
from sidecar.core.headers import HOP_BY_HOP
from sidecar.layers.service import ServiceConfig
from sidecar.layers.transform import HeaderRules
from sidecar.telemetry.redact import is_secret_name

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2.
PARAMETER = re.compile(r"[A-Za-z0-9._~$\[\]-]+")  # What needs no percent-encoding, and brackets, as vendors write them.
VALUE = re.compile(r"[\t -~]*")  # What passes both rules of `_valued`.
_BREAKS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # RFC 9110 section 5.5.
_OURS = frozenset({"host", "content-length", "trailer", "expect", "x-request-id", "traceparent"})
_CREDENTIALS = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key", "api-key"})
_HELD_BACK = frozenset({"authorization", "cookie"})


def headers(config: ServiceConfig) -> Iterator[Problem]:
    """Judge every header name and value that a service or a route sets."""
    yield from _rules("headers", config.headers)
    yield from _rules("response_headers", config.response_headers)
    for where, names in (("set", config.headers.set), ("add", config.headers.add)):
        for name in names:
            if name.lower() in _CREDENTIALS or is_secret_name(name):
                sentence = "a secret never stands in the config; write auth = { ... } instead"
                # Only by its name: it may be the number of a key, or how long a session lasts.
                is_doubtful = name.lower() not in _CREDENTIALS
                yield Problem(f"headers.{where}.{name}", sentence, is_warning=is_doubtful)
    for index, name in enumerate(config.forward):
        if name.lower() not in _HELD_BACK:
            yield Problem(
                f"forward[{index}]", "only Authorization and Cookie are held back from the vendor; name one of these"
            )
    if config.api_version is not None:
        if config.api_version.header is not None:
            yield from _named("api_version.header", config.api_version.header)
        yield from _valued("api_version.value", config.api_version.value)
    yield from _auth(config)


def _rules(path: str, rules: HeaderRules) -> Iterator[Problem]:
    for verb, values in (("set", rules.set), ("add", rules.add)):
        for name, value in values.items():
            yield from _named(f"{path}.{verb}.{name}", name)
            yield from _valued(f"{path}.{verb}.{name}", value)
    for index, name in enumerate(rules.remove):
        yield from _named(f"{path}.remove[{index}]", name)


def _named(path: str, name: str) -> Iterator[Problem]:
    if not TOKEN.fullmatch(name):
        yield Problem(path, 'this is not a header name; it has letters, digits and "-", such as "X-Api-Key"')
    elif name.lower().encode() in HOP_BY_HOP or name.lower() in _OURS:
        yield Problem(path, "this header belongs to the connection; the sidecar sets it itself")
    elif name.lower().startswith("sidecar-"):
        yield Problem(path, "headers that begin with Sidecar- are between the app and the sidecar")


def _valued(path: str, value: str) -> Iterator[Problem]:
    if _BREAKS.search(value):
        yield Problem(path, "a header's value holds no line break, no NUL and no other control character")
    elif not value.isascii():
        yield Problem(path, "a header's value is ASCII; encode the rest as the vendor wants it")


def _auth(config: ServiceConfig) -> Iterator[Problem]:
    auth = config.auth
    if isinstance(auth, Bearer):
        yield from _named("auth.header", auth.header)
        yield from _valued("auth.prefix", auth.prefix)
    elif isinstance(auth, ApiKey):
        yield from _key(auth)
    elif isinstance(auth, Basic) and (":" in auth.username or not auth.username.isprintable()):
        yield Problem("auth.username", "a user name of HTTP Basic has no colon and no control character (RFC 7617)")


def _key(auth: ApiKey) -> Iterator[Problem]:
    if auth.place == "header":
        yield from _named("auth.name", auth.name)
        yield from _valued("auth.prefix", auth.prefix)
    elif not PARAMETER.fullmatch(auth.name):
        yield Problem("auth.name", 'write the name of a query parameter, such as "api_key"')
    elif auth.prefix:
        yield Problem("auth.prefix", "a key in the query has no prefix")
