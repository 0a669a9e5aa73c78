import pytest

from sidecar.core.statuses import Statuses


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([429], {429}),
        ([408, 429], {408, 429}),
        (["503"], {503}),
        (["500-503"], {500, 501, 502, 503}),
        (["500-500"], {500}),
        (["5xx"], set(range(500, 600))),
        (["599-600", 100, "999"], {599, 600, 100, 999}),
        ((429, "429", "428-430"), {428, 429, 430}),
        ([], set()),
    ],
)
def test_statuses_are_numbers_ranges_and_classes(items: object, expected: set[int]) -> None:
    """Mixed as one likes; both ends of a range belong to it; an empty list is none at all."""
    assert set(Statuses.parse(items)) == expected


@pytest.mark.parametrize(
    "item",
    [
        99,
        1000,
        0,
        -429,
        True,
        429.0,
        None,
        "",
        "50x",
        "Xxx",
        "0xx",
        "5XX",
        "503-500",
        "500 - 503",
        "099",
        "4290",
        "٤٢٩",
    ],
)
def test_what_is_no_status_is_refused_with_what_was_written(item: object) -> None:
    """The sentence repeats the one item that is wrong, and shows what would be right."""
    with pytest.raises(ValueError, match=r'is no status; write a list .* such as \[429, "500-599"\]') as refused:
        Statuses.parse([503, item])
    assert repr(item) in str(refused.value)


@pytest.mark.parametrize("items", [429, "429", "5xx", None, {429: 1}])
def test_a_single_status_is_no_list(items: object) -> None:
    """Refused rather than guessed: "500-599" read as letters would be a list, too."""
    with pytest.raises(ValueError, match="write a list of numbers and ranges"):
        Statuses.parse(items)


@pytest.mark.parametrize(
    ("items", "written", "shown"),
    [
        ([503, 429], [429, 503], "429, 503"),
        (["5xx", 429], [429, "500-599"], "429, 500-599"),
        ([502, 500, 501, 504], ["500-502", 504], "500-502, 504"),
        ([], [], ""),
    ],
)
def test_a_set_is_written_in_order_with_neighbours_as_ranges(
    items: list[int | str], written: object, shown: str
) -> None:
    """As a person would write it, and it reads back as the same set."""
    statuses = Statuses.parse(items)
    assert statuses.written() == written
    assert str(statuses) == shown
    assert Statuses.parse(statuses.written()) == statuses
