"""Kill -9 at random points while jobs are accepted and run: what was acknowledged is done, once for each key.

    python -m tests.simulations.kills [--store sqlite] [--store valkey] [--kills 100] [--seed 1]

prints what came of it, and every promise of docs/queue.md that was broken; exit code 1 if any was. Real processes
(`sidecar run`), a real store, and a vendor that fails by chance and counts (ledger.py). With SQLite one sidecar is
killed and started again at once, also while it starts; with Valkey one of two at a time, and the Valkey itself now and
then. Half of the time the leases of a killed pod are ended by hand, those of the living one with them; else they take
their 30 s. The moment is by chance: after so many further calls, answers and acknowledgements.

The seed leads what is asked and where it fails; which meets which is the machine's, so no two runs are the same.
Beside tests on the same machine say PYTEST_XDIST_WORKER=gw11, so that they do not take the ports of who was killed.
"""

import sys

from tests.simulations.deferring import Deferring
from tests.simulations.stores import tell_of

if __name__ == "__main__":
    sys.exit(tell_of(Deferring, __doc__))
