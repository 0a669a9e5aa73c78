"""Door: the bounds that the doors for people and probes put on whoever knocks."""

from typing import Any

from aiohttp import web

BODY_MAX = 64 * 1024  # Bytes. More: 413.
LINE_MAX = 4096  # Bytes of a request line. More: 400.
FIELD_MAX = 8190  # Bytes of one header field. More: 400.
FIELDS_MAX = 64  # Header fields. More: 400.
KEEPALIVE_S = 75.0  # Longer than Prometheus and the kubelet take between two requests.
LINGER_S = 2.0  # For the rest of a body that nobody read.


def runner(app: web.Application) -> web.AppRunner:
    """Make the runner of a door; the app's life cycle is the caller's, signals are not the door's business."""
    limits: dict[str, Any] = {
        "max_line_size": LINE_MAX,
        "max_field_size": FIELD_MAX,
        "max_headers": FIELDS_MAX,
        "keepalive_timeout": KEEPALIVE_S,
        "lingering_time": LINGER_S,
    }
    return web.AppRunner(app, handle_signals=False, access_log=None, **limits)
