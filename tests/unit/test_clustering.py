"""Clustering: against a brute-force first-head greedy, and against the defects of other implementations."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demur.clustering import Clusterer, Rule, exact_match, place_exactly
from demur.estimators.semantic_entropy import semantic_entropy
from demur.types import Clustering, Pair, Verdict

pytestmark = pytest.mark.anyio

Label = Literal["entailment", "neutral", "contradiction"]
Relation = Mapping[tuple[str, str], Label]

VERDICTS: dict[Label, Verdict] = {
    "entailment": Verdict(entailment=0.8, neutral=0.1, contradiction=0.1),
    "neutral": Verdict(entailment=0.1, neutral=0.8, contradiction=0.1),
    "contradiction": Verdict(entailment=0.1, neutral=0.1, contradiction=0.8),
}
WORDS = ["alpha", "beta", "gamma", "delta", "epsilon"]
PAIRS = list(itertools.permutations(WORDS, 2))

relations = st.lists(
    st.sampled_from(["entailment", "entailment", "neutral", "contradiction"]), min_size=len(PAIRS), max_size=len(PAIRS)
).map(lambda labels: dict(zip(PAIRS, labels, strict=True)))
drawn = st.lists(st.sampled_from(WORDS), min_size=1, max_size=10)
rules = st.sampled_from(["strict", "relaxed"])


@dataclass
class RelationTable:
    """An entailment model that looks its labels up; what is not listed is contradiction."""

    relation: Relation = field(default_factory=dict)
    truncates: bool = False
    batches: list[list[Pair]] = field(default_factory=list)
    model: str = "table"

    @property
    def asked(self) -> list[Pair]:
        return [pair for batch in self.batches for pair in batch]

    async def label(self, pairs: Sequence[Pair]) -> list[Verdict]:
        self.batches.append(list(pairs))
        return [self._verdict(pair.premise.answer, pair.hypothesis.answer) for pair in pairs]

    async def aclose(self) -> None:
        self.batches.clear()

    def _verdict(self, premise: str, hypothesis: str) -> Verdict:
        known = VERDICTS[self.relation.get((premise, hypothesis), "contradiction")]
        return Verdict(known.entailment, known.neutral, known.contradiction, is_truncated=self.truncates)


def equivalences(*groups: str) -> Relation:
    """Words of one group entail one another: "paris city" makes "paris" and "city" the same."""
    return {pair: "entailment" for group in groups for pair in itertools.permutations(group.split(), 2)}


def brute_force(answers: Sequence[str], relation: Relation, rule: Rule) -> Clustering:
    """First-head greedy as it is defined: one answer after another, both directions, first matching head wins."""
    order = sorted(set(answers), key=lambda word: (-Counter(answers)[word], word))
    head_of: dict[str, str] = {}
    for word in order:
        heads = [head for head in order if head_of.get(head) == head]
        matching = (head for head in heads if agree(relation[head, word], relation[word, head], rule))
        head_of[word] = next(matching, word)
    seen = list(dict.fromkeys(head_of[answer] for answer in answers))
    return Clustering(tuple(seen.index(head_of[answer]) for answer in answers))


def agree(one: Label, other: Label, rule: Rule) -> bool:
    if rule == "strict":
        return one == other == "entailment"
    return "contradiction" not in (one, other) and (one, other) != ("neutral", "neutral")


def blocks(answers: Iterable[str], clustering: Clustering) -> set[frozenset[str]]:
    """The partition of texts, whatever the numbers of its blocks."""
    texts = list(answers)
    return {frozenset(texts[i] for i in clustering.members(k)) for k in range(clustering.n_clusters)}


@given(drawn, relations, rules)
@settings(max_examples=400)
async def test_the_partition_is_first_head_greedy(answers: list[str], relation: Relation, rule: Rule) -> None:
    """Asking in batches, and one direction first, changes nothing about the result."""
    clustered = await Clusterer(RelationTable(relation), rule).cluster(answers, "Which?")
    assert clustered.clustering == brute_force(answers, relation, rule)


@given(drawn, relations, rules, st.randoms())
async def test_the_order_of_arrival_changes_nothing(
    answers: list[str], relation: Relation, rule: Rule, random: object
) -> None:
    """Same samples, same verdicts, same partition and the same pairs asked."""
    shuffled = sorted(answers, key=lambda _: random.random())  # type: ignore[attr-defined]
    one, other = RelationTable(relation), RelationTable(relation)
    first = await Clusterer(one, rule).cluster(answers, "Which?")
    second = await Clusterer(other, rule).cluster(shuffled, "Which?")
    assert blocks(answers, first.clustering) == blocks(shuffled, second.clustering)
    assert one.batches == other.batches


@given(drawn, relations, rules)
async def test_the_work_is_bounded_and_counted(answers: list[str], relation: Relation, rule: Rule) -> None:
    """At most 2 U K directed pairs, and the 8 of rows ahead, in two batches per cluster, none asked twice, none with
    itself."""
    model = RelationTable(relation)
    clustered = await Clusterer(model, rule).cluster(answers, "Which?")
    n_unique, n_clusters = len(set(answers)), clustered.clustering.n_clusters
    assert clustered.n_pairs == len(model.asked) <= 2 * n_unique * n_clusters + 8
    assert len(model.batches) <= 2 * n_clusters
    assert len(set(model.asked)) == len(model.asked)
    assert all(pair.premise != pair.hypothesis for pair in model.asked)
    assert clustered.n_merged_free == len(answers) - n_unique


@given(drawn, relations)
async def test_the_reverse_direction_is_asked_only_where_the_first_entails(
    answers: list[str], relation: Relation
) -> None:
    """A pair that fails one way needs no second question."""
    model = RelationTable(relation)
    await Clusterer(model).cluster(answers, "Which?")
    asked = {(pair.premise.answer, pair.hypothesis.answer) for pair in model.asked}
    for one, other in asked:
        if (other, one) in asked:
            assert "entailment" in (relation[one, other], relation[other, one])


async def test_different_meanings_take_two_passes() -> None:
    """The rows of the first two heads, which 8 pairs hold, and then all others: (4 + 3) + (2 + 1) pairs."""
    model = RelationTable()
    await Clusterer(model).cluster(WORDS, "Which?")
    assert [len(batch) for batch in model.batches] == [7, 3]


async def test_one_meaning_takes_one_pass_for_each_direction() -> None:
    """The second head's row comes along in vain; what matched in the first direction then heads no row ahead."""
    model = RelationTable(equivalences(" ".join(WORDS)))
    await Clusterer(model).cluster(WORDS, "Which?")
    assert [len(batch) for batch in model.batches] == [7, 4]


async def test_rows_ahead_are_few() -> None:
    """20 different meanings: 19 pairs, 18, and from there on as many whole rows as 24 pairs hold."""
    model = RelationTable()
    await Clusterer(model).cluster([f"word{chr(97 + i)}" for i in range(20)], "Which?")
    assert [len(batch) for batch in model.batches] == [19, 18, 17, 16, 15, 14, 13, 23, 19, 21, 15]


@given(drawn, st.lists(st.integers(0, 2), min_size=len(WORDS), max_size=len(WORDS)))
async def test_strict_clusters_refine_relaxed_ones_where_meaning_is_transitive(
    answers: list[str], meanings: list[int]
) -> None:
    """Entailment within a meaning; between neighbouring meanings one way only."""
    meaning = dict(zip(WORDS, meanings, strict=True))
    relation: dict[tuple[str, str], Label] = {
        (a, b): "entailment" if meaning[a] == meaning[b] else "neutral" if meaning[a] * meaning[b] else "contradiction"
        for a, b in PAIRS
    }
    strict = await Clusterer(RelationTable(relation), "strict").cluster(answers, "Which?")
    relaxed = await Clusterer(RelationTable(relation), "relaxed").cluster(answers, "Which?")
    wide = blocks(answers, relaxed.clustering)
    assert all(any(block <= other for other in wide) for block in blocks(answers, strict.clustering))


@pytest.mark.parametrize("answers", [["Paris"] * 10, ["Paris", "paris.", " PARIS "], ["5", "5.0", "five"], ["", "N/A"]])
async def test_equal_answers_never_reach_the_model(answers: list[str]) -> None:
    """Unanimity costs nothing."""
    model = RelationTable()
    clustered = await Clusterer(model).cluster(answers, "Which?")
    assert clustered.clustering.n_clusters == 1
    assert model.batches == []
    assert clustered.n_merged_free == len(answers) - 1


async def test_certainly_different_answers_never_reach_the_model() -> None:
    """Two amounts, two dates, and a refusal beside them."""
    model = RelationTable()
    answers = ["$5", "$6", "1 May 1998", "2 May 1998", "I don't know"]
    clustered = await Clusterer(model).cluster(answers, "Which?")
    asked = {frozenset((pair.premise.answer, pair.hypothesis.answer)) for pair in model.asked}
    assert clustered.clustering.n_clusters == 5
    assert not {frozenset(("$5", "$6")), frozenset(("1 May 1998", "2 May 1998"))} & asked
    assert not any("I don't know" in pair for pair in asked)


async def test_non_answers_are_one_meaning_that_nothing_joins() -> None:
    """However the model would judge them."""
    answers = ["I don't know", "Paris", "N/A", "Unknown.", "Paris"]
    agreeable: Relation = dict.fromkeys(itertools.permutations(answers, 2), "entailment")
    clustered = await Clusterer(RelationTable(agreeable)).cluster(answers, "Which?")
    assert clustered.clustering.semantic_ids == (0, 1, 0, 0, 1)


@pytest.mark.parametrize("order", list(itertools.permutations(["1 October 1998", "5 May 1998", "1998"])))
async def test_one_way_entailments_make_no_shared_meaning(order: tuple[str, ...]) -> None:
    """uqlm takes either direction for both, and gives entropy 0 or ln 2 by order; three meanings are ln 3."""
    model = RelationTable({("1 October 1998", "1998"): "entailment", ("5 May 1998", "1998"): "entailment"})
    clustered = await Clusterer(model).cluster(order, "When was it founded?")
    assert semantic_entropy(clustered.clustering) == pytest.approx(math.log(3), abs=1e-12)


@pytest.mark.parametrize("order", list(itertools.permutations(["alpha", "beta", "gamma"])))
async def test_a_clustered_answer_is_never_assigned_again(order: tuple[str, ...]) -> None:
    """A ~ B ~ C, not A ~ C: the Nature paper's code gives one or two clusters by order; here the head decides."""
    model = RelationTable(equivalences("alpha beta", "beta gamma"))
    clustered = await Clusterer(model).cluster(order, "Which?")
    assert blocks(order, clustered.clustering) == {frozenset({"alpha", "beta"}), frozenset({"gamma"})}


async def test_the_most_frequent_text_speaks_for_its_group() -> None:
    """The first alphabetically on a tie, so that arrival order decides nothing."""
    model = RelationTable()
    await Clusterer(model).cluster(["Paris", "paris.", "paris.", "rome", "Rome"], "Which?")
    assert {s.answer for pair in model.asked for s in (pair.premise, pair.hypothesis)} == {"paris.", "Rome"}


@pytest.mark.parametrize(("include_prompt", "expected"), [(True, "Which city?"), (False, "")])
async def test_the_question_is_shown_where_asked_for(include_prompt: bool, expected: str) -> None:
    """On both sides of the pair."""
    model = RelationTable()
    await Clusterer(model, include_prompt=include_prompt).cluster(["Paris", "Rome"], "Which city?")
    assert {s.question for pair in model.asked for s in (pair.premise, pair.hypothesis)} == {expected}


async def test_a_cut_text_is_reported() -> None:
    """One truncated verdict is enough."""
    cut = await Clusterer(RelationTable(truncates=True)).cluster(["Paris", "Rome"], "Which?")
    whole = await Clusterer(RelationTable()).cluster(["Paris", "Rome"], "Which?")
    assert (cut.is_truncated, whole.is_truncated) == (True, False)


async def test_no_answers_have_no_meanings() -> None:
    """An empty set is partitioned into nothing."""
    clustered = await Clusterer(RelationTable()).cluster([], "Which?")
    assert clustered.clustering.semantic_ids == ()


async def test_a_known_answer_is_placed_without_asking() -> None:
    """By its key, among any of the samples and not only the heads."""
    model = RelationTable(equivalences("Paris Lutetia"))
    clusterer = Clusterer(model)
    clustered = await clusterer.cluster(["Rome", "Paris", "Paris", "Lutetia"], "Which?")
    model.batches.clear()
    assert await clusterer.place("lutetia.", clustered) == clustered.clustering.semantic_ids[1] == 1
    assert model.batches == []


async def test_a_new_wording_is_placed_by_the_model() -> None:
    """Into the cluster whose head it matches; into none where it matches no head."""
    model = RelationTable(equivalences("Paris Lutetia", "Rome Roma"))
    clusterer = Clusterer(model)
    clustered = await clusterer.cluster(["Paris", "Rome", "Rome"], "Which?")
    assert await clusterer.place("Lutetia", clustered) == 0
    assert await clusterer.place("Roma", clustered) == 1
    assert await clusterer.place("Berlin", clustered) is None
    assert await clusterer.place("I don't know", clustered) is None


@given(drawn, st.sampled_from(WORDS), relations, rules)
async def test_placing_follows_the_rule_of_clustering(
    answers: list[str], answer: str, relation: Relation, rule: Rule
) -> None:
    """The first head that matches, in canonical order; the clusters stay as they are."""
    clusterer = Clusterer(RelationTable(relation), rule)
    clustered = await clusterer.cluster(answers, "Which?")
    expected = _place_by_brute_force(answer, answers, relation, rule)
    assert await clusterer.place(answer, clustered) == expected


def _place_by_brute_force(answer: str, answers: list[str], relation: Relation, rule: Rule) -> int | None:
    clustering = brute_force(answers, relation, rule)
    if answer in answers:
        return clustering.semantic_ids[answers.index(answer)]
    order = sorted(set(answers), key=lambda word: (-Counter(answers)[word], word))
    heads = {clustering.semantic_ids[answers.index(word)]: word for word in reversed(order)}
    matching = [k for k, head in heads.items() if agree(relation[head, answer], relation[answer, head], rule)]
    return min(matching, key=lambda k: order.index(heads[k]), default=None)


def test_exact_match_needs_no_model() -> None:
    """Ids in order of first appearance, by normalised text."""
    assert exact_match(["Rome", "Paris", "rome.", "5", "five"]).semantic_ids == (0, 1, 0, 2, 2)


def test_an_answer_is_placed_exactly_or_not_at_all() -> None:
    """By key, without a model."""
    answers = ["Rome", "140 minutes", "N/A"]
    clustering = exact_match(answers)
    assert place_exactly("ROME", answers, clustering) == 0
    assert place_exactly("140", answers, clustering) == 1
    assert place_exactly("unknown", answers, clustering) == 2
    assert place_exactly("Paris", answers, clustering) is None
