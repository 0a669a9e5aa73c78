"""Quiet: what libraries log becomes one JSON line without a byte of what came in.

aiohttp's server logger prints a traceback with the raw header on each bad request, and the asyncio logger prints what
a task or transport held. Either may be a credential, so only the constant text, the kind of error and the place are
written: never the arguments, never the error's own words. Whoever can call can send what is malformed: so of records
that are alike the first are lines, and the others are counted.
"""

import logging
import sys
import threading
import traceback
from collections.abc import Callable
from types import TracebackType

from sidecar.core.repeated import Repeated
from sidecar.telemetry.log import Level, Log

NAMES = ("aiohttp", "asyncio")  # Their children hand over to them.
FRAMES_MAX = 4
_BAD_REQUESTS = ("aiohttp.http_exceptions", "aiohttp.web_exceptions", "aiohttp.client_exceptions")


class _Lines(logging.Handler):
    """Writes a library's record as a line of ours."""

    def __init__(self, log: Log, now: Callable[[], float]) -> None:
        super().__init__(logging.WARNING)
        self._log = log
        self._now = now
        self._repeated = Repeated()  # Only under the handler's lock.

    def emit(self, record: logging.LogRecord) -> None:
        """Write the text as it stands in the library's code, unfilled."""
        fields: dict[str, object] = {"logger": record.name, "text": _text(record)}
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            fields["error"] = type(error).__name__
            fields["where"] = _where(error)
        times = self._repeated.came(str(fields), self._now())
        if times is not None:
            self._log.event(_level(record, error), "library", **fields, **times)


def _level(record: logging.LogRecord, error: BaseException | None) -> Level:
    """Someone else's bad request is worth a warning; a fault is an error."""
    is_theirs = error is not None and type(error).__module__ in _BAD_REQUESTS
    return "error" if record.levelno >= logging.ERROR and not is_theirs else "warning"


def _text(record: logging.LogRecord) -> str:
    """Give the format string; where asyncio has filled it in already, only its first line, which names the case."""
    text = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
    if record.name == "asyncio":
        return text.partition("\n")[0].partition("<")[0].strip()[:200]
    return text[:200]


def _where(error: BaseException) -> list[str]:
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES_MAX:]
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]


def quiet_libraries(log: Log, now: Callable[[], float]) -> None:
    """Turn the loggers of all libraries into lines of ours; called once, before the first door opens.

    `now` is the time of the process's clock.
    """
    lines = _Lines(log, now)
    root = logging.getLogger()  # noqa: TID251 - the one place that touches the libraries' loggers.
    root.handlers[:] = [lines]
    root.setLevel(logging.WARNING)
    for name in [*NAMES, *logging.Logger.manager.loggerDict]:
        logger = logging.getLogger(name)  # noqa: TID251
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.NOTSET)
    access = logging.getLogger("aiohttp.access")  # noqa: TID251
    access.setLevel(logging.CRITICAL)  # The canonical line is our access log.
    # What a logging handler itself trips over goes to stderr with the record's arguments, unless this is off.
    logging.raiseExceptions = False


def quiet_hooks(log: Log) -> None:
    """Have what nobody catches told by kind and place, never in its own words; for the one log of a process.

    In a thread, or where Python can only ignore it, that is a line of the log. What ends the process is told on stderr
    in the same form, since nobody writes the log any more.
    """

    def in_thread(failed: threading.ExceptHookArgs) -> None:
        if failed.exc_value is not None and not isinstance(failed.exc_value, SystemExit):
            log.event("error", "uncaught", error=failed.exc_type.__name__, where=_where(failed.exc_value))

    def ignored(failed: "sys.UnraisableHookArgs") -> None:
        if failed.exc_value is not None:
            log.event("error", "uncaught", error=failed.exc_type.__name__, where=_where(failed.exc_value))

    threading.excepthook = in_thread
    sys.unraisablehook = ignored
    sys.excepthook = tell_end


def tell_end(kind: type[BaseException], error: BaseException, _: TracebackType | None) -> None:
    """Tell on stderr what ends the process: its kind, and the places from the outermost of ours to the innermost."""
    places = " < ".join(reversed(_where(error)))
    sys.stderr.write(f"sidecar ended by {kind.__name__} at {places or 'no place'}\n")
