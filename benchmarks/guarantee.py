"""Is the promise kept? `python -m benchmarks.guarantee` (`make bench-guarantee`).

The pool of recorded answers plays the world: labels are drawn from it with replacement, a quarter to fit the map and to
draw up the order of tests, the rest to test, and the error rate of what was certified is then its error rate on the
pool, which is known. In each cell alpha is the smallest of .1 .2 .3 .4 at which somebody who knows the pool could
answer 30 % of it. A promise at confidence 1 - delta may be broken in a share delta of draws; beside it stands what a
notebook would pick: the lowest threshold whose error rate on all labels drawn is at most alpha.

Pools: every natural-rate set of recorded generations, its samples grouped by exact match (all of them) and by the
bundled NLI model (what `benchmarks.pair_table` judges), or, where it has none, by the token probabilities of its one
answer; and, for two stages, questions answered without and with retrieval (AdaRAGUE's, with SeaKR's signals; the
signals of the first answer stand for both stages).
`--answers` adds answers judged elsewhere: a file that `demur evaluate --save` wrote.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.recorded import Clusters, pools, token_pools
from benchmarks.results import save
from demur.calibration.base import Calibrator
from demur.calibration.fused import fit_fused
from demur.calibration.outcomes import IntArray, Labelled, Outcomes, TwoStageOutcomes
from demur.calibration.platt import fit_platt
from demur.calibration.risk_control import (
    TUNING_SHARE,
    Certified,
    Infeasible,
    certify_closed_book,
    certify_two_stage,
)
from demur.calibration.trials import NEVER, Rule, Trial, candidate_thresholds, closed_book_trials, two_stage_trial
from demur.types import SignalName

ALPHAS = (0.1, 0.2, 0.3, 0.4)
DELTA = 0.1
LEAST_ORACLE = 0.3
LEAST_SHARE_OF_ORACLE = 0.6
FROM_N = 600
N_KNOWN = 1000
COLUMNS = (
    *("world", "alpha", "labels", "broken", "coverage", "oracle", "share"),
    *("known order", "uncertified", "naive: broken", ""),
)
RIDGE = 1.0  # fixed: choosing it again in each of thousands of draws would take hours


class World(Protocol):
    """A pool whose error rates are the truth; `fitted` gives the confidence of all of it by a map fitted on some."""

    name: str
    n: int

    def fitted(self, rows: IntArray) -> Outcomes | TwoStageOutcomes: ...


@dataclass(frozen=True)
class OneStage:
    name: str
    labelled: Labelled
    can_answer: NDArray[np.bool_]
    method: str

    @property
    def n(self) -> int:
        return self.labelled.n

    def fitted(self, rows: IntArray) -> Outcomes:
        return _confidence(self.labelled, self.can_answer, rows, self.method)


@dataclass(frozen=True)
class TwoStages:
    name: str
    first: Labelled
    second: Labelled
    can_answer: tuple[NDArray[np.bool_], NDArray[np.bool_]]
    method: str

    @property
    def n(self) -> int:
        return self.first.n

    def fitted(self, rows: IntArray) -> TwoStageOutcomes:
        return TwoStageOutcomes(
            _confidence(self.first, self.can_answer[0], rows, self.method),
            _confidence(self.second, self.can_answer[1], rows, self.method),
        )


@dataclass(frozen=True)
class Cell:
    """What became of the draws of one size in one world.

    `share`: mean coverage over the oracle's. `known_order`: mean coverage of who knows the pool, and tests the best
    sequence of rules on as many labels.
    """

    world: str
    alpha: float
    n: int
    oracle: float
    known_order: float
    violations: float
    coverage: float
    uncertified: float
    naive_violations: float
    naive_coverage: float

    @property
    def share(self) -> float:
        return self.coverage / self.oracle

    def passes(self, n_draws: int) -> bool:
        is_kept = self.violations <= DELTA + 3 * math.sqrt(DELTA * (1 - DELTA) / n_draws)
        return is_kept and (self.n < FROM_N or self.share >= LEAST_SHARE_OF_ORACLE)


def _confidence(labelled: Labelled, can: NDArray[np.bool_], rows: IntArray, method: str) -> Outcomes:
    answered = labelled.rows(rows[can[rows]])
    signals: tuple[SignalName, ...] = ("agreement",) if method == "platt" else labelled.signals
    fit: Callable[..., Calibrator] = fit_platt if method == "platt" else fit_fused
    options = {} if method == "platt" else {"ridge": RIDGE}
    calibrator = fit(answered.columns(signals), answered.is_correct, signals, **options)
    return Outcomes(np.where(can, calibrator.p_correct(labelled.columns(signals)), -math.inf), labelled.is_correct)


def trials(outcomes: Outcomes | TwoStageOutcomes, rules: list[Rule]) -> list[Trial]:
    if isinstance(outcomes, Outcomes):
        return closed_book_trials(outcomes, rules)
    return [two_stage_trial(outcomes, rule) for rule in rules]


def rules_of(outcomes: Outcomes | TwoStageOutcomes, n: int) -> list[Rule]:
    """Every threshold, or a grid of pairs of them."""
    if isinstance(outcomes, Outcomes):
        return [Rule(cut) for cut in candidate_thresholds(outcomes.confidence, n)]
    first, second = (
        [NEVER, *candidate_thresholds(stage.confidence, 20)]
        for stage in (outcomes.closed_book, outcomes.after_retrieval)
    )
    return [Rule(a, b) for a in first for b in second]


def widest(found: list[Trial], alpha: float) -> int | None:
    """Index of the rule that answers most at an error rate of at most alpha."""
    able = [i for i, trial in enumerate(found) if trial.n_accepted and (trial.selective_risk or 0) <= alpha]
    return max(able, key=lambda i: found[i].n_accepted, default=None)


def oracle(world: World, alpha: float) -> float:
    """Coverage of the best rule for who knows the pool, with the map fitted on all of it."""
    known = world.fitted(np.arange(world.n))
    found = trials(known, rules_of(known, world.n))
    best = widest(found, alpha)
    return 0.0 if best is None else found[best].coverage


def known_order(world: World, n: int, alpha: float, random: np.random.Generator) -> float:
    """Coverage of who knows the pool, and so the map, the rules and where to begin. A yardstick, no ceiling."""
    known = world.fitted(np.arange(world.n))
    steps = _frontier(known)
    n_held_out = n - round(TUNING_SHARE * n)
    passed = np.zeros((N_KNOWN, len(steps)), dtype=bool)
    for draw in passed:
        rows = known.rows(random.integers(world.n, size=n_held_out))
        draw[:] = [trial.p_value(alpha) <= DELTA for trial in trials(rows, [rule for rule, _ in steps])]
    coverage = np.array([trial.coverage for _, trial in steps])
    return max(_mean_reached(passed[:, start:], coverage[start:]) for start in range(len(steps)))


def _frontier(known: Outcomes | TwoStageOutcomes) -> list[tuple[Rule, Trial]]:
    """The rule of least risk at each of twenty coverages, from the strictest on."""
    rules = rules_of(known, 20)
    best: dict[int, tuple[Rule, Trial]] = {}
    for rule, trial in zip(rules, trials(known, rules), strict=True):
        at = round(20 * trial.coverage)
        if trial.n_accepted and (at not in best or (trial.selective_risk or 0) < (best[at][1].selective_risk or 0)):
            best[at] = rule, trial
    return [best[at] for at in sorted(best)]


def _mean_reached(passed: NDArray[np.bool_], coverage: NDArray[np.float64]) -> float:
    """Step by step until the first failure."""
    n_steps = np.cumprod(passed, axis=1).sum(axis=1)
    return float(np.append(0.0, coverage)[n_steps].mean())


def measure(world: World, n: int, alpha: float, best: float, n_draws: int, seed: int) -> Cell:
    random = np.random.default_rng(seed)
    certified: list[Trial | None] = []
    naive: list[Trial | None] = []
    for _ in range(n_draws):
        one, other = _draw(world, n, alpha, random)
        certified.append(one)
        naive.append(other)
    return Cell(
        world.name,
        alpha,
        n,
        best,
        known_order(world, n, alpha, random),
        violations=_mean(certified, lambda trial: (trial.selective_risk or 0) > alpha),
        coverage=_mean(certified, lambda trial: trial.coverage),
        uncertified=sum(trial is None for trial in certified) / n_draws,
        naive_violations=_mean(naive, lambda trial: (trial.selective_risk or 0) > alpha),
        naive_coverage=_mean(naive, lambda trial: trial.coverage),
    )


def _draw(world: World, n: int, alpha: float, random: np.random.Generator) -> tuple[Trial | None, Trial | None]:
    """On the whole pool: what was certified from n labels, and what the naive picker took."""
    n_tuning = round(TUNING_SHARE * n)
    tuning, held_out = random.integers(world.n, size=n_tuning), random.integers(world.n, size=n - n_tuning)
    try:
        known = world.fitted(tuning)
    except ValueError:  # all of them right, or no signal of which are: nobody has a map
        return None, None
    found = _certify(known, tuning, held_out, alpha)
    everything = known.rows(np.concatenate([tuning, held_out]))
    rules = rules_of(everything, n)
    picked = widest(trials(everything, rules), alpha)
    return (
        trials(known, [found.rule])[0] if isinstance(found, Certified) else None,
        None if picked is None else trials(known, [rules[picked]])[0],
    )


def _certify(
    known: Outcomes | TwoStageOutcomes, tuning: IntArray, held_out: IntArray, alpha: float
) -> Certified | Infeasible:
    if isinstance(known, Outcomes):
        return certify_closed_book(known.rows(tuning), known.rows(held_out), alpha=alpha, delta=DELTA)
    return certify_two_stage(known.rows(tuning), known.rows(held_out), alpha=alpha, delta=DELTA)


def _mean(found: list[Trial | None], value: Callable[[Trial], float]) -> float:
    """Nothing certified answers nothing, and breaks nothing."""
    return math.fsum(0.0 if trial is None else value(trial) for trial in found) / len(found)


def worlds(data: Path, clusters: Sequence[Clusters], answers: Path | None) -> Iterator[World]:
    for kind in clusters:
        for pool in pools(data, kind):
            for method in ("platt", "fused"):
                yield OneStage(f"{pool.name}, {kind}, {method}", pool.labelled, pool.can_answer, method)
    for pool in token_pools(data):
        yield OneStage(f"{pool.name}, token probabilities", pool.labelled, pool.can_answer, "fused")
    yield from retrieval_worlds(data / "retrieval" / "seakr_signals.jsonl.gz")
    if answers:
        yield from judged_worlds(answers)


def retrieval_worlds(path: Path) -> Iterator[World]:
    """Alias match without and with retrieval; of the second answer, only the signals of the first are known."""
    by_set = defaultdict(list)
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            by_set[row["dataset"]].append(row)
    signals: tuple[SignalName, ...] = ("semantic_entropy", "mean_logprob")
    for name, rows in by_set.items():
        values = np.array([[row["ln_entropy"], -math.log(row["perplexity"])] for row in rows])
        stages = [
            Labelled(signals, values, np.array([row[key] for row in rows]), np.arange(len(rows)))
            for key in ("no_retrieval_match", "one_retrieval_match")
        ]
        everyone = np.ones(len(rows), dtype=bool)
        yield TwoStages(f"seakr {name}, two stages", stages[0], stages[1], (everyone, everyone), "fused")


def judged_worlds(path: Path) -> Iterator[World]:
    """Answers from a file of `demur evaluate --save`: closed book, and both stages where every question has both."""
    by_stage: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    with path.open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if not row["is_voided"]:
                by_stage[row["stage"]][row["id"]] = row
    both = [key for key in by_stage["closed_book"] if key in by_stage["with_context"]]
    for method in ("platt", "fused"):
        closed = list(by_stage["closed_book"].values())
        yield OneStage(f"{path.stem}, {method}", _labelled(closed), _can_answer(closed), method)
        if both:
            first, second = ([by_stage[stage][key] for key in both] for stage in ("closed_book", "with_context"))
            yield TwoStages(
                f"{path.stem}, two stages, {method}",
                _labelled(first),
                _labelled(second),
                (_can_answer(first), _can_answer(second)),
                method,
            )


def _labelled(rows: list[dict[str, Any]]) -> Labelled:
    signals: tuple[SignalName, ...] = tuple(rows[0]["signals"])
    values = np.array([[row["signals"][name] for name in signals] for row in rows])
    return Labelled(signals, values, np.array([row["is_correct"] for row in rows]), np.arange(len(rows)))


def _can_answer(rows: list[dict[str, Any]]) -> NDArray[np.bool_]:
    return np.array([not row["is_refusal"] for row in rows])


def _table(cells: list[Cell], n_draws: int) -> Table:
    table = Table(title=f"{n_draws} draws, delta = {DELTA}", title_justify="left")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "world" else "right")
    for cell in cells:
        numbers = [
            cell.violations,
            cell.coverage,
            cell.oracle,
            cell.share,
            cell.known_order,
            cell.uncertified,
            cell.naive_violations,
        ]
        shown = [f"{number:.3f}" for number in numbers]
        mark = "[green]✔[/]" if cell.passes(n_draws) else "[red]✘[/]"
        table.add_row(cell.world, f"{cell.alpha:.1f}", str(cell.n), *shown, mark)
    return table


def _figures(cell: Cell, n_draws: int) -> dict[str, Any]:
    numbers = {name: round(value, 4) if isinstance(value, float) else value for name, value in vars(cell).items()}
    return {**numbers, "share_of_oracle": round(cell.share, 4), "passes": cell.passes(n_draws)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the recorded sets")
    parser.add_argument(
        "--clusters",
        nargs="+",
        choices=["exact", "nli"],
        default=["exact", "nli"],
        help="how samples are grouped: by normalised exact match, or by the bundled NLI model",
    )
    parser.add_argument("--answers", type=Path, help="answers of `demur evaluate --save`")
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--labels", type=int, nargs="+", default=[300, 600, 1200])
    options = parser.parse_args()
    console, cells, hopeless = Console(width=140), [], []
    for world in worlds(options.data, options.clusters, options.answers):
        coverage = {alpha: oracle(world, alpha) for alpha in ALPHAS}
        alpha = next((alpha for alpha in ALPHAS if coverage[alpha] >= LEAST_ORACLE), None)
        if alpha is None:
            hopeless.append(
                {"world": world.name, "oracle_coverage": {str(a): round(c, 4) for a, c in coverage.items()}}
            )
            continue
        sizes = track(options.labels, world.name, console=console, transient=True)
        cells.extend(measure(world, n, alpha, coverage[alpha], options.draws, seed=n) for n in sizes)
    console.print(_table(cells, options.draws))
    for one in hopeless:
        console.print(
            f"[dim]{one['world']}: nobody could answer 30 % at an error rate of .4 {one['oracle_coverage']}[/]"
        )
    n_passed = sum(cell.passes(options.draws) for cell in cells)
    console.print(f"{n_passed} of {len(cells)} cells pass")
    path = save(
        "guarantee",
        {
            "draws": options.draws,
            "delta": DELTA,
            "tuning_share": TUNING_SHARE,
            "clusters": options.clusters,
            "cells_passed": f"{n_passed} of {len(cells)}",
            "cells": [_figures(cell, options.draws) for cell in cells],
            "no_alpha": hopeless,
        },
    )
    console.print(f"written to {path}")


if __name__ == "__main__":
    main()
