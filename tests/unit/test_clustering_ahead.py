"""Clustering while answers arrive: what is asked ahead changes no partition, and little is asked in vain."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demur.clustering import Clusterer, Rule, exact_match
from demur.normalisation.answer_keys import answer_key, certainly_different
from demur.types import Pair, Statement, Verdict
from tests.unit.test_clustering import (
    WORDS,
    Relation,
    RelationTable,
    agree,
    brute_force,
    drawn,
    equivalences,
    relations,
    rules,
)

pytestmark = pytest.mark.anyio

QUESTION = "Which?"

# After each arrival: how many times pairs are asked ahead, and how many of the open ones each time.
efforts = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4)), min_size=10, max_size=10)


def pairs_of(*words: tuple[str, str]) -> list[Pair]:
    return [Pair(Statement(a, QUESTION), Statement(b, QUESTION)) for a, b in words]


async def look_ahead(
    clusterer: Clusterer, model: RelationTable, answers: list[str], greedy: str | None, effort: list[tuple[int, int]]
) -> dict[Pair, Verdict]:
    """Let the answers arrive one by one, and ask some of what is open after each."""
    known: dict[Pair, Verdict] = {}
    for n, (n_calls, n_pairs) in enumerate(effort[: len(answers)], start=1):
        for _ in range(n_calls):
            pairs = clusterer.open_pairs(answers[:n], greedy, QUESTION, known)[:n_pairs]
            known |= zip(pairs, await model.label(pairs), strict=True)
    return known


@given(drawn, st.none() | st.sampled_from(WORDS), relations, rules, efforts)
@settings(max_examples=400)
async def test_what_was_asked_ahead_changes_nothing(
    answers: list[str], greedy: str | None, relation: Relation, rule: Rule, effort: list[tuple[int, int]]
) -> None:
    """However far the asking got, and whatever it asked: the partition and the greedy answer's place are the same."""
    model = RelationTable(relation)
    clusterer, plain = Clusterer(model, rule), Clusterer(RelationTable(relation), rule)
    known = await look_ahead(clusterer, model, answers, greedy, effort)
    clustered = await clusterer.cluster(answers, QUESTION, asked=known, known=known)
    assert clustered.clustering == brute_force(answers, relation, rule)
    if greedy is not None:
        expected = await plain.place(greedy, await plain.cluster(answers, QUESTION))
        assert await clusterer.place(greedy, clustered, asked=known, known=known) == expected


@given(drawn, relations, rules, st.sets(st.tuples(st.sampled_from(WORDS), st.sampled_from(WORDS))))
async def test_any_direction_may_have_been_asked_first(
    answers: list[str], relation: Relation, rule: Rule, asked: set[tuple[str, str]]
) -> None:
    """Matching is symmetric: with whatever pairs at hand, the partition is the same, within the bound on pairs."""
    clustered = await Clusterer(RelationTable(relation), rule).cluster(answers, QUESTION, asked=pairs_of(*asked))
    assert clustered.clustering == brute_force(answers, relation, rule)
    assert clustered.n_pairs <= 2 * len(set(answers)) * clustered.clustering.n_clusters + 8


@given(drawn, st.none() | st.sampled_from(WORDS), relations, rules)
async def test_nothing_is_left_to_ask_where_all_was_asked_ahead(
    answers: list[str], greedy: str | None, relation: Relation, rule: Rule
) -> None:
    """The clustering then asks for verdicts that are known, and no others."""
    model = RelationTable(relation)
    clusterer = Clusterer(model, rule)
    known: dict[Pair, Verdict] = {}
    while pairs := clusterer.open_pairs(answers, greedy, QUESTION, known):
        assert not known.keys() & set(pairs), "a pair is asked once"
        known |= zip(pairs, await model.label(pairs), strict=True)
    model.batches.clear()
    clustered = await clusterer.cluster(answers, QUESTION, asked=known, known=known)
    if greedy is not None:
        await clusterer.place(greedy, clustered, asked=known, known=known)
    assert set(model.asked) <= known.keys()


@given(drawn, relations, rules, efforts)
async def test_only_what_may_matter_is_asked_ahead(
    answers: list[str], relation: Relation, rule: Rule, effort: list[tuple[int, int]]
) -> None:
    """Never two texts that are the same; the second direction only where the first left the match open."""
    model = RelationTable(relation)
    known = await look_ahead(Clusterer(model, rule), model, answers, None, effort)
    assert len(model.asked) == len(known), "a pair is asked once"
    asked = [(pair.premise.answer, pair.hypothesis.answer) for pair in model.asked]
    for n, (one, other) in enumerate(asked):
        assert one != other
        if (other, one) in asked[:n]:
            assert relation[other, one] != "contradiction"
            assert rule == "relaxed" or relation[other, one] == "entailment"


@given(
    st.lists(st.sampled_from(["$5", "$6", "five dollars", "I don't know", "N/A", "Paris", "paris."]), max_size=8),
    efforts,
)
async def test_what_is_certain_is_never_asked_ahead(answers: list[str], effort: list[tuple[int, int]]) -> None:
    """Amounts, refusals, and texts that differ in nothing but case."""
    model = RelationTable()
    await look_ahead(Clusterer(model), model, answers, None, effort)
    for pair in model.asked:
        one, other = answer_key(pair.premise.answer), answer_key(pair.hypothesis.answer)
        assert one != other
        assert not certainly_different(one, other)


async def test_agreement_wastes_nothing() -> None:
    """Nine of one meaning in three wordings and one of another, in the order they came: no pair asked in vain."""
    answers = ["alpha", "beta", "alpha", "gamma", "alpha", "delta", "beta", "alpha", "alpha", "alpha"]
    model = RelationTable(equivalences("alpha beta gamma"))
    clusterer = Clusterer(model)
    known = await look_ahead(clusterer, model, answers, "alpha", [(9, 9)] * 10)
    asked_ahead = set(model.asked)
    model.batches.clear()
    clustered = await clusterer.cluster(answers, QUESTION, asked=known, known=known)
    assert set(model.asked) == asked_ahead
    assert clustered.n_pairs == len(asked_ahead) == 5


def test_agree_is_symmetric() -> None:
    """What the brute force rests on, so that the law above is not true by construction."""
    labels = ("entailment", "neutral", "contradiction")
    assert all(agree(a, b, rule) == agree(b, a, rule) for a in labels for b in labels for rule in ("strict", "relaxed"))


@given(drawn, relations, rules, efforts)
async def test_the_partition_so_far_merges_as_more_is_known(
    answers: list[str], relation: Relation, rule: Rule, effort: list[tuple[int, int]]
) -> None:
    """With nothing known it is that of the texts alone, with all of it the final one; in between, no coarser."""
    model = RelationTable(relation)
    clusterer = Clusterer(model, rule)
    final = brute_force(answers, relation, rule)
    assert clusterer.so_far(answers, QUESTION, {}) == exact_match(answers)
    known = await look_ahead(clusterer, model, answers, None, effort)
    assert clusterer.so_far(answers, QUESTION, known).n_clusters >= final.n_clusters
    while pairs := clusterer.open_pairs(answers, None, QUESTION, known):
        known |= zip(pairs, await model.label(pairs), strict=True)
    assert clusterer.so_far(answers, QUESTION, known) == final


@pytest.mark.parametrize("rule", ["strict", "relaxed"])
def test_half_of_what_matters_makes_no_match(rule: Rule) -> None:
    """Paris entails Lutetia, and the other direction, which may contradict, is not known yet."""
    (pair,) = pairs_of(("Lutetia", "Paris"))
    so_far = Clusterer(RelationTable(), rule).so_far(["Paris", "Lutetia"], QUESTION, {pair: Verdict(0.9, 0.1, 0.0)})
    assert so_far.n_clusters == 2
