import tomllib
from typing import Any

import pytest

from sidecar.config.reader import Reader
from sidecar.core.units import Duration, Size
from sidecar.upstream.hints.config import HintsConfig


def problems(text: str) -> list[str]:
    """What the config's reader finds wrong with a `hints` table."""
    reader = Reader()
    reader.section(HintsConfig, tomllib.loads(text), "hints")
    return [str(problem) for problem in reader.problems]


def test_the_defaults_are_those_of_the_reference() -> None:
    """Names are known without any dialect."""
    config = HintsConfig()
    assert (config.hint_max, config.settle, config.wait_max) == (Duration(900), Duration(0.02), Duration(1))
    assert (config.pace_below, config.near, config.resource_segments) == (0.2, 0.8, 1)
    assert config.body_max == Size(65536)
    assert config.problems() == []


@pytest.mark.parametrize(
    ("text", "path", "sentence"),
    [
        ("dialects = [{ name = 'x' }]", "hints.dialects[0].remaining", "exactly one of remaining, used, ratio"),
        ("dialects = [{ remaining = 'a', used = 'b', limit = 'c' }]", "hints.dialects[0].remaining", "exactly one"),
        ("dialects = [{ used = 'a' }]", "hints.dialects[0].used", "without limit or limit_is"),
        ("dialects = [{ remaining = 'a-{dim}' }]", "hints.dialects[0].remaining", "{dim} needs dims"),
        ("dialects = [{ remaining = 'a-{what}' }]", "hints.dialects[0].remaining", "the only placeholder is {dim}"),
        ("dialects = [{ remaining = 'a-{dim}}', dims = ['x'] }]", "hints.dialects[0].remaining", "only placeholder"),
        ("dialects = [{ remaining = 'a', dims = ['x'] }]", "hints.dialects[0].dims", "no source has {dim}"),
        ("dialects = [{ remaining = 'a b' }]", "hints.dialects[0].remaining", "no name of a header"),
        ("dialects = [{ remaining = 'a', limit = '' }]", "hints.dialects[0].limit", "no name of a header"),
        ("dialects = [{ remaining = 'a', policy = 'b' }]", "hints.dialects[0].policy", "belongs to state"),
        ("dialects = [{ remaining = 'a', ratio_key = 'b' }]", "hints.dialects[0].ratio_key", "belongs to ratio"),
        ("dialects = [{ remaining = 'a', limit_is = 0 }]", "hints.dialects[0].limit_is", "a number above 0"),
        ("dialects = [{ remaining = 'a', limit_is = nan }]", "hints.dialects[0].limit_is", "a number above 0"),
        ("dialects = [{ remaining = 'a', window = '0s' }]", "hints.dialects[0].window", "a time above 0"),
        ("dialects = [{ remaining = 'a', kind = 'heap' }]", "hints.dialects[0].kind", '"window" or "bucket"'),
        ("dialects = [{ remaining = 'a', reset_as = 'soon' }]", "hints.dialects[0].reset_as", '"auto"'),
        (f"dialects = [{{ remaining = 'a-{{dim}}', dims = {[str(n) for n in range(33)]} }}]",
         "hints.dialects[0].dims", "at most 32"),
        ("signals = [{ body = 'a' }]", "hints.signals[0].statuses", "at least one status"),
        ("signals = [{ statuses = [429], body = 'a[' }]", "hints.signals[0].body", "no JMESPath query"),
        ("signals = [{ statuses = [429], wait_body = '' }]", "hints.signals[0].wait_body", "no JMESPath query"),
        (f"signals = [{{ statuses = [429], body = '{'a' * 1001}' }}]", "hints.signals[0].body", "over 1000"),
        ("signals = [{ statuses = [429], header = 'a b' }]", "hints.signals[0].header", "no name of a header"),
        ("signals = [{ statuses = [429], values = ['a'] }]", "hints.signals[0].values", "needs a header or a body"),
        ("signals = [{ statuses = [429], header = 'a', body = 'b', values = ['a'] }]", "hints.signals[0].values",
         "write two signals"),
        ("allowances = [{ name = 'a', statuses = [200], limit = 'a', remaining = 'b', refill = ')' }]",
         "hints.allowances[0].refill", "no JMESPath query"),
        ("allowances = [{ name = 'a', limit = 'a', remaining = 'b' }]", "hints.allowances[0].statuses", "at least one"),
        ("retry_after = [{ name = 'a:b' }]", "hints.retry_after[0].name", "no name of a header"),
        ("should_retry = ['a b']", "hints.should_retry", "no name of a header"),
        ("pace_below = 1.5", "hints.pace_below", "a share from 0 to 1"),
        ("near = nan", "hints.near", "a share from 0 to 1"),
        ("hint_max = '0s'", "hints.hint_max", "a time above 0"),
        ("resource_segments = -1", "hints.resource_segments", "from 0 to 8"),
        ("body_max = '2MiB'", "hints.body_max", 'up to "1MiB"'),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_where_it_stands(text: str, path: str, sentence: str) -> None:
    """Before any answer comes."""
    found = problems(text)
    assert [problem for problem in found if problem.startswith(f"{path}: ") and sentence in problem], found


@pytest.mark.parametrize("values", [{}, {"dims": ("a", "b"), "remaining": "x-{dim}"}])
def test_a_section_is_compared_by_value(values: dict[str, Any]) -> None:
    """So that a machine is carried over a reload when nothing changed."""
    from sidecar.upstream.hints.config import Dialect

    assert Dialect(**values) == Dialect(**values)
    assert HintsConfig(dialects=(Dialect(**values),)) == HintsConfig(dialects=(Dialect(**values),))
