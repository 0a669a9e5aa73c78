"""Waiting: the commands `sidecar jobs` and `sidecar events`: what waits in the running sidecar, and what became of it.

What they import for a command alone is imported by the command, so that `run` starts fast and lean.
"""

# ruff: noqa: PLC0415  an import inside a command is how the other commands go without it
import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from sidecar.config.load import admin_door

_OK, _PROBLEM = 0, 1
_JOB_COLUMNS = ("id", "state", "method", "path", "attempts", "created_at", "next_at", "error")
_EVENT_COLUMNS = ("id", "state", "type", "attempts", "created_at", "next_at", "error")


def add_jobs(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `sidecar jobs`."""
    jobs = commands.add_parser("jobs", help="the deferred calls").add_subparsers(required=True, metavar="WHAT")
    listed = jobs.add_parser("list", help="the newest first")
    listed.add_argument("--service", help="only of this one")
    listed.add_argument("--state", help="only those that are waiting, running, succeeded, failed, dead or cancelled")
    listed.set_defaults(command=_listed, path="jobs", columns=_JOB_COLUMNS, filters=("service", "state"))
    show = jobs.add_parser("show", help="one job, with the vendor's answer")
    retry = jobs.add_parser("retry", help="try a job again that failed, is dead or was cancelled")
    discard = jobs.add_parser("discard", help="cancel a job that waits; take one away that has ended")
    _add_common("jobs", listed, show, retry, discard)


def add_events(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `sidecar events`."""
    events = commands.add_parser("events", help="what vendors sent").add_subparsers(required=True, metavar="WHAT")
    listed = events.add_parser("list", help="the newest first")
    listed.add_argument("--webhook", help="only of this one")
    listed.add_argument("--state", help="only those that are waiting, running, delivered, dead or cancelled")
    listed.set_defaults(command=_listed, path="events", columns=_EVENT_COLUMNS, filters=("webhook", "state"))
    show = events.add_parser("show", help="one event, with its headers and body")
    retry = events.add_parser("retry", help="deliver an event now that waits, is dead or was cancelled, or once more")
    discard = events.add_parser("discard", help="cancel an event that waits; take one away that has ended")
    replay = events.add_parser("replay", help="deliver once more what was accepted since a time")
    replay.add_argument("webhook", metavar="WEBHOOK")
    replay.add_argument("--since", required=True, metavar="TIME", help='such as "2026-04-01T00:00:00Z"')
    replay.set_defaults(command=_replay)
    _add_common("events", listed, show, retry, discard, replay)


def _add_common(path: str, listed: argparse.ArgumentParser, *others: argparse.ArgumentParser) -> None:
    listed.add_argument("--limit", type=int, default=50, help="at most so many, up to 200; default: 50")
    listed.add_argument("--after", metavar="ID", help="those behind this one: the next page")
    listed.add_argument("--json", action="store_true", help="for programs")
    for command, method in zip(others, ("GET", "POST", "DELETE"), strict=False):
        command.add_argument("ids", metavar="ID", nargs="+")
        command.set_defaults(command=_each, path=path, method=method)
    for command in (listed, *others):
        command.add_argument("-c", "--config", type=Path, default=Path("sidecar.toml"), help="default: ./sidecar.toml")


def _listed(arguments: argparse.Namespace) -> int:
    wanted = {name: getattr(arguments, name) for name in (*arguments.filters, "limit", "after")}
    query = urlencode({name: value for name, value in wanted.items() if value is not None})
    answer = _asked(arguments, f"/api/{arguments.path}?{query}")
    if answer is None:
        return _PROBLEM
    rows = answer[arguments.path]
    if arguments.json:
        print_json(rows)
        return _OK
    if sys.stdout.isatty():
        print(*arguments.columns, sep="\t")
    for row in rows:
        print(*(row.get(name) or "-" for name in arguments.columns), sep="\t")
    if not rows:
        print(f"sidecar: there are no such {arguments.path}", file=sys.stderr)
    elif len(rows) == arguments.limit:
        print(f"sidecar: there may be more; go on with --after {rows[-1]['id']}", file=sys.stderr)
    return _OK


def _each(arguments: argparse.Namespace) -> int:
    from sidecar.admin.ask import Unreachable, ask

    admin, code = admin_door(arguments.config), _OK
    for name in arguments.ids:
        path = f"/api/{arguments.path}/{quote(name, safe='')}" + ("/retry" if arguments.method == "POST" else "")
        try:
            print_json(ask(admin, path, method=arguments.method))
        except Unreachable as error:
            print(f"sidecar: {name}: {error}", file=sys.stderr)
            code = _PROBLEM
    return code


def _replay(arguments: argparse.Namespace) -> int:
    """Ask until all was looked at: the sidecar takes so many at once."""
    replayed = without_body = 0
    told = {"webhook": arguments.webhook, "since": arguments.since, "after": ""}
    while True:
        answer = _asked(arguments, "/api/events/replay", told)
        if answer is None:
            return _PROBLEM
        replayed += answer["replayed"]
        without_body += answer["without_body"]
        told["after"] = answer["after"]
        if not told["after"]:
            break
    print(f"{replayed} will be delivered once more")
    if without_body:
        print(f"{without_body} cannot be: their bodies are not kept (keep_bodies)", file=sys.stderr)
    return _PROBLEM if without_body else _OK


def _asked(arguments: argparse.Namespace, path: str, told: Mapping[str, str] | None = None) -> Any:
    """Ask the running sidecar; None when there is no answer, which has been said then."""
    from sidecar.admin.ask import Unreachable, ask

    try:
        return ask(admin_door(arguments.config), path, told)
    except Unreachable as error:
        print(f"sidecar: {error}", file=sys.stderr)
        return None


def print_json(data: object) -> None:
    """Print for programs."""
    import json

    json.dump(data, sys.stdout, indent=2, ensure_ascii=False)
    print()
