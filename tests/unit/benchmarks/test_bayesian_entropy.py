"""The posterior of the entropy: hand-computed moments, draws from the same posterior, and laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.bayesian_entropy import entropy_posterior, seen_masses
from demur.types import Clustering, Sample

GRID = 0.004  # nats: what the grid may differ from the integral

counts = st.lists(st.integers(1, 12), min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("drawn", "concentration", "expected"),
    [
        ((1, 1), 0.5, 2 * math.log(2) - 5 / 6),  # psi(4) - psi(5/2)
        ((1, 1), 1.0, 1 / 3 + 1 / 4),  # psi(5) - psi(3)
        ((2, 1), 1.0, 7 / 12),  # psi(6) - 3/5 psi(4) - 2/5 psi(3)
        ((1, 1, 1), 1.0, 0.95),  # psi(7) - psi(3)
    ],
)
def test_the_mean_of_a_known_support_is_that_of_the_dirichlet_distribution(
    drawn: tuple[int, ...], concentration: float, expected: float
) -> None:
    """E[H] = psi(A + 1) - sum a/A psi(a + 1), a = counts + concentration."""
    found = entropy_posterior(drawn, support=len(drawn), concentration=concentration)
    assert found.mean == pytest.approx(expected, abs=GRID)


def test_supports_weigh_as_much_as_they_make_the_counts_likely() -> None:
    """After one sample, one meaning and two are as likely, 2 B(3/2, 1/2) / pi = 1; with two, 2 ln 2 - 1 is expected."""
    assert entropy_posterior((1,), support=2).mean == pytest.approx((2 * math.log(2) - 1) / 2, abs=GRID)


@pytest.mark.parametrize(
    ("drawn", "masses"),
    [((4, 1), (0.0, 0.0)), ((4, 1), (0.5, 0.1)), ((3, 1, 1), (0.3, 0.05, 0.1)), ((2, 2), (0.05, 0.4))],
)
def test_it_is_the_dirichlet_distribution_where_each_share_is_at_least_what_was_seen(
    drawn: tuple[int, ...], masses: tuple[float, ...]
) -> None:
    """400,000 draws, of which those are kept that no bound forbids."""
    draws = np.random.default_rng(0).dirichlet(np.array(drawn) + 0.5, 400_000)
    kept = draws[(draws >= np.array(masses)).all(axis=1)]
    entropies = -(kept * np.log(np.maximum(kept, 1e-300))).sum(axis=1)
    found = entropy_posterior(drawn, masses, support=len(drawn))
    assert found.mean == pytest.approx(entropies.mean(), abs=2 * GRID)
    assert found.variance == pytest.approx(entropies.var(), abs=GRID)


def test_nothing_is_uncertain_when_all_has_been_seen() -> None:
    found = entropy_posterior((3, 1), (0.75, 0.25))
    assert found.mean == pytest.approx(math.log(4) - 0.75 * math.log(3))
    assert found.variance == 0


@given(counts)
def test_the_mean_lies_between_one_meaning_and_all_alike(drawn: list[int]) -> None:
    found = entropy_posterior(drawn)
    assert 0 < found.mean < math.log(7)
    assert 0 < found.variance < math.log(7) ** 2 / 4


@given(counts, st.randoms(use_true_random=False))
def test_meanings_have_no_order(drawn: list[int], random: object) -> None:
    shuffled = list(drawn)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = entropy_posterior(drawn), entropy_posterior(shuffled)
    assert (one.mean, one.variance) == pytest.approx((other.mean, other.variance), rel=1e-6)


@pytest.mark.parametrize("drawn", [(2,), (5,), (4, 1), (2, 1, 1), (1, 1, 1, 1, 1)])
def test_twice_the_samples_say_more(drawn: tuple[int, ...]) -> None:
    assert entropy_posterior([2 * n for n in drawn]).variance < entropy_posterior(drawn).variance


def test_seeing_most_of_one_meaning_says_more_than_its_count() -> None:
    bare, seen = entropy_posterior((5,)), entropy_posterior((5,), (0.9,))
    assert seen.variance < bare.variance / 5
    assert seen.mean < bare.mean


@pytest.mark.parametrize(("drawn", "masses"), [((), None), ((0, 2), None), ((1, 1), (0.9, 0.2)), ((2,), (0.1, 0.1))])
def test_what_are_no_counts_and_shares_is_refused(drawn: tuple[int, ...], masses: tuple[float, ...] | None) -> None:
    with pytest.raises(ValueError, match="no counts"):
        entropy_posterior(drawn, masses)


def test_each_sequence_counts_once_and_a_cut_one_not_at_all() -> None:
    def sample(token: str, share: float, *, is_cut: bool = False) -> Sample:
        finish = "length" if is_cut else "stop"
        return Sample(token, finish_reason=finish, tokens=(token,), token_logprobs=(math.log(share),))

    samples = [sample("a", 0.3), sample("a", 0.3), sample("b", 0.1), sample("c", 0.2, is_cut=True)]
    greedy = sample("d", 0.05)
    assert seen_masses(Clustering((0, 0, 1, 1)), samples, greedy, 1) == pytest.approx([0.3, 0.15])
    assert seen_masses(Clustering((0, 0, 1, 1)), samples, greedy, None) == pytest.approx([0.3, 0.1])
