"""How well a score tells correct answers from wrong ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def auroc(scores: ArrayLike, is_correct: Sequence[bool] | NDArray[np.bool_]) -> float | None:
    """P(a correct answer scores higher than a wrong one), ties counting one half; .5 for a score that says nothing.

    Exact, by ranks (Mann & Whitney 1947). Higher is better. None where all answers are correct, or all are wrong.
    """
    labels = np.asarray(is_correct, dtype=bool)
    n_correct, n_wrong = int(labels.sum()), int((~labels).sum())
    if n_correct == 0 or n_wrong == 0:
        return None
    ranks = _mid_ranks(_finite(scores, len(labels)))
    return float((ranks[labels].sum() - n_correct * (n_correct + 1) / 2) / (n_correct * n_wrong))


def point_biserial(scores: ArrayLike, is_correct: Sequence[bool] | NDArray[np.bool_]) -> float | None:
    """Pearson's correlation of a score with correctness, in [-1, 1]; None where either of them never varies."""
    labels = np.asarray(is_correct, dtype=np.float64)
    values = _finite(scores, len(labels))
    if len(labels) < 2 or np.ptp(labels) == 0 or np.ptp(values) == 0:
        return None
    return float(np.clip(np.corrcoef(values, labels)[0, 1], -1.0, 1.0))


def _mid_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1; equal values share the middle of their ranks."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[places])


def _finite(scores: ArrayLike, n: int) -> NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != (n,) or not np.all(np.isfinite(values)):
        raise ValueError(f"need one finite score for each of {n} labels")
    return values
