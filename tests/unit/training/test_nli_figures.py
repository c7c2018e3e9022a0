"""The figures of the NLI report against values computed by hand."""

import numpy as np
import pytest

from training.nli_model.figures import (
    auroc,
    balanced_accuracy,
    confusion,
    from_confusion,
    from_rows,
    matthews_correlation,
)
from training.nli_model.judge import by_rule, semantic_entropy, semantic_ids


def test_balanced_accuracy_and_correlation_by_hand() -> None:
    """3 of 4 positives and 1 of 2 negatives: (0.75 + 0.5) / 2; (3 x 1 - 1 x 1) / sqrt(4 x 4 x 2 x 2)."""
    counts = np.array([3.0, 1.0, 1.0, 1.0])
    assert balanced_accuracy(counts) == 0.625
    assert matthews_correlation(counts) == pytest.approx(2 / 8)


def test_correlation_is_zero_when_one_verdict_is_always_given() -> None:
    """Saying "same" to everything is no skill."""
    assert matthews_correlation(np.array([5.0, 0.0, 0.0, 3.0])) == 0.0


def test_auroc_counts_ties_half() -> None:
    """Positives 2 and 1 against negatives 1 and 0: 1 + 1 + half + 1 of four comparisons."""
    assert auroc(np.array([2.0, 1.0, 1.0, 0.0]), np.array([True, True, False, False])) == 0.875


def test_the_interval_resamples_questions() -> None:
    """One question with a hundred right judgements is one draw: the interval reaches the other question's zero."""
    rows = confusion([True] * 101, [True] * 100 + [False], ["a"] * 100 + ["b"])
    figure = from_confusion(balanced_accuracy, rows)
    assert (figure.low, figure.n, figure.n_groups) == (0.0, 101, 2)


def test_the_rows_of_a_question_are_drawn_together() -> None:
    """Three models' answers to one question are one draw: the mean is 1, 0 or, of both questions, 3/4."""
    values = np.array([1.0, 1.0, 1.0, 0.0])
    figure = from_rows(lambda draw: float(values[draw].mean()), ["a", "a", "a", "b"])
    assert (figure.value, figure.low, figure.high) == (0.75, 0.0, 1.0)
    assert (figure.n, figure.n_groups) == (4, 2)


@pytest.mark.parametrize(
    ("a", "b", "known"),
    [("Paris", "paris.", True), ("1,000", "1000", True), ("12", "120", False), ("Paris", "Lyon", None)],
)
def test_rules_decide_before_the_model_is_asked(a: str, b: str, known: bool | None) -> None:
    """Spelling and numbers are free; what they leave open is the model's."""
    assert by_rule(a, b) is known


def test_clusters_do_not_depend_on_the_order_of_the_samples() -> None:
    """First-head greedy from the most frequent answer on; entropy of 3 : 1 in nats."""

    def same(question: str, a: str, b: str) -> bool:
        return a[0].lower() == b[0].lower()

    assert semantic_ids("q", ["Ab", "B", "Aa", "Aa"], same) == [0, 1, 0, 0]
    assert semantic_ids("q", ["B", "Aa", "Ab", "Aa"], same) == [1, 0, 0, 0]
    assert semantic_entropy([0, 1, 0, 0]) == pytest.approx(0.5623, abs=1e-4)
