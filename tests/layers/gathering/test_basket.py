"""Who asks for what, until it goes."""

import pytest

from sidecar.layers.gathering.basket import CHARACTERS_MAX, Basket


def test_an_id_stands_there_once_however_many_ask_for_it() -> None:
    """In order of arrival; it goes when nobody asks for it any more."""
    basket: Basket[str] = Basket(10, 10)
    for caller, asked in [("a", "2"), ("b", "1"), ("c", "2")]:
        basket.put(caller, asked)
    assert (len(basket), basket.ids, list(basket)) == (3, ["2", "1"], ["a", "b", "c"])
    basket.drop("a")
    assert basket.ids == ["2", "1"]
    basket.drop("c")
    assert basket.ids == ["1"]
    assert basket.empty() == [("b", "1")]
    assert (len(basket), basket.ids) == (0, [])


def test_it_is_full_by_ids_or_by_callers() -> None:
    """One more who asks for what is there needs no room for it."""
    by_ids: Basket[int] = Basket(2, 10)
    by_ids.put(1, "a")
    assert not by_ids.is_full
    by_ids.put(2, "b")
    assert (by_ids.is_full, by_ids.fits("a"), by_ids.fits("c")) == (True, True, False)
    by_callers: Basket[int] = Basket(10, 2)
    by_callers.put(1, "a")
    by_callers.put(2, "a")
    assert (by_callers.is_full, by_callers.fits("a")) == (True, False)


def test_long_ids_fill_it_sooner() -> None:
    """A target does not grow beyond what vendors take."""
    basket: Basket[int] = Basket(1000, 1000)
    count = 0
    while basket.fits(f"{count:0>200}"):
        basket.put(count, f"{count:0>200}")
        count += 1
    assert count == CHARACTERS_MAX // 200
    basket.drop(0)
    assert basket.fits("x" * 200)


def test_who_does_not_fit_is_not_put() -> None:
    """A fault of ours."""
    basket: Basket[int] = Basket(1, 10)
    basket.put(1, "a")
    with pytest.raises(AssertionError):
        basket.put(2, "b")
