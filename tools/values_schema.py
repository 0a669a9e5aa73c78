"""Write helm/sidecar/values.schema.json: the schema of the chart's values, with that of sidecar.toml for `config`.

    python tools/values_schema.py [--check]

What the chart's own values may be stands in values.schema.in.json, by hand, where `"$ref": "#/$defs/config"` stands for
the whole of sidecar.toml. `--check` writes nothing, and ends with 1 if the file is another one.
"""

import json
import sys
from pathlib import Path
from typing import Any

from sidecar.config.schema import schema

CHART = Path(__file__).resolve().parent.parent / "helm" / "sidecar"
OUTER, WHOLE = CHART / "values.schema.in.json", CHART / "values.schema.json"


def merged(outer: dict[str, Any]) -> dict[str, Any]:
    """Put the config's schema, and what it refers to, beside the chart's own definitions."""
    config = schema()
    inner, draft = config.pop("$defs"), config.pop("$schema")
    if outer.get("$schema") != draft:
        raise SystemExit(f"{OUTER.name}: write {json.dumps(draft)} as $schema, which is the one of the config's part")
    if taken := outer.get("$defs", {}).keys() & {"config", *inner}:
        raise SystemExit(f"{OUTER.name}: other names are needed for {', '.join(sorted(taken))} in $defs")
    return {**outer, "$defs": {**outer.get("$defs", {}), "config": config, **inner}}


def written() -> str:
    """Give the text of the file."""
    return json.dumps(merged(json.loads(OUTER.read_text())), indent=1) + "\n"


def main() -> int:
    """Write the file, or compare it."""
    if sys.argv[1:] == ["--check"]:
        is_current = WHOLE.exists() and WHOLE.read_text() == written()
        print("current" if is_current else f"{WHOLE.name} is not current; make schema writes it")
        return 0 if is_current else 1
    if sys.argv[1:]:
        print(__doc__)
        return 2
    WHOLE.write_text(written())
    return 0


if __name__ == "__main__":
    sys.exit(main())
