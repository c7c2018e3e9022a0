"""What judging in bfloat16 saves and changes: `python -m benchmarks.precision --data DATA`, on recorded answers.

The bundled NLI model labels the same pairs three times: in float32, in bfloat16, and as it is served (bfloat16, and
float32 again for close calls). Needs a processor that computes in bfloat16; elsewhere it is served in float32.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import islice, permutations
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.pair_table import Question, questions
from benchmarks.results import save
from demur.entailment.cross_encoder import CrossEncoderModel, Dtype, computes_in_bfloat16
from demur.settings import bundled_path
from demur.types import Pair, Statement, Verdict

N_PAIRS = 6000
MAX_TOKENS = 1024
DTYPES: tuple[Dtype, ...] = ("float32", "bfloat16", "auto")


def pairs_of(asked: Sequence[Question]) -> list[Pair]:
    """Of each question a few, so that many questions are among them."""
    order = np.random.default_rng(0).permutation(len(asked))
    return list(islice((pair for i in order for pair in _pairs(asked[i])), N_PAIRS))


def _pairs(one: Question) -> list[Pair]:
    texts = list(dict.fromkeys(one.samples))[:4]
    return [Pair(Statement(a, one.question), Statement(b, one.question)) for a, b in permutations(texts, 2)]


def label(model: CrossEncoderModel, pairs: Sequence[Pair]) -> tuple[list[Verdict], float]:
    """The verdicts, and the seconds that they took, in batches of pairs of like length."""
    encoded = model.encode(pairs)
    order = sorted(range(len(pairs)), key=lambda i: encoded[i].n_tokens)
    found: dict[int, Verdict] = {}
    seconds = 0.0
    while order:
        size = next((n for n in range(1, len(order)) if (n + 1) * encoded[order[n]].n_tokens > MAX_TOKENS), len(order))
        batch, order = order[:size], order[size:]
        started = perf_counter()
        verdicts = model.predict([encoded[i] for i in batch])
        seconds += perf_counter() - started
        found.update(zip(batch, verdicts, strict=True))
    return [found[i] for i in range(len(pairs))], seconds


def lead(verdict: Verdict) -> float:
    second, first = sorted([verdict.entailment, verdict.neutral, verdict.contradiction])[1:]
    return first - second


def measure(pairs: Sequence[Pair]) -> dict[str, Any]:
    models = {dtype: CrossEncoderModel.load(bundled_path("nli"), dtype=dtype, n_threads=1) for dtype in DTYPES}
    for model in models.values():
        label(model, pairs[:300])  # warm up
    told = {dtype: label(model, pairs) for dtype, model in models.items()}
    exact, rough, served = (told[dtype][0] for dtype in DTYPES)
    other = [lead(r) for e, r in zip(exact, rough, strict=True) if e.label != r.label]
    return {
        "pairs": len(pairs),
        "ms_a_pair": {dtype: 1000 * seconds / len(pairs) for dtype, (_, seconds) in told.items()},
        "other_labels_in_bfloat16": len(other),
        "widest_lead_among_them": max(other, default=0.0),
        "judged_again": sum(lead(r) < 0.05 for r in rough),
        "other_labels_as_served": sum(e.label != s.label for e, s in zip(exact, served, strict=True)),
        "largest_difference_as_served": max(
            abs(e.entailment - s.entailment) for e, s in zip(exact, served, strict=True)
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with generations/")
    data = parser.parse_args().data
    if not computes_in_bfloat16():
        raise SystemExit("this processor does not compute in bfloat16: it would be slower than float32")
    figures = measure(pairs_of(questions(data)))
    Console().print(figures)
    Console().print(save("precision", figures))


if __name__ == "__main__":
    main()
