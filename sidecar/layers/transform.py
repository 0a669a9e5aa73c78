"""Transform: headers in the vendor's shape inwards, in the app's shape outwards."""

from collections.abc import Awaitable, Callable

from sidecar import __version__
from sidecar.core import query
from sidecar.core.body import Headers
from sidecar.core.call import Call, Handler, Layer, Reply
from sidecar.core.section import Section

USER_AGENT = (b"User-Agent", f"sidecar/{__version__}".encode())

Change = Callable[[Headers], Headers]


class HeaderRules(Section, kw_only=True):
    """`headers` (towards the vendor) and `response_headers` (towards the app): removed first, then set, then added."""

    set: dict[str, str] = {}  # Replaces what is there.
    add: dict[str, str] = {}  # Stands beside what is there.
    remove: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Tell whether there is a rule at all."""
        return bool(self.set or self.add or self.remove)


class ApiVersion(Section, kw_only=True):
    """`api_version`: pins the vendor's API version in exactly one place."""

    value: str
    header: str | None = None
    query: str | None = None
    path: bool = False  # In front of the path: /<value>/...

    @property
    def prefix(self) -> bytes:
        """What stands in front of every path."""
        return b"/" + self.value.encode() if self.path else b""


def compile_rules(rules: HeaderRules, version: ApiVersion | None = None) -> Change:
    """Make the one function that changes a list of fields; names are compared without case."""
    put = dict(rules.set)
    if version is not None and version.header is not None:
        put = {name: value for name, value in put.items() if name.lower() != version.header.lower()}
        put[version.header] = version.value
    gone = frozenset(name.lower().encode() for name in [*rules.remove, *put])
    new = [(name.encode(), value.encode()) for name, value in [*put.items(), *rules.add.items()]]

    def change(headers: Headers) -> Headers:
        return [field for field in headers if field[0].lower() not in gone] + new

    return change


def _pin_in_target(version: ApiVersion) -> Callable[[bytes], bytes]:
    if version.path:
        prefix = version.prefix
        return lambda target: prefix + target
    assert version.query is not None
    name, value = version.query.encode(), version.value.encode()
    return lambda target: query.put(target, name, value)


def transform(
    inwards: HeaderRules, outwards: HeaderRules, version: ApiVersion | None, forward: tuple[str, ...] = ()
) -> Layer:
    """Change the request's headers and target, and the answer's headers, as the service says.

    `forward` names the app's own credentials (Authorization, Cookie) that go on to the vendor; others stay here.
    """
    forwarded = frozenset(name.lower().encode() for name in forward)
    is_header = version is not None and version.header is not None
    change_request = compile_rules(inwards, version) if inwards or is_header else None
    change_answer = compile_rules(outwards) if outwards else None
    pin = _pin_in_target(version) if version is not None and not is_header else None

    def around(inner: Handler) -> Handler:
        def changed(call: Call) -> Awaitable[Reply]:
            if not call.has_user_agent:
                call.headers.append(USER_AGENT)
            if forwarded:
                call.headers += [field for field in call.app_credentials if field[0].lower() in forwarded]
            if change_request is not None:
                call.headers = change_request(call.headers)
            if pin is not None:
                call.target = pin(call.target)
            return inner(call)

        async def changed_both_ways(call: Call) -> Reply:
            reply = await changed(call)
            assert change_answer is not None
            reply.headers = change_answer(reply.headers)
            return reply

        return changed if change_answer is None else changed_both_ways

    return around
