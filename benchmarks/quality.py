"""Is it better than its peers? `python -m benchmarks.quality` (`make bench-quality`).

Ours, uqlm 0.6.7 and lm-polygraph 0.7.0 on the same recorded samples, the same labels and the same verdicts of the same
NLI weights (`benchmarks.pair_table`), 500 questions of each model of each recorded set. Where no T=0 answer was
recorded, the answer judged is the representative of our heaviest cluster, for all alike.

Ranking: AUROC. Ours is `agreement`, the confidence of an uncalibrated service, whose order Platt's map keeps. (The
cross-fitted probability stands beside it: several maps in one ranking put it a little low, as a map fitted without a
fold expects fewer right answers where the fold has more.) Of each peer the score whose mean AUROC over the cells is
best, chosen here with the labels at hand. Paired bootstrap over questions, Holm over all comparisons.

Calibration, on the sets at natural rates: smECE against that of a perfect model of the same size, Brier against each
peer as it stands (lm-polygraph's DegMat is the one of its scores that lies in [0, 1]) and against our map on its score.

Decisions: the share of questions that can be answered with a certificate, by our decision layer on everybody's scores.
lm-polygraph asks its model about pairs of equal texts too; `equal texts entail: ...` is its score without that, where
each text entails itself. Question length stands beside it, because that is what the verdict on such a pair follows.
The map over token probabilities cannot be tested here: no recorded set has both samples and log-probabilities.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.pair_table import (
    CACHE,
    DTYPE,
    N_SAMPLES,
    NATURAL,
    Question,
    judged,
    known_ids,
    questions,
    table_path,
)
from benchmarks.recorded import SIGNALS, Answered, answered, by_table
from benchmarks.results import save
from demur.calibration.fused import fit_fused
from demur.calibration.outcomes import Labelled, Outcomes, split_by_group
from demur.calibration.risk_control import TUNING_SHARE, Certified, certify_closed_book
from demur.calibration.selection import select
from demur.clustering import exact_match
from demur.evaluation.bootstrap import Difference, holm, paired_bootstrap
from demur.evaluation.calibration_error import brier_score, perfect_model_error, smooth_calibration_error
from demur.evaluation.discrimination import auroc
from demur.evaluation.risk_coverage import oracle_coverage

OURS, RANKED = "demur confidence", "demur agreement"  # calibrated, cross-fitted; as it stands
EQUAL = "equal texts entail: "
CHEAP = ("majority by exact match", "answer length", "question length")  # what must be beaten
N_FOLDS = 5
N_BOOTSTRAP = 10_000
ALPHAS = (0.1, 0.2, 0.3, 0.4)
DELTA = 0.1
N_SPLITS = 50
SHARES = {"uqlm": "uqlm semantic_entropy", "lm-polygraph": "lm-polygraph deg_mat"}  # taken for probabilities

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Cell:
    """All scores of one model on one set, growing with confidence."""

    name: str
    is_natural: bool
    labels: BoolArray
    scores: dict[str, FloatArray]


def our_scores(row: Answered) -> dict[str, float]:
    """Ours, and the cheap ones."""
    cheap = (
        max(exact_match(row.question.samples).frequencies),
        -float(len(row.answer.split())),
        -float(len(row.question.question)),
    )
    ours = {RANKED: row.uncertainty.agreement, "demur semantic_entropy": -row.uncertainty.semantic_entropy}
    return {**ours, **dict(zip(CHEAP, cheap, strict=True))}


def peer_scores(rows: Sequence[Answered], python: Path) -> dict[str, dict[str, float]]:
    """By question: what the peers' own code says, in their environment."""
    asked, out = CACHE / "quality-questions.jsonl", CACHE / "quality-peers.jsonl"
    told = "".join(_told(row) for row in rows)
    if not out.exists() or not asked.exists() or asked.read_text(encoding="utf-8") != told:
        asked.write_text(told, encoding="utf-8")
        script, part = Path(__file__).with_name("peer_scores.py"), out.with_suffix(".part")
        files = ["--questions", str(asked), "--pairs", str(table_path()), "--out", str(part)]
        subprocess.run([str(python), str(script), *files], check=True)
        part.replace(out)
    return {found["id"]: found["scores"] for found in map(json.loads, out.open(encoding="utf-8"))}


def _told(row: Answered) -> str:
    q = row.question
    told = {"id": q.id, "cell": q.cell, "question": q.question, "answer": row.answer}
    return json.dumps({**told, "others": row.others, "samples": q.samples}) + "\n"


def cell_of(name: str, rows: Sequence[Answered], peers: dict[str, dict[str, float]]) -> Cell:
    labels = np.array([row.is_correct for row in rows])
    scores = [{**our_scores(row), **peers[row.question.id]} for row in rows]
    columns = {each: np.array([one[each] for one in scores]) for each in scores[0]}
    columns[OURS] = _cross_fitted(rows, labels)
    is_natural = any(natural.split("_")[0] == name.split(" ")[0] for natural in NATURAL)
    return Cell(name, is_natural, labels, columns)


def _folds(labels: BoolArray) -> NDArray[np.int64]:
    """As many right answers in each: else a fold that has more of them meets a map fitted on fewer, and ranks low."""
    shuffled = np.random.default_rng(0).permutation(len(labels))
    folds = np.empty(len(labels), dtype=np.int64)
    folds[shuffled[np.argsort(labels[shuffled], kind="stable")]] = np.arange(len(labels)) % N_FOLDS
    return folds


def _cross_fitted(rows: Sequence[Answered], labels: BoolArray) -> FloatArray:
    """P(correct) of each answer by the map that the others select; a refusal's is 0, as in the service."""
    values = np.array([[row.signals[name] for name in SIGNALS] for row in rows])
    refused, folds = np.array([row.is_refusal for row in rows]), _folds(labels)
    labelled, found = Labelled(SIGNALS, values, labels, np.arange(len(rows))), np.zeros(len(rows))
    for fold in range(N_FOLDS):
        calibrator = select(labelled.rows(np.flatnonzero((folds != fold) & ~refused))).calibrator
        held_out = labelled.rows(np.flatnonzero(folds == fold))
        found[folds == fold] = calibrator.p_correct(held_out.columns(calibrator.signals))
    return np.where(refused, 0.0, found)


def _mapped(score: FloatArray, labels: BoolArray) -> FloatArray:
    """Our calibration on somebody's score, cross-fitted: a logistic map of it."""
    folds, found = _folds(labels), np.zeros(len(score))
    for fold in range(N_FOLDS):
        seen = folds != fold
        calibrator = fit_fused(score[seen, None], labels[seen], ("semantic_entropy",), ridge=0.1)
        found[~seen] = calibrator.p_correct(score[~seen, None])
    return found


def best_of(cells: Sequence[Cell], library: str) -> str:
    names = [name for name in cells[0].scores if name.startswith(library)]
    return max(names, key=lambda name: float(np.mean([_auroc(cell, name) for cell in cells])))


def _auroc(cell: Cell, name: str) -> float:
    found = auroc(cell.scores[name], cell.labels)
    assert found is not None, f"{cell.name}: all answers are right, or all are wrong"
    return found


def compared(
    cells: Sequence[Cell], statistic: Callable[[FloatArray, BoolArray], float | None], pairs: Any
) -> list[Any]:
    """Ours less theirs for each (cell, name, ours, theirs), with p-values adjusted over all of them."""
    found: list[tuple[str, str, Difference]] = []
    for cell, name, ours, theirs in track(list(pairs), "bootstrap"):
        labels = cell.labels
        difference = paired_bootstrap(
            lambda rows, s=ours, y=labels: statistic(s[rows], y[rows]),
            lambda rows, s=theirs, y=labels: statistic(s[rows], y[rows]),
            np.arange(len(labels)),
            n_draws=N_BOOTSTRAP,
        )
        assert difference is not None
        found.append((cell.name, name, difference))
    adjusted = holm([difference.p_value for *_, difference in found])
    return [
        {
            "cell": cell,
            "against": name,
            "difference": round(d.interval.value, 4),
            "interval": [round(d.interval.low, 4), round(d.interval.high, 4)],
            "p": round(d.p_value, 5),
            "p_holm": round(p, 5),
        }
        for (cell, name, d), p in zip(found, adjusted, strict=True)
    ]


def calibration(cell: Cell, best: dict[str, str]) -> dict[str, Any]:
    ours, labels = cell.scores[OURS], cell.labels
    smooth, perfect = smooth_calibration_error(ours, labels), perfect_model_error(ours)
    brier = {OURS: brier_score(ours, labels), "demur agreement": brier_score(cell.scores["demur agreement"], labels)}
    for library, name in SHARES.items():
        brier[f"{name}, as it stands"] = brier_score(_share(cell, library), labels)
        brier[f"{best[library]}, our map"] = brier_score(_mapped(cell.scores[best[library]], labels), labels)
    return {
        "cell": cell.name,
        "accuracy": round(float(labels.mean()), 4),
        "smooth_ece": round(smooth, 4),
        "smooth_ece_of_a_perfect_model": round(perfect, 4),
        "passes": smooth <= perfect,
        "brier": {name: round(value, 4) for name, value in brier.items()},
    }


def _share(cell: Cell, library: str) -> FloatArray:
    """uqlm's confidence as it is; 1 - DegMat, which was negated, for lm-polygraph."""
    found = cell.scores[SHARES[library]] + (1.0 if library == "lm-polygraph" else 0.0)
    return np.clip(found, 0.0, 1.0)


def certified_coverage(cell: Cell, name: str, alpha: float) -> float:
    """Mean over splits: a map fitted on the tuning part, and a threshold certified on the rest."""
    labels, score, found = cell.labels, cell.scores[name], []
    for seed in range(N_SPLITS):
        tuning, held_out = split_by_group(np.arange(len(labels)), TUNING_SHARE, seed)
        fitted = fit_fused(score[tuning, None], labels[tuning], ("semantic_entropy",), ridge=0.1)
        outcomes = Outcomes(fitted.p_correct(score[:, None]), labels)
        one = certify_closed_book(outcomes.rows(tuning), outcomes.rows(held_out), alpha=alpha, delta=DELTA)
        found.append(one.trial.coverage if isinstance(one, Certified) else 0.0)
    return float(np.mean(found))


def decisions(cell: Cell, names: Sequence[str]) -> dict[str, Any] | None:
    able = [a for a in ALPHAS if oracle_coverage(cell.scores[OURS], cell.labels, a) >= 0.3]
    if not able:
        return None
    coverage = {name: round(certified_coverage(cell, name, able[0]), 4) for name in names}
    return {"cell": cell.name, "alpha": able[0], "delta": DELTA, "coverage": coverage}


def _ranking_table(cells: Sequence[Cell], names: Sequence[str]) -> Table:
    table = Table(title="AUROC", title_justify="left")
    for column in ("cell", "n", "accuracy", *names):
        table.add_column(column, overflow="fold")
    for cell in cells:
        numbers = [f"{_auroc(cell, name):.3f}" for name in names]
        table.add_row(cell.name, str(len(cell.labels)), f"{cell.labels.mean():.2f}", *numbers)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the recorded sets")
    parser.add_argument("--peers", type=Path, default=Path(".venv-peers/bin/python"), help="Python that has the peers")
    parser.add_argument("--judged", action="store_true", help="only questions whose pairs were judged before")
    options = parser.parse_args()
    console = Console(width=160)
    asked = questions(options.data)
    if options.judged:
        known = known_ids()
        asked = [one for one in asked if one.id in known]
    rows = [answered(one, by_table(one, known)) for one, known in zip(asked, judged(asked), strict=True)]
    peers = peer_scores(rows, options.peers.absolute())
    mine = _by_cell(rows, lambda row: row.question)
    cells = [cell_of(name, found, peers) for name, found in mine.items()]
    report(cells, console)


def _by_cell(found: Sequence[Any], question: Callable[[Any], Question] = lambda one: one) -> dict[str, list[Any]]:
    cells: dict[str, list[Any]] = {}
    for one in found:
        cells.setdefault(question(one).cell, []).append(one)
    return cells


def report(cells: Sequence[Cell], console: Console) -> None:
    best = {library: best_of(cells, library) for library in SHARES}
    names = [OURS, RANKED, "demur semantic_entropy", *best.values()]
    mended = {name: EQUAL + name for name in best.values() if EQUAL + name in cells[0].scores}
    console.print(_ranking_table(cells, [*names, *mended.values(), *CHEAP]))
    against = [(c, name, c.scores[RANKED], c.scores[name]) for c in cells for name in best.values()]
    ranking = compared(cells, auroc, against)
    without = [(c, name, c.scores[RANKED], c.scores[name]) for c in cells for name in mended.values()]
    ranking_without = compared(cells, auroc, without)
    natural = [cell for cell in cells if cell.is_natural]
    calibrated = [calibration(cell, best) for cell in natural]
    brier = compared(natural, lambda p, y: -brier_score(p, y), _brier_pairs(natural, best))
    decided = [found for cell in natural if (found := decisions(cell, [OURS, "demur agreement", *best.values()]))]
    losses = [each for each in (*ranking, *brier) if each["difference"] < 0]
    significant = [each for each in losses if each["p_holm"] < 0.05]
    for each in calibrated:
        console.print(each)
    for each in decided:
        console.print(each)
    console.print(
        f"{len(losses)} of {len(ranking) + len(brier)} comparisons lost, {len(significant)} of them significantly:"
    )
    for each in [*losses, *ranking_without]:
        console.print(each)
    figures = {
        "nli": {"model": "demur-nli", "dtype": DTYPE, "samples": N_SAMPLES},
        "questions": {c.name: len(c.labels) for c in cells},
        "best_of_peers": best,
        "auroc": {c.name: {name: round(_auroc(c, name), 4) for name in sorted(c.scores)} for c in cells},
        "ranking": ranking,
        "ranking_where_equal_texts_entail": ranking_without,
        "calibration": calibrated,
        "brier": brier,
        "decisions": decided,
        "lost_significantly": significant,
        "not_tested": "the map over token probabilities: no recorded set has samples with log-probabilities",
    }
    console.print(f"written to {save('quality', figures)}")


def _brier_pairs(cells: Sequence[Cell], best: dict[str, str]) -> list[tuple[Cell, str, FloatArray, FloatArray]]:
    """Against each peer as it stands, and against our map on its best score."""
    found = []
    for cell in cells:
        for library, name in SHARES.items():
            ours = cell.scores[OURS]
            found.append((cell, f"{name}, as it stands", ours, _share(cell, library)))
            found.append((cell, f"{best[library]}, our map", ours, _mapped(cell.scores[best[library]], cell.labels)))
    return found


if __name__ == "__main__":
    main()
