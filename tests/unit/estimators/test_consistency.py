"""Agreement among samples."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.estimators.consistency import agreement, pair_agreement
from tests.unit.estimators.test_semantic_entropy import draws, numbered, of_counts

LARGEST_SHARE = {
    (0.5, 0.5): [1, 0.75, 0.6875, 0.623047],
    (0.4, 0.3, 0.3): [1, 0.634, 0.56146, 0.500784],
    (0.7, 0.2, 0.1): [1, 0.756, 0.72144, 0.704026],
    (0.2,) * 5: [1, 0.52, 0.45728, 0.375559],
}


def test_agreement_is_the_share_of_the_answers_cluster() -> None:
    """Also where it is not the largest, and 0 where no sample agrees."""
    clustering = of_counts(3, 1, 1)
    assert [agreement(clustering, k) for k in (0, 1, 2, None)] == [0.6, 0.2, 0.2, 0.0]


@pytest.mark.parametrize(("truth", "expected"), LARGEST_SHARE.items())
def test_the_largest_share_is_biased_high(truth: tuple[float, ...], expected: list[float]) -> None:
    """The exact expectation over all draws of 1, 3, 5 and 10 samples."""
    for n, value in zip((1, 3, 5, 10), expected, strict=True):
        mean = math.fsum(p * max(counts) / n for counts, p in draws(truth, n))
        mean_by_agreement = math.fsum(
            p * max(agreement(of_counts(*counts), k) for k in range(len(counts))) for counts, p in draws(truth, n)
        )
        assert mean_by_agreement == pytest.approx(mean, abs=1e-12)
        assert mean == pytest.approx(value, abs=1e-6)


def test_pair_agreement_is_exact() -> None:
    """3 of 10 pairs of 3+1+1; nothing to pair below two."""
    assert pair_agreement(of_counts(3, 1, 1)) == pytest.approx(0.3)
    assert pair_agreement(of_counts(1)) is None


@pytest.mark.parametrize("truth", LARGEST_SHARE)
def test_pair_agreement_is_unbiased(truth: tuple[float, ...]) -> None:
    """Its expectation is the chance that two answers agree, at any number of samples."""
    for n in (2, 5, 8):
        mean = math.fsum(p * (pair_agreement(of_counts(*counts)) or 0) for counts, p in draws(truth, n))
        assert mean == pytest.approx(math.fsum(p * p for p in truth), abs=1e-9)


@given(st.lists(st.integers(0, 4), min_size=2, max_size=15))
def test_shares_are_shares(ids: list[int]) -> None:
    """They sum to 1 over the clusters."""
    clustering = numbered(ids)
    shares = [agreement(clustering, k) for k in range(clustering.n_clusters)]
    assert math.fsum(shares) == pytest.approx(1)
    assert 0 <= (pair_agreement(clustering) or 0) <= 1
