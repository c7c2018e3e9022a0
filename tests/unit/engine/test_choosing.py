"""Which answer is given."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.engine.choosing import choose, heaviest_cluster, representative
from demur.types import Clustering, Sample


def samples(*texts: str) -> list[Sample]:
    return [Sample(text, index=i) for i, text in enumerate(texts)]


GREEDY = Sample("Rome", is_greedy=True)


def test_the_most_frequent_wording_represents_a_meaning() -> None:
    """Frequency first, then probability, then the alphabet."""
    assert representative(samples("Paris.", "Paris", "Paris")).text == "Paris"
    likely, unlikely = (
        Sample("b", token_logprobs=(-0.1,), tokens=("b",)),
        Sample("a", token_logprobs=(-2.0,), tokens=("a",)),
    )
    assert representative([unlikely, likely]).text == "b"
    assert representative(samples("b", "a")).text == "a"


def test_a_tie_goes_to_the_greedy_answers_meaning() -> None:
    """Two against two: the T=0 answer decides, else the alphabet."""
    drawn, clustering = samples("Paris", "Rome", "Paris", "Rome"), Clustering((0, 1, 0, 1))
    assert heaviest_cluster(drawn, clustering, greedy_id=1) == 1
    assert heaviest_cluster(drawn, clustering, greedy_id=None) == 0


@pytest.mark.parametrize(
    ("strategy", "greedy_id", "text", "semantic_id"),
    [("auto", 1, "Paris", 0), ("auto", 0, "Rome", 0), ("mode", 0, "Paris", 0), ("greedy", 1, "Rome", 1)],
)
def test_strategies(strategy: str, greedy_id: int, text: str, semantic_id: int) -> None:
    """auto takes the greedy words only where they carry the heaviest meaning."""
    clustering = Clustering((0, 0, 0, 1))
    choice = choose(samples("Paris", "Paris", "Paris", "Lyon"), clustering, GREEDY, greedy_id, strategy)
    assert (choice.sample.text, choice.semantic_id, choice.heaviest_id) == (text, semantic_id, 0)


def test_without_a_greedy_answer_the_representative_stands_in() -> None:
    """A greedy draw may have failed: the strategy cannot be followed, and the choice is still an answer."""
    assert choose(samples("Paris", "Paris"), Clustering((0, 0)), None, None, "greedy").sample.text == "Paris"


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_the_choice_does_not_depend_on_the_order_of_arrival(texts: list[str], shuffler: random.Random) -> None:
    """A shuffle of the samples changes neither the text nor the weight of its meaning."""

    def chosen(order: list[str]) -> tuple[str, int]:
        ids = {text: i for i, text in enumerate(dict.fromkeys(order))}
        clustering = Clustering(tuple(ids[text] for text in order))
        choice = choose(samples(*order), clustering, None, None, "auto")
        return choice.sample.text, clustering.counts[choice.heaviest_id]

    shuffled = texts.copy()
    shuffler.shuffle(shuffled)
    assert chosen(texts) == chosen(shuffled)
