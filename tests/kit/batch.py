"""What an app sends as a batch, and reads of its answer."""

import json
from typing import Any

from tests.kit.app import App, Reply

URL = "/_sidecar/batch/vendor"
LINES = "Content-Type: application/x-ndjson"
JSON = "Content-Type: application/json"

Result = dict[str, Any]


def item(name: object, path: str | None = None, method: str = "GET", **members: object) -> dict[str, object]:
    """Make an item."""
    return {"id": str(name), "method": method, "path": f"/{name}" if path is None else path, **members}


async def send_whole(app: App, items: list[Any], *headers: str, url: str = URL, **members: object) -> Reply:
    """Send a batch in JSON."""
    return await app.ask("POST", url, JSON, *headers, body=json.dumps({"items": items, **members}).encode())


async def send_lines(app: App, content: bytes, *headers: str, url: str = URL) -> Reply:
    """Send a batch in lines, all at once."""
    return await app.ask("POST", url, LINES, *headers, body=content)


def lines_of(items: list[Any]) -> bytes:
    """Write items as lines."""
    return b"".join(json.dumps(one).encode() + b"\n" for one in items)


def results(reply: Reply) -> list[Result]:
    """Give the results of a whole batch, in the order asked: one for each, and the counts agree."""
    assert reply.status == 200, reply.body
    assert not reply.is_cut_off
    if reply.value("Content-Type") == "application/json":
        answer = reply.json()
        found, counts = answer["items"], answer["counts"]
        assert [one["index"] for one in found] == list(range(len(found)))
    else:
        *found, last = [json.loads(line) for line in reply.body.splitlines()]
        counts = last["counts"]
        found.sort(key=lambda one: one["index"])
    told: list[Result] = found
    assert [one["index"] for one in told] == list(range(len(told))), "each item has one result"
    assert counts == {
        "items": len(found),
        **{name: sum(one["outcome"] == name for one in found) for name in ("success", "failure", "rejected")},
        "attempts": sum(one["attempts"] for one in found),
    }
    return told
