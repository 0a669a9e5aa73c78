"""Rules: what is wrong with a config although each of its values is well formed; judged across sections.

Each rule is a small function that yields problems and warnings. Rules do no I/O: `sidecar check` says the same
on every machine.
"""

from sidecar.config.model import Config
from sidecar.config.problem import Problem
from sidecar.config.rules.bounds import bounds
from sidecar.config.rules.credentials import credentials
from sidecar.config.rules.listeners import listeners
from sidecar.config.rules.names import names
from sidecar.config.rules.references import references
from sidecar.config.rules.services import services
from sidecar.config.rules.timeouts import margins
from sidecar.config.rules.webhooks import webhooks

_RULES = (margins, listeners, references, credentials, bounds, names, services, webhooks)


def check(config: Config) -> list[Problem]:
    """Give all problems and warnings of a config whose shape is right."""
    return [problem for rule in _RULES for problem in rule(config)]
