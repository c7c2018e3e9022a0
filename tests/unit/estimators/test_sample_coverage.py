"""Good-Turing coverage, and entropies corrected for what was not seen."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.estimators.sample_coverage import chao_shen_entropy, miller_madow_entropy, sample_coverage
from demur.estimators.semantic_entropy import semantic_entropy
from demur.types import Clustering

CHAO_SHEN = {
    (3, 1, 1): 1.4895246543,
    (4, 1): 0.7913473065,
    (2, 2, 1): 1.3572884455,
    (7, 2, 1): 1.0038766813,
    (6, 2, 1, 1): 1.4226596616,
    (9, 1): 0.5256149754,
    (5, 5): 0.6938247438,
    (5,): 0.0,
    (1,) * 5: 3.4868903819,
    (1,) * 10: 4.8162205846,
}

counts = st.lists(st.integers(1, 9), min_size=1, max_size=6)


def of_counts(*counts: int) -> Clustering:
    return Clustering(tuple(k for k, count in enumerate(counts) for _ in range(count)))


@pytest.mark.parametrize(
    ("drawn", "coverage"), [((3, 1, 1), 0.6), ((5,), 1.0), ((1,) * 5, 0.0), ((5, 5), 1.0), ((9, 1), 0.9), ((1,), 0.0)]
)
def test_coverage_is_the_share_not_seen_once(drawn: tuple[int, ...], coverage: float) -> None:
    """1 - f1/N."""
    assert sample_coverage(of_counts(*drawn)) == pytest.approx(coverage, abs=1e-12)


@pytest.mark.parametrize(("drawn", "nats"), CHAO_SHEN.items())
def test_chao_shen_is_exact(drawn: tuple[int, ...], nats: float) -> None:
    """Also where every meaning was seen once, which others give as 0 or NaN."""
    assert chao_shen_entropy(of_counts(*drawn)) == pytest.approx(nats, abs=1e-9)


def test_miller_madow_is_exact() -> None:
    """3+1+1."""
    assert miller_madow_entropy(of_counts(3, 1, 1)) == pytest.approx(1.1502705392, abs=1e-10)


@given(counts)
def test_corrections_never_lower_entropy(drawn: list[int]) -> None:
    """They answer a bias that is always downwards; all stay finite."""
    clustering = of_counts(*drawn)
    plain = semantic_entropy(clustering)
    assert plain <= miller_madow_entropy(clustering) < math.inf
    assert 0 <= chao_shen_entropy(clustering) < math.inf
    assert 0 <= sample_coverage(clustering) <= 1


@given(counts, st.integers(2, 5))
def test_repeating_all_samples_makes_them_look_complete(drawn: list[int], times: int) -> None:
    """Unlike entropy, coverage and the corrections know how many samples there were."""
    repeated = of_counts(*(count * times for count in drawn))
    assert sample_coverage(repeated) == 1
    if len(drawn) > 1:
        assert miller_madow_entropy(repeated) < miller_madow_entropy(of_counts(*drawn))
