"""Presets: the schemes of known vendors, as data in `sidecar/providers/`.

A vendor's file has its scheme in the table `[webhook]`. What belongs to no vendor, and a vendor's second scheme, have
a file of their own in `sidecar/providers/webhooks/`.
"""

import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

import sidecar
from sidecar.core.units import Duration
from sidecar.webhooks.scheme import Scheme

BUILT_IN = Path(sidecar.__file__).parent / "providers"


@lru_cache(maxsize=1)
def webhook_presets() -> tuple[str, ...]:
    """Name the presets that have a scheme, in their order."""
    own = [path.stem for path in (BUILT_IN / "webhooks").glob("*.toml")]
    vendors = [path.stem for path in BUILT_IN.glob("*.toml") if "webhook" in tomllib.loads(path.read_text())]
    return tuple(sorted(own + vendors))


@lru_cache(maxsize=256)  # More than there are presets.
def preset(name: str) -> Scheme:
    """Give a preset's scheme. Raises KeyError when there is no such preset."""
    if name not in webhook_presets():
        raise KeyError(name)
    own = BUILT_IN / "webhooks" / f"{name}.toml"
    path = own if own.exists() else BUILT_IN / f"{name}.toml"
    return scheme_of(tomllib.loads(path.read_text())["webhook"])


def scheme_of(table: dict[str, Any]) -> Scheme:
    """Read a table. Raises ValueError with all that is wrong in it."""
    scheme = msgspec.convert(table, Scheme, dec_hook=_decoded)
    found = [*scheme.problems(), *scheme.jwt.problems(), *(scheme.keys.problems() if scheme.keys else ())]
    for index, handshake in enumerate(scheme.handshakes):
        visits = [] if handshake.visits is None else handshake.visits.problems()
        wrong = [*handshake.problems(), *((f"visits.{field}", sentence) for field, sentence in visits)]
        found += [(f"handshakes[{index}].{field}", sentence) for field, sentence in wrong]
    if found:
        raise ValueError("; ".join(f"{field}: {sentence}" for field, sentence in found))
    return scheme


def _decoded(kind: type, value: object) -> object:
    if kind is Duration:
        return Duration.parse(value)
    raise NotImplementedError(kind)
