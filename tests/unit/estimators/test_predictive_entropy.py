"""Predictive entropy over strings."""

import math

import pytest

from demur.estimators.predictive_entropy import length_normalized_predictive_entropy, predictive_entropy
from demur.types import Sample

PROBABILITIES = [0.5, 0.25, 0.2, 0.4, 0.1]


def sample(*logprobs: float, finish: str = "stop") -> Sample:
    reason = "length" if finish == "length" else "stop"
    return Sample("text", finish_reason=reason, token_logprobs=logprobs, logprob_source="raw")  # type: ignore[arg-type]


def test_predictive_entropy_is_the_mean_loss_of_the_samples() -> None:
    """The value of the reference code."""
    samples = [sample(math.log(p)) for p in PROBABILITIES]
    assert predictive_entropy(samples) == pytest.approx(1.3815510557964275, abs=1e-12)


def test_length_is_divided_out_only_where_the_name_says_so() -> None:
    """Two tokens of ln .5: 2 ln 2 for the sequence, ln 2 per token."""
    samples = [sample(math.log(0.5), math.log(0.5))]
    assert predictive_entropy(samples) == pytest.approx(2 * math.log(2))
    assert length_normalized_predictive_entropy(samples) == pytest.approx(math.log(2))


def test_a_certain_model_has_no_predictive_entropy() -> None:
    """0.0, not -0.0."""
    assert str(predictive_entropy([sample(0.0)])) == "0.0"


def test_samples_cut_by_length_are_left_out() -> None:
    """Their probability is that of a prefix."""
    assert predictive_entropy([sample(-1.0), sample(-100.0, finish="length")]) == 1.0
    assert predictive_entropy([sample(-1.0, finish="length")]) is None


@pytest.mark.parametrize(
    "odd", [Sample("x"), Sample("x", token_logprobs=(-1.0,)), sample(math.nan), sample(-9999.0), sample()]
)
def test_without_raw_logprobs_there_is_no_number(odd: Sample) -> None:
    """None for the whole set, whatever the others have."""
    assert predictive_entropy([sample(-1.0), odd]) is None
    assert length_normalized_predictive_entropy([sample(-1.0), odd]) is None
