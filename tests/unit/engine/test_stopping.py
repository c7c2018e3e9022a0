"""When enough samples have landed, and that the rest is then given up."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.engine.stopping import EarlyStop, lead_probability, looks
from demur.types import Clustering, Sampling

ADAPTIVE = Sampling(n=10, mode="adaptive")


def _stops_at(ids: Sequence[int], *, is_settled: bool = True, sampling: Sampling = ADAPTIVE) -> int | None:
    """The number of samples after which it stops, looking each time that one lands."""
    stopped: list[int] = []
    stop = EarlyStop(sampling, lambda: stopped.append(landed))
    for landed in range(1, len(ids) + 1):
        stop.look(_clustering(ids[:landed]), is_settled=is_settled)
    assert len(stopped) <= 1
    return stopped[0] if stopped else None


def _clustering(ids: Sequence[int]) -> Clustering:
    order = {old: new for new, old in enumerate(dict.fromkeys(ids))}
    return Clustering(tuple(order[i] for i in ids))


@pytest.mark.parametrize(
    ("first", "second", "expected"), [(3, 0, 0.9375), (4, 0, 0.96875), (5, 1, 0.9375), (6, 1, 0.96484375), (2, 2, 0.5)]
)
def test_the_lead_is_as_probable_as_the_beta_distribution_says(first: int, second: int, expected: float) -> None:
    """Values of Adaptive-Consistency's criterion, computed by hand."""
    assert lead_probability(first, second) == expected


@given(st.integers(0, 40), st.integers(0, 40))
def test_who_leads_and_who_follows_are_sure_together(first: int, second: int) -> None:
    assert lead_probability(first, second) + lead_probability(second, first) == pytest.approx(1)


def test_it_looks_at_5_7_and_10() -> None:
    assert looks(5, 10) == (5, 7)
    assert looks(5, 20) == (5, 7, 10, 14)
    assert looks(2, 5) == (2, 3, 4)
    assert looks(10, 10) == ()


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([0] * 10, 5),
        ([0, 0, 0, 0, 1, 0, 0, 0, 0, 0], 7),  # 4-1 is .89, 6-1 at the next look .965
        ([0, 0, 0, 1, 1, 0, 0, 0, 0, 0], None),  # 5-2 at the second look is .855
        ([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], None),
        ([0, 0, 0, 0], None),
    ],
)
def test_it_stops_at_the_first_look_at_which_one_meaning_leads_clearly(ids: list[int], expected: int | None) -> None:
    assert _stops_at(ids) == expected


def test_before_all_is_known_those_behind_count_as_one_meaning() -> None:
    """6 against 1 and 1 that may yet be the same: .91, where 6 against 1 would do."""
    ids = [0, 0, 1, 0, 2, 0, 0, 0]
    assert _stops_at(ids, is_settled=False) is None
    assert _stops_at([0] * 5, is_settled=False) == 5


def test_a_look_that_was_not_settled_is_taken_when_it_is() -> None:
    stopped: list[bool] = []
    stop = EarlyStop(ADAPTIVE, lambda: stopped.append(True))
    stop.look(_clustering([0, 0, 1, 0, 2]), is_settled=False)
    assert not stopped
    stop.look(_clustering([0, 0, 0, 0, 0]), is_settled=True)
    assert stopped


@given(st.integers(0, 30), st.integers(1, 30))
def test_nothing_that_may_still_merge_takes_a_stop_back(first: int, second: int) -> None:
    """Of those behind, some may join the leader, and then fewer are behind: both only make the lead surer."""
    assert lead_probability(first + 1, second - 1) > lead_probability(first, second)
    assert lead_probability(first, second - 1) > lead_probability(first, second)
