"""Webhooks over real processes: nothing that was acknowledged is lost, nothing blocks what it need not, all is told."""

import asyncio
import gzip
import hmac
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from standardwebhooks.webhooks import Webhook

from tests.kit.app import App
from tests.kit.hooks import DELIVER_SECRET, SECRET, Sender, Taken, Taking, hook_config, signed
from tests.kit.process import PATHS, Process, free_ports
from tests.kit.servers import Servers
from tests.kit.valkey import Valkey

WAIT_MAX = 20.0
QUICK = 'schedule = ["20ms", "100ms"]\nrate = "5000/s"'


class Hooked(Process):
    """A sidecar with one webhook."""

    def __init__(self, folder: Path, config: str) -> None:
        self.hooks = f"127.0.0.1:{free_ports(1)[0]}"
        folder.mkdir(exist_ok=True)
        super().__init__(folder, config, listen=f'webhooks = "{self.hooks}"')

    async def ask(self, path: str, method: str = "GET", told: Any = None) -> Any:
        """Ask the admin API."""
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.admin_url + path, json=told) as answer,
        ):
            return await answer.json(content_type=None)

    async def until(self, path: str, is_so: Callable[[Any], bool]) -> Any:
        """Ask until the answer is so; each look is a question."""
        async with asyncio.timeout(WAIT_MAX):
            while not is_so(answer := await self.ask(path)):
                pass
            return answer


@pytest.mark.parametrize(
    ("framing", "body"), [(b"Content-Length: 100", b"{"), (b"Transfer-Encoding: chunked", b"zz\r\n")]
)
async def test_a_vendor_that_breaks_off_is_counted_and_is_no_fault_of_ours(
    tmp_path: Path, framing: bytes, body: bytes
) -> None:
    """It hung up in the middle of a body, or sent what is none; no line blames us, and nothing is stored."""
    async with Hooked(tmp_path, hook_config(tmp_path, "http://127.0.0.1:9", QUICK)) as sidecar:
        host, _, port = sidecar.hooks.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = b"POST /stripe HTTP/1.1\r\nHost: hooks.example\r\nExpect: 100-continue\r\n"
        writer.write(head + framing + b"\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        wanted = 'sidecar_events_total{result="broken_off",webhook="stripe"} 1.0'
        async with aiohttp.ClientSession() as session, asyncio.timeout(WAIT_MAX):
            while wanted not in await (await session.get(f"{sidecar.telemetry_url}/metrics")).text():
                pass
    assert {line["msg"] for line in sidecar.lines}.isdisjoint({"internal", "event_accepted"})


async def test_an_event_reaches_the_app_as_it_came_and_with_one_signature_for_all(tmp_path: Path) -> None:
    """The raw body, the vendor's headers but for its secrets, verified by the reference library; once."""
    body = b'{"type": "invoice.paid",  "data": "\xc3\xa4"}'
    async with (
        Taking() as app,
        Hooked(tmp_path, hook_config(tmp_path, app.url, QUICK)) as sidecar,
        Sender(sidecar.hooks) as vendor,
    ):
        headers = {
            "Content-Type": "application/json; charset=utf-8", "X-Vendor": "a", "Cookie": "no", "X-Token": SECRET,
            "Sidecar-Event-Id": "forged", "X-Request-ID": "vendor-7",
        }  # fmt: skip
        assert await vendor.send("evt_1", body, headers) == 200
        await app.until(lambda: bool(app.got), "the event")
        assert await vendor.send("evt_1", body) == 200, "a duplicate"
        [taken] = app.got
        assert taken.body == body
        got = taken.headers
        assert got["Content-Type"] == "application/json; charset=utf-8"
        assert (got["X-Vendor"], got["X-Request-ID"]) == ("a", "vendor-7")
        assert (taken.id, got["Sidecar-Event-Attempt"], got["webhook-id"]) == ("stripe.evt_1", "1", "stripe.evt_1")
        assert "Cookie" not in got
        assert "X-Token" not in got
        Webhook(DELIVER_SECRET).verify(body.decode(), got)
        with pytest.raises(Exception, match="No matching signature"):
            Webhook(SECRET).verify(body.decode(), got)
        event = await sidecar.until("/api/events/stripe.evt_1", lambda event: event["state"] == "delivered")
        assert (event["type"], event["attempts"], event["body"], event["headers"]) == ("invoice.paid", 1, "", [])
        assert len(app.asked) == 1
    assert SECRET not in str(sidecar.lines)


async def test_a_compressed_body_is_verified_and_delivered_as_it_came(tmp_path: Path) -> None:
    """What is signed is what was sent; nobody but the app unpacks it."""
    async with (
        Taking() as app,
        Hooked(tmp_path, hook_config(tmp_path, app.url, QUICK)) as sidecar,
        Sender(sidecar.hooks) as vendor,
    ):
        assert await vendor.send("evt_1", gzip.compress(b'{"n": 1}'), {"Content-Encoding": "gzip"}) == 200
        await app.until(lambda: bool(app.got), "the event")
        assert app.got[0].headers["Content-Encoding"] == "gzip"
        assert app.got[0].body == b'{"n": 1}', "the app's own server unpacked it"


async def test_a_secret_that_the_vendor_chooses_is_learnt_and_events_verify_with_it(tmp_path: Path) -> None:
    """Asana's handshake; a hostile one after it changes nothing; the next process reads the secret where it was put."""
    secret, hostile, body = "5ec4e7" * 10, "0bad" * 16, b'{"events": []}'
    async with Taking() as app:
        config = hook_config(tmp_path, app.url, f"{QUICK}\nsecret_from_handshake = true")
        config = config.replace("standard-webhooks", "asana").replace("files:vendor", "files:learnt")
        for number in range(2):
            async with Hooked(tmp_path, config) as sidecar, aiohttp.ClientSession() as vendor:

                async def post(headers: dict[str, str], body: bytes = b"") -> tuple[int, str]:
                    async with vendor.post(f"http://{sidecar.hooks}/stripe", data=body, headers=headers) as answer:
                        return answer.status, answer.headers.get("X-Hook-Secret", "")

                if not number:
                    assert await post({"X-Hook-Secret": secret}) == (200, secret)
                assert await post({"X-Hook-Secret": hostile}) == (401, "")
                event = body + b" " * number
                signature = hmac.new(secret.encode(), event, "sha256").hexdigest()
                async with asyncio.timeout(WAIT_MAX):
                    while (await post({"X-Hook-Signature": signature}, event))[0] == 503:  # Until it was read.
                        assert not number
                forged = hmac.new(hostile.encode(), event, "sha256").hexdigest()
                assert await post({"X-Hook-Signature": forged}, event) == (401, "")
                await app.until(lambda: len(app.got) == number + 1, "the event")  # noqa: B023
            assert secret not in str(sidecar.lines)
            assert hostile not in str(sidecar.lines)
    assert (tmp_path / "secrets" / "learnt").read_text() == secret


async def test_an_app_that_was_down_gets_everything_in_order(tmp_path: Path) -> None:
    """Acknowledged while nobody listens; then delivered, each key in the order in which it came."""
    port = free_ports(1)[0]
    more = f'{QUICK}\norder_by = "key"\nconcurrency = 4'
    config = hook_config(tmp_path, f"http://127.0.0.1:{port}/hooks", more)
    sent: dict[str, list[str]] = {}
    async with Hooked(tmp_path, config) as sidecar:
        async with Sender(sidecar.hooks) as vendor:
            for n in range(60):
                key = f"k{n % 5}"
                assert await vendor.send(f"evt_{n}", json.dumps({"key": key, "n": n}).encode()) == 200
                sent.setdefault(key, []).append(f"stripe.evt_{n}")
        async with Taking(port=port) as app:
            await app.until(lambda: len({taken.id for taken in app.got}) == 60, "all of them")
            got: dict[str, list[str]] = {}
            for taken in app.got:
                got.setdefault(json.loads(taken.body)["key"], []).append(taken.id)
            assert got == sent


async def test_a_poisoned_event_holds_up_nobody_but_its_own_key(tmp_path: Path) -> None:
    """It is tried again by its schedule; a slow one takes one place."""
    release = asyncio.Event()

    async def slow() -> int:
        await release.wait()
        return 204

    def says(taken: Taken) -> Any:
        if taken.id == "stripe.evt_slow":
            return slow()
        return 500 if taken.id == "stripe.evt_poison" else 204

    more = 'schedule = ["20ms"]\norder_by = "key"\nconcurrency = 2\nrate = "5000/s"'
    async with (
        Taking(says) as app,
        Hooked(tmp_path, hook_config(tmp_path, app.url, more)) as sidecar,
        Sender(sidecar.hooks) as vendor,
    ):
        await vendor.send("evt_slow", b'{"key": "slow"}')
        await vendor.send("evt_poison", b'{"key": "poison"}')
        await vendor.send("evt_behind", b'{"key": "poison"}')
        for n in range(30):
            await vendor.send(f"evt_{n}", b'{"key": "k%d"}' % n)
        await app.until(lambda: len(app.got) >= 30, "the others")
        assert not {"stripe.evt_slow", "stripe.evt_poison", "stripe.evt_behind"} & {taken.id for taken in app.got}
        assert (await sidecar.ask("/api/events/stripe.evt_poison"))["error"] == "the app answered 500"
        release.set()
        assert (await sidecar.ask("/api/events/stripe.evt_behind"))["state"] == "waiting"
        await app.until(lambda: any(taken.id == "stripe.evt_slow" for taken in app.got), "the slow one")
        # A person takes it out of the way: what stood behind it goes on.
        async with asyncio.timeout(WAIT_MAX):
            while (await sidecar.ask("/api/events/stripe.evt_poison", "DELETE")).get("state") != "cancelled":
                pass  # It is being tried just now.
        await app.until(lambda: any(taken.id == "stripe.evt_behind" for taken in app.got), "the one behind it")


async def test_two_pods_that_get_the_same_event_at_once_deliver_it_once(tmp_path: Path, servers: Servers) -> None:
    """One set of ids for all, in Valkey; and either pod delivers what the other accepted."""
    valkey = servers.get(Valkey.serving)
    with valkey.client as client:
        client.flushall()
    folder = tmp_path / "secrets"
    folder.mkdir(mode=0o700)
    (folder / "valkey").touch(mode=0o600)
    (folder / "valkey").write_text(valkey.password)
    store = (
        f'[store]\nkind = "valkey"\nurl = "{valkey.url}"\npassword = "files:valkey"\n'
        f'[secrets.files]\nkind = "file"\npath = "{folder}"\n'
    )
    async with Taking() as app:
        config = hook_config(tmp_path, app.url, QUICK, store)
        one, other = Hooked(tmp_path / "one", config), Hooked(tmp_path / "other", config)
        async with one, other, Sender(one.hooks) as first, Sender(other.hooks) as second:
            for n in range(25):
                body = b'{"n": %d}' % n
                statuses = await asyncio.gather(first.send(f"evt_{n}", body), second.send(f"evt_{n}", body))
                assert list(statuses) == [200, 200]
            await app.until(lambda: len({taken.id for taken in app.got}) == 25, "all of them")
            await one.until("/api/events?state=delivered&limit=200", lambda found: len(found["events"]) == 25)
            assert set(Counter(taken.id for taken in app.got).values()) == {1}


async def test_the_door_says_no_in_few_words_and_never_acknowledges_what_it_does_not_keep(tmp_path: Path) -> None:
    """404, 405, 401, 413, and 503 when it is full."""
    more = f'body_max = "1KiB"\nlength_max = 2\n{QUICK}'
    config = hook_config(tmp_path, f"http://127.0.0.1:{free_ports(1)[0]}/hooks", more)
    async with Hooked(tmp_path, config) as sidecar, aiohttp.ClientSession() as session:
        url = f"http://{sidecar.hooks}/stripe"

        async def ask(method: str, url: str, **request: Any) -> tuple[int, bytes, Any]:
            async with session.request(method, url, **request) as answer:
                return answer.status, await answer.read(), answer.headers

        assert (await ask("POST", f"http://{sidecar.hooks}/nobody", data=b"x"))[:2] == (404, b"")
        assert (await ask("POST", url + "/more", data=b"x"))[0] == 404
        status, _, headers = await ask("PUT", url, data=b"x")
        assert (status, headers["Allow"]) == (405, "POST")
        assert (await ask("GET", url))[0] == 405
        assert (await ask("GET", url + "?challenge=x"))[0] == 405, "this vendor has no such handshake"
        status, said, headers = await ask("POST", url, data=b"x", headers={"X-Request-ID": "r-9"})
        assert (status, said, headers["X-Request-ID"]) == (401, b"", "r-9")
        large = b"x" * 1025
        assert (await ask("POST", url, data=large, headers=signed("evt_l", large)))[0] == 413

        async def pieces() -> Any:
            for _ in range(5):
                yield b"x" * 300

        assert (await ask("POST", url, data=pieces()))[0] == 413, "without a Content-Length, too"
        for n, wanted in enumerate([200, 200, 503]):
            status, _, headers = await ask("POST", url, data=b"{}", headers=signed(f"evt_{n}", b"{}"))
            assert status == wanted
        assert headers["Retry-After"] == "5"
        assert (await ask("POST", url, data=b"{}", headers=signed("evt_0", b"{}")))[0] == 200, "it is there already"
        assert len((await sidecar.ask("/api/events"))["events"]) == 2
        line = await sidecar.wait_for_line(lambda line: line.get("request_id") == "r-9")
        assert line["msg"] == "event_refused"


async def test_people_list_show_retry_discard_and_replay_events(tmp_path: Path) -> None:
    """By the command line; a delivered event goes out once more when its body was kept."""
    refuses = True

    def says(_: Taken) -> int:
        return 500 if refuses else 204

    async def run(*words: str) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "sidecar", "events", *words, "-c", str(tmp_path / "sidecar.toml"),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=PATHS[0],
        )  # fmt: skip
        out, _ = await process.communicate()
        return process.returncode or 0, out.decode()

    more = 'schedule = ["1h"]\nkeep_bodies = true\nconcurrency = 1'
    async with (
        Taking(says) as app,
        Hooked(tmp_path, hook_config(tmp_path, app.url, more)) as sidecar,
        Sender(sidecar.hooks) as vendor,
    ):
        for n in range(3):
            await vendor.send(f"evt_{n}", b'{"type": "t", "n": %d}' % n)
        await app.until(lambda: len(app.asked) == 3, "an attempt at each")
        await sidecar.until("/api/events", lambda found: all(event["error"] for event in found["events"]))
        code, out = await run("list", "--webhook", "stripe", "--state", "waiting")
        assert code == 0
        assert [line.split("\t")[:3] for line in out.splitlines()] == [
            [f"stripe.evt_{n}", "waiting", "t"] for n in (2, 1, 0)
        ]
        code, out = await run("show", "stripe.evt_1")
        assert (code, json.loads(out)["body"]) == (0, '{"type": "t", "n": 1}')
        refuses = False
        assert (await run("retry", "stripe.evt_1"))[0] == 0
        await app.until(lambda: len(app.got) == 1, "the one that was tried again")
        assert app.got[0].headers["Sidecar-Event-Attempt"] == "2"
        assert json.loads((await run("discard", "stripe.evt_2"))[1])["state"] == "cancelled"
        await sidecar.until("/api/events/stripe.evt_1", lambda event: event["state"] == "delivered")
        assert await run("replay", "stripe", "--since", "2026-01-01T00:00:00Z") == (
            0, "1 will be delivered once more\n"
        )  # fmt: skip
        await app.until(lambda: len(app.got) == 2, "the one that was replayed")
        assert [taken.id for taken in app.got] == ["stripe.evt_1"] * 2
        assert (await run("replay", "stripe", "--since", "2999-01-01T00:00:00Z"))[1].startswith("0 ")
        assert (await run("replay", "stripe", "--since", "yesterday"))[0] == 1
        code, out = await run("show", "stripe.nobody")
        assert (code, "there is no event" in out) == (1, True)
        assert json.loads((await run("discard", "stripe.evt_2"))[1])["state"] == "discarded"
        assert (await vendor.send("evt_2", b"{}")) == 200
        await app.until(lambda: app.got[-1].id == "stripe.evt_2", "the one that is new again")


async def test_what_waits_is_kept_over_a_restart_and_the_next_process_goes_on(tmp_path: Path) -> None:
    """SIGTERM with an app that is down; and it takes its events on a Unix socket."""
    socket = tmp_path / "app.sock"
    config = hook_config(tmp_path, f"unix:{socket}:/hooks/stripe?x=1", QUICK)
    async with Hooked(tmp_path, config) as sidecar, Sender(sidecar.hooks) as vendor:
        for n in range(10):
            assert await vendor.send(f"evt_{n}", b"%d" % n) == 200
        assert await sidecar.terminate() == 0
    async with Taking(socket=socket) as app, Hooked(tmp_path, config):
        await app.until(lambda: len(app.got) == 10, "all of them")
        assert {taken.path for taken in app.got} == {"/hooks/stripe"}
        assert sorted(taken.body for taken in app.got) == [b"%d" % n for n in range(10)]


async def test_a_webhook_comes_goes_and_changes_with_the_config(tmp_path: Path) -> None:
    """The door opens with the first one and closes with the last; what waits goes to the app's new place."""
    async with Taking() as app:
        nowhere = f"http://127.0.0.1:{free_ports(1)[0]}/hooks"
        async with Hooked(tmp_path, hook_config(tmp_path, nowhere, QUICK)) as sidecar:
            async with Sender(sidecar.hooks) as vendor:
                assert await vendor.send("evt_1", b"{}") == 200
            sidecar.write_config(hook_config(tmp_path, app.url, QUICK))
            assert (await sidecar.ask("/api/reload", "POST"))["ok"]
            await app.until(lambda: len(app.got) == 1, "what waited")
            sidecar.write_config(f'[store]\nkind = "sqlite"\npath = "{tmp_path}/state.db"\n')
            assert (await sidecar.ask("/api/reload", "POST"))["ok"]
            async with Sender(sidecar.hooks) as vendor:
                async with asyncio.timeout(WAIT_MAX):
                    while await vendor.send("evt_2", b"{}") != 0:
                        pass  # The old door is about to close.
            sidecar.write_config(hook_config(tmp_path, app.url, QUICK))
            assert (await sidecar.ask("/api/reload", "POST"))["ok"]
            async with Sender(sidecar.hooks) as vendor:
                assert await vendor.send("evt_3", b"{}") == 200
            await app.until(lambda: app.got[-1].id == "stripe.evt_3", "the next one")


async def test_an_app_that_cannot_listen_fetches_its_events(tmp_path: Path) -> None:
    """It waits for one, says what it did, and a process that is killed meanwhile loses none."""
    config = hook_config(tmp_path, "", 'schedule = ["20ms"]')
    path = "/_sidecar/events/stripe"

    async def ask(app: App, target: str, told: Any = None) -> Any:
        body = b"" if told is None else json.dumps(told).encode()
        reply = await app.ask("GET" if told is None else "POST", target, body=body)
        assert reply.status == 200, reply.body
        return reply.json()

    async with (
        Hooked(tmp_path, config) as sidecar,
        Sender(sidecar.hooks) as vendor,
        App.to(sidecar.egress_url) as app,
        App.to(sidecar.egress_url) as other,
    ):
        waiting = asyncio.create_task(ask(app, f"{path}?wait=20s"))
        assert await vendor.send("evt_1", b"\xff\x00", {"X-A": "b"}) == 200
        fetched = await waiting
        [event] = fetched["events"]
        assert (event["id"], event["attempt"], event["body_base64"]) == ("stripe.evt_1", 1, "/wA=")
        assert ["X-A", "b"] in event["headers"]
        assert (await ask(app, path))["events"] == []
        again = await ask(app, path, {"lease": fetched["lease"], "again": ["stripe.evt_1"]})
        assert again["again"] == ["stripe.evt_1"]
        fetched = await ask(app, f"{path}?wait=20s")
        assert fetched["events"][0]["attempt"] == 2
        assert (await ask(app, path, {"lease": fetched["lease"], "done": ["stripe.evt_1"]}))["done"] == ["stripe.evt_1"]
        for n in range(3):
            assert await vendor.send(f"evt_k{n}", b"{}") == 200
        assert len((await ask(other, f"{path}?lease=12h"))["events"]) == 3
        for wrong in ("?wait=2", "?count=0", "?lease=1ms", "?wait=61s", "?other=1"):
            reply = await other.ask("GET", path + wrong)
            assert (reply.status, reply.value("Sidecar-Error")) == (400, "bad_request"), wrong
        reply = await other.ask("GET", "/_sidecar/events/nobody")
        assert (reply.status, reply.value("Sidecar-Error")) == (404, "unknown_event")
        assert (await other.ask("DELETE", path)).status == 405
        assert (await other.ask("POST", path, body=b"[]")).status == 400
        await sidecar.kill()
    async with Hooked(tmp_path, config) as sidecar, App.to(sidecar.egress_url) as app:
        fetched = await ask(app, f"{path}?wait=20s")
        assert [event["id"] for event in fetched["events"]] == [f"stripe.evt_k{n}" for n in range(3)]


async def test_many_events_go_in_one_delivery_and_those_that_failed_come_again(tmp_path: Path) -> None:
    """Lines of JSON, signed as a whole; each event has its own answer."""
    bad = {"stripe.evt_3", "stripe.evt_7"}
    done: list[str] = []
    sizes: list[int] = []

    def says(taken: Taken) -> web.Response:
        # The library's verify() wants one JSON value, so its signature is compared.
        at = datetime.fromtimestamp(int(taken.headers["webhook-timestamp"]), UTC)
        signature = Webhook(DELIVER_SECRET).sign(taken.headers["webhook-id"], at, taken.body.decode())
        assert taken.headers["webhook-signature"] == signature
        events = [json.loads(line) for line in taken.body.splitlines()]
        assert taken.headers["Sidecar-Event-Count"] == str(len(events))
        sizes.append(len(events))
        lines = []
        for event in events:
            is_bad = event["id"] in bad
            bad.discard(event["id"])
            done.extend([] if is_bad else [event["id"]])
            assert json.loads(event["body"])["n"] == int(event["id"].rpartition("_")[2])
            lines.append(json.dumps({"id": event["id"], "status": 500 if is_bad else 200}))
        return web.Response(text="\n".join(lines), content_type="application/x-ndjson")

    port = free_ports(1)[0]
    more = f"deliver_batch = 10\n{QUICK}"
    async with (
        Hooked(tmp_path, hook_config(tmp_path, f"http://127.0.0.1:{port}/hooks", more)) as sidecar,
        Sender(sidecar.hooks) as vendor,
    ):
        for n in range(40):
            assert await vendor.send(f"evt_{n}", b'{"n": %d}' % n) == 200
        async with Taking(says, port=port) as app:
            await app.until(lambda: len(done) >= 40, "all of them")
            assert sorted(done) == sorted(f"stripe.evt_{n}" for n in range(40))
            assert max(sizes) == 10
            event = await sidecar.until("/api/events/stripe.evt_3", lambda event: event["state"] == "delivered")
            assert event["attempts"] >= 2


async def test_a_handshake_is_answered_at_the_door_and_delivered_to_nobody(tmp_path: Path) -> None:
    """Meta's by GET, which its preset knows; another GET is a 401."""
    config = hook_config(tmp_path, "", QUICK).replace('"standard-webhooks"', '"meta"')
    async with Hooked(tmp_path, config) as sidecar, aiohttp.ClientSession() as session:
        url = f"http://{sidecar.hooks}/stripe?hub.challenge=1158201444&hub.mode="
        for mode, wanted in (("subscribe", (200, "1158201444")), ("other", (401, ""))):
            async with session.get(url + mode) as answer:
                assert (answer.status, await answer.text()) == wanted
        async with session.put(url) as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "GET, POST")
        assert (await sidecar.ask("/api/events"))["events"] == []
