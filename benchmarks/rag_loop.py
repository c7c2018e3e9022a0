"""Does looking it up only when in doubt pay? `python -m benchmarks.rag_loop` (`make bench-rag`).

The bundled model's loop: each of 1,400 questions was answered from memory and from passages, of which one tells the
answer in five cases of six (`make profile` asks it, in a quarter of an hour of one core). A policy answers at once, or
looks it up and answers then, or abstains. Half of the questions calibrate it, the other half are decided by it, and
then the other way round: so each question is decided by thresholds that have not seen it. What a live loop would do is
the same, because a stage's answer does not depend on why it was asked for.

The replay: questions of AdaRAGUE, answered by Llama-3-8B without and with retrieval, with SeaKR's signals of the first
answer (for NQ, TriviaQA and SQuAD; the other sets have none). There nobody abstains, as in that paper: the threshold is
the one with the most right answers on the other half.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.results import save
from demur.calibration.fused import fit_fused
from demur.calibration.outcomes import IntArray, Outcomes, TwoStageOutcomes
from demur.calibration.risk_control import (
    TUNING_SHARE,
    Certified,
    Infeasible,
    certify_closed_book,
    certify_two_stage,
)
from demur.calibration.selection import select
from demur.calibration.trials import NEVER, Rule, candidate_thresholds, two_stage_trial
from demur.errors import DatasetUnreadable
from demur.evaluation.judged import JudgedAnswer, Stage, correctness, labelled, read_judged
from demur.types import SignalName

LEAST_QUESTIONS = 1000
ALPHAS = (0.05, 0.1)
DELTA = 0.1
RETRIEVAL_COST = 0.1  # of an answer, as in the shipped profile
SEED = 5

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Effect:
    """What a policy did: `asks` is how often the model was asked per question, a retrieval being an ask more."""

    policy: str
    coverage: float
    risk: float | None
    retrieved: float
    asks: float
    tokens: float


@dataclass(frozen=True, slots=True)
class Loop:
    """Both answers to each question."""

    first: Sequence[JudgedAnswer]
    second: Sequence[JudgedAnswer]

    @property
    def n(self) -> int:
        return len(self.first)


@dataclass(frozen=True, slots=True)
class Done:
    """What a policy did with each question."""

    answered: BoolArray
    is_correct: BoolArray
    retrieved: BoolArray
    asked_first: BoolArray


def read_loop(path: Path) -> Loop:
    """Questions with an answer of each stage that is not degraded. Raises DatasetUnreadable."""
    by_stage: dict[Stage, dict[str, JudgedAnswer]] = {"closed_book": {}, "with_context": {}}
    for answer in read_judged(path):
        if not answer.is_voided:
            by_stage[answer.stage][answer.id] = answer
    both = sorted(by_stage["closed_book"].keys() & by_stage["with_context"].keys())
    if len(both) < LEAST_QUESTIONS:
        raise DatasetUnreadable(f"{path} has {len(both)} questions with both stages; {LEAST_QUESTIONS} are needed")
    return Loop([by_stage["closed_book"][key] for key in both], [by_stage["with_context"][key] for key in both])


def halves(n: int) -> Iterator[tuple[IntArray, IntArray]]:
    """Rows to calibrate on, and rows to decide."""
    shuffled = np.random.default_rng(SEED).permutation(n)
    one, other = shuffled[: n // 2], shuffled[n // 2 :]
    yield one, other
    yield other, one


def confidence(answers: Sequence[JudgedAnswer], tuning: IntArray) -> Outcomes:
    """Of all of them, by a map fitted on `tuning`; refusals are never answered."""
    able = [i for i in tuning if not answers[i].is_refusal]
    calibrator = select(labelled([answers[i] for i in able])).calibrator
    values = np.array([[a.signals[name] for name in calibrator.signals] for a in answers])
    refused = np.array([a.is_refusal for a in answers])
    return Outcomes(np.where(refused, -math.inf, calibrator.p_correct(values)), correctness(answers))


def decided(loop: Loop, alpha: float) -> dict[str, Done]:
    """By policy, for all questions."""
    whole: dict[str, list[tuple[IntArray, Done]]] = defaultdict(list)
    for labelled_rows, rows in halves(loop.n):
        n_tuning = max(round(TUNING_SHARE * len(labelled_rows)), 150)
        tuning, held_out = labelled_rows[:n_tuning], labelled_rows[n_tuning:]
        both = TwoStageOutcomes(confidence(loop.first, tuning), confidence(loop.second, tuning))
        for name, done in _policies(both, tuning, held_out, rows, alpha).items():
            whole[name].append((rows, done))
    return {name: _joined(parts, loop.n) for name, parts in whole.items()}


def _policies(
    both: TwoStageOutcomes, tuning: IntArray, held_out: IntArray, rows: IntArray, alpha: float
) -> dict[str, Done]:
    first, second, here = both.closed_book, both.after_retrieval, both.rows(rows)
    never = certify_closed_book(first.rows(tuning), first.rows(held_out), alpha=alpha, delta=DELTA)
    always = certify_closed_book(second.rows(tuning), second.rows(held_out), alpha=alpha, delta=DELTA)
    loop = certify_two_stage(
        both.rows(tuning), both.rows(held_out), alpha=alpha, delta=DELTA, retrieval_cost=RETRIEVAL_COST
    )
    return {
        "never look up, answer all": _done(here, Rule(-1e9)),
        "always look up, answer all": _always(here.after_retrieval, -1e9),
        "never look up, certified": _done(here, Rule(_threshold(never))),
        "always look up, certified": _always(here.after_retrieval, _threshold(always)),
        "demur: look up in doubt, certified": _done(
            here, loop.rule if isinstance(loop, Certified) else Rule(NEVER, NEVER)
        ),
    }


def _threshold(found: Certified | Infeasible) -> float:
    return found.rule.answer_min if isinstance(found, Certified) else NEVER


def _done(here: TwoStageOutcomes, rule: Rule) -> Done:
    at_once = here.closed_book.confidence >= rule.answer_min
    after, looks_up = rule.answer_min_after_retrieval, rule.answer_min_after_retrieval is not None
    later = ~at_once & (here.after_retrieval.confidence >= (NEVER if after is None else after))
    right = np.where(at_once, here.closed_book.is_correct, here.after_retrieval.is_correct)
    return Done(at_once | (later & looks_up), right, ~at_once & looks_up, np.ones(here.n, dtype=bool))


def _always(after: Outcomes, threshold: float) -> Done:
    everyone = np.ones(after.n, dtype=bool)
    return Done(after.confidence >= threshold, after.is_correct, everyone, ~everyone)


def _joined(parts: Sequence[tuple[IntArray, Done]], n: int) -> Done:
    columns = {name: np.zeros(n, dtype=bool) for name in Done.__slots__}
    for rows, done in parts:
        for name, column in columns.items():
            column[rows] = getattr(done, name)
    return Done(**columns)


def effect(policy: str, done: Done, loop: Loop) -> Effect:
    tokens = [np.array([a.cost.n_completion_tokens for a in stage]) for stage in (loop.first, loop.second)]
    n_answered = int(done.answered.sum())
    return Effect(
        policy=policy,
        coverage=float(done.answered.mean()),
        risk=float((done.answered & ~done.is_correct).sum() / n_answered) if n_answered else None,
        retrieved=float(done.retrieved.mean()),
        asks=float((done.asked_first.astype(int) + done.retrieved).mean()),
        tokens=float((tokens[0] * done.asked_first + tokens[1] * done.retrieved).mean()),
    )


def loop_effects(loop: Loop, alpha: float) -> list[Effect]:
    return [effect(name, done, loop) for name, done in decided(loop, alpha).items()]


@dataclass(frozen=True, slots=True)
class Replay:
    """Share right and share looked up, on one of AdaRAGUE's sets."""

    dataset: str
    n: int
    never: float
    always: float
    oracle: float
    demur: float
    demur_retrieved: float
    certified: dict[str, Any] | None


def replays(path: Path) -> list[Replay]:
    by_set: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            by_set[row["dataset"]].append(row)
    return [_replay(name, rows) for name, rows in by_set.items()]


def _replay(name: str, rows: Sequence[dict[str, Any]]) -> Replay:
    first, second = (np.array([row[key] for row in rows]) for key in ("no_retrieval_match", "one_retrieval_match"))
    values = np.array([[row["ln_entropy"], -math.log(row["perplexity"])] for row in rows])
    looked_up = np.zeros(len(rows), dtype=bool)
    for seen, unseen in halves(len(rows)):
        p = _known_without(values, first, seen)
        looked_up[unseen] = p[unseen] < _most_right(p[seen], first[seen], second[seen])
    right = np.where(looked_up, second, first)
    return Replay(
        dataset=name,
        n=len(rows),
        never=float(first.mean()),
        always=float(second.mean()),
        oracle=float((first | second).mean()),
        demur=float(right.mean()),
        demur_retrieved=float(looked_up.mean()),
        certified=_certified_replay(values, first, second),
    )


_SEAKR_SIGNALS: tuple[SignalName, ...] = ("semantic_entropy", "mean_logprob")


def _known_without(values: FloatArray, is_correct: BoolArray, seen: IntArray) -> FloatArray:
    return fit_fused(values[seen], is_correct[seen], _SEAKR_SIGNALS, ridge=1.0).p_correct(values)


def _most_right(p: FloatArray, first: BoolArray, second: BoolArray) -> float:
    """The threshold below which looking up gives the most right answers; of equals the one that looks up least."""
    cuts = [0.0, *candidate_thresholds(p, len(p)), NEVER]
    return max(cuts, key=lambda cut: (float(np.where(p >= cut, first, second).mean()), -cut))


def _certified_replay(values: FloatArray, first: BoolArray, second: BoolArray) -> dict[str, Any] | None:
    """With abstention: both stages certified on one half, at the least risk that can be, and seen on the other."""
    (seen, unseen), _ = halves(len(first))
    tuning, held_out = seen[: len(seen) // 2], seen[len(seen) // 2 :]
    stages = [Outcomes(_known_without(values, y, tuning), y) for y in (first, second)]
    both = TwoStageOutcomes(stages[0], stages[1])
    for alpha in (0.2, 0.3, 0.4):
        found = certify_two_stage(both.rows(tuning), both.rows(held_out), alpha=alpha, delta=DELTA)
        if isinstance(found, Certified):
            trial = two_stage_trial(both.rows(unseen), found.rule)
            risk = None if trial.selective_risk is None else round(trial.selective_risk, 4)
            return {"alpha": alpha, "coverage": trial.coverage, "risk": risk, "retrieved": trial.retrieval_rate}
    return None


def _loop_table(alpha: float, effects: Sequence[Effect]) -> Table:
    table = Table(title=f"The bundled model's loop, error rate of at most {alpha:g}", title_justify="left")
    for column in ("policy", "answered", "of these wrong", "looked up", "asks", "tokens drawn"):
        table.add_column(column)
    for e in effects:
        risk = "-" if e.risk is None else f"{e.risk:.3f}"
        table.add_row(e.policy, f"{e.coverage:.3f}", risk, f"{e.retrieved:.3f}", f"{e.asks:.2f}", f"{e.tokens:.1f}")
    return table


def _replay_table(found: Sequence[Replay]) -> Table:
    table = Table(title="AdaRAGUE, share right", title_justify="left")
    for column in ("set", "n", "never", "always", "in doubt", "looked up", "oracle"):
        table.add_column(column)
    for r in found:
        numbers = (r.never, r.always, r.demur, r.demur_retrieved, r.oracle)
        table.add_row(r.dataset, str(r.n), *(f"{number:.3f}" for number in numbers))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the recorded sets")
    parser.add_argument("--answers", type=Path, help="both stages' answers, as `make profile` saves them")
    options = parser.parse_args()
    console, figures = Console(width=120), dict[str, Any]()
    if options.answers:
        loop = read_loop(options.answers)
        figures["loop"] = {"questions": loop.n, "delta": DELTA, "retrieval_cost": RETRIEVAL_COST}
        for alpha in ALPHAS:
            effects = loop_effects(loop, alpha)
            console.print(_loop_table(alpha, effects))
            shown = [{n: round(v, 4) if isinstance(v, float) else v for n, v in _fields(e).items()} for e in effects]
            figures["loop"][f"alpha {alpha}"] = shown
    found = replays(options.data / "retrieval" / "seakr_signals.jsonl.gz")
    console.print(_replay_table(found))
    figures["adarague"] = {"sets": [_fields(each) for each in found]}
    console.print(f"written to {save('rag_loop', figures)}")


def _fields(value: Effect | Replay) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__slots__}


if __name__ == "__main__":
    main()
