"""The command line: what is imported, is imported by the command that needs it, so that `run` starts fast and lean.

Answers go to stdout, problems to stderr. Exit codes: 0 done, 1 a problem was found, 2 wrong usage.
"""

# ruff: noqa: PLC0415  an import inside a command is how the other commands go without it
import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from sidecar import __version__
from sidecar.config.load import admin_door, load, presets_of, read_all, tables
from sidecar.config.presets import Presets
from sidecar.config.problem import ConfigError, Problem
from sidecar.config.rules import check
from sidecar.waiting import add_events, add_jobs, print_json

_OK, _PROBLEM = 0, 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command. Gives the exit code; argparse itself exits with 2 on wrong usage."""
    arguments = _parser().parse_args(argv)
    try:
        code = int(arguments.command(arguments))
        print(end="", flush=True)  # Here, where a reader that is gone can still be answered; there may be no stdout.
    except ConfigError as error:
        _tell(error.problems)
        return _PROBLEM
    except BrokenPipeError:  # The reader of our output, such as `head`, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # So that the flush at exit fails no more.
        return _PROBLEM
    except KeyboardInterrupt:
        return 130  # As shells have it: 128 + SIGINT.
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sidecar", description="Calls third-party APIs for the application beside it."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="serve until SIGTERM")
    run.set_defaults(command=_run)
    check_ = commands.add_parser("check", help="report everything that is wrong with the config")
    check_.set_defaults(command=_check)
    show = commands.add_parser("show", help="show what the sidecar works with")
    shown = show.add_subparsers(required=True, metavar="WHAT")
    config = shown.add_parser("config", help="the effective config, defaults filled in")
    config.set_defaults(command=_show_config)
    services = shown.add_parser("services", help="the services of the running sidecar, and how they are")
    services.set_defaults(command=_show_services)
    providers = shown.add_parser("providers", help="the presets: what is known about vendors")
    providers.add_argument("name", nargs="?", help="print the file of this one")
    providers.add_argument(
        "-c", "--config", type=Path, help="whose own presets to show; default: ./sidecar.toml if there"
    )
    providers.set_defaults(command=_show_providers)
    login = commands.add_parser("login", help="consent at the vendor, and store the refresh token for a service")
    login.add_argument("--device", action="store_true", help="type a code on another device")
    login.add_argument("--no-browser", action="store_true", help="paste the address that the browser ends at")
    login.set_defaults(command=_login)
    token = commands.add_parser("token", help="how the token of a service stands in the running sidecar")
    token.set_defaults(command=_token)
    for command in (login, token):
        command.add_argument("service", metavar="SERVICE")
    add_jobs(commands)
    add_events(commands)
    audit = commands.add_parser("audit", help="the audit log").add_subparsers(required=True, metavar="WHAT")
    verify = audit.add_parser("verify", help="find what was removed or changed")
    verify.add_argument("file", metavar="FILE", type=Path, nargs="+", help="of one chain; -: stdin, lines of the log")
    verify.add_argument("--last", metavar="HASH", help="a hash that was noted elsewhere; it must occur")
    verify.set_defaults(command=_audit_verify)
    for command in (run, check_, config, services, login, token):
        command.add_argument("-c", "--config", type=Path, default=Path("sidecar.toml"), help="default: ./sidecar.toml")
    for command in (config, services, providers):
        command.add_argument("--json", action="store_true", help="for programs")

    injector = commands.add_parser("injector", help="put the sidecar into pods, as Kubernetes creates them")
    for name, text in (("configs", "the directory of fragments"), ("certificate", "PEM"), ("key", "its key, PEM")):
        injector.add_argument(f"--{name}", type=Path, required=True, help=text)
    injector.add_argument("--namespace", required=True, help="its own, where no pod gets a sidecar")
    injector.add_argument("--listen", default="0.0.0.0:8443", metavar="HOST:PORT", help="default: 0.0.0.0:8443")
    injector.add_argument("--leave", default="5s", metavar="DURATION", help="served on after SIGTERM; default: 5s")
    injector.set_defaults(command=_injector)

    commands.add_parser("schema", help="print the JSON Schema of the config, for editors").set_defaults(command=_schema)
    demo = commands.add_parser("demo", help="see it work, with a scripted vendor on loopback")
    demo.add_argument("--once", action="store_true", help="make the calls, print a summary, and end")
    demo.set_defaults(command=_demo)
    commands.add_parser("version", help="print the version").set_defaults(command=_version)
    return parser


def _run(arguments: argparse.Namespace) -> int:
    from sidecar.serve import run

    return int(run(arguments.config))


def _injector(arguments: argparse.Namespace) -> int:
    from sidecar.injecting import Options, run

    wanted = {name: getattr(arguments, name) for name in Options._fields}
    return int(run(Options(**wanted)))


def _check(arguments: argparse.Namespace) -> int:
    config = read_all(arguments.config)
    _tell(check(config))
    services, routes = len(config.services), sum(len(entry.routes) for entry in config.services.values())
    webhooks = f", {_count(len(config.webhooks), 'webhook')}" if config.webhooks else ""
    print(f"ok: {_count(services, 'service')}, {_count(routes, 'route')}{webhooks}")
    return _OK


def _show_config(arguments: argparse.Namespace) -> int:
    from sidecar.config.show import as_data, as_toml

    config = load(arguments.config)
    if arguments.json:
        print_json(as_data(config))
    else:
        sys.stdout.write(as_toml(config))
    return _OK


def _show_services(arguments: argparse.Namespace) -> int:
    from sidecar.admin.ask import Unreachable, ask

    door = admin_door(arguments.config)
    try:
        services = ask(door, "/api/services")
    except Unreachable as error:
        print(f"sidecar: {error}", file=sys.stderr)
        return _PROBLEM
    if arguments.json:
        print_json(services)
    else:
        from sidecar.admin.table import print_services

        print_services(services)
    return _OK


def _show_providers(arguments: argparse.Namespace) -> int:
    from sidecar.config.show import presets_as_data

    path: Path = arguments.config or Path("sidecar.toml")
    is_named = arguments.config is not None or path.exists()  # Presets are chosen before there is a config.
    presets = presets_of(tables(path), path.parent) if is_named else Presets()
    if arguments.name is not None:
        return _show_provider(presets, arguments.name)
    rows = presets_as_data(presets)
    if arguments.json:
        print_json(rows)
    elif sys.stdout.isatty():
        _print_table(rows)
    else:
        for row in rows:
            print(*(" ".join(cell) if isinstance(cell, list) else cell for cell in row.values()), sep="\t")
    _tell(presets.problems)
    return _PROBLEM if presets.problems else _OK


def _show_provider(presets: Presets, name: str) -> int:
    if (sentence := presets.missing(name)) is not None:
        print(f"sidecar: {sentence}", file=sys.stderr)
        return _PROBLEM
    if presets.get(name) is None:
        _tell(presets.problems)
        return _PROBLEM
    sys.stdout.write(presets.text(name))
    return _OK


def _demo(arguments: argparse.Namespace) -> int:
    from sidecar.demo.tour import main as tour

    return int(tour(once=arguments.once))


def _login(arguments: argparse.Namespace) -> int:
    from sidecar.auth.login.failed import LoginFailed
    from sidecar.login import at_terminal, login

    config = load(arguments.config)
    try:
        login(config, arguments.service, at_terminal(), device=arguments.device, no_browser=arguments.no_browser)
    except LoginFailed as failed:
        print(f"sidecar: {failed}", file=sys.stderr)
        return _PROBLEM
    return _OK


def _token(arguments: argparse.Namespace) -> int:
    from sidecar.admin.ask import Unreachable
    from sidecar.admin.token import as_text, token_state

    door = admin_door(arguments.config)
    try:
        print(as_text(arguments.service, token_state(door, arguments.service)))
    except Unreachable as error:
        print(f"sidecar: {error}", file=sys.stderr)
        return _PROBLEM
    return _OK


def _audit_verify(arguments: argparse.Namespace) -> int:
    from sidecar.telemetry.audit.verify import verify, verify_stream

    if arguments.file == [Path("-")]:
        report = verify_stream(sys.stdin.buffer)
    else:
        report = verify(arguments.file, arguments.last)
    for finding in report.findings:
        print(finding, file=sys.stderr)
    print(report.summary)
    return report.exit_code


def _schema(_: argparse.Namespace) -> int:
    import json

    from sidecar.config.schema import schema

    print(json.dumps(schema(), indent=2))  # In ASCII: some patterns have blanks in them that editors stumble over.
    return _OK


def _version(_: argparse.Namespace) -> int:
    print(f"sidecar {__version__}")
    return _OK


def _tell(problems: Sequence[Problem]) -> None:
    for problem in problems:
        print(problem, file=sys.stderr)


def _print_table(rows: Sequence[Mapping[str, str | list[str]]]) -> None:
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    # Folded, not cut: half a URL helps nobody. Text, so that brackets in a value are not read as markup.
    table = Table(*(Column(name, overflow="fold", no_wrap=name == "name") for name in rows[0]))
    for row in rows:
        table.add_row(*(Text("\n".join(cell) if isinstance(cell, list) else cell) for cell in row.values()))
    Console().print(table)


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
