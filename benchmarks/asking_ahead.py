"""Which pairs are asked ahead, on real generations: `python -m benchmarks.asking_ahead --data ../shared/data`.

The recorded samples of each question arrive one by one, in their order, and everything that the clustering so far would
ask is asked before the next one arrives, by the bundled NLI model: as if the NLI model were much faster than the
language model. That is the most that can be asked in vain, and the least that can be left for after the last sample.
Counts only; no clock.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.results import save
from demur.backends import build_entailment
from demur.clustering import Clusterer
from demur.engine.speculation import Speculation
from demur.entailment.pair_memo import PairMemo, PairTally
from demur.observability.metrics import Metrics
from demur.settings import Settings
from demur.types import Pair, Sample, Verdict

SETS = ("triviaqa_3models", "sciq_3models", "math_3models", "defan_n20")


@dataclass(frozen=True, slots=True)
class Recorded:
    question: str
    answers: tuple[str, ...]
    greedy: str | None


@dataclass(frozen=True, slots=True)
class Counts:
    """Directed pairs of one question."""

    without: int
    needed: int
    in_vain: int
    after_last: int
    n_passes_without: int
    n_passes_after_last: int
    is_same_partition: bool


def read(path: Path, n: int) -> list[Recorded]:
    """`n` questions, the same every time."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [_recorded(row) for row in random.Random(0).sample(rows, min(n, len(rows)))]


def _recorded(row: dict[str, Any]) -> Recorded:
    greedy = row.get("greedy")
    return Recorded(row["question"], tuple(s["text"] for s in row["samples"]), greedy["text"] if greedy else None)


class Passes:
    """Counts the calls that reach the model, one after another: each is a wait."""

    def __init__(self, inner: PairMemo) -> None:
        self._inner = inner
        self.model = inner.model
        self.n = 0

    async def label(self, pairs: Sequence[Pair]) -> list[Verdict]:
        self.n += 1
        return await self._inner.label(pairs)

    async def aclose(self) -> None: ...


async def count(memo: PairMemo, recorded: Recorded) -> Counts:
    """`memo` spares the model what it has judged for the other way; each way has a memory of its own beside."""
    without, ahead = Passes(memo), Passes(memo)
    plain, tally = PairTally(PairMemo(without, Metrics())), PairTally(PairMemo(ahead, Metrics()))
    expected = await _meanings(plain, Clusterer(plain), recorded)
    clusterer = Clusterer(tally)
    await _look_ahead(tally, clusterer, recorded)
    n_ahead, n_passes = len(tally.known), ahead.n
    found = await _meanings(tally, clusterer, recorded)
    n_after = tally.n_model + tally.n_speculative - n_ahead
    return Counts(
        plain.n_model, tally.n_model, tally.n_speculative, n_after, without.n, ahead.n - n_passes, found == expected
    )


async def _look_ahead(tally: PairTally, clusterer: Clusterer, recorded: Recorded) -> None:
    """All samples but the last, the greedy answer first, as the service follows them."""
    speculation = Speculation(clusterer, tally, recorded.question, len(recorded.answers))
    if recorded.greedy is not None:
        speculation.hear(Sample(recorded.greedy, is_greedy=True))
    for answer in recorded.answers[:-1]:
        speculation.hear(Sample(answer))
        while pairs := speculation.open_pairs():
            await tally.label_ahead(pairs)


async def _meanings(tally: PairTally, clusterer: Clusterer, recorded: Recorded) -> tuple[object, ...]:
    clustered = await clusterer.cluster(recorded.answers, recorded.question, asked=tally.asked_ahead)
    if recorded.greedy is None:
        return (clustered.clustering,)
    return clustered.clustering, await clusterer.place(recorded.greedy, clustered, asked=tally.asked_ahead)


def summarise(counts: Sequence[Counts]) -> dict[str, float]:
    n = len(counts)
    asked = sum(c.needed + c.in_vain for c in counts)
    return {
        "questions": n,
        "pairs_without_mean": sum(c.without for c in counts) / n,
        "pairs_needed_mean": sum(c.needed for c in counts) / n,
        "in_vain_share": sum(c.in_vain for c in counts) / asked,
        "after_last_share": sum(c.after_last for c in counts) / asked,
        "passes_without_mean": sum(c.n_passes_without for c in counts) / n,
        "passes_after_last_mean": sum(c.n_passes_after_last for c in counts) / n,
        "partitions_that_differ": sum(not c.is_same_partition for c in counts),
    }


async def replay(folder: Path, n: int) -> dict[str, dict[str, float]]:
    entailment = build_entailment(Settings().nli, Metrics())
    memo, found = PairMemo(entailment, Metrics()), {}
    for name in SETS:
        rows = read(folder / "generations" / f"{name}.jsonl.gz", n)
        found[name] = summarise([await count(memo, row) for row in track(rows, name)])
    await entailment.aclose()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with generations/")
    parser.add_argument("--questions", type=int, default=60, help="of each set")
    arguments = parser.parse_args()
    found = anyio.run(replay, arguments.data, arguments.questions)
    save("asking_ahead", {"sets": found})
    table = Table(title="Pairs asked ahead, on recorded generations", title_justify="left")
    for column in (
        "set",
        "questions",
        "pairs without",
        "needed",
        "asked in vain",
        "after the last",
        "passes",
        "differ",
    ):
        table.add_column(column, justify="left" if column == "set" else "right")
    for name, f in found.items():
        shares = (f"{f[share]:.1%}" for share in ("in_vain_share", "after_last_share"))
        pairs = (f"{f[mean]:.1f}" for mean in ("pairs_without_mean", "pairs_needed_mean"))
        passes = f"{f['passes_without_mean']:.1f} -> {f['passes_after_last_mean']:.1f}"
        table.add_row(name, str(f["questions"]), *pairs, *shares, passes, str(f["partitions_that_differ"]))
    Console().print(table)


if __name__ == "__main__":
    main()
