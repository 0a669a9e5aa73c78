"""`sidecar token SERVICE`: the state and the expiry, in words; the value is nowhere to be had."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from sidecar.admin.ask import Unreachable
from sidecar.admin.token import as_text, token_state

STATE = {
    "state": "valid", "kind": "Bearer", "number": 3, "age": 61.5, "expires_in": 3000.0, "renewed_in": 2700.0,
    "grant": {"refresh_token": "stored", "version": "7"},
}  # fmt: skip


@pytest.fixture
def admin() -> Iterator[str]:
    """An admin door with two services."""

    class Door(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer with the picture."""
            services: dict[str, Any] = {"crm": {"token": STATE}, "stripe": {"pool": {}}}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"services": services}).encode())

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Door)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_the_running_sidecar_is_asked(admin: str) -> None:
    """For the one service, among all."""
    assert token_state(admin, "crm") == STATE
    assert token_state(admin, "stripe") is None


def test_a_service_that_is_not_there_is_told_with_those_that_are(admin: str) -> None:
    """Typing errors are the rule."""
    with pytest.raises(Unreachable, match="no service cmr; known are: crm, stripe"):
        token_state(admin, "cmr")


def test_the_state_is_told_in_words_and_lengths_as_people_say_them() -> None:
    """Whoever is woken at three does not divide by sixty."""
    assert as_text("crm", STATE).splitlines() == [
        "crm: valid", "  kind: Bearer", "  number: 3", "  age: 62 s", "  expires_in: 50 min", "  renewed_in: 45 min",
        "  grant: refresh_token stored, version 7",
    ]  # fmt: skip


def test_what_has_no_end_and_what_is_no_token_is_said() -> None:
    """Neither is an error."""
    assert "expires_in: without end" in as_text("crm", {"state": "valid", "expires_in": None})
    assert as_text("crm", {"expires_in": 864_000.0}).splitlines() == ["crm: unknown", "  expires_in: 10.0 days"]
    assert "no token" in as_text("stripe", None)
