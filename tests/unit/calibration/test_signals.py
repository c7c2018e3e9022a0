"""The numbers that a calibrator reads."""

from __future__ import annotations

import dataclasses
import math

import pytest

from demur.calibration.signals import SIGNALS, read_signals
from demur.types import TokenConfidence, Uncertainty

UNCERTAINTY = Uncertainty(0.5, 0.217, None, None, 2, 0.8, 0.9, 0.0)
TOKENS = TokenConfidence(0.9, 0.5, -1.2, -0.3, math.exp(0.3), 4, "greedy", "raw")


def test_every_signal_is_read() -> None:
    """Eight of ten agree: 8.5 / 11, so that ten of ten is not 1."""
    found = read_signals(UNCERTAINTY, TOKENS, n_samples=10, greedy_agrees=True)
    assert tuple(found) == SIGNALS
    assert found == pytest.approx(
        {
            "agreement": 8.5 / 11,
            "semantic_entropy": 0.217,
            "mean_logprob": -0.3,
            "min_logprob": math.log(0.5),
            "greedy_agrees": 1.0,
            "sample_coverage": 0.9,
        }
    )


@pytest.mark.parametrize("change", [{"kind": "sampled"}, {"source": "processed"}, {"source": "unknown"}])
def test_logprobs_are_the_greedy_answers_own(change: dict[str, str]) -> None:
    """A sample's logprobs, or tempered ones, are another number, and are left out."""
    other = dataclasses.replace(TOKENS, **change)  # type: ignore[arg-type]
    found = read_signals(UNCERTAINTY, other, n_samples=10, greedy_agrees=True)
    assert "mean_logprob" not in found
    assert "min_logprob" not in found


def test_what_is_missing_is_left_out() -> None:
    """And never filled in."""
    single = dataclasses.replace(UNCERTAINTY, semantic_entropy_normalized=None)
    assert set(read_signals(single, None, n_samples=1, greedy_agrees=None)) == {"agreement", "sample_coverage"}


def test_an_impossible_token_has_a_number() -> None:
    """A probability that underflows to 0 has no logarithm; -20 nats stand for it."""
    found = read_signals(
        UNCERTAINTY, dataclasses.replace(TOKENS, min=0.0, mean_logprob=-400), n_samples=5, greedy_agrees=None
    )
    assert (found["min_logprob"], found["mean_logprob"]) == (pytest.approx(-20), -20)
