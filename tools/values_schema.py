"""Write values.schema.json of both charts: what their values may be, with the schema of sidecar.toml for `config`.

    python tools/values_schema.py [--check]

What a chart's own values may be stands in its values.schema.in.json, by hand. There `"$ref": "#/$defs/config"` stands
for the whole of sidecar.toml, and in the injector's `"$ref": "#/$defs/values"` for the values of the chart sidecar.
`--check` writes nothing, and ends with 1 if a file is another one.
"""

import json
import sys
from pathlib import Path
from typing import Any

from sidecar.config.schema import schema

HELM = Path(__file__).resolve().parent.parent / "helm"


def merged(outer: dict[str, Any], name: str, part: dict[str, Any]) -> dict[str, Any]:
    """Put a schema under its name, and what it refers to, beside the chart's own definitions."""
    part = dict(part)
    inner, draft = part.pop("$defs"), part.pop("$schema")
    title = outer.get("title")
    if outer.get("$schema") != draft:
        raise SystemExit(f"{title}: write {json.dumps(draft)} as $schema, which is the one of {name}")
    own = outer.get("$defs", {})
    if taken := own.keys() & {name, *inner} | {name} & inner.keys():
        raise SystemExit(f"{title}: other names are needed for {', '.join(sorted(taken))} in $defs")
    return {**outer, "$defs": {**own, name: part, **inner}}


def with_null(part: Any) -> Any:
    """Let null stand for what may be left out: so an environment's values take away what is in common.

    Helm itself does that only for what stands in the values.yaml of the schema's chart, so not for `config`. What a
    condition asks about stays as it is, and so does what is refused or required.
    """
    if isinstance(part, list):
        return [with_null(each) for each in part]
    if not isinstance(part, dict):
        return part
    needed = part.get("required", [])
    found = {}
    for key, inner in part.items():
        if key in {"properties", "patternProperties"}:
            found[key] = {
                name: each if name in needed or not isinstance(each, dict) else or_null(with_null(each))
                for name, each in inner.items()
            }
        else:
            found[key] = inner if key in {"if", "not", "enum", "const"} else with_null(inner)
    return found


def or_null(part: dict[str, Any]) -> dict[str, Any]:
    """Let a value be null as well; in this form Helm says of any other what it would say without."""
    about: dict[str, Any] = {key: part[key] for key in ("title", "description") if key in part}
    return {**about, "if": {"type": "null"}, "else": {key: each for key, each in part.items() if key not in about}}


def written() -> dict[Path, str]:
    """Give the text of each file."""
    outer = {
        chart: json.loads((HELM / chart / "values.schema.in.json").read_text()) for chart in ("sidecar", "injector")
    }
    sidecar = merged(outer["sidecar"], "config", with_null(schema()))
    laid_over = {
        key: value for key, value in sidecar.items() if key != "required"
    }  # Over the defaults, so all is optional.
    found = {"sidecar": sidecar, "injector": merged(outer["injector"], "values", laid_over)}
    return {HELM / chart / "values.schema.json": json.dumps(whole, indent=1) + "\n" for chart, whole in found.items()}


def main() -> int:
    """Write the files, or compare them."""
    if sys.argv[1:] not in ([], ["--check"]):
        print(__doc__)
        return 2
    old = [path for path, text in written().items() if not path.exists() or path.read_text() != text]
    if sys.argv[1:]:
        print(
            *[f"{path.relative_to(HELM)} is not current; make schema writes it" for path in old] or ["current"],
            sep="\n",
        )
        return 1 if old else 0
    for path in old:
        path.write_text(written()[path])
    return 0


if __name__ == "__main__":
    sys.exit(main())
