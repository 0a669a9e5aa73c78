"""Problem: one thing that is wrong with a config, said so that the reader knows where it is and what to write."""

from collections.abc import Iterable

import msgspec


class Problem(msgspec.Struct, frozen=True):
    """`path` is the full dotted path of the key; the sentence never repeats a value that may be a secret."""

    path: str
    sentence: str
    is_warning: bool = False  # A warning is told and does not stop the sidecar.
    because: tuple[str, ...] = ()  # Keys that this was concluded from besides; wrong ones prove nothing.

    def __str__(self) -> str:
        text = f"{self.path}: {'warning: ' if self.is_warning else ''}{self.sentence}"
        # A key may hold anything: what a terminal would obey is shown as an escape.
        return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class ConfigError(Exception):
    """The config is not usable; `problems` holds everything that was found, in the order of the file's sections."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        assert self.problems, "a config error without a problem"
        super().__init__("\n".join(str(problem) for problem in self.problems))


def join(path: str, name: str) -> str:
    """Give the path of the key `name` under `path`; the top has no path."""
    return f"{path}.{name}" if path else name


def is_within(path: str, other: str) -> bool:
    """Whether `path` is `other` or stands below it."""
    return path == other or path.startswith((f"{other}.", f"{other}["))
