"""References: each secret is named by a store that is there. The reference's text is not repeated."""

from collections.abc import Iterator

from sidecar.config.model import Config
from sidecar.config.problem import Problem
from sidecar.config.reader import listed
from sidecar.config.walk import leaves
from sidecar.core.secret import SecretRef


def references(config: Config) -> Iterator[Problem]:
    """Judge every secret reference of the config, wherever it stands."""
    for path, value in leaves(config):
        if isinstance(value, SecretRef):
            yield from _judged(path, value, config)


def _judged(path: str, reference: SecretRef, config: Config) -> Iterator[Problem]:
    if reference.store not in config.secrets:
        stores = f"there is {listed(config.secrets)}" if config.secrets else "there is none"
        yield Problem(
            path,
            f"the reference names a store that is not configured; {stores}; write a [secrets.<store>] section for it",
            because=("secrets",),
        )
    if "{environment}" in reference and config.sidecar.environment is None:
        yield Problem(
            path,
            "the reference holds {environment}, and sidecar.environment is not set",
            because=("sidecar.environment",),
        )
