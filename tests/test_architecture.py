"""The house stands as it is drawn: imports go down the ladder, files stay small, dangerous doors have one keeper."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import sidecar

HOUSE = Path(sidecar.__file__).parent
ROOT = HOUSE.parent

# Each rung may import from those after it, never from its own other rooms, never upwards.
LADDER = [
    ["__main__"],
    ["cli"],
    ["demo"],
    ["serve", "injecting", "login", "waiting"],
    ["app"],
    ["people"],
    ["doors", "generation", "process"],
    ["auditing", "own", "storing"],
    ["config"],
    ["downstream", "queue", "webhooks", "admin", "kubernetes"],
    ["working"],
    ["layers"],
    ["auth", "upstream"],
    ["store"],
    ["telemetry"],
    ["core"],
    ["sidecar"],  # The package itself: the map and the version, which imports nothing.
]
RUNG = {room: len(LADDER) - height for height, rooms in enumerate(LADDER) for room in rooms}

MODULE_LINES_MAX = 300
FUNCTION_LINES_MAX = 60

# Every place that may see a secret's value: where a header is built from it. The demo plays the vendor, who knows it.
REVEALERS = (
    "auth/",
    "queue/callback.py",
    "webhooks/delivery.py",
    "webhooks/verifying.py",
    "store/valkey/connecting.py",
    "upstream/dial.py",
    "upstream/proxy.py",
    "demo/",
)

# The one place that makes tasks, and what makes them.
TASK_MAKER = "core/tasks.py"
TASK_CALLS = {"create_task", "ensure_future", "TaskGroup", "run_coroutine_threadsafe", "eager_task_factory"}

# Memory that only those pay who use it.
HEAVY = [
    "sidecar.kubernetes",
    "rich",
    "botocore",
    "aiobotocore",
    "redis",
    "opentelemetry",
    "jsonschema_rs",
    "moto",
    "hypothesis",
]

PATHS = sorted(HOUSE.rglob("*.py"))


def short(path: Path) -> str:
    """The path inside the house."""
    return path.relative_to(HOUSE).as_posix()


def name(path: Path) -> str:
    """The module's dotted name."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(module: str) -> str:
    """The rung's entry that a module belongs to."""
    return module.split(".")[1] if "." in module else module


@cache
def tree(path: Path) -> ast.Module:
    """The module as Python reads it."""
    return ast.parse(path.read_text(), short(path))


MODULES = {name(path): path for path in PATHS}


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Give (module, line) for each import, inside of functions too; `from a import b` is `a.b` if that is a module."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{short(path)}:{node.lineno} imports relatively"
            assert node.module is not None
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield (inner if inner in MODULES else node.module), node.lineno


def ours(path: Path) -> list[tuple[str, int]]:
    """The imports from inside of the house."""
    return [(module, line) for module, line in imported(path) if module.split(".")[0] == "sidecar"]


def each_module() -> pytest.MarkDecorator:
    """Run a test once per module."""
    return pytest.mark.parametrize("path", PATHS, ids=short)


@each_module()
def test_every_module_has_its_rung(path: Path) -> None:
    """A new room is put on the ladder before anything stands in it."""
    assert room(name(path)) in RUNG


@each_module()
def test_imports_go_down_the_ladder(path: Path) -> None:
    """Never up, never sideways: neighbours meet as protocols from core, handed over by app.py."""
    here = room(name(path))
    wrong = [
        f"{short(path)}:{line} imports {module}, which is not below {here}"
        for module, line in ours(path)
        if room(module) != here and RUNG[room(module)] >= RUNG[here]
    ]
    assert wrong == []


@each_module()
def test_what_is_imported_exists(path: Path) -> None:
    """An import inside a function would tell only when it runs."""
    assert [f"{short(path)}:{line} {module}" for module, line in ours(path) if module not in MODULES] == []


def test_no_module_imports_itself_by_a_detour() -> None:
    """Inside of one room, too, imports form no cycle."""
    graph = {module: {to for to, _ in ours(path)} & MODULES.keys() for module, path in MODULES.items()}
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, "a cycle: " + " > ".join([*way[way.index(module) :], module])
        if module not in done:
            for to in sorted(graph[module]):
                visit(to, (*way, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@each_module()
def test_no_import_is_only_for_the_type_checker(path: Path) -> None:
    """A block under TYPE_CHECKING hides a cycle instead of solving it."""
    names = {node.id for node in ast.walk(tree(path)) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)}
    assert "TYPE_CHECKING" not in names


def test_the_vocabulary_needs_nothing_but_msgspec() -> None:
    """`core` is what everything else is told in; a library in it would be in everything."""
    foreign = {module.split(".")[0] for path in PATHS if room(name(path)) == "core" for module, _ in imported(path)}
    assert foreign - set(sys.stdlib_module_names) <= {"sidecar", "msgspec"}


@each_module()
def test_a_module_is_one_noun(path: Path) -> None:
    """At 300 lines, or 60 in a function, two nouns live together."""
    lines = len(path.read_text().splitlines())
    assert lines <= MODULE_LINES_MAX, f"{short(path)} has {lines} lines"
    functions = [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = {f.name: (f.end_lineno or 0) - f.lineno + 1 for f in functions}
    assert {function: lines for function, lines in long.items() if lines > FUNCTION_LINES_MAX} == {}


@each_module()
def test_every_module_says_what_it_is_for(path: Path) -> None:
    """The first lines are for whoever opens the file at three in the morning."""
    assert (ast.get_docstring(tree(path)) or "").strip()


def named(path: Path) -> Iterator[tuple[str, int]]:
    """Give (name, line) for each attribute, plain name and imported name."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute):
            yield node.attr, node.lineno
        elif isinstance(node, ast.Name):
            yield node.id, node.lineno
        elif isinstance(node, ast.ImportFrom):
            yield from ((alias.name, node.lineno) for alias in node.names)


@each_module()
def test_only_one_place_makes_tasks(path: Path) -> None:
    """A task has a name and an owner, and is awaited when its owner stops: Tasks.spawn."""
    if short(path) != TASK_MAKER:
        assert [f"{short(path)}:{line} {used}" for used, line in named(path) if used in TASK_CALLS] == []


@each_module()
def test_secrets_are_revealed_only_where_credentials_are_built(path: Path) -> None:
    """So a review of who sees secrets reads a handful of files."""
    if not short(path).startswith((*REVEALERS, "core/secret.py")):
        assert [f"{short(path)}:{line}" for used, line in named(path) if used == "reveal"] == []


def test_the_map_shows_every_module_and_nothing_else() -> None:
    """The docstring of the package is the first thing that a newcomer reads."""
    drawn = sidecar.__doc__ or ""
    shown = set(re.findall(r"[\w]+\.py\b", drawn))
    standing = {path.name for path in PATHS} - {"__init__.py"}
    assert shown - {"__init__.py"} == standing
    rooms = {path.parent.name for path in PATHS if path.name == "__init__.py"} - {HOUSE.name}
    assert {missing for missing in rooms if f"{missing}/" not in drawn} == set()


def test_the_daemon_does_not_load_what_it_may_not_need() -> None:
    """Heavy drivers are imported where they are opened, so that a pod which does not use them does not pay for them."""
    ask = f"import json, sys, sidecar.app; print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    answer = subprocess.run(
        [sys.executable, "-c", ask], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout) == []
