"""When to stop drawing, where token probabilities are known: `python -m benchmarks.stop_rules`, on the bundled models.

Facts in held-out wordings are answered ten times, from memory and with passages, and the samples replayed: as if their
time had nothing to do with their length (as drawn in waves), and the short ones first (as samples land that are begun
together). At 5 and at 7 of them it may stop: when one meaning leads (the service's rule, engine/stopping.py), or when
the posterior variance of the entropy is small (bayesian_entropy.py). Beside these, the first n. Told of each: the share
drawn, what ranking by entropy loses (right or wrong: the answer given with all ten), and how often the answer that is
given then is right. At last the processor time of ten samples at once, of seven, and of waves (5, 2, 3), judging each.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from time import process_time
from typing import Any, Literal

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.bayesian_entropy import Posterior, entropy_posterior, seen_masses
from benchmarks.results import save
from demur.clustering import Clusterer
from demur.engine.choosing import choose
from demur.engine.prompting import PromptTemplate
from demur.engine.stopping import CONFIDENCE, lead_probability
from demur.entailment.cross_encoder import CrossEncoderModel
from demur.estimators.semantic_entropy import semantic_entropy
from demur.evaluation.bootstrap import Statistic, paired_bootstrap
from demur.evaluation.calibration_error import brier_score
from demur.evaluation.discrimination import auroc
from demur.evaluation.graders import matches_exactly
from demur.samplers.decoding import Decoder
from demur.settings import bundled_path
from demur.types import Message, Pair, Passage, Question, Sample, Sampling, Verdict
from training.facts_model.questions import rows

N = 10
LOOKS = (5, 7)
SIZES = (5, 6, 7, 8, N)
VARIANCES = (0.04, 0.05, 0.06, 0.07, 0.08)
N_TIMED = 100

Order = Literal["as drawn", "short first"]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Seen:
    """What so many samples say. `posterior`: of the entropy."""

    n: int
    entropy: float
    agreement: float
    lead: float
    posterior: Posterior
    is_correct: bool


Replayed = dict[int, Seen]  # by the number of samples
Rule = Callable[[Seen], bool]


class Memo:
    """An NLI model that is asked each pair once."""

    model = "memo"

    def __init__(self, model: CrossEncoderModel) -> None:
        self._model = model
        self._known: dict[Pair, Verdict] = {}

    async def label(self, pairs: Sequence[Pair]) -> list[Verdict]:
        new = [pair for pair in dict.fromkeys(pairs) if pair not in self._known]
        if new:
            self._known.update(zip(new, self._model.predict(self._model.encode(new)), strict=True))
        return [self._known[pair] for pair in pairs]

    async def aclose(self) -> None: ...


class Asked:
    """One question to the bundled models, and what has been drawn and judged of it."""

    def __init__(self, decoder: Decoder, nli: CrossEncoderModel, row: Row, seed: int, *, with_passages: bool) -> None:
        passages = tuple(Passage(one["text"]) for one in row["context"]) if with_passages else ()
        asked = Question((Message("user", row["prompt"]),), context=passages)
        self._messages = PromptTemplate().messages(asked)
        self._decoder, self._row, self._seed = decoder, row, seed
        self._clusterer = Clusterer(Memo(nli))

    def draw(self, n: int, wave: int = 0) -> tuple[Sample, list[Sample]]:
        sampling = Sampling(n=n, seed=self._seed + 100_000 * wave)
        drawn = [replace(s, text=s.text.strip()) for s in self._decoder.draw(self._messages, sampling, lambda: False)]
        greedy = next(s for s in drawn if s.is_greedy)
        return greedy, sorted((s for s in drawn if not s.is_greedy), key=lambda s: s.index)

    async def judge(self, greedy: Sample, samples: Sequence[Sample]) -> Seen:
        clustered = await self._clusterer.cluster([s.text for s in samples], self._row["prompt"])
        clustering, place = clustered.clustering, await self._clusterer.place(greedy.text, clustered)
        chosen = choose(samples, clustering, greedy, place, "auto").sample
        first, second, *_ = [*sorted(clustering.counts, reverse=True), 0]
        return Seen(
            n=len(samples),
            entropy=semantic_entropy(clustering),
            agreement=0.0 if place is None else clustering.frequencies[place],
            lead=lead_probability(first, second),
            posterior=entropy_posterior(clustering.counts, seen_masses(clustering, samples, greedy, place)),
            is_correct=matches_exactly(chosen.text, self._row["references"]),
        )


async def replay(asked: Asked) -> dict[Order, Replayed]:
    greedy, samples = asked.draw(N)
    orders: dict[Order, list[Sample]] = {
        "as drawn": samples,
        "short first": sorted(samples, key=lambda s: (s.n_completion_tokens or 0, s.index)),
    }
    return {
        order: {n: await asked.judge(greedy, sorted(landed[:n], key=lambda s: s.index)) for n in SIZES}
        for order, landed in orders.items()
    }


def ways() -> dict[str, Rule]:
    at: dict[str, Rule] = {f"variance <= {most}": _varies_at_most(most) for most in VARIANCES}
    return {"one leads": _leads} | at


def _leads(seen: Seen) -> bool:
    return seen.lead >= CONFIDENCE


def _varies_at_most(most: float) -> Rule:
    return lambda seen: seen.posterior.variance <= most


def stopped(replayed: Replayed, rule: Rule) -> Seen:
    return next((replayed[n] for n in LOOKS if rule(replayed[n])), replayed[N])


def figures(found: Sequence[Replayed]) -> dict[str, Any]:
    is_correct = np.array([one[N].is_correct for one in found])
    taken = {f"first {n}": [one[n] for one in found] for n in SIZES}
    taken |= {name: [stopped(one, rule) for one in found] for name, rule in ways().items()}
    told = {name: _figures(way, taken[f"first {N}"], is_correct) for name, way in taken.items()}
    return {"questions": len(found), "accuracy": float(is_correct.mean()), "ways": told}


def _figures(way: Sequence[Seen], every: Sequence[Seen], is_correct: np.ndarray) -> dict[str, Any]:
    lost = paired_bootstrap(
        _ranking(way, is_correct), _ranking(every, is_correct), range(len(is_correct)), n_draws=1000
    )
    interval = () if lost is None else (lost.interval.value, lost.interval.low, lost.interval.high)
    return {
        "samples_share": float(np.mean([seen.n for seen in way]) / N),
        "auroc": auroc([-seen.entropy for seen in way], is_correct),
        "auroc_minus_all": [round(x, 4) for x in interval],
        "auroc_of_posterior_mean": auroc([-seen.posterior.mean for seen in way], is_correct),
        "brier": brier_score([seen.agreement for seen in way], is_correct),
        "accuracy": float(np.mean([seen.is_correct for seen in way])),
    }


def _ranking(way: Sequence[Seen], is_correct: np.ndarray) -> Statistic:
    certainty = np.array([-seen.entropy for seen in way])
    return lambda chosen: auroc(certainty[chosen], is_correct[chosen])


async def at_once(asked: Asked, n: int) -> int:
    await asked.judge(*asked.draw(n))
    return n


async def in_waves(asked: Asked, rule: Rule) -> int:
    """One row more than needed in the later ones: their greedy answer is the first one's."""
    greedy, samples = asked.draw(LOOKS[0])
    for wave, until in enumerate((*LOOKS[1:], N), start=1):
        if rule(await asked.judge(greedy, samples)):
            return len(samples)
        _, more = asked.draw(until - len(samples), wave)
        samples += [replace(s, index=len(samples) + i) for i, s in enumerate(more)]
    await asked.judge(greedy, samples)
    return N


def timed(decoder: Decoder, nli: CrossEncoderModel, questions: Sequence[Row]) -> dict[str, Any]:
    tried: dict[str, Callable[[Asked], Any]] = {
        "ten at once": lambda asked: at_once(asked, N),
        "seven at once": lambda asked: at_once(asked, 7),
        "waves, one leads": lambda asked: in_waves(asked, _leads),
        "waves, variance <= 0.06": lambda asked: in_waves(asked, _varies_at_most(0.06)),
    }
    spent: dict[str, list[tuple[int, float]]] = {name: [] for name in tried}
    for seed, row in enumerate(track(questions, "timing")):
        for name in [*tried][seed % 4 :] + [*tried][: seed % 4]:
            started = process_time()
            n = asyncio.run(tried[name](Asked(decoder, nli, row, seed, with_passages=False)))
            spent[name].append((n, 1000 * (process_time() - started)))
    return {name: _times(each) for name, each in spent.items()}


def _times(spent: Sequence[tuple[int, float]]) -> dict[str, float]:
    drawn, ms = np.array(spent).T
    p50, p90 = np.quantile(ms, [0.5, 0.9])
    return {"samples_share": drawn.mean() / N, "ms_mean": ms.mean(), "ms_p50": float(p50), "ms_p90": float(p90)}


def measure(n_questions: int, n_with_passages: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    decoder = Decoder.load(str(bundled_path("facts")), local_files_only=True)
    nli = CrossEncoderModel.load(bundled_path("nli"), n_threads=1)
    told: dict[str, Any] = {}
    for name, n in (("from memory", n_questions), ("with passages", n_with_passages)):
        asked = [
            Asked(decoder, nli, row, seed, with_passages=name == "with passages") for seed, row in enumerate(rows()[:n])
        ]
        found = [asyncio.run(replay(one)) for one in track(asked, name)]
        orders: tuple[Order, ...] = ("as drawn", "short first")
        told |= {f"{name}, {order}": figures([one[order] for one in found]) for order in orders}
    return {"replayed": told, "processor": timed(decoder, nli, rows()[:N_TIMED])}


def _lines(replayed: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for name, cell in replayed.items():
        for way, of in cell["ways"].items():
            lost = "{:+.3f} [{:+.3f}, {:+.3f}]".format(*of["auroc_minus_all"]) if of["auroc_minus_all"] else ""
            expected = "" if of["auroc_of_posterior_mean"] is None else f"{of['auroc_of_posterior_mean']:.3f}"
            right = f"{100 * (of['accuracy'] - cell['accuracy']):+.1f}"
            yield name, way, f"{of['samples_share']:.2f}", lost, expected, right


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=1400)
    parser.add_argument("--with-passages", type=int, default=700)
    asked = parser.parse_args()
    told = measure(asked.questions, asked.with_passages)
    table = Table(title="when to stop drawing")
    for column in ("samples", "stop", "share drawn", "AUROC less than with ten", "of posterior mean", "right, points"):
        table.add_column(column)
    for line in _lines(told["replayed"]):
        table.add_row(*line)
    Console(width=120).print(table)
    Console().print(told["processor"])
    Console().print(save("stop_rules", told))


if __name__ == "__main__":
    main()
