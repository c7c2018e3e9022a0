"""Figures of the report: agreement with a verdict, ranking, and bootstrap intervals over questions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
N_BOOTSTRAP = 1000
INTERVAL = (2.5, 97.5)


@dataclass(frozen=True, slots=True)
class Figure:
    """A value with its 95 % percentile-bootstrap interval over `n_groups` questions (or rows) and `n` judgements."""

    value: float
    low: float
    high: float
    n: int
    n_groups: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def as_json(self) -> dict[str, float | int]:
        rounded = {name: round(float(getattr(self, name)), 4) for name in ("value", "low", "high")}
        return {**rounded, "n": self.n, "n_groups": self.n_groups}


def balanced_accuracy(counts: Floats) -> float:
    """Mean of the shares of positives and of negatives judged rightly, from (tp, fn, tn, fp); in [0, 1]."""
    tp, fn, tn, fp = counts
    return float((tp / max(tp + fn, 1) + tn / max(tn + fp, 1)) / 2)


def matthews_correlation(counts: Floats) -> float:
    """Correlation of verdict and truth, from (tp, fn, tn, fp); in [-1, 1], 0 when a class is never given."""
    tp, fn, tn, fp = counts
    norm = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return float((tp * tn - fp * fn) / norm) if norm else 0.0


def accuracy(counts: Floats) -> float:
    """Share judged rightly, from (tp, fn, tn, fp)."""
    tp, fn, tn, fp = counts
    return float((tp + tn) / max(tp + fn + tn + fp, 1))


def auroc(scores: Floats, is_positive: NDArray[np.bool_]) -> float:
    """Probability that a positive scores above a negative, ties counted half; 0.5 if a class is empty."""
    n_positive, n_negative = int(is_positive.sum()), int((~is_positive).sum())
    if not n_positive or not n_negative:
        return 0.5
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    mean_ranks = np.cumsum(counts) - (counts - 1) / 2
    return float(
        (mean_ranks[inverse][is_positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)
    )


def confusion(truth: Sequence[bool], verdict: Sequence[bool], groups: Sequence[str]) -> Floats:
    """Rows of (tp, fn, tn, fp), one for each group, to resample by group."""
    number = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    rows = np.zeros((len(number), 4))
    for true, said, group in zip(truth, verdict, groups, strict=True):
        rows[number[group], {(1, 1): 0, (1, 0): 1, (0, 0): 2, (0, 1): 3}[int(true), int(said)]] += 1
    return rows


def from_confusion(measure: Callable[[Floats], float], rows: Floats) -> Figure:
    """`measure` of all rows together, with its interval."""
    drawn = [measure(rows[draw].sum(axis=0)) for draw in _draws(len(rows))]
    return _figure(measure(rows.sum(axis=0)), drawn, int(rows.sum()), len(rows))


def from_rows(measure: Callable[[NDArray[np.intp]], float], groups: Sequence[str]) -> Figure:
    """`measure` of row numbers, with its interval over the rows' groups; for rankings and for paired differences."""
    members: dict[str, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    rows = [np.array(own) for own in members.values()]
    drawn = [measure(np.concatenate([rows[i] for i in draw])) for draw in _draws(len(rows))]
    return _figure(measure(np.arange(len(groups))), drawn, len(groups), len(rows))


def _draws(n: int) -> list[NDArray[np.intp]]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, n, n) for _ in range(N_BOOTSTRAP)]


def _figure(value: float, drawn: list[float], n: int, n_groups: int) -> Figure:
    low, high = np.percentile(drawn, INTERVAL)
    return Figure(value, float(low), float(high), n, n_groups)
