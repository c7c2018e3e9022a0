"""From answers to meanings: first-head greedy clustering by entailment in both directions.

The rules are generators that yield the pairs they need next and are sent the verdicts, so that the same code runs over
a model, and over what is known already.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Generator, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import takewhile
from typing import Literal, TypeAlias, TypeVar

from demur.entailment.base import EntailmentModel
from demur.normalisation.answer_keys import AnswerKey, answer_key, answer_keys, certainly_different
from demur.types import Clustering, Pair, Statement, Verdict

Rule = Literal["strict", "relaxed"]

T = TypeVar("T")
Steps: TypeAlias = Generator[list[Pair], list[Verdict], T]

_UNASKED = Verdict(entailment=0.0, neutral=0.0, contradiction=1.0)  # matches under neither rule, come what may

# How many pairs a batch may hold with rows that perhaps are not needed: the first, and those after it. A pass through a
# small model costs as much as some three of its pairs in bfloat16, two in float32: over 2,200 recorded questions 1.57
# passes of 5.9 pairs take an eighth less than 2.60 of 3.3, without rows ahead.
_AHEAD_PAIRS = (8, 24)
_NONE_AHEAD = (0, 0)


@dataclass(frozen=True, slots=True)
class Group:
    """Answers that mean the same without asking a model; `text` stands for all of them."""

    key: AnswerKey
    text: str
    count: int

    @property
    def canonical_order(self) -> tuple[int, tuple[str, str, str]]:
        """Count descending, then normalised text: nothing that depends on arrival order or on rounding."""
        return -self.count, self.key.sort_key


@dataclass(frozen=True, slots=True)
class Clustered:
    """A partition of `answers`, and the work it took.

    `heads` are the groups that the others were compared with, in canonical order; the meaning of `heads[i]` is
    `head_ids[i]`. `n_pairs` counts the directed pairs that were judged, `n_merged_free` the answers that fell to an
    earlier one without asking.
    """

    clustering: Clustering
    answers: tuple[str, ...]
    question: str
    heads: tuple[Group, ...]
    head_ids: tuple[int, ...]
    n_pairs: int
    n_merged_free: int
    is_truncated: bool


@dataclass(frozen=True, slots=True)
class _Row:
    """A head, and those after it that match or do not; `pairs` are still to be asked for that.

    Until they are, a first direction is taken to fail, as most do, and a second to hold, as most do, unless their
    verdicts are known ahead. `is_blind`: nothing is known of some first direction.
    """

    head: Group
    matches: tuple[Group, ...]
    rest: tuple[Group, ...]
    pairs: tuple[Pair, ...]
    is_blind: bool


@dataclass(frozen=True, slots=True)
class _Reading:
    """What one run of the rules has been told, and what it may lean on: what was `asked`, and is `known`, ahead."""

    question: str
    asked: Collection[Pair] = ()
    known: Mapping[Pair, Verdict] = field(default_factory=dict)
    told: dict[Pair, Verdict] = field(default_factory=dict)

    def verdict(self, pair: Pair) -> Verdict | None:
        return self.told.get(pair) or self.known.get(pair)


class Clusterer:
    """Clusters answers to one question; made anew for each, because it remembers how their texts were read.

    strict: two answers match when each entails the other. relaxed: when neither contradicts the other and at least one
    entails. `include_prompt`: the model reads each answer together with the question.

    Whether two answers match does not depend on which direction is asked first. So where one was asked before, that one
    comes first, and the other only if it still matters.
    """

    def __init__(self, entailment: EntailmentModel, rule: Rule = "strict", include_prompt: bool = True) -> None:
        self._entailment = entailment
        self._rule = rule
        self._include_prompt = include_prompt
        self._key = cache(answer_key)

    async def cluster(
        self,
        answers: Sequence[str],
        question: str,
        *,
        asked: Collection[Pair] = (),
        known: Mapping[Pair, Verdict] | None = None,
    ) -> Clustered:
        """The partition by first-head greedy in canonical order, the same whatever the order of `answers`, and whatever
        was `asked` before, and is `known` of it.

        The first unmatched group heads a new cluster and takes every other unmatched group that matches it. At most two
        batches per cluster, and 2 U K directed pairs for U groups and K clusters. Where a batch is small, more are
        asked with it that perhaps are not needed: those of the next heads, if these turn out to be heads.

        Raises: EntailmentUnavailable.
        """
        return await self._judged(self._clustering(answers, _Reading(question, asked, known or {}), _AHEAD_PAIRS))

    async def place(
        self,
        answer: str,
        clustered: Clustered,
        *,
        asked: Collection[Pair] = (),
        known: Mapping[Pair, Verdict] | None = None,
    ) -> int | None:
        """Semantic id of one more answer, which changes nothing about the clusters; None where it matches none.

        Free when some sample is known to mean the same; otherwise compared with the heads, in two batches at most.

        Raises: EntailmentUnavailable.
        """
        return await self._judged(self._placing(answer, clustered, _Reading(clustered.question, asked, known or {})))

    def open_pairs(
        self, answers: Sequence[str], extra: str | None, question: str, known: Mapping[Pair, Verdict]
    ) -> list[Pair]:
        """What clustering `answers`, and placing `extra` after that, would ask next that is not `known`; [] where
        nothing is left to ask."""
        steps = self._clustering_and_placing(answers, extra, _Reading(question, known, known))
        try:
            pairs = next(steps)
            while not (open_ := [pair for pair in pairs if pair not in known]):
                pairs = steps.send([known[pair] for pair in pairs])
            return open_
        except StopIteration:
            return []

    def so_far(self, answers: Sequence[str], question: str, known: Mapping[Pair, Verdict]) -> Clustering:
        """The partition as far as it is `known`: two answers about which nothing is known yet count as different."""
        steps = self._clustering(answers, _Reading(question, known, known), _NONE_AHEAD)
        try:
            pairs = next(steps)
            while True:
                pairs = steps.send([known.get(pair, _UNASKED) for pair in pairs])
        except StopIteration as end:
            clustered: Clustered = end.value
            return clustered.clustering

    async def _judged(self, steps: Steps[T]) -> T:
        try:
            pairs = next(steps)
            while True:
                pairs = steps.send(await self._entailment.label(pairs))
        except StopIteration as end:
            result: T = end.value
            return result

    def _clustering_and_placing(self, answers: Sequence[str], extra: str | None, reading: _Reading) -> Steps[None]:
        clustered = yield from self._clustering(answers, reading, _NONE_AHEAD)
        if extra is not None:
            yield from self._placing(extra, clustered, reading)

    def _clustering(self, answers: Sequence[str], reading: _Reading, ahead: tuple[int, int]) -> Steps[Clustered]:
        keys = answer_keys(answers, self._key)
        groups = _groups(answers, keys)
        found: dict[Group, Sequence[Group]] = {}
        remaining: Sequence[Group] = groups
        while remaining:
            rows = self._next_rows(remaining, reading, ahead[1] if reading.told else ahead[0])
            for row in takewhile(lambda row: not row.pairs, rows):
                found[row.head], remaining = row.matches, row.rest
            if pairs := [pair for row in rows for pair in row.pairs]:
                reading.told.update(zip(pairs, (yield pairs), strict=True))
        head_of = {group.key: head for head, matches in found.items() for group in (head, *matches)}
        clustering = _numbered([head_of[key] for key in keys])
        id_of = {head_of[key]: semantic_id for key, semantic_id in zip(keys, clustering.semantic_ids, strict=True)}
        return Clustered(
            clustering=clustering,
            answers=tuple(answers),
            question=reading.question,
            heads=tuple(found),
            head_ids=tuple(id_of[head] for head in found),
            n_pairs=len(reading.told),
            n_merged_free=len(answers) - len(groups),
            is_truncated=any(verdict.is_truncated for verdict in reading.told.values()),
        )

    def _next_rows(self, groups: Sequence[Group], reading: _Reading, n_ahead: int) -> list[_Row]:
        """Down to the first with a blind guess, and on while the pairs to ask are not more than `n_ahead`."""
        rows: list[_Row] = []
        n_unknown, is_blind = 0, False
        while groups:
            head, *others = groups
            row = self._row(head, others, reading)
            unknown = tuple(pair for pair in row.pairs if pair not in reading.known)
            if is_blind and row.is_blind and n_unknown + len(unknown) > n_ahead:
                break
            # A row below guesses may never be needed: what is known of it is taken when it is, and counted then.
            rows.append(replace(row, pairs=unknown) if n_unknown else row)
            groups, is_blind, n_unknown = row.rest, is_blind or row.is_blind, n_unknown + len(unknown)
        return rows

    def _placing(self, answer: str, clustered: Clustered, reading: _Reading) -> Steps[int | None]:
        *keys, key = answer_keys([*clustered.answers, answer], self._key)
        known = _id_of(key, keys, clustered.clustering)
        if known is not None:
            return known
        one = Group(key, answer, 1)
        while (row := self._row(one, clustered.heads, reading)).pairs:
            reading.told.update(zip(row.pairs, (yield list(row.pairs)), strict=True))
        return clustered.head_ids[clustered.heads.index(row.matches[0])] if row.matches else None

    def _row(self, head: Group, others: Sequence[Group], reading: _Reading) -> _Row:
        compared = [(other, *self._compared(head, other, reading)) for other in others]
        return _Row(
            head,
            matches=tuple(other for other, is_match, _ in compared if is_match),
            rest=tuple(other for other, is_match, _ in compared if not is_match),
            pairs=tuple(pair for *_, pairs in compared for pair in pairs if pair not in reading.told),
            is_blind=any(reading.verdict(pair) is None for *_, pairs in compared for pair in pairs[:1]),
        )

    def _compared(self, one: Group, other: Group, reading: _Reading) -> tuple[bool, list[Pair]]:
        """Whether they match, told or guessed, and the directions that it depends on: the second only where it still
        matters."""
        if certainly_different(one.key, other.key):
            return False, []
        first = _first_direction(self._pair(one, other, reading.question), reading.asked)
        verdict = reading.verdict(first)
        if verdict is None or not _may_match(self._rule, verdict):
            return False, [first]
        reverse = reading.verdict(first.reversed)
        return reverse is None or _matches(self._rule, verdict, reverse), [first, first.reversed]

    def _pair(self, premise: Group, hypothesis: Group, question: str) -> Pair:
        asked = question if self._include_prompt else ""
        return Pair(Statement(premise.text, asked), Statement(hypothesis.text, asked))


def exact_match(answers: Sequence[str]) -> Clustering:
    """The partition by normalised text alone, for when no entailment model is at hand."""
    return _numbered(answer_keys(answers))


def place_exactly(answer: str, answers: Sequence[str], clustering: Clustering) -> int | None:
    """Semantic id of one more answer, found without a model; None where no answer is known to mean the same."""
    *keys, key = answer_keys([*answers, answer])
    return _id_of(key, keys, clustering)


def _id_of(key: AnswerKey, keys: Sequence[AnswerKey], clustering: Clustering) -> int | None:
    same = {id_ for known, id_ in zip(keys, clustering.semantic_ids, strict=True) if known == key}
    return same.pop() if len(same) == 1 else None


def _groups(answers: Sequence[str], keys: Sequence[AnswerKey]) -> list[Group]:
    """Distinct keys in canonical order; the most frequent text stands for each, the first alphabetically on a tie."""
    texts: defaultdict[AnswerKey, Counter[str]] = defaultdict(Counter)
    for answer, key in zip(answers, keys, strict=True):
        texts[key][answer] += 1
    key_of = dict(zip(answers, keys, strict=True))
    heard = [(_most_frequent(counted), counted.total()) for counted in texts.values()]
    groups = [Group(key_of[text], text, count) for text, count in heard]
    return sorted(groups, key=lambda group: group.canonical_order)


def _most_frequent(texts: Counter[str]) -> str:
    return min(texts, key=lambda text: (-texts[text], text))


def _first_direction(pair: Pair, asked: Collection[Pair]) -> Pair:
    return pair.reversed if pair not in asked and pair.reversed in asked else pair


def _numbered(labels: Sequence[Hashable]) -> Clustering:
    """Semantic ids in order of first appearance."""
    numbers: dict[Hashable, int] = {}
    return Clustering(tuple(numbers.setdefault(label, len(numbers)) for label in labels))


def _may_match(rule: Rule, one_way: Verdict) -> bool:
    return one_way.label == "entailment" if rule == "strict" else one_way.label != "contradiction"


def _matches(rule: Rule, one_way: Verdict, other_way: Verdict) -> bool:
    labels = {one_way.label, other_way.label}
    return labels == {"entailment"} if rule == "strict" else "contradiction" not in labels and "entailment" in labels
