"""What giving samples up costs live: `python -m benchmarks.adaptive_live`, on the bundled models.

Facts in held-out wordings, from memory, each asked twice with the same seed over a real server: all ten samples, and
`sampling.mode: adaptive`. The bundled model decodes the samples of a request in step, and says most things in a few
tokens: when five have landed, the others are nearly done. What is saved here is little, and says nothing of servers
whose samples end one by one (benchmarks/adaptive.py replays those).
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from typing import Any

import httpx2
import numpy as np
from rich.console import Console
from rich.progress import track

from benchmarks.overhead import serving
from benchmarks.results import save
from demur.backends import build_entailment, build_sampler
from demur.evaluation.bootstrap import Statistic, paired_bootstrap
from demur.evaluation.calibration_error import brier_score
from demur.evaluation.discrimination import auroc
from demur.evaluation.graders import matches_exactly
from demur.observability.metrics import Metrics
from demur.settings import Settings
from training.facts_model.questions import rows

MODES = ("fixed", "adaptive")

Row = dict[str, Any]


def ask(client: httpx2.Client, asked: Row, mode: str, seed: int) -> Row:
    body = {"prompt": asked["prompt"], "sampling": {"seed": seed, "mode": mode}}
    response = client.post("/answer", json=body).raise_for_status()
    reply = response.json()
    return {
        "seconds": response.elapsed.total_seconds(),
        "drawn": reply["sampling"]["completed"] / reply["sampling"]["requested"],
        "entropy": reply["uncertainty"]["semantic_entropy"],
        "agreement": reply["uncertainty"]["agreement"],
        "is_correct": matches_exactly(reply["answer"] or "", asked["references"]),
    }


def measure(questions: Sequence[Row]) -> dict[str, list[Row]]:
    settings = Settings()
    sampler, entailment = build_sampler(settings.sampler), build_entailment(settings.nli, Metrics())
    found: dict[str, list[Row]] = {mode: [] for mode in MODES}
    with serving(sampler, entailment) as service, httpx2.Client(base_url=service.url, timeout=60) as client:
        for seed, asked in enumerate(track(questions, "asking")):
            for mode in MODES[:: 1 if seed % 2 else -1]:
                found[mode].append(ask(client, asked, mode, seed))
        service.run(sampler.aclose())
    asyncio.run(entailment.aclose())
    return found


def figures(found: dict[str, list[Row]]) -> dict[str, Any]:
    is_correct = np.array([row["is_correct"] for row in found["fixed"]])
    told: dict[str, Any] = {"questions": len(is_correct), "accuracy": float(is_correct.mean())}
    for mode, mine in found.items():
        certainty = [-row["entropy"] for row in mine]
        told[mode] = {
            "samples_share": float(np.mean([row["drawn"] for row in mine])),
            "stopped_share": float(np.mean([row["drawn"] < 1 for row in mine])),
            "auroc": auroc(certainty, is_correct),
            "brier": brier_score([row["agreement"] for row in mine], is_correct),
            "seconds_p50": float(np.median([row["seconds"] for row in mine])),
        }
    statistics = [_ranking(found[mode], is_correct) for mode in ("adaptive", "fixed")]
    lost = paired_bootstrap(*statistics, range(len(is_correct)), n_draws=1000)
    interval = None if lost is None else lost.interval
    return told | {"auroc_minus_all": None if interval is None else [interval.value, interval.low, interval.high]}


def _ranking(mine: Sequence[Row], is_correct: np.ndarray) -> Statistic:
    certainty = np.array([-row["entropy"] for row in mine])
    return lambda rows: auroc(certainty[rows], is_correct[rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=300)
    told = figures(measure(rows()[: parser.parse_args().questions]))
    Console().print(told)
    Console().print(save("adaptive_live", told))


if __name__ == "__main__":
    main()
