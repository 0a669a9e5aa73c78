"""The injector as it runs in a cluster: over TLS, while certificates and configs change under it, and to its end."""

import asyncio
import signal
import ssl
import subprocess
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from tests.kit.admission import Json, about, body, fragment_data, patched, review_of
from tests.kit.app import App
from tests.kit.certificates import Authority
from tests.kit.injector import InjectorProcess, injecting
from tests.kit.process import PATHS, Line

JSON = "Content-Type: application/json"
SHOP = {"shop": fragment_data()}


def loaded(source: str, *configs: str) -> "Loaded":
    """Whether a line says that a source was read well, with these configs in use."""
    return Loaded(source, configs)


class Loaded:
    """Knows the line; the one of the start does not count."""

    def __init__(self, source: str, configs: tuple[str, ...]) -> None:
        self._source, self._configs = source, list(configs)
        self._seen = 0

    def __call__(self, line: Line) -> bool:
        """Whether this is it."""
        if line["msg"] != "injector_loaded" or line["source"] != self._source:
            return False
        self._seen += 1
        return self._seen > 1 and line["configs"] == self._configs


def refused(line: Line) -> bool:
    """Whether a line tells problems."""
    return bool(line["msg"] == "injector_refused")


async def test_pods_get_their_sidecar_and_probes_their_answer(tmp_path: Path) -> None:
    """A rollout begins: a Deployment's pods, a Job's, one that asks for nothing, one that asks for too much."""
    async with InjectorProcess(tmp_path, SHOP) as injector:
        for name in ("deployment", "job", "statefulset", "init-containers"):
            review = review_of(name)
            pod = patched(review, await injector.ask(review))
            assert pod["spec"]["initContainers"][0] == SHOP["shop"]["container"]
            assert (await injector.ask(about(pod, name))).keys() == {"uid", "allowed"}
        assert (await injector.ask(review_of("not-asked"))).keys() == {"uid", "allowed"}
        assert "hostNetwork" in (await injector.ask(review_of("host-network")))["warnings"][0]
        assert (await injector.get("/livez"), await injector.get("/readyz")) == ((200, "alive\n"), (200, "ready\n"))
        for result, config, count in (
            ("injected", "shop", 4), ("already", "shop", 4), ("not_asked", "", 1), ("host_network", "shop", 1)
        ):  # fmt: skip
            series = f'sidecar_injections_total{{config="{config}",result="{result}"}}'
            assert await injector.metric(series) == count
        line = await injector.wait_for_line(lambda line: line["msg"] == "not_injected")
        assert (line["level"], line["result"], line["namespace"]) == ("warning", "host_network", "shop")
        injector.send_signal(signal.SIGTERM)
        assert await _hurried(injector) == 0
    assert injector.errors == b""


async def test_a_certificate_is_renewed_while_it_serves(tmp_path: Path) -> None:
    """cert-manager writes another one: who connects is shown it, and who is connected goes on."""
    async with InjectorProcess(tmp_path, SHOP) as injector:
        review = review_of("deployment")
        connection = App.to(f"127.0.0.1:{injector.port}", tls=injector.authority.client())
        async with connection as app:
            assert (await app.ask("POST", "/inject", JSON, body=body(review))).status == 200
            first, injector.authority = injector.authority, Authority()
            injector.write_certificate(injector.authority)
            await injector.wait_for_line(loaded("certificate", "shop"), "the new certificate")
            assert "patch" in await injector.ask(review)
            assert (await app.ask("POST", "/inject", JSON, body=body(review))).status == 200
        injector.authority, second = first, injector.authority
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await injector.ask(review)
        injector.authority = second
        assert await injector.metric("sidecar_injector_certificate_expires_at") > 1_767_225_600
        injector.send_signal(signal.SIGTERM)
        await _hurried(injector)


async def test_a_bad_certificate_leaves_the_one_before_in_use(tmp_path: Path) -> None:
    """Told once in a line and for as long as it lasts in a metric; a good one heals it."""
    async with InjectorProcess(tmp_path, SHOP) as injector:
        series = 'sidecar_injector_reload_ok{source="certificate"}'
        assert await injector.metric(series) == 1
        chain, _, _ = injector.authority.pems("localhost")
        _, key, _ = injector.authority.pems("localhost")
        injector.tls.write({"tls.crt": chain, "tls.key": key})
        line = await injector.wait_for_line(refused)
        assert (line["level"], line["source"]) == ("error", "certificate")
        assert "the private key is not that of the certificate" in line["problems"][0]
        assert await injector.metric(series) == 0
        assert "patch" in await injector.ask(review_of("deployment"))
        injector.write_certificate(injector.authority)
        await injector.wait_for_line(loaded("certificate", "shop"), "a good certificate")
        assert await injector.metric(series) == 1
        assert len([line for line in injector.lines if refused(line)]) == 1
        injector.send_signal(signal.SIGTERM)
        await _hurried(injector)


async def test_fragments_change_while_it_serves(tmp_path: Path) -> None:
    """A chart is upgraded; a bad fragment leaves its config as it was, and the others change all the same."""
    async with InjectorProcess(tmp_path, SHOP) as injector:
        review = review_of("deployment")
        newer = fragment_data()
        newer["container"]["image"] = "registry.example/sidecar:0.2.0"
        injector.write_fragments({"shop": newer, "blog": fragment_data()})
        await injector.wait_for_line(loaded("configs", "blog", "shop"), "the new fragments")
        assert _image(patched(review, await injector.ask(review))) == "registry.example/sidecar:0.2.0"
        injector.write_fragments(
            {"shop": {**newer, "native": "yes", "x": 1}, "blog": {**newer, "namespaces": ["shop"]}}
        )
        line = await injector.wait_for_line(refused)
        path = injector.configs.path / "shop.json"
        assert [problem.partition(": ")[0] for problem in line["problems"]] == [str(path)] * 2
        assert line["configs"] == ["blog", "shop"]
        assert await injector.metric('sidecar_injector_reload_ok{source="configs"}') == 0
        assert _image(patched(review, await injector.ask(review))) == "registry.example/sidecar:0.2.0"
        review["request"]["object"]["metadata"]["annotations"]["sidecar.dev/inject"] = "blog"
        assert _image(patched(review, await injector.ask(review))) == "registry.example/sidecar:0.2.0"
        injector.write_fragments({"blog": newer})
        await injector.wait_for_line(loaded("configs", "blog"), "the last fragments")
        assert "there is no config 'shop'" in (await injector.ask(review_of("deployment")))["warnings"][0]
        injector.send_signal(signal.SIGTERM)
        await _hurried(injector)


async def test_it_serves_on_while_it_leaves_and_answers_what_is_under_way(tmp_path: Path) -> None:
    """SIGTERM: not ready, yet no pod is created without its sidecar meanwhile; the second one ends the waiting."""
    async with InjectorProcess(tmp_path, SHOP) as injector:
        review = review_of("deployment")
        text = body(review)
        async with App.to(f"127.0.0.1:{injector.port}", tls=injector.authority.client()) as app:
            head = f"POST /inject HTTP/1.1\r\nHost: x\r\n{JSON}\r\nContent-Length: {len(text)}\r\n\r\n"
            await app.send(head.encode() + text[:100])
            injector.send_signal(signal.SIGTERM)
            await injector.wait_for_line(lambda line: line.get("step") == "not_ready")
            assert await injector.get("/readyz") == (503, "not ready: draining\n")
            assert "patch" in await injector.ask(review)
            injector.send_signal(signal.SIGTERM)
            await injector.wait_for_line(lambda line: line.get("step") == "close")
            await app.send(text[100:])
            reply = await app.read_answer("POST")
            assert (reply.status, reply.value("Connection")) == (200, "close")
        assert await injector.wait() == 0
    assert [line["step"] for line in injector.lines if line["msg"] == "drain"] == ["not_ready", "close"]
    assert injector.errors == b""


async def test_without_a_hurry_it_ends_by_itself(tmp_path: Path) -> None:
    """After as long as it was told to serve on, which the kubelet's grace must be longer than."""
    async with InjectorProcess(tmp_path, SHOP, leave="200ms") as injector:
        assert await injector.terminate() == 0


async def test_malformed_and_foreign_peers_do_no_harm(tmp_path: Path) -> None:
    """Somebody in the cluster speaks plain HTTP, sends nonsense, or an old review; the next pod gets its sidecar."""
    async with InjectorProcess(tmp_path, SHOP) as injector:
        _, writer = await asyncio.open_connection("127.0.0.1", injector.port)
        writer.write(b"POST /inject HTTP/1.1\r\n\r\n")
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        async with App.to(f"127.0.0.1:{injector.port}", tls=injector.authority.client()) as app:
            for text in (b"{", b"\0" * 64, b'{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1beta1"}'):
                reply = await app.ask("POST", "/inject", JSON, body=text)
                assert reply.status == 400
            assert (await app.ask("POST", "/inject", "Content-Type: text/plain", body=b"{}")).status == 415
        async with App.to(f"127.0.0.1:{injector.port}", tls=injector.authority.client()) as app:
            await app.send(f"POST /inject HTTP/1.1\r\nHost: x\r\n{JSON}\r\nContent-Length: 9\r\n\r\n{{".encode())
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(ssl.SSLError):
            await asyncio.open_connection("127.0.0.1", injector.port, ssl=old, server_hostname="localhost")
        assert "patch" in await injector.ask(review_of("pod"))
        injector.send_signal(signal.SIGTERM)
        await _hurried(injector)
    assert [line for line in injector.lines if line["level"] != "info"] == []
    assert injector.errors == b""


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"--certificate": "gone"}, "--certificate: gone cannot be read: No such file or directory"),
        ({"--configs": "gone"}, "--configs: gone cannot be read: No such file or directory"),
        ({"--listen": "8443"}, '--listen: write "host:port"'),
        ({"--listen": "unix:/x"}, '--listen: write "host:port"'),
        ({"--leave": "5"}, "--leave: '5' is not a duration"),
    ],
)
def test_what_keeps_it_from_starting_is_told(tmp_path: Path, changes: dict[str, str], sentence: str) -> None:
    """On stderr, in a sentence, with exit code 1."""
    command = injecting(InjectorProcess(tmp_path, SHOP).options | changes)
    ended = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": PATHS[0]}, capture_output=True, text=True, timeout=30, check=False
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(sentence)
    assert "Traceback" not in ended.stderr


def _image(pod: Json) -> str:
    image: str = pod["spec"]["initContainers"][0]["image"]
    return image


async def _hurried(injector: InjectorProcess) -> int:
    """Wait until it leaves, and end the waiting."""
    await injector.wait_for_line(lambda line: line.get("step") == "not_ready")
    return await injector.terminate()
