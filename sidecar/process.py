"""Process: what is set once for the whole process, before or after it begins to serve."""

import gc
import os
import resource
from collections.abc import Callable
from contextlib import suppress

from sidecar.config.model import Config
from sidecar.config.rules import check

FILES_OWN = 32  # Files that are open whatever the app does: listeners, the loop's, stdout, a file being read.


def keep_standard_files() -> None:
    """Put /dev/null where stdin, stdout or stderr is closed.

    Else the next socket gets the number, and log lines are written into a connection.
    """
    number = os.open(os.devnull, os.O_RDWR)
    while number <= 2:
        os.set_inheritable(number, True)
        number = os.open(os.devnull, os.O_RDWR)
    os.close(number)


def raise_files_max() -> None:
    """Raise the soft limit of open files to the hard one; the usual 1,024 is for programs that use select()."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # Not everywhere may it be as high as it says; then it stays.
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def files_wanted(config: Config) -> int:
    """Say how many files are open when every bound of the config is reached."""
    pools = sum(entry.config.pool.connections_max for entry in config.services.values())
    return FILES_OWN + config.listen.connections_max + pools


def warn(config: Config, event: Callable[..., None]) -> int:
    """Write a line for each thing that is questionable in a config which holds, and give how many these are."""
    problems = check(config)
    for problem in problems:
        event("warning", "config_warning", path=problem.path, problem=problem.sentence)
    files_max, wanted = resource.getrlimit(resource.RLIMIT_NOFILE)[0], files_wanted(config)
    is_low = 0 <= files_max < wanted  # Below 0: without end.
    if is_low:
        event("warning", "files_max_low", files_max=files_max, wanted=wanted)
    return len(problems) + is_low


def settle_memory() -> None:
    """Take what was built at the start out of the collector's sight: it stays, and looking through it takes 5 ms.

    Calls leave no cycles behind, so the collector may also look more rarely: every 10,000 new containers, not 700.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)
