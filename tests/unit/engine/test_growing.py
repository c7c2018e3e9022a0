"""What is told of samples as they land, and of an answer that is there already."""

from __future__ import annotations

from dataclasses import replace

import pytest

from demur.clustering import exact_match
from demur.engine.drawing import Draw
from demur.engine.events import Begun, Event, Grown, Landed, retold
from demur.engine.growing import Growth
from demur.engine.judging import Judge
from demur.entailment.pair_memo import PairMemo
from demur.observability.metrics import Metrics
from demur.settings import ClusteringSettings
from demur.types import Clustering, Sample, Sampling
from tests.service.running import SameText
from tests.unit.caching.answers import answer, question


def _growth(n: int) -> tuple[Growth, list[Event]]:
    told: list[Event] = []
    return Growth(n, exact_match, told.append), told


def test_samples_stand_in_their_own_places_however_they_land() -> None:
    """The third lands first: it is meaning 0 until the first has landed; the greedy answer is told nothing of."""
    growth, told = _growth(3)
    last, first = Sample("Lyon", 2), Sample("Paris", 0)
    for sample in (last, Sample("Paris", is_greedy=True), first):
        growth.hear(sample)
    assert told == [Landed(last), Grown((None, None, 0)), Landed(first), Grown((0, None, 1))]
    assert told[-1].clustering == Clustering((0, 1))  # type: ignore[union-attr]


def test_what_has_not_changed_is_not_told_again() -> None:
    growth, told = _growth(2)
    growth.look_again()
    assert told == []
    growth.hear(Sample("a", 0))
    growth.look_again()
    growth.settle(Clustering((0,)))
    assert told == [Landed(Sample("a", 0)), Grown((0, None))]


def test_an_answer_is_told_again() -> None:
    """Of three samples wanted, two were drawn."""
    known = answer(question(sampling=Sampling(n=3)))
    assert list(retold(known)) == [Begun("ans_1", 3), *map(Landed, known.samples), Grown((0, 0, None))]


@pytest.mark.anyio
async def test_the_judgements_are_those_of_the_samples() -> None:
    """By index, the first of each text; None is the T=0 answer. What differs by its text alone is not asked about."""
    model = SameText([("Paris", "Lutetia"), ("Lutetia", "Paris")])
    judge = Judge(PairMemo(model, Metrics()), ClusteringSettings())
    samples = tuple(Sample(text, i) for i, text in enumerate(("Lutetia", "Paris", "Paris", "Lyon")))
    drawn = Draw(samples, Sample("Marseille", is_greedy=True), 4, deadline_reached=False)
    found = await judge.meanings("q", drawn, seconds=30)
    assert found.clustering == Clustering((0, 0, 0, 1))
    told = {(j.premise, j.hypothesis): j.verdict.label for j in found.judgements}
    assert told == {
        (1, 0): "entailment",
        (0, 1): "entailment",
        (1, 3): "contradiction",
        (0, 3): "contradiction",
        (None, 1): "contradiction",
        (None, 3): "contradiction",
    }


@pytest.mark.anyio
async def test_without_a_model_there_are_no_judgements() -> None:
    judge = Judge(None, ClusteringSettings())
    one = Sample("a")
    found = await judge.meanings("q", Draw((one, replace(one, index=1)), None, 2, deadline_reached=False), seconds=1)
    assert (found.clustering, found.judgements) == (Clustering((0, 0)), ())
