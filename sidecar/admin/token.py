"""Token: `sidecar token SERVICE`; how the token of a service stands in the running sidecar, never its value."""

from collections.abc import Mapping, Sequence
from typing import Any

from sidecar.admin.ask import Unreachable, ask

State = Mapping[str, Any]


def token_state(address: str, service: str) -> State | Sequence[State] | None:
    """Ask the admin listener at `address`; None where the service's credential is no token. Raises Unreachable.

    A service whose routes have other tokens than itself has several.
    """
    services = ask(address, "/api/services").get("services", {})
    if service not in services:
        known = ", ".join(sorted(services)) or "none"
        raise Unreachable(f"the running sidecar has no service {service}; known are: {known}")
    state: State | Sequence[State] | None = services[service].get("token")
    return state


def as_text(service: str, state: State | Sequence[State] | None) -> str:
    """Tell it to people: one fact per line."""
    if isinstance(state, Sequence):
        return "\n".join(as_text(service, each) for each in state)
    if state is None:
        return f"{service}: its credential is no token: nothing is minted for it"
    lines = [f"{service}: {state.get('state', 'unknown')}"]
    lines += [f"  {name}: {_shown(name, value)}" for name, value in state.items() if name != "state"]
    return "\n".join(lines)


def _shown(name: str, value: object) -> str:
    if value is None:
        return "without end" if name.endswith("_in") else "-"
    if isinstance(value, float | int) and not isinstance(value, bool) and name.endswith(("_in", "age")):
        return _length(float(value))
    if isinstance(value, Mapping):
        return ", ".join(f"{inner} {item}" for inner, item in value.items())
    return str(value)


def _length(seconds: float) -> str:
    """Write a length as people say it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86400:.1f} days"
