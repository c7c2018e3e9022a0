"""Which token is drawn for which uniform number, and what its logprob is."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from demur.samplers.next_token import next_tokens
from demur.types import Sampling

HALVES = [math.log(p) for p in (0.125, 0.5, 0.25, 0.125)]
ALMOST_ONE = 1.0 - 2**-53


def pick(logits: list[float], u: float | None, sampling: Sampling | None = None) -> tuple[int, float]:
    tokens, logprobs = next_tokens(torch.tensor([logits]), [u], sampling or Sampling())
    return tokens[0], logprobs[0]


@pytest.mark.parametrize(
    ("u", "token"), [(0.0, 0), (0.124, 0), (0.126, 1), (0.624, 1), (0.626, 2), (0.874, 2), (0.876, 3), (ALMOST_ONE, 3)]
)
def test_a_uniform_number_is_looked_up_in_the_cumulative_distribution(u: float, token: int) -> None:
    """Cumulative 1/8, 5/8, 7/8, 1."""
    assert pick(HALVES, u) == (token, pytest.approx(HALVES[token]))


@pytest.mark.parametrize(("u", "token"), [(0.0, 1), (0.66, 1), (0.67, 2), (ALMOST_ONE, 2)])
def test_top_p_keeps_the_fewest_likely_tokens_that_reach_it(u: float, token: int) -> None:
    """.5 and .25 reach .6, and are drawn as 2/3 and 1/3; the logprob stays that of the whole distribution."""
    assert pick(HALVES, u, Sampling(top_p=0.6)) == (token, pytest.approx(HALVES[token]))


def test_the_likeliest_token_is_always_in_the_nucleus() -> None:
    """Even where it alone exceeds top_p by far."""
    assert {pick(HALVES, u, Sampling(top_p=1e-9))[0] for u in (0.0, 0.5, ALMOST_ONE)} == {1}


@pytest.mark.parametrize(("u", "token"), [(0.04, 0), (0.05, 1), (0.77, 1), (0.78, 2), (0.95, 2), (0.96, 3)])
def test_temperature_one_half_squares_the_probabilities(u: float, token: int) -> None:
    """1/64, 1/4, 1/16, 1/64 of 22/64: cumulative 1/22, 17/22, 21/22, 1."""
    assert pick(HALVES, u, Sampling(temperature=0.5)) == (token, pytest.approx(HALVES[token]))


@pytest.mark.parametrize("temperature", [1e-3, 1e-40, 5e-324])
def test_the_smallest_temperature_is_greedy(temperature: float) -> None:
    """Without overflow to a logit that is not a number."""
    drawn = {pick([3.0, 80.0, -7.0], u, Sampling(temperature=temperature))[0] for u in (0.0, 0.5, ALMOST_ONE)}
    assert drawn == {1}


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(top_p=0.99), Sampling(temperature=0.7)])
def test_an_impossible_token_is_never_drawn(sampling: Sampling) -> None:
    """Not at the ends either, where the number 0 and the last one below 1 fall."""
    logits = [-math.inf, 0.0, -math.inf, 0.0, -math.inf]
    assert {pick(logits, u, sampling)[0] for u in (0.0, 0.25, 0.75, ALMOST_ONE)} == {1, 3}


def test_a_greedy_row_takes_the_largest_logit_beside_sampled_rows() -> None:
    """Its neighbours' numbers do not touch it."""
    tokens, logprobs = next_tokens(torch.tensor([HALVES] * 3), [0.0, None, 0.9], Sampling())
    assert tokens == [0, 1, 3]
    assert logprobs == pytest.approx([HALVES[0], HALVES[1], HALVES[3]])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("u", [None, 0.0, ALMOST_ONE])
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(top_p=0.9), Sampling(temperature=0.5)])
def test_logits_that_are_no_distribution_give_a_logprob_that_is_no_number(
    bad: float, u: float | None, sampling: Sampling
) -> None:
    """So that the row can be dropped, while its neighbour is drawn as ever."""
    tokens, logprobs = next_tokens(torch.tensor([[0.0, bad, 1.0, 0.0], HALVES]), [u, 0.5], sampling)
    assert math.isnan(logprobs[0])
    assert logprobs[1] == pytest.approx(HALVES[tokens[1]])


@settings(deadline=None)  # the first call into torch is slow, and so is a busy machine
@given(
    logits=st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=40),
    u=st.floats(0, ALMOST_ONE),
    temperature=st.floats(0.05, 2),
    top_p=st.floats(0.01, 1),
)
def test_a_drawn_token_is_one_that_the_distribution_allows(
    logits: list[float], u: float, temperature: float, top_p: float
) -> None:
    """It lies in the nucleus, so the tokens strictly likelier than it hold less than top_p; its logprob is raw."""
    token, logprob = pick(logits, u, Sampling(temperature=temperature, top_p=top_p))
    weights = [math.exp((x - max(logits)) / temperature) for x in logits]
    likelier = sum(w for w in weights if w > weights[token] * 1.00001) / sum(weights)  # float32 knows no closer ones
    raw = logits[token] - max(logits) - math.log(sum(math.exp(x - max(logits)) for x in logits))
    assert likelier < top_p + 1e-5
    assert logprob == pytest.approx(raw, abs=1e-4)
