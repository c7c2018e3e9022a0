"""How much of a figure is chance: intervals, differences and families of tests, by drawing questions again."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
Statistic = Callable[[IntArray], float | None]


@dataclass(frozen=True, slots=True)
class Interval:
    """`value` on the data, and the percentile interval around it."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """The interval of a difference, and the two-sided p-value of there being none."""

    interval: Interval
    p_value: float


def bootstrap_interval(
    statistic: Statistic, groups: Sequence[int] | IntArray, *, level: float = 0.95, n_draws: int = 1000, seed: int = 0
) -> Interval | None:
    """The percentile interval of a statistic of rows (given by index), drawing whole groups with replacement.

    Draws for which the statistic is None are left out; None where it is None on the data, or for half of the draws.
    """
    index = np.asarray(groups, dtype=np.int64)
    value = statistic(np.arange(len(index)))
    found = [drawn for rows in _draws(index, n_draws, seed) if (drawn := statistic(rows)) is not None]
    if value is None or len(found) < n_draws / 2:
        return None
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(value), float(low), float(high))


def paired_bootstrap(
    one: Statistic, other: Statistic, groups: Sequence[int] | IntArray, *, n_draws: int = 10_000, seed: int = 0
) -> Difference | None:
    """`one` - `other` on the same draws: what both have in common cancels.

    p = 2 min(share <= 0, share >= 0), counting the data itself as a draw, so that it is never 0.
    """

    def difference(rows: IntArray) -> float | None:
        a, b = one(rows), other(rows)
        return None if a is None or b is None else a - b

    interval = bootstrap_interval(difference, groups, n_draws=n_draws, seed=seed)
    if interval is None:
        return None
    index = np.asarray(groups, dtype=np.int64)
    drawn = np.array([d for rows in _draws(index, n_draws, seed) if (d := difference(rows)) is not None])
    tail = min(int(np.sum(drawn <= 0)), int(np.sum(drawn >= 0)))
    return Difference(interval, min(1.0, 2 * (tail + 1) / (len(drawn) + 1)))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for being several, in their order: below a level, the family is wrong at most that often.

    The smallest times m, the next times m - 1 ..., never falling, at most 1 (Holm 1979).
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, reached = [0.0] * len(p_values), 0.0
    for place, i in enumerate(order):
        if not 0 <= p_values[i] <= 1 or math.isnan(p_values[i]):
            raise ValueError(f"not a p-value: {p_values[i]}")
        reached = max(reached, min(1.0, (len(p_values) - place) * p_values[i]))
        adjusted[i] = reached
    return adjusted


def _draws(groups: IntArray, n_draws: int, seed: int) -> list[IntArray]:
    random = np.random.default_rng(seed)
    _, places = np.unique(groups, return_inverse=True)
    order = np.argsort(places, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(places))[:-1])
    n = len(members)
    if n == len(groups):
        return [order[random.integers(n, size=n)] for _ in range(n_draws)]
    return [np.concatenate([members[i] for i in random.integers(n, size=n)]) for _ in range(n_draws)]
