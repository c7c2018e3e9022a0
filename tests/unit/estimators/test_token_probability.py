"""Token confidence of one answer."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.estimators.token_probability import token_confidence
from demur.types import Sample


def test_token_confidence_is_exact() -> None:
    """Three tokens of .9, .6 and .99."""
    found = token_confidence(
        Sample("x", token_logprobs=tuple(map(math.log, (0.9, 0.6, 0.99))), logprob_source="raw", is_greedy=True)
    )
    assert found is not None
    assert found.sequence_logprob == pytest.approx(-0.6262364753, abs=1e-10)
    assert math.exp(found.sequence_logprob) == pytest.approx(0.5346, abs=1e-10)
    assert math.exp(found.mean_logprob) == pytest.approx(0.8116017687, abs=1e-10)
    assert found.perplexity == pytest.approx(1.2321313710, abs=1e-10)
    assert (found.mean, found.min) == (pytest.approx(0.83), pytest.approx(0.6))
    assert (found.num_tokens, found.kind, found.source) == (3, "greedy", "raw")


def test_the_kind_and_source_are_named() -> None:
    """A sampled answer with logprobs of unknown origin says so."""
    found = token_confidence(Sample("x", token_logprobs=(-0.5,)))
    assert found is not None
    assert (found.kind, found.source) == ("sampled", "unknown")


@pytest.mark.parametrize(
    "logprobs",
    [None, (), (-0.1, -9999.0), (-0.1, math.nan), (-0.1, -math.inf), (math.inf,), (0.3,), (-9000.0,)],
)
def test_unusable_logprobs_give_no_number(logprobs: tuple[float, ...] | None) -> None:
    """A placeholder for one token leaves nothing to say about the answer."""
    assert token_confidence(Sample("x", token_logprobs=logprobs)) is None


@given(st.lists(st.floats(-9998, 1e-7), min_size=1, max_size=50))
def test_every_number_is_finite_and_in_range(logprobs: list[float]) -> None:
    """Whatever usable logprobs come in."""
    found = token_confidence(Sample("x", token_logprobs=tuple(logprobs)))
    if found is None:
        assert sum(logprobs) / len(logprobs) < -690
        return
    assert 0 <= found.min <= found.mean + 1e-12 <= 1 + 1e-12
    assert found.sequence_logprob <= found.mean_logprob <= 0
    assert 1 <= found.perplexity < math.inf
