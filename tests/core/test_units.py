import pytest

from sidecar.core.units import Duration, Rate, Rates, Size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("0s", 0),
        ("2s", 2),
        ("1.5s", 1.5),
        ("15m", 900),
        ("15min", 900),
        ("24h", 86400),
        ("7d", 604800),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    """It is read into seconds."""
    assert Duration.parse(text) == seconds


@pytest.mark.parametrize("given", ["2", "", "s", "2 s", "-2s", "2S", "2s ", "1e3s", "2sec", ".5s", "٢s", "inf"])
def test_a_text_that_is_no_duration_is_refused_with_an_example(given: str) -> None:
    """The sentence repeats what was written and says what would be right."""
    with pytest.raises(ValueError, match=r"is not a duration; write .* such as \"250ms\"") as refused:
        Duration.parse(given)
    assert repr(given) in str(refused.value)


@pytest.mark.parametrize("given", [2, 2.5, True, None])
def test_a_bare_number_is_no_duration(given: object) -> None:
    """Two what?"""
    with pytest.raises(ValueError, match="has no unit"):
        Duration.parse(given)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0B", 0),
        ("64KiB", 65536),
        ("1MiB", 2**20),
        ("5GiB", 5 * 2**30),
        ("1.5KiB", 1536),
        ("64KB", 64000),
        ("2GB", 2 * 10**9),
    ],
)
def test_a_size_is_a_number_and_a_unit(text: str, count: int) -> None:
    """Binary and decimal units are told apart."""
    assert Size.parse(text) == count


@pytest.mark.parametrize("given", ["64", "", "KiB", "64 KiB", "-1B", "64kib", "64K", "٦B"])
def test_a_text_that_is_no_size_is_refused_with_an_example(given: str) -> None:
    """The sentence repeats what was written and says what would be right."""
    with pytest.raises(ValueError, match=r"is not a size; write .* such as \"64KiB\"") as refused:
        Size.parse(given)
    assert repr(given) in str(refused.value)


@pytest.mark.parametrize("given", [64, True, None])
def test_a_bare_number_is_no_size(given: object) -> None:
    """Bytes or what?"""
    with pytest.raises(ValueError, match="has no unit"):
        Size.parse(given)


@pytest.mark.parametrize("text", ["250ms", "0s", "2s", "1.5s", "15m", "24h", "7d", "90s", "1234567s", "100000.5s"])
def test_a_duration_is_shown_as_it_is_written(text: str) -> None:
    """What `sidecar show` prints can be put into sidecar.toml, and means the same."""
    assert Duration.parse(str(Duration.parse(text))) == Duration.parse(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.25, "250ms"), (0, "0s"), (20, "20s"), (60, "1m"), (3600, "1h"), (86400, "1d"), (90, "90s")]
)
def test_a_duration_is_shown_in_its_largest_whole_unit(seconds: float, text: str) -> None:
    """As a person would write it."""
    assert str(Duration(seconds)) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0B"), (1, "1B"), (65536, "64KiB"), (2**20, "1MiB"), (64000, "64000B")]
)
def test_a_size_is_shown_in_its_largest_whole_unit(count: int, text: str) -> None:
    """As a person would write it."""
    assert str(Size(count)) == text


@pytest.mark.parametrize(
    ("text", "count", "seconds"),
    [
        ("90/s", 90, 1),
        ("60/min", 60, 60),
        ("60/m", 60, 60),
        ("5000/h", 5000, 3600),
        ("5000/hour", 5000, 3600),
        ("10000/day", 10000, 86400),
        ("10000/d", 10000, 86400),
        ("100/10s", 100, 10),
        ("40/500ms", 40, 0.5),
        ("0.5/s", 0.5, 1),
        ("15/1.5min", 15, 90),
    ],
)
def test_a_rate_is_so_many_in_so_much_time(text: str, count: float, seconds: float) -> None:
    """Count and length stay apart, since a hundred in ten seconds is not ten a second; it is shown as written."""
    rate = Rate.parse(text)
    assert (rate.count, rate.seconds) == (count, seconds)
    assert rate.per_second == count / seconds
    assert str(rate) == text


@pytest.mark.parametrize(
    "given", ["90", "", "/s", "90/", "90 / s", "-1/s", "90/week", "1e3/s", "90/s ", "٩/s", 90, None]
)
def test_what_is_no_rate_is_refused_with_an_example(given: object) -> None:
    """A bare number says nothing about the time."""
    with pytest.raises(ValueError, match=r"is not a rate; write .* such as \"90/s\"") as refused:
        Rate.parse(given)
    assert repr(given) in str(refused.value)


@pytest.mark.parametrize("given", ["0/s", "0.0/s", "1/0s", "2000000000/s", "1/99999999999999d"])
def test_a_rate_that_nobody_keeps_is_refused(given: str) -> None:
    """None at all would stop the service for good; a division by nothing would stop us."""
    with pytest.raises(ValueError, match="is no rate that anybody keeps"):
        Rate.parse(given)


def test_rates_are_equal_when_they_are_written_the_same() -> None:
    """A reload compares configs: a section that did not change keeps its machine with its state."""
    assert Rate.parse("60/min") == Rate.parse("60/min")
    assert hash(Rate.parse("60/min")) == hash(Rate.parse("60/min"))
    assert Rate.parse("60/min") != Rate.parse("1/s")
    assert Rate.parse("60/min") != "60/min"
    assert repr(Rate.parse("60/min")) == "Rate('60/min')"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("90/s", "90/s"),
        (["90/s"], "90/s"),
        (["10000/day", "90/s", "1000/min"], "90/s, 1000/min, 10000/day"),
        (("100/10s", "40/s"), "40/s, 100/10s"),
    ],
)
def test_one_rate_or_several_are_read_with_the_shortest_time_first(given: object, shown: str) -> None:
    """All of them hold at once, in whatever order they were written."""
    assert str(Rates.parse(given)) == shown


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "the list is empty"),
        (["90/s", "100/1s"], "the same length of time"),
        (["60/min", "1/60s"], "the same length of time"),
        (["90/s", "many"], "'many' is not a rate"),
        (90, "90 is not a rate"),
    ],
)
def test_rates_that_make_no_sense_together_are_refused(given: object, said: str) -> None:
    """Of two rates over the same time one can never matter."""
    with pytest.raises(ValueError, match=said):
        Rates.parse(given)
