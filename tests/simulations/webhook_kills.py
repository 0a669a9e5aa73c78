"""Kill -9 at random points while events arrive and are delivered: what was acknowledged is delivered, in order.

    python -m tests.simulations.webhook_kills [--store sqlite] [--store valkey] [--kills 100] [--seed 1]

prints what came of it, and every promise of docs/webhooks.md that was broken; exit code 1 if any was: an event that was
acknowledged and not delivered, or behind a later one of its key; one that came twice with the same
`Sidecar-Event-Attempt`, or under two ids. What is killed, and when, is as in kills.py; over Valkey two sidecars get
many events in the same instant. Who sends, and who takes them and fails by chance, stands in sending.py and notes.py.

A hundred kills take about a minute over SQLite and two over Valkey on two cores. Where nothing happens for a minute it
ends with what it waited for; so it does three minutes after the last kill (QUIET_MAX, DRAIN_MAX in killing.py).
"""

import sys

from tests.simulations.sending import Sending
from tests.simulations.stores import tell_of

if __name__ == "__main__":
    sys.exit(tell_of(Sending, __doc__))
