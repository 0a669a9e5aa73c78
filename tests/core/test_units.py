import pytest

from sidecar.core.units import Duration, Size


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
