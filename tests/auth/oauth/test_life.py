from typing import Any

import pytest

from sidecar.auth.oauth.life import LIFE_MAX, life

WALL = 1_767_225_600.0  # 2026-01-01T00:00:00Z.


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"expires_in": 3600}, 3600),
        ({"expires_in": "3599"}, 3599),  # Google.
        ({"expires_in": "3599.5"}, 3599.5),
        ({"expires_in": 0.5}, 0.5),
        ({"expires": 5183944}, 5183944),  # Facebook.
        ({"expires_at": "2026-01-01T01:00:00Z"}, 3600),  # Square.
        ({"expires_at": "2026-01-01T03:00:00+02:00"}, 3600),
        ({"expires_at": "2026-01-01T01:00:00"}, 3600),
        ({"expires_at": WALL + 60}, 60),
        ({"expires_on": str(int(WALL) + 60)}, 60),  # Entra's first version.
        ({"expires_at": (WALL + 60) * 1000}, 60),
        ({"expires_in": WALL + 60}, 60),  # An instant under the wrong name.
        ({"expires_in": 0, "expires_at": WALL + 60}, 60),
        ({"expires_in": 60, "expires_at": WALL + 3600}, 60),
    ],
)
def test_the_ways_in_which_a_life_is_told(answer: dict[str, Any], expected: float) -> None:
    """A length, an instant, in quotes, in milliseconds: all seen in the wild."""
    assert life(answer, WALL) == expected


@pytest.mark.parametrize(
    "value",
    [None, 0, "0", -1, "", "never", True, [], {}, float("nan"), float("inf"), "NaN", "1e999", "-5", WALL - 60, 10**400],
)
@pytest.mark.parametrize("name", ["expires_in", "expires_at"])
def test_what_says_nothing_of_use_is_as_not_said(name: str, value: object) -> None:
    """Zero means "no end" where it was seen. A life of zero would have each call ask for a token of its own."""
    assert life({name: value}, WALL) is None


@pytest.mark.parametrize("answer", [{"expires_in": 999_999_999}, {"expires_at": "9999-12-31T23:59:59Z"}])
def test_an_absurd_life_is_cut(answer: dict[str, Any]) -> None:
    """Once a year a renewal costs nothing."""
    assert life(answer, WALL) == LIFE_MAX


@pytest.mark.parametrize("value", ["2026-13-01T00:00:00Z", "x" * 10_000, "0001-01-01T00:00:00+23:59"])
def test_a_date_that_is_none_is_as_not_said(value: str) -> None:
    """And no error."""
    assert life({"expires_at": value}, WALL) is None


def test_no_word_of_it() -> None:
    """Salesforce, Notion."""
    assert life({}, WALL) is None
