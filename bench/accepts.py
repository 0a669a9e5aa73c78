"""Accepts: how many calls a second become jobs, over HTTP, acknowledged once they are on the disk or in Valkey.

    python -m bench.accepts --folder DIR [--seconds 10] [--clients 64] [--kind sqlite|valkey] [--package DIR]

A sidecar process, and beside it so many clients that each send a POST with `Prefer: respond-async` and wait for 202.
No job runs meanwhile. The disk's own pace, one fdatasync after the other in the same folder, is measured before and
after. `--package` is where a compiled package lies (build/compiled); without it the sources run.
"""

from itertools import repeat

import uvloop

from bench.durable import LISTEN, disk_pace, figures, load, parser_of, sidecar, stored
from tests.kit.process import free_ports

BODY = b'{"order": 7, "note": "' + b"x" * 200 + b'"}'
REQUEST = (
    b"POST /vendor/orders HTTP/1.1\r\nHost: localhost\r\nPrefer: respond-async\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)
SERVICE = """
[log]
success = 0.0
[services.vendor]
base_url = "http://127.0.0.1:9"
allow_private = true
queue = { rate = "1/h", length_max = 100000000, bytes_max = "50GiB" }
"""


def main() -> None:
    """Measure, and print one line."""
    said = parser_of(__doc__).parse_args()
    egress, admin, telemetry = free_ports(3)
    with stored(said.folder, said.kind) as (folder, store, _):
        before = disk_pace(folder)
        config = LISTEN.format(egress, admin, telemetry) + store + SERVICE
        with sidecar(folder, config, telemetry, said.package):
            took = uvloop.run(load(egress, said.clients, repeat(REQUEST), 202, said.seconds))
        pace = (before + disk_pace(folder)) / 2
    each = len(took) / said.seconds / pace
    told = figures(took, said.seconds, "accepts")
    print(f"{said.kind}: {told}; the disk forces {pace:,.0f} a second by itself: {each:.1f} accepts each")


if __name__ == "__main__":
    main()
