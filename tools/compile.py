"""Compile the hot path with mypyc: the same modules, as C extensions beside their sources.

    python tools/compile.py DIRECTORY

puts a whole `sidecar` package into DIRECTORY, with the modules of the hot path compiled. It needs a C compiler, and
what requirements-build.lock pins. Nothing else depends on it: without the extensions the sources run, at about one and
a half times the CPU per call (bench/RESULTS.md has both).
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# What runs on every call, and nothing else: compiled code is harder to look into. Left out although on the path: what
# holds msgspec structs (their order is lost) and what tests stand in for (pool.py takes any connection).
# mypyc runs a call in the bound of a slice twice when it slices a memoryview; a test sees to it that none stands here.
HOT = {
    "core": "advice alarm body call headers ids paths query recent rolling",
    "upstream": "answer connection limits transport",
    "upstream/hints": (
        "allowance counted dialect document doubts expression interpreter numbers signal state structured times"
    ),
    "downstream": "connection exchange fields limits reader request respond router",
    "layers": "body_bound credentials deadline entitled observe rewrite",
    "layers/retry": "backoff budget layer replay",
    "layers/circuit_breaker": "breaker layer",
    "layers/rate_limit": (
        "adaptive allowance announced bucket demand ear gauge haste layer leased limiter line mirror near own_quotas "
        "quota resources share sliding window"
    ),
    "layers/bulkhead": "bulkhead layer slots",
    "auth": "credential",
    "auth/oauth": "bearer renewal source",
    "auth/signing": "aws_chunks",  # Bodies: what is not compiled cannot inherit from what is.
}


def main() -> int:
    """Compile, and give mypyc's exit code."""
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    target = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory(prefix="sidecar-compile-") as scratch:
        work = Path(scratch)
        shutil.copytree(ROOT / "sidecar", work / "sidecar", ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        shutil.copy(ROOT / "pyproject.toml", work)
        modules = [f"sidecar/{room}/{name}.py" for room, names in HOT.items() for name in names.split()]
        done = subprocess.run(
            [sys.executable, "-m", "mypyc", *modules],
            cwd=work,
            env={**os.environ, "MYPYC_OPT_LEVEL": "3", "MYPYC_DEBUG_LEVEL": "0"},
            check=False,
        )
        if done.returncode:
            return done.returncode
        shutil.rmtree(target / "sidecar", ignore_errors=True)
        shutil.copytree(work / "sidecar", target / "sidecar", ignore=shutil.ignore_patterns("__pycache__"))
        for shared in work.glob("*.so"):  # What the extensions have in common stands beside the package.
            shutil.copy(shared, target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
