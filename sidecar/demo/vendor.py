"""A scripted vendor on loopback: what a third-party API does on good and on bad days, in an order one can foresee.

It wants `Authorization: Bearer <token>`, with a token made at run time; it announces its rate limit; and each fault
that a vendor may show has an address of its own. Nothing is left to chance, so `sidecar demo --once` tells the same
story each time; what it remembers from call to call is in `memory.py`.
"""

import hmac
import json
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Self

from aiohttp import web

from sidecar.core.clock import Clock
from sidecar.core.secret import Secret
from sidecar.demo.memory import METERED, Meter, Payouts, Turns

SLOW = 3.0  # Seconds: longer than anybody who sends Sidecar-Timeout: 500ms waits.
SLOWISH = 0.3  # Seconds: a slow day, but an answer.
EVENT_EVERY = 0.05  # Seconds between two server-sent events.
EVENTS = 5
PAGES = 3
RETRY_AFTER = 1  # Seconds, as announced with a 429.
BODY_MAX = 64 * 1024  # Larger: 413.
STOP_MAX = 1.0  # Seconds that open answers get when the vendor stops.

# What these do, call by call; then from the beginning again, but for outage and restart, which are over for good.
FLAKY = ("fine", "500", "fine", "429", "fine", "drop", "fine", "slowish")
UNEVEN = ("fine",) * 5 + ("slow",)
OUTAGE = ("500",) * 4
RESTART = ("500",) * 2

Answer = web.StreamResponse
Play = Callable[[web.Request], Awaitable[Answer]]


class Vendor:
    """The API of a made-up payment company. `async with Vendor(clock) as vendor:` serves at `vendor.url`."""

    def __init__(self, clock: Clock) -> None:
        self.token = Secret(secrets.token_hex(24).encode(), version="made for this demo")
        self.url = ""
        self.calls = 0
        self.payouts = Payouts()
        self._clock = clock
        self._meter = Meter()
        self._metered = Meter(*METERED)
        self._flaky_turns = Turns(FLAKY)
        self._uneven_turns = Turns(UNEVEN)
        self._outage_turns = Turns(OUTAGE, afterwards="fine")
        self._restart_turns = Turns(RESTART, afterwards="fine")
        self._charges = 0
        self._slowish_calls = 0
        self._faults: dict[str, Play] = {
            "slow": self._slow,
            "429": self._too_many,
            "500": self._broken,
            "drop": self._drop,
            "garbage": self._garbage,
        }
        self._runner = web.AppRunner(
            self._application(), access_log=None, handler_cancellation=True, shutdown_timeout=STOP_MAX
        )

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[self._at_the_door], client_max_size=BODY_MAX)
        application.router.add_get("/v1/charges", self._list_charges)
        application.router.add_post("/v1/charges", self._make_charge)
        application.router.add_get("/v1/charges/{id}", self._show_charge)
        application.router.add_get("/v1/slow", self._slowish)
        application.router.add_get("/v1/flaky", self._flaky)
        application.router.add_get("/v1/uneven", self._uneven)
        application.router.add_get("/v1/outage", self._outage)
        application.router.add_get("/v1/restart", self._restart)
        application.router.add_get("/v1/metered", self._metered_call)
        application.router.add_post("/v1/payouts", self._pay_out)
        application.router.add_post("/v1/refunds", self._pay_out)
        application.router.add_get("/v1/stream", self._stream)
        application.router.add_get("/v1/redirect", self._redirect)
        application.router.add_get("/v1/pages", self._page)
        application.router.add_get("/v1/echo", self._echo)
        application.router.add_get("/v1/faults/{fault}", self._fault)
        return application

    @web.middleware
    async def _at_the_door(self, request: web.Request, handler: Play) -> Answer:
        """Check the credential, and announce the rate limit on every answer that does not announce one of its own."""
        self.calls += 1
        self._meter.count(self._clock.wall())
        if not self._is_entitled(request):
            answer: Answer = _json(
                {"error": "no valid bearer token"}, status=401, headers={"WWW-Authenticate": "Bearer"}
            )
        else:
            try:
                answer = await handler(request)
            except web.HTTPException as refusal:
                answer = _json({"error": refusal.reason}, status=refusal.status)
        if not answer.prepared and "X-RateLimit-Limit" not in answer.headers:
            answer.headers.update(self._rate_headers())
        return answer

    def _is_entitled(self, request: web.Request) -> bool:
        """Whether the right token is there, once: a second Authorization beside it would be the app's own."""
        said = request.headers.getall("Authorization", [])
        wanted = b"Bearer " + self.token.reveal()
        return len(said) == 1 and hmac.compare_digest(said[0].encode("utf-8", "surrogateescape"), wanted)

    def _rate_headers(self) -> dict[str, str]:
        return self._meter.headers(self._clock.wall())

    # What works.

    async def _list_charges(self, _: web.Request) -> Answer:
        return _json({"data": [{"id": f"ch_{n}", "amount": 100 * n, "currency": "eur"} for n in range(1, 4)]})

    async def _make_charge(self, request: web.Request) -> Answer:
        try:
            asked = json.loads(await request.read())
        except ValueError:
            return _json({"error": "the body is not JSON"}, status=400)
        self._charges += 1
        made = {
            "id": f"ch_new_{self._charges}",
            "asked": asked,
            "idempotency_key": request.headers.get("Idempotency-Key"),
        }
        return _json(made, status=201, headers={"Location": f"{self.url}/v1/charges/{made['id']}"})

    async def _show_charge(self, request: web.Request) -> Answer:
        return _json({"id": request.match_info["id"], "currency": "eur"})

    async def _slowish(self, _: web.Request) -> Answer:
        self._slowish_calls += 1
        said = {"ok": True, "took_s": SLOWISH, "call": self._slowish_calls}
        await self._clock.sleep(SLOWISH)
        return _json(said)

    async def _metered_call(self, request: web.Request) -> Answer:
        """Allow so many calls in a window of the clock, say so in each answer, and refuse the others."""
        wall = self._clock.wall()
        is_within = self._metered.count(wall)
        answer = _json({"ok": True}) if is_within else await self._too_many(request)
        answer.headers.update(self._metered.headers(wall))
        return answer

    async def _stream(self, request: web.Request) -> Answer:
        """Send server-sent events with a pause after each, as a language model does."""
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream", **self._rate_headers()})
        await answer.prepare(request)
        for number in range(1, EVENTS + 1):
            await answer.write(f'event: word\ndata: {{"number": {number}}}\n\n'.encode())
            await self._clock.sleep(EVENT_EVERY)
        await answer.write(b"event: done\ndata: [DONE]\n\n")
        await answer.write_eof()
        return answer

    async def _redirect(self, _: web.Request) -> Answer:
        return web.Response(status=307, headers={"Location": f"{self.url}/v1/charges"})

    async def _page(self, request: web.Request) -> Answer:
        said = request.query.get("page", "1")
        page = int(said) if said.isascii() and said.isdigit() else 0
        if not 1 <= page <= PAGES:
            return _json({"error": f"there are pages 1 to {PAGES}"}, status=404)
        following = f'<{self.url}/v1/pages?page={page + 1}>; rel="next"'
        return _json({"page": page, "of": PAGES}, headers={"Link": following} if page < PAGES else None)

    async def _echo(self, request: web.Request) -> Answer:
        """Say what came, with the credential masked."""
        seen = [
            [name, "Bearer ***" if name.lower() == "authorization" else value]
            for name, value in request.headers.items()
        ]
        return _json({"method": request.method, "target": request.raw_path, "headers": seen})

    # What does not.

    async def _flaky(self, request: web.Request) -> Answer:
        return await self._play(self._flaky_turns, request)

    async def _uneven(self, request: web.Request) -> Answer:
        return await self._play(self._uneven_turns, request)

    async def _outage(self, request: web.Request) -> Answer:
        return await self._play(self._outage_turns, request)

    async def _restart(self, request: web.Request) -> Answer:
        return await self._play(self._restart_turns, request)

    async def _play(self, turns: Turns, request: web.Request) -> Answer:
        """Do what this call's turn is."""
        turn = turns.take()
        if turn == "fine":
            return _json({"ok": True, "call": turns.calls})
        return await (self._slowish(request) if turn == "slowish" else self._faults[turn](request))

    async def _pay_out(self, request: web.Request) -> Answer:
        """Pay out, and lose the answer: only who asks again with the same key learns of it, and is not paid twice."""
        paid = self.payouts.pay(request.headers.get("Idempotency-Key"))
        return await self._drop(request) if paid is None else _json(paid, status=201)

    async def _fault(self, request: web.Request) -> Answer:
        play = self._faults.get(request.match_info["fault"])
        if play is None:
            return _json({"error": f"there are the faults {', '.join(self._faults)}"}, status=404)
        return await play(request)

    async def _slow(self, _: web.Request) -> Answer:
        await self._clock.sleep(SLOW)
        return _json({"ok": True, "took_s": SLOW})

    async def _too_many(self, _: web.Request) -> Answer:
        return _json({"error": "too many requests"}, status=429, headers={"Retry-After": str(RETRY_AFTER)})

    async def _broken(self, _: web.Request) -> Answer:
        return _json({"error": "something broke here"}, status=500)

    async def _drop(self, request: web.Request) -> Answer:
        """Close in the middle of the head."""
        return _end_with(request, b"HTTP/1.1 200 OK\r\nContent-Type: applica")

    async def _garbage(self, request: web.Request) -> Answer:
        """Answer with what is not HTTP, as a broken middlebox does."""
        return _end_with(request, b"\x00\x01\x02 this is no HTTP \xff\xfe\r\n\r\n")


def _json(said: dict[str, Any], *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response(said, status=status, headers=headers)


def _end_with(request: web.Request, raw: bytes) -> Answer:
    """Write raw bytes and close; the answer that is returned finds no connection any more."""
    if request.transport is not None:
        request.transport.write(raw)
        request.transport.close()
    return web.Response()
