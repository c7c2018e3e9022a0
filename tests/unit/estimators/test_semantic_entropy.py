"""Semantic entropy: values computed by hand and by the reference functions, then the laws."""

import itertools
import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.estimators.semantic_entropy import (
    cluster_masses,
    rao_entropy,
    semantic_entropy,
    semantic_entropy_normalized,
    semantic_entropy_weighted,
)
from demur.types import Clustering, LogprobSource, Sample

EXACT = {
    (3, 1, 1): 0.9502705392332347,
    (4, 1): 0.5004024235,
    (3, 2): 0.6730116670,
    (2, 2, 1): 1.0549201680,
    (2, 1, 1, 1): 1.3321790402,
    (1, 1, 1, 1, 1): 1.6094379124,
    (9, 1): 0.3250829734,
    (7, 2, 1): 0.8018185525,
    (5, 5): 0.6931471806,
    (6, 2, 1, 1): 1.0888999753,
    (1,) * 10: 2.3025850930,
    (7,): 0.0,
}
LEVELS = {2: 2, 3: 3, 5: 7, 8: 21, 10: 39, 20: 455}
EXPECTED = {
    (0.5, 0.5): [0.346574, 0.477386, 0.577008, 0.640120],
    (0.7, 0.2, 0.1): [0.318848, 0.451277, 0.575143, 0.686017],
    (0.2,) * 5: [0.554518, 0.832861, 1.118714, 1.375359],
}

semantic_ids = st.lists(st.integers(0, 5), min_size=1, max_size=20)


def of_counts(*counts: int) -> Clustering:
    return Clustering(tuple(k for k, count in enumerate(counts) for _ in range(count)))


def numbered(labels: Sequence[int]) -> Clustering:
    seen = list(dict.fromkeys(labels))
    return Clustering(tuple(seen.index(label) for label in labels))


def sample(
    text: str, logprob: float | None, *, source: LogprobSource = "raw", finish: str = "stop", tokens: int = 1
) -> Sample:
    """A sample whose sequence logprob is `logprob`."""
    logprobs = None if logprob is None else (logprob / tokens,) * tokens
    return Sample(
        text,
        finish_reason="length" if finish == "length" else "stop",
        tokens=(text, *[""] * (tokens - 1)),
        token_logprobs=logprobs,
        logprob_source=source,
    )


@pytest.mark.parametrize(("counts", "nats"), EXACT.items())
def test_discrete_entropy_is_exact(counts: tuple[int, ...], nats: float) -> None:
    """Values of the reference code, 1e-10."""
    assert semantic_entropy(of_counts(*counts)) == pytest.approx(nats, abs=1e-10)


def test_entropy_in_other_units() -> None:
    """3+1+1 in bits, over ln 5 and over ln 3."""
    nats = semantic_entropy(of_counts(3, 1, 1))
    assert nats / math.log(2) == pytest.approx(1.3709505945, abs=1e-10)
    assert semantic_entropy_normalized(of_counts(3, 1, 1)) == pytest.approx(0.5904362833, abs=1e-10)
    assert nats / math.log(3) == pytest.approx(0.8649735207, abs=1e-10)


@pytest.mark.parametrize(("n", "levels"), LEVELS.items())
def test_few_samples_give_few_levels(n: int, levels: int) -> None:
    """Ties are the rule: ranking by entropy must count them half."""
    values = {round(semantic_entropy(of_counts(*counts)), 9) for counts in partitions(n, n)}
    assert len(values) == levels


def partitions(n: int, largest: int) -> list[tuple[int, ...]]:
    if n == 0:
        return [()]
    return [(k, *rest) for k in range(min(n, largest), 0, -1) for rest in partitions(n - k, k)]


@pytest.mark.parametrize(("truth", "expected"), EXPECTED.items())
def test_entropy_of_few_samples_is_biased_low(truth: tuple[float, ...], expected: list[float]) -> None:
    """The exact expectation over all draws of 2, 3, 5 and 10 samples."""
    for n, value in zip((2, 3, 5, 10), expected, strict=True):
        mean = math.fsum(p * semantic_entropy(of_counts(*counts)) for counts, p in draws(truth, n))
        assert mean == pytest.approx(value, abs=1e-6)


def draws(truth: Sequence[float], n: int) -> list[tuple[tuple[int, ...], float]]:
    """Counts of the meanings drawn, and their multinomial probability."""
    found = []
    for counts in itertools.product(range(n + 1), repeat=len(truth)):
        if sum(counts) == n:
            ways = math.factorial(n) / math.prod(map(math.factorial, counts))
            chance = ways * math.prod(p**c for p, c in zip(truth, counts, strict=True))
            found.append((tuple(c for c in counts if c), chance))
    return found


def test_nothing_to_measure_is_no_number() -> None:
    """One sample cannot disagree; none is an error rather than certainty."""
    assert semantic_entropy_normalized(of_counts(1)) is None
    with pytest.raises(ValueError, match="no samples"):
        semantic_entropy(Clustering(()))


@given(semantic_ids, st.randoms(use_true_random=False))
def test_entropy_ignores_order_and_labels(ids: list[int], random: object) -> None:
    """To the last bit."""
    shuffled = sorted(ids, key=lambda _: random.random())  # type: ignore[attr-defined]
    relabelled = [7 - k for k in shuffled]
    assert semantic_entropy(numbered(ids)) == semantic_entropy(numbered(relabelled))


@given(semantic_ids)
def test_entropy_lies_between_zero_and_the_log_of_the_clusters(ids: list[int]) -> None:
    """0 exactly where all agree; the normalised form in [0, 1]."""
    clustering = numbered(ids)
    entropy = semantic_entropy(clustering)
    assert 0 <= entropy <= math.log(clustering.n_clusters) + 1e-12
    assert (entropy == 0) == (clustering.n_clusters == 1)
    normalised = semantic_entropy_normalized(clustering)
    assert normalised is None if len(ids) == 1 else 0 <= normalised <= 1


@given(semantic_ids, st.integers(0, 5), st.integers(0, 5))
def test_merging_two_meanings_never_raises_entropy(ids: list[int], one: int, other: int) -> None:
    """Nor does splitting lower it."""
    merged = [one if k == other else k for k in ids]
    assert semantic_entropy(numbered(merged)) <= semantic_entropy(numbered(ids)) + 1e-12


@given(semantic_ids, st.integers(2, 4))
def test_repeating_all_samples_leaves_entropy_unchanged(ids: list[int], times: int) -> None:
    """It depends on shares alone."""
    assert semantic_entropy(numbered(ids * times)) == pytest.approx(semantic_entropy(numbered(ids)), abs=1e-12)


IDS, PROBABILITIES = [0, 0, 0, 1, 2], [0.5, 0.25, 0.2, 0.4, 0.1]


@pytest.mark.parametrize("shift", [0.0, -3.0, -800.0])
def test_rao_entropy_equals_the_reference_at_any_level(shift: float) -> None:
    """At -800 nats the reference code underflows to inf or nan."""
    logprobs = [math.log(p) + shift for p in PROBABILITIES]
    assert rao_entropy(IDS, logprobs) == pytest.approx(0.816738336927131, abs=1e-12)


def test_a_string_counts_once_however_often_it_was_drawn() -> None:
    """Truth .8 and .2, drawn 8 and 2 times; weighting draws by probability as well would give .2237."""
    samples = [sample(text, math.log(p)) for text, p, n in (("yes", 0.8, 8), ("no", 0.2, 2)) for _ in range(n)]
    clustering = of_counts(8, 2)
    assert semantic_entropy_weighted(clustering, samples) == pytest.approx(0.5004024235, abs=1e-10)
    assert cluster_masses(clustering, samples) == pytest.approx((0.8, 0.2))


def test_ten_equal_samples_have_no_entropy() -> None:
    """lm-polygraph sums p = .9 ten times, and gives -2.197."""
    samples = [sample("yes", math.log(0.9)) for _ in range(10)]
    assert semantic_entropy_weighted(of_counts(10), samples) == 0
    assert cluster_masses(of_counts(10), samples) == (1.0,)


def test_two_wordings_of_one_answer_add_up() -> None:
    """ "Paris" and "Paris." are different token sequences, and both carry mass."""
    samples = [sample("Paris", math.log(0.5)), sample("Paris.", math.log(0.25)), sample("Lyon", math.log(0.25))]
    assert cluster_masses(Clustering((0, 0, 1)), samples) == pytest.approx((0.75, 0.25))


def test_samples_cut_by_length_carry_no_mass() -> None:
    """A prefix has the probability of all that may follow; a cluster of prefixes alone has no mass to tell."""
    samples = [sample("yes", math.log(0.5)), sample("no", math.log(0.5)), sample("because", -0.1, finish="length")]
    assert cluster_masses(Clustering((0, 1, 2)), samples) == (pytest.approx(0.5), pytest.approx(0.5), None)
    assert semantic_entropy_weighted(Clustering((0, 1, 2)), samples) == pytest.approx(math.log(2))
    assert semantic_entropy_weighted(of_counts(1), samples[2:]) is None


def test_long_answers_do_not_underflow() -> None:
    """Two answers of -800 nats each."""
    samples = [sample("a", -800.0, tokens=400), sample("b", -800.0, tokens=400)]
    assert semantic_entropy_weighted(of_counts(1, 1), samples) == pytest.approx(math.log(2), abs=1e-12)


@pytest.mark.parametrize(
    "odd",
    [
        sample("b", None),
        sample("b", -1.0, source="processed"),
        sample("b", -1.0, source="unknown"),
        sample("b", math.nan),
        sample("b", -math.inf),
        sample("b", -9999.0),
        sample("b", 0.5),
        Sample("b", token_logprobs=(), logprob_source="raw"),
    ],
    ids=lambda s: f"{s.token_logprobs} {s.logprob_source}",
)
def test_one_sample_without_raw_logprobs_leaves_no_weighted_entropy(odd: Sample) -> None:
    """Rather None than a number that mixes two kinds."""
    samples = [sample("a", -1.0), odd]
    assert semantic_entropy_weighted(of_counts(1, 1), samples) is None
    assert cluster_masses(of_counts(1, 1), samples) is None


def test_probabilities_above_one_in_total_are_not_believed() -> None:
    """Different answers with .9 and .9: these are not the model's probabilities of whole answers."""
    samples = [sample("a", math.log(0.9)), sample("b", math.log(0.9))]
    assert semantic_entropy_weighted(of_counts(1, 1), samples) is None


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-50, -4)), min_size=1, max_size=12), st.floats(-900, 0))
def test_weighted_entropy_obeys_its_laws(drawn: list[tuple[int, float]], shift: float) -> None:
    """Bounded by ln K, unchanged by order, by repetition and by a constant; masses sum to 1."""
    ids = [k for k, _ in drawn]
    samples = [sample(f"text {i}", logprob) for i, (_, logprob) in enumerate(drawn)]
    lower = [sample(f"text {i}", logprob + shift) for i, (_, logprob) in enumerate(drawn)]
    entropy = semantic_entropy_weighted(numbered(ids), samples)
    assert entropy is not None
    assert 0 <= entropy <= math.log(numbered(ids).n_clusters) + 1e-9
    assert semantic_entropy_weighted(numbered(ids[::-1]), samples[::-1]) == pytest.approx(entropy, abs=1e-12)
    assert semantic_entropy_weighted(numbered(ids * 3), samples * 3) == entropy
    assert semantic_entropy_weighted(numbered(ids), lower) == pytest.approx(entropy, abs=1e-9)
    assert math.fsum(m for m in cluster_masses(numbered(ids), samples) or () if m is not None) == pytest.approx(1)
