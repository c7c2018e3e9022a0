"""What judging in bfloat16 saves and changes: `python -m benchmarks.precision --data DATA`, on recorded answers.

The bundled NLI model labels the same pairs three times: in float32, in bfloat16, and as it is served (bfloat16, and
float32 again for close calls: "auto"); `--with torch,onnx,openvino` adds int8 and other runtimes (runtimes.py). Needs a
processor that computes in bfloat16; elsewhere it is served in float32.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, permutations
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.pair_table import Question, questions
from benchmarks.results import save
from benchmarks.runtimes import check, models
from demur.entailment.cross_encoder import CrossEncoderModel, Dtype, computes_in_bfloat16
from demur.settings import bundled_path
from demur.types import Pair, Statement, Verdict

N_PAIRS = 6000
MAX_TOKENS = 1024
DTYPES: tuple[Dtype, ...] = ("float32", "bfloat16", "auto")


@dataclass(frozen=True, slots=True)
class Labelled:
    """By the place of a pair; and the seconds of each batch."""

    verdicts: dict[int, Verdict]
    seconds: list[float]


def pairs_of(asked: Sequence[Question]) -> list[Pair]:
    """Of each question a few, so that many questions are among them."""
    order = np.random.default_rng(0).permutation(len(asked))
    return list(islice((pair for i in order for pair in _pairs(asked[i])), N_PAIRS))


def _pairs(one: Question) -> list[Pair]:
    texts = list(dict.fromkeys(one.samples))[:4]
    return [Pair(Statement(a, one.question), Statement(b, one.question)) for a, b in permutations(texts, 2)]


def label(models: Mapping[str, CrossEncoderModel], pairs: Sequence[Pair]) -> dict[str, Labelled]:
    """In batches of pairs of like length. All models label a batch, in turns, before the next: what else the machine
    does meets them alike."""
    encoded = next(iter(models.values())).encode(pairs)
    found = {name: Labelled({}, []) for name in models}
    for turn, batch in enumerate(_batches([one.n_tokens for one in encoded])):
        for name in _turned(list(models), turn):
            started = perf_counter()
            verdicts = models[name].predict([encoded[i] for i in batch])
            found[name].seconds.append(perf_counter() - started)
            found[name].verdicts.update(zip(batch, verdicts, strict=True))
    return found


def _batches(n_tokens: Sequence[int]) -> Iterator[list[int]]:
    order = sorted(range(len(n_tokens)), key=n_tokens.__getitem__)
    while order:
        size = next((n for n in range(1, len(order)) if (n + 1) * n_tokens[order[n]] > MAX_TOKENS), len(order))
        yield order[:size]
        order = order[size:]


def _turned(names: list[str], turn: int) -> list[str]:
    first = turn % len(names)
    return names[first:] + names[:first]


def lead(verdict: Verdict) -> float:
    second, first = sorted([verdict.entailment, verdict.neutral, verdict.contradiction])[1:]
    return first - second


def measure(pairs: Sequence[Pair], others: Mapping[str, CrossEncoderModel]) -> dict[str, Any]:
    ours: dict[str, CrossEncoderModel] = {
        dtype: CrossEncoderModel.load(bundled_path("nli"), dtype=dtype, n_threads=1) for dtype in DTYPES
    }
    every = {**ours, **others}
    label(every, pairs[:300])  # warm up
    told = label(every, pairs)
    exact, rough = told["float32"], told["bfloat16"]
    other = [lead(rough.verdicts[i]) for i in _differing(exact, rough)]
    return {
        "pairs": len(pairs),
        "widest_lead_among_other_labels_in_bfloat16": max(other, default=0.0),
        "judged_again": sum(lead(verdict) < 0.05 for verdict in rough.verdicts.values()),
        "models": {name: _compared(one, exact, told["auto"]) for name, one in told.items()},
    }


def _compared(one: Labelled, exact: Labelled, served: Labelled) -> dict[str, Any]:
    """`times_served`: its time over that of the model as it is served, median of the batches and middle half."""
    ratios = np.array(one.seconds) / np.array(served.seconds)
    differences = (abs(verdict.entailment - one.verdicts[i].entailment) for i, verdict in exact.verdicts.items())
    return {
        "ms_a_pair": 1000 * sum(one.seconds) / len(one.verdicts),
        "times_served": [float(np.quantile(ratios, q)) for q in (0.5, 0.25, 0.75)],
        "other_labels": len(_differing(exact, one)),
        "largest_difference": max(differences),
    }


def _differing(exact: Labelled, other: Labelled) -> list[int]:
    return [i for i, verdict in exact.verdicts.items() if verdict.label != other.verdicts[i].label]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with generations/")
    parser.add_argument("--with", dest="others", default="", help="of torch,onnx,openvino: int8 and other runtimes")
    asked = parser.parse_args()
    wanted = [name for name in asked.others.split(",") if name]
    check(wanted)
    if not computes_in_bfloat16():
        raise SystemExit("this processor does not compute in bfloat16: it would be slower than float32")
    figures = measure(pairs_of(questions(asked.data)), models(wanted) if wanted else {})
    Console().print(figures)
    Console().print(save("precision", figures))


if __name__ == "__main__":
    main()
