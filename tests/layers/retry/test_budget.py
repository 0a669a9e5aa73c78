from sidecar.core.rolling import RollingCounts
from sidecar.layers.retry.budget import WINDOW, Budget
from tests.kit.fields import fields_of

AT = 1000.0


def spent(budget: Budget, now: float, wanted: int = 1000) -> int:
    """Spend as many as there are, and say how many there were."""
    count = 0
    while count < wanted and budget.spend(now):
        count += 1
    return count


def test_a_share_of_the_calls_may_be_tried_again() -> None:
    """A hundred calls earn twenty extra attempts, and not one more."""
    budget = Budget(0.2, 0, AT)
    for _ in range(100):
        budget.count(AT)
    assert budget.left(AT) == 20
    assert spent(budget, AT) == 20
    assert budget.left(AT) == 0


def test_less_than_a_whole_one_is_none() -> None:
    """Four calls at a fifth each are not yet one attempt; the fifth makes it one."""
    budget = Budget(0.2, 0, AT)
    for _ in range(4):
        budget.count(AT)
    assert not budget.spend(AT)
    budget.count(AT)
    assert budget.spend(AT)
    assert not budget.spend(AT)


def test_the_floor_is_there_without_any_call_and_fills_by_the_second() -> None:
    """A service that is asked now and then still has its retries: three at once, then three a second."""
    budget = Budget(0.0, 3, AT)
    assert spent(budget, AT) == 3
    assert spent(budget, AT + 0.3) == 0
    assert spent(budget, AT + 0.34) == 1
    assert spent(budget, AT + 1.01) == 2


def test_the_floor_does_not_heap_up() -> None:
    """After a quiet hour there is one second's worth, not an hour's."""
    budget = Budget(0.0, 3, AT)
    assert spent(budget, AT + 3600) == 3


def test_what_calls_earned_is_spent_before_the_floor() -> None:
    """The floor is what is left for hard times."""
    budget = Budget(0.5, 3, AT)
    for _ in range(4):
        budget.count(AT)
    assert budget.left(AT) == 5
    assert spent(budget, AT, 2) == 2
    assert budget.left(AT) == 3


def test_calls_earn_for_as_long_as_the_window_and_what_was_spent_weighs_as_long() -> None:
    """Old calls pay for nothing, and old retries are forgiven: no debt is carried over."""
    budget = Budget(0.2, 0, AT)
    for _ in range(50):
        budget.count(AT)
    assert spent(budget, AT) == 10
    assert budget.left(AT + WINDOW / 2) == 0
    assert budget.left(AT + WINDOW + 1) == 0
    for _ in range(50):
        budget.count(AT + WINDOW + 1)
    assert budget.left(AT + WINDOW + 1) == 10
    assert budget.left(AT + 3 * WINDOW) == 0


def test_a_debt_is_never_shown() -> None:
    """The calls that paid are gone a moment before what they paid for."""
    budget = Budget(1.0, 0, AT)
    for _ in range(5):
        budget.count(AT)
    assert spent(budget, AT + WINDOW * 0.85) == 5
    later = AT + WINDOW * 1.05
    assert budget.left(later) == 0
    budget.count(later)
    assert budget.left(later) == 0
    assert not budget.spend(later)


def test_nothing_is_allowed_where_nothing_is_configured() -> None:
    """`budget = 0`, `budget_min = 0`: the calls are counted and no attempt is extra."""
    budget = Budget(0.0, 0, AT)
    for _ in range(1000):
        budget.count(AT)
    assert not budget.spend(AT + 1)


def test_the_snapshot_shows_what_is_left() -> None:
    """To a tenth, for people."""
    budget = Budget(0.25, 2, AT)
    for _ in range(3):
        budget.count(AT)
    assert budget.snapshot(AT) == {"budget_left": 2.8}


def test_a_clock_that_stands_or_goes_back_fills_nothing() -> None:
    """A reader of the metrics may ask with an instant a little older than the last."""
    budget = Budget(0.0, 3, AT)
    assert spent(budget, AT) == 3
    assert budget.left(AT - 5) == 0
    assert budget.left(AT) == 0


def test_looking_changes_nothing() -> None:
    """The metrics are read in a thread of their own, while the loop spends."""
    looked, other = Budget(0.5, 3, AT), Budget(0.5, 3, AT)
    for budget in (looked, other):
        for _ in range(8):
            budget.count(AT)
        assert spent(budget, AT, 7) == 7
    before = all_of(looked)
    assert [looked.left(AT + later) for later in (0.5, 1.0, 60.0)] == [1.5, 3.0, 3.0]
    assert all_of(looked) == before
    assert spent(looked, AT + 1) == spent(other, AT + 1) == 3


def all_of(budget: Budget) -> list[object]:
    """Give all that a budget holds."""
    held = [budget._permits, budget._filled_at, *(getattr(budget._counts, name) for name in fields_of(RollingCounts))]
    return [list(one) if isinstance(one, list) else one for one in held]
