"""What can be read off a few completions."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.samplers.capabilities import logprob_source

WEIGHTS = st.dictionaries(st.text(max_size=3), st.floats(-8, 0), min_size=2, max_size=5).filter(
    lambda top: max(top.values()) - min(top.values()) >= 0.5
)


def tempered(raw: dict[str, float], temperature: float) -> dict[str, float]:
    total = math.log(math.fsum(math.exp(x / temperature) for x in raw.values()))
    return {token: x / temperature - total for token, x in raw.items()}


@given(WEIGHTS)
def test_what_temperature_changes_is_processed_and_what_it_leaves_is_raw(raw: dict[str, float]) -> None:
    """For any distribution that is not too flat."""
    assert logprob_source(raw, raw) == "raw"
    assert logprob_source(tempered(raw, 0.25), tempered(raw, 1.0)) == "processed"


@given(WEIGHTS.filter(lambda top: max(top.values()) - min(top.values()) >= 1), st.floats(-0.06, 0.06))
def test_the_noise_of_bfloat16_does_not_matter(raw: dict[str, float], noise: float) -> None:
    """Logprobs of one model differ by some hundredths between two runs."""
    shaken = {token: x + noise * (-1) ** i for i, (token, x) in enumerate(raw.items())}
    assert logprob_source(shaken, raw) == "raw"


@pytest.mark.parametrize(
    ("cold", "warm"),
    [({}, {}), ({"a": -1.0}, {"a": -1.0}), ({"a": -1.0, "b": -3.0}, {"c": -1.0, "d": -3.0}),
     ({"a": -1.0, "b": -1.1}, {"a": -1.0, "b": -1.1}), ({"a": -1.0, "b": -5.0}, {"a": -1.0, "b": -3.0})],
)  # fmt: skip
def test_what_cannot_be_told_is_unknown(cold: dict[str, float], warm: dict[str, float]) -> None:
    """No alternatives, none in common, too flat, or neither this nor that."""
    assert logprob_source(cold, warm) == "unknown"
