"""The command line, as a shell sees it: exit codes, and what goes to which stream."""

import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar import __version__
from sidecar.cli import main
from sidecar.config.load import read
from tests.telemetry.audit.logs import write_log

ROOT = Path(__file__).parent.parent
GOOD = '[services.crm]\nbase_url = "https://a.example"\n[services.crm.routes.a]\nmatch = "GET /a"\n'


def sidecar(*arguments: str, at: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    command = [sys.executable, "-m", "sidecar", *arguments]
    return subprocess.run(
        command, cwd=at, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=30, check=False
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A file to write a config to."""
    path = tmp_path / "sidecar.toml"
    path.write_text(GOOD)
    return path


def test_check_counts_what_is_there_and_ends_with_0(config: Path) -> None:
    """The default path is ./sidecar.toml."""
    ended = sidecar("check", at=config.parent)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "ok: 1 service, 1 route\n", "")


def test_check_reports_every_problem_on_stderr_and_ends_with_1(config: Path) -> None:
    """One line each; a secret that stands in the file is in none of them."""
    canary = secrets.token_hex(16)
    config.write_text(
        f'[listen]\nadmn = "a"\n[services.crm]\ntimout = "1s"\nauth = {{ kind = "bearer", secret = "{canary}" }}\n'
    )
    ended = sidecar("check", "-c", str(config))
    assert (ended.returncode, ended.stdout) == (1, "")
    paths = [line.partition(": ")[0] for line in ended.stderr.splitlines()]
    assert paths == ["listen.admn", "services.crm.timout", "services.crm.auth.secret", "services.crm.base_url"]
    assert canary not in ended.stderr


def test_check_marks_warnings_and_still_ends_with_0(config: Path) -> None:
    """A warning stops nobody."""
    config.write_text('[services.crm]\nbase_url = "https://a.example"\nallow = []\n')
    ended = sidecar("check", "-c", str(config))
    assert (ended.returncode, ended.stdout) == (0, "ok: 1 service, 0 routes\n")
    assert ended.stderr.startswith("services.crm.allow: warning: ")


def test_a_missing_file_is_a_sentence_and_1(tmp_path: Path) -> None:
    """No traceback."""
    ended = sidecar("check", "-c", str(tmp_path / "none.toml"))
    assert ended.returncode == 1
    assert ended.stderr == f"{tmp_path}/none.toml: there is no such file; write one, or name it with -c\n"


@pytest.mark.parametrize("arguments", [[], ["chek"], ["show"], ["check", "--jsn"]])
def test_wrong_usage_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """As shells expect it."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: sidecar" in capsys.readouterr().err


def test_output_that_nobody_reads_to_its_end_is_no_traceback() -> None:
    """As with `sidecar show config | head -1`."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "sidecar", "show", "config"]
    ended = subprocess.run(command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, timeout=30, check=False)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (1, b"")


def test_version_is_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    """For scripts."""
    assert main(["version"]) == 0
    assert capsys.readouterr().out == f"sidecar {__version__}\n"


def test_show_config_gives_toml_and_json_of_the_same(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both read back to the config."""
    assert main(["show", "config", "-c", str(config)]) == 0
    toml = tomllib.loads(capsys.readouterr().out)
    assert main(["show", "config", "--json", "-c", str(config)]) == 0
    assert json.loads(capsys.readouterr().out) == toml
    assert read(toml) == read(tomllib.loads(GOOD))


def test_a_command_imports_only_what_it_needs() -> None:
    """Start-up is fast and lean: what a command does not need, it does not import."""
    script = "import sys, sidecar.cli; print(*{'rich', 'sidecar.app', 'sidecar.demo.tour'} & {*sys.modules})"
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout == "\n"


class Admin:
    """A listener that gives each connection the same answer."""

    def __init__(self, listening: socket.socket) -> None:
        self.answer = b""
        self.asked = b""
        self._listening = listening
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection:
                self.asked = connection.recv(65536)
                connection.sendall(self.answer)

    def close(self) -> None:
        """Answer no more."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(5)


@pytest.fixture(params=["tcp", "unix"])
def admin(request: pytest.FixtureRequest, tmp_path: Path, config: Path) -> Iterator[Admin]:
    """An admin listener, and a config that names it."""
    if request.param == "unix":
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(tmp_path / "a.sock"))
        address = f"unix:{tmp_path}/a.sock"
    else:
        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listening.getsockname()[1]}"
    listening.listen()
    config.write_text(f'[listen]\nadmin = "{address}"\n')
    served = Admin(listening)
    yield served
    served.close()


def reply(content: str, status: str = "200 OK") -> bytes:
    """Make an answer of the admin API."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\n\r\n{content}".encode()


def test_show_services_asks_the_running_sidecar(admin: Admin, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table for people, JSON for programs, over TCP and Unix sockets."""
    crm = {"in_flight": 3, "is_ready": True, "pool": {"idle": 1}, "note": None, "routes": ["deep"]}
    services = {"generation": 1, "services": {"crm": crm}}
    admin.answer = reply(json.dumps(services))
    assert main(["show", "services", "-c", str(config)]) == 0
    table = capsys.readouterr().out
    assert [word in table for word in ("crm", "in flight 3", "is ready yes", "pool", "idle 1", "deep")] == [
        *[True] * 5,
        False,
    ]
    assert admin.asked.startswith(b"GET /api/services HTTP/1.1\r\n")
    assert b"\r\nHost: localhost\r\n" in admin.asked
    assert main(["show", "services", "--json", "-c", str(config)]) == 0
    assert json.loads(capsys.readouterr().out) == services


@pytest.mark.parametrize(
    "command",
    [("show", "services"), ("jobs", "list"), ("jobs", "show", "crm.1"), ("events", "list"), ("token", "crm")],
)
def test_a_running_sidecar_is_asked_though_its_file_is_refused(
    admin: Admin, config: Path, command: tuple[str, ...]
) -> None:
    """It goes on with the config before it, and somebody wants to know how."""
    config.write_text(config.read_text() + "[services.crm]\ntimeot = 1\n")
    admin.answer = reply("{}", "404 Not Found")
    assert main(["check", "-c", str(config)]) == 1
    assert main([*command, "-c", str(config)]) == 1
    assert admin.asked.startswith(b"GET /api/")


@pytest.mark.parametrize("door", ["4001", '"somewhere"', "[]"])
def test_a_file_that_does_not_say_where_the_sidecar_is_asked_is_told_of(
    config: Path, capsys: pytest.CaptureFixture[str], door: str
) -> None:
    """By its path, as ever."""
    config.write_text(f"[listen]\nadmin = {door}\n")
    assert main(["show", "services", "-c", str(config)]) == 1
    assert "listen.admin: " in capsys.readouterr().err


@pytest.mark.parametrize("answer", [reply("", "404 Not Found"), reply("<html>"), b"SSH-2.0\r\n\r\n", b""])
def test_show_services_says_when_something_else_answers(
    admin: Admin, config: Path, capsys: pytest.CaptureFixture[str], answer: bytes
) -> None:
    """A sentence and 1."""
    admin.answer = answer
    assert main(["show", "services", "-c", str(config)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("sidecar: ")


def test_show_services_says_when_nothing_listens(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what to do."""
    config.write_text(f'[listen]\nadmin = "unix:{config.parent}/none.sock"\n')
    assert main(["show", "services", "-c", str(config)]) == 1
    assert "start one with: sidecar run" in capsys.readouterr().err


# Presets.


def presets_beside(
    config: Path, text: str = 'base_url = "https://api.acme.example"\n[auth]\nkind = "bearer"\n'
) -> Path:
    """Write a config with a preset of the user's own; give the preset's file."""
    config.write_text('[sidecar]\nproviders_dir = "own"\n')
    path = config.parent / "own" / "acme.toml"
    path.parent.mkdir()
    path.write_text(text)
    return path


def test_show_providers_gives_a_line_for_each_preset_to_a_pipe(config: Path) -> None:
    """Name, base URL, credentials, what else it brings along, and where it stands; nothing is wrapped or coloured."""
    presets_beside(config)
    ended = sidecar("show", "providers", at=config.parent)
    assert (ended.returncode, ended.stderr) == (0, "")
    rows = {cells[0]: cells[1:] for cells in (line.split("\t") for line in ended.stdout.splitlines())}
    assert rows["acme"] == ["https://api.acme.example", "bearer", "", "own/acme.toml"]
    assert rows["stripe"][:2] == ["https://api.stripe.com", "bearer"]
    assert {"idempotency", "retry"} <= set(rows["stripe"][2].split())
    assert rows["stripe"][3] == "built in"
    assert rows["shopify"][:2] == ["https://{shop}.myshopify.com", "api_key X-Shopify-Access-Token"]
    assert all(len(cells) == 4 for cells in rows.values())
    assert list(rows) == sorted(rows)


def test_show_providers_gives_people_a_table_and_programs_json(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same rows."""
    presets_beside(config)
    assert main(["show", "providers", "--json", "-c", str(config)]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["name"]: row["from"] for row in rows}["acme"] == "own/acme.toml"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["show", "providers", "-c", str(config)]) == 0
    table = capsys.readouterr().out
    assert all(row["name"] in table and row["base_url"] in table for row in rows)
    assert "\t" not in table


def test_show_providers_needs_no_config_but_the_one_that_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A preset is chosen before the config is written; and one with other problems still has its presets."""
    monkeypatch.chdir(tmp_path)
    assert main(["show", "providers"]) == 0
    assert "stripe\t" in capsys.readouterr().out
    (tmp_path / "sidecar.toml").write_text("[servces]\n")
    assert main(["show", "providers"]) == 0
    assert main(["show", "providers", "-c", "none.toml"]) == 1
    assert "there is no such file" in capsys.readouterr().err


def test_show_providers_prints_the_file_of_one(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With its comments: where the facts are from, and a start for a preset of one's own."""
    path = presets_beside(config, '# Acme.\nbase_url = "https://api.acme.example"\n')
    assert main(["show", "providers", "acme", "-c", str(config)]) == 0
    assert capsys.readouterr().out == path.read_text()
    assert main(["show", "providers", "acne", "-c", str(config)]) == 1
    assert capsys.readouterr().err == (
        'sidecar: there is no such provider, neither built in nor in own; did you mean "acme"?\n'
    )


def test_show_providers_says_which_file_cannot_be_read(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And shows the others."""
    presets_beside(config, "= 1")
    assert main(["show", "providers", "-c", str(config)]) == 1
    captured = capsys.readouterr()
    assert "stripe\t" in captured.out
    assert captured.err.startswith("own/acme.toml: this is not TOML: ")
    assert main(["show", "providers", "acme", "-c", str(config)]) == 1
    assert capsys.readouterr().err.startswith("own/acme.toml: this is not TOML: ")


# Credentials and the audit log.


def test_token_tells_how_the_token_of_a_service_stands(
    admin: Admin, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the running sidecar; each token where a service has several, and a sentence where it has none."""
    token = {"state": "valid", "number": 3, "expires_in": 90.0}
    services = {"crm": {"token": token}, "erp": {"token": [token, {"state": "none"}]}, "bare": {}}
    admin.answer = reply(json.dumps({"services": services}))
    assert main(["token", "crm", "-c", str(config)]) == 0
    assert capsys.readouterr().out == "crm: valid\n  number: 3\n  expires_in: 90 s\n"
    assert main(["token", "erp", "-c", str(config)]) == 0
    assert capsys.readouterr().out.endswith("expires_in: 90 s\nerp: none\n")
    assert main(["token", "bare", "-c", str(config)]) == 0
    assert "is no token" in capsys.readouterr().out
    assert main(["token", "crn", "-c", str(config)]) == 1
    assert capsys.readouterr().err.startswith("sidecar: the running sidecar has no service crn")


REFRESHING = """
[secrets.files]
kind = "file"
path = "/nowhere"
[services.crm]
base_url = "https://a.example"
[services.crm.auth]
kind = "oauth2_refresh_token"
token_url = "https://a.example/token"
client_id = "us"
client_auth = "none"
refresh_token = "files:refresh"
"""


@pytest.mark.parametrize(
    ("text", "arguments", "sentence"),
    [
        (GOOD, ["crn"], "there is no service crn; known are: crm"),
        (GOOD, ["crm"], "nobody logs in for crm"),
        (REFRESHING, ["crm"], "services.crm.auth.login is missing"),
        (
            f'{REFRESHING}login = {{ authorize_url = "https://a.example/a" }}',
            ["crm", "--device"],
            "no login.device_url",
        ),
        (
            f'{REFRESHING}login = {{ authorize_url = "https://a.example/a" }}\nca_file = "/none.pem"',
            ["crm"],
            "services.crm.auth.ca_file: ",
        ),
    ],
)
def test_login_says_what_is_missing(
    config: Path, capsys: pytest.CaptureFixture[str], text: str, arguments: list[str], sentence: str
) -> None:
    """Before anybody is sent to a vendor."""
    config.write_text(text)
    assert main(["login", *arguments, "-c", str(config)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("sidecar: ")
    assert sentence in captured.err


def test_audit_verify_tells_problems_on_stderr_and_how_far_the_chain_goes_on_stdout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """0 when all is well, 1 otherwise; rotated files are found, or named in any order."""
    log = tmp_path / "audit.log"
    write_log(log, 5)
    assert main(["audit", "verify", str(log)]) == 0
    captured = capsys.readouterr()
    assert (captured.err, captured.out.startswith("7 records, 0 to 6, last hash ")) == ("", True)
    noted = json.loads(log.read_text().splitlines()[3])["hash"]
    assert main(["audit", "verify", str(log), "--last", noted]) == 0
    assert main(["audit", "verify", str(log), "--last", secrets.token_hex(32)]) == 1
    assert "no record has the hash" in capsys.readouterr().err
    log.write_text("".join(line for line in log.read_text().splitlines(keepends=True) if '"seq":3,' not in line))
    assert main(["audit", "verify", str(log)]) == 1
    assert capsys.readouterr().err.startswith(f"{log}:4: record 3 is missing")
    assert main(["audit", "verify", str(tmp_path / "none.log")]) == 1
    assert "cannot be read" in capsys.readouterr().err


def test_audit_verify_reads_lines_of_the_log_from_stdin(tmp_path: Path) -> None:
    """As with `kubectl logs POD | sidecar audit verify -`."""
    log = tmp_path / "audit.log"
    write_log(log, 2)
    captured = '{"msg":"ready"}\n' + log.read_text()
    command = [sys.executable, "-m", "sidecar", "audit", "verify", "-"]
    ended = subprocess.run(command, cwd=ROOT, input=captured, capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stderr, ended.stdout[:10]) == (0, "", "4 records,")


def test_schema_prints_what_editors_and_helm_read() -> None:
    """JSON in ASCII, without a config being there."""
    ended = sidecar("schema")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.isascii()
    assert json.loads(ended.stdout)["properties"]["services"]["type"] == "object"
