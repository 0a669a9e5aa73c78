"""Api: `listen.admin`, for people in the pod: the page, the services, the config; a reload, a circuit, a login.

No browser page of elsewhere gets in: neither by a name rebound to loopback (Host), nor by a request across sites.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from sidecar.admin.door import BODY_MAX
from sidecar.admin.events import Events, add_events
from sidecar.admin.jobs import Jobs, add_jobs
from sidecar.admin.page import PAGE, POLICY
from sidecar.admin.problem import NoCircuit, NotFound, ReloadRefused, problem
from sidecar.core.errors import (
    BadRequest,
    HostNotAllowed,
    InternalError,
    MethodNotAllowed,
    SidecarError,
    UnknownService,
)
from sidecar.core.hosts import is_local_host

Picture = Mapping[str, Any]

_KNOWN = (
    "GET /, GET /api/services, GET /api/services/{name}, POST /api/services/{name}/circuit, "
    "POST /api/services/{name}/login, GET /api/config, POST /api/reload, GET /api/jobs, GET /api/jobs/{id}, "
    "DELETE /api/jobs/{id}, POST /api/jobs/{id}/retry, GET /api/events, GET /api/events/{id}, DELETE /api/events/{id}, "
    "POST /api/events/{id}/retry, POST /api/events/replay"
)
VERSION_MAX = 512  # Characters. Longer: refused; no store has such.
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


class _Wish(msgspec.Struct, forbid_unknown_fields=True):
    """What an operator wants of a circuit."""

    state: Literal["open", "auto"]


class _Login(msgspec.Struct, forbid_unknown_fields=True):
    """What `sidecar login` has stored."""

    version: Annotated[str, msgspec.Meta(max_length=VERSION_MAX)]  # Of the refresh token, as its store names it.


def _no_circuits(name: str, state: str) -> Sequence[Picture]:  # noqa: ARG001
    return ()


def _no_logins(name: str, version: str) -> None:  # noqa: ARG001
    raise BadRequest(f"{name} has no refresh token")


def admin_app(
    snapshot: Callable[[], Picture],
    config: Callable[[], Picture],
    reload: Callable[[], Awaitable[Picture]],
    force_circuit: Callable[[str, str], Sequence[Picture]] = _no_circuits,
    logged_in: Callable[[str, str], None] = _no_logins,
    *,
    jobs: Jobs | None = None,
    events: Events | None = None,
    hosts: frozenset[str] = frozenset(),
    on_fault: Callable[[BaseException], None],
) -> web.Application:
    """Make the application of `listen.admin`.

    `snapshot` gives {"generation": n, "services": {name: {...}}}; `config` what was loaded, secrets as references;
    `reload` {"ok": bool, "generation": n, "problems": [...]}. `force_circuit` sets the circuits of a service to `open`
    or `auto` and gives them, none if it has none; it raises UnknownService. `logged_in` is told of a service's new
    refresh token and its version; it raises UnknownService and BadRequest. `jobs` is the queue, `events` what vendors
    sent; `on_fault` is told what broke inside.
    """

    async def service(request: web.Request) -> web.Response:
        known = snapshot()["services"]
        name = request.match_info["name"]
        if name not in known:
            raise UnknownService(f"no such service; known are: {', '.join(sorted(known)) or 'none'}")
        return _json({"name": name, **known[name]})

    async def circuit(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        wish = _wish(await request.read())
        circuits = force_circuit(name, wish.state)
        if not circuits:
            raise NoCircuit(f"{name} has no circuit: its circuit_breaker is off (circuit_breaker = false)")
        return _json({"name": name, "circuit": circuits[0] if len(circuits) == 1 else circuits})

    async def login(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        logged_in(name, _login(await request.read()).version)
        return _json({"name": name})

    async def load_anew(_: web.Request) -> web.Response:
        result = await reload()
        if result.get("ok"):
            return _json(result)
        detail = f"the configuration has problems; generation {result.get('generation')} goes on"
        return problem(ReloadRefused(detail), problems=list(result.get("problems", ())))

    app = web.Application(middlewares=[_guard(hosts, on_fault)], client_max_size=BODY_MAX)
    app.router.add_get("/api/services", _showing(snapshot))
    app.router.add_get("/api/services/{name}", service)
    app.router.add_post("/api/services/{name}/circuit", circuit)
    app.router.add_post("/api/services/{name}/login", login)
    app.router.add_get("/api/config", _showing(config))
    app.router.add_post("/api/reload", load_anew)
    app.router.add_get("/", _page)
    _add_what_waits(app, jobs, events)
    return app


def _add_what_waits(app: web.Application, jobs: Jobs | None, events: Events | None) -> None:
    if jobs is not None:
        add_jobs(app, jobs)
    if events is not None:
        add_events(app, events)


def _showing(picture: Callable[[], Picture]) -> Handler:
    async def show(_: web.Request) -> web.Response:
        return _json(picture())

    return show


async def _page(_: web.Request) -> web.Response:
    return web.Response(text=PAGE, content_type="text/html", headers={"Content-Security-Policy": POLICY})


def _guard(hosts: frozenset[str], on_fault: Callable[[BaseException], None]) -> Middleware:
    """Refuse strangers, and turn every error into the contract's form."""

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            check_origin(request, hosts)
            response = await handler(request)
        except SidecarError as error:
            response = problem(error)
        except web.HTTPMethodNotAllowed as error:
            allowed = ", ".join(sorted(error.allowed_methods))
            response = problem(MethodNotAllowed(f"here one may {allowed}"))
            response.headers["Allow"] = allowed
        except web.HTTPException as error:
            detail = f"here are {_KNOWN}" if error.status == 404 else error.reason
            response = problem(_with_status(NotFound(detail), error.status))
        except Exception as error:  # noqa: BLE001 - the edge: told to the log, and answered as a fault of ours.
            on_fault(error)
            response = problem(InternalError("something broke in here; the log has the place"))
        response.headers.update(_HEADERS)
        return response

    return guarded


def check_origin(request: web.BaseRequest, hosts: frozenset[str]) -> None:
    """Let only the pod itself and its own pages in. Raises HostNotAllowed."""
    if len(request.headers.getall("Host", ())) != 1 or not is_local_host(request.headers["Host"], hosts):
        raise HostNotAllowed("this door answers to localhost and loopback addresses; others go into listen.hosts")
    if request.headers.get("Sec-Fetch-Site", "").lower() == "cross-site":
        raise HostNotAllowed("a page of another site may not ask here")
    origin = request.headers.get("Origin")
    if origin is not None and not is_local_host(_authority(origin), hosts):
        raise HostNotAllowed("a page of another origin may not ask here")


def _authority(origin: str) -> str:
    """Give host and port of an Origin; an empty string, which is nobody's, for `null` and what is no origin."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _wish(body: bytes) -> _Wish:
    """Read what is asked of a circuit. Raises BadRequest with what to write."""
    try:
        return msgspec.json.decode(body, type=_Wish)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadRequest(
            'write {"state": "open"} to refuse all calls, or {"state": "auto"} to let the circuit decide again'
        ) from None


def _login(body: bytes) -> _Login:
    """Read what was stored. Raises BadRequest with what to write."""
    try:
        return msgspec.json.decode(body, type=_Login)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadRequest('write {"version": "..."}: that of the refresh token that was stored') from None


def _with_status(error: SidecarError, status: int) -> SidecarError:
    error.status = status
    return error


def _json(content: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(content, enc_hook=str), content_type="application/json")
