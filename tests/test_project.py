"""The project's own files: locks that work behind any mirror, and rules of lint that are switched off for a reason."""

import ast
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LOCKS = sorted(ROOT.glob("*.lock")) + sorted((ROOT / "bench").glob("*.lock"))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_pins_by_hash_and_names_no_registry(lock: Path) -> None:
    """Whoever installs from it uses the mirror that pip knows, and gets the very same files."""
    text = lock.read_text()
    assert not re.search(r"://|index-url|find-links|trusted-host|@ *file", text)
    entries = [entry for entry in re.split(r"\n(?=[a-z0-9])", text, flags=re.IGNORECASE) if "==" in entry]
    assert entries
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize("file", ["pyproject.toml", "tests/ruff.toml"])
def test_every_rule_that_is_off_says_why(file: str) -> None:
    """`select = ["ALL"]` is worth something only if each exception is argued for."""
    rules = re.findall(r'^ *"([A-Z]+[0-9]*)",(.*)$', (ROOT / file).read_text(), re.MULTILINE)
    assert rules
    assert [rule for rule, comment in rules if "# " not in comment] == []


def test_compiled_modules_call_nothing_in_the_bound_of_a_slice() -> None:
    """Mypyc runs such a call twice when it slices a memoryview: harmless for `len`, a lost read for anything else."""
    hot = runpy.run_path(str(ROOT / "tools" / "compile.py"))["HOT"]
    paths = [ROOT / "sidecar" / room / f"{name}.py" for room, names in hot.items() for name in names.split()]
    assert paths
    slices = (node for path in paths for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Slice))
    bounds = [part for cut in slices for part in (cut.lower, cut.upper, cut.step) if part is not None]
    calls = {ast.unparse(node.func) for bound in bounds for node in ast.walk(bound) if isinstance(node, ast.Call)}
    assert calls <= {"len", "match.start"}
