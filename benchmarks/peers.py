"""Are we faster than our peers on the same work? `python -m benchmarks.peers` (`make bench-peers`).

Ours, uqlm 0.6.7, lm-polygraph 0.7.0 and the paper's rule (one pair a pass) give semantic entropies for the same
recorded samples, ten a question, with the same NLI weights on the same number of threads: 200 questions of each
labelled set. Peers run in a process of their own environment (peer_entropies.py), which is idle while we work, and the
other way round.

Counts: directed pairs and forward passes for each question, and whether partitions and values are the same. Ours are
also held against first-head greedy with every pair judged alone, in float32, by the stock classes of transformers.

Times: question by question, in turning order, alone; and in blocks of 32 at once, where peers stand behind a lock,
because none can be entered twice. Figures are medians of the ratios of pairs, with 95 % bootstrap intervals. *Equal
precision* is float32 for all; *as shipped* is our default (bfloat16 with close calls again in float32, where the
processor has it) against theirs. uqlm is measured without the 100 ms that its `score` sleeps; as published on every
eighth question.

All rows are kept in benchmarks/.cache, so that a run that was stopped goes on where it was: `--part counts` needs no
quiet machine, `--part times` does.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, sleep
from typing import Any

import numpy as np
import torch
from rich.progress import track

from benchmarks.pair_table import CACHE, SEED, Question, questions
from benchmarks.passes import Passes
from demur.clustering import Clustered, Clusterer
from demur.entailment.batcher import Batcher
from demur.entailment.cross_encoder import CrossEncoderModel, Dtype
from demur.entailment.pair_memo import PairMemo, PairTally
from demur.estimators.semantic_entropy import semantic_entropy
from demur.model_thread import shared_thread
from demur.observability.metrics import Metrics
from demur.settings import bundled_path
from demur.types import Pair, Verdict

OURS: dict[str, Dtype] = {"demur float32": "float32", "demur": "auto"}
PEERS = ("uqlm", "lm-polygraph", "lm-polygraph bare", "paper")
SLEEPING, SLEEPING_EVERY = "uqlm published", 8
AT_ONCE = 32
SETTLE_SECONDS = 0.005  # until the threads of the process that worked last have stopped spinning

WAKING = Question(
    cell="",
    id="",
    question="Who wrote the first part?",
    answer=None,
    samples=("Mary Shelley", "It was Shelley.", "Lord Byron wrote it", "John Keats, I think"),
    is_correct=None,
    sample_labels=(),
)

Row = dict[str, Any]


class Ours:
    """One of our models behind its batcher, as the service has it; no verdict is remembered between questions."""

    def __init__(self, dtype: Dtype, threads: int) -> None:
        thread = shared_thread()
        classifier = thread.run(lambda: CrossEncoderModel.load(bundled_path("nli"), dtype=dtype, n_threads=threads))
        self._batcher = Batcher(classifier, Metrics(), thread=thread)
        self._runner = asyncio.Runner()

    def score(self, asked: Sequence[Question]) -> Row:
        """All at once."""
        return self._runner.run(self._score(asked))

    async def _score(self, asked: Sequence[Question]) -> Row:
        memo = PairMemo(self._batcher, Metrics())
        passes, rows, started = Passes.n, Passes.rows, perf_counter()
        found = await asyncio.gather(*(self._one(memo, question) for question in asked))
        seconds = perf_counter() - started
        totals = {"passes": Passes.n - passes, "rows": Passes.rows - rows}
        return {"seconds": seconds, **totals, "told": [_told(clustered, used) for clustered, _, used in found]}

    async def _one(self, memo: PairMemo, question: Question) -> tuple[Clustered, float, Mapping[Pair, Verdict]]:
        tally = PairTally(memo)
        clustered = await Clusterer(tally).cluster(question.samples, question.question)
        return clustered, semantic_entropy(clustered.clustering), tally.used

    def close(self) -> None:
        self._runner.run(self._batcher.aclose())
        self._runner.close()


def _told(clustered: Clustered, verdicts: Mapping[Pair, Verdict]) -> Row:
    clustering = clustered.clustering
    partition = [list(clustering.members(k)) for k in range(clustering.n_clusters)]
    rows = [
        [
            pair.premise.answer,
            pair.hypothesis.answer,
            *(round(p, 4) for p in (v.entailment, v.neutral, v.contradiction)),
        ]
        for pair, v in verdicts.items()
    ]
    entropy = semantic_entropy(clustering)
    return {"pairs": clustered.n_pairs, "partition": partition, "entropy": entropy, "verdicts": rows}


class Peers:
    """The peers' process."""

    def __init__(self, python: Path, folder: Path, threads: int) -> None:
        script = Path(__file__).with_name("peer_entropies.py")
        arguments = ["--model", bundled_path("nli"), "--canonical", folder, "--threads", str(threads)]
        self._process = subprocess.Popen(
            [python, script, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        )
        self.counting_seconds: float = self._read()["counting_s"]

    def score(self, system: str, asked: Sequence[Question], at_once: int = 1) -> Row:
        rows = [{"question": one.question, "samples": list(one.samples)} for one in asked]
        return self._ask({"system": system, "questions": rows, "at_once": at_once})

    def verdicts(self, pairs: Sequence[Pair]) -> list[list[float]]:
        texts = [[f"{s.question} {s.answer}" for s in (pair.premise, pair.hypothesis)] for pair in pairs]
        found: list[list[float]] = self._ask({"system": "verdicts", "pairs": texts})["verdicts"]
        return found

    def close(self) -> None:
        self._process.communicate()

    def _ask(self, body: Row) -> Row:
        assert self._process.stdin
        print(json.dumps(body), file=self._process.stdin, flush=True)
        return self._read()

    def _read(self) -> Row:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the peers' process has ended; run benchmarks/peer_entropies.py by hand to see why")
        found: Row = json.loads(line)
        return found


class Exact:
    """An entailment model that has every pair judged alone, in float32, by stock classes."""

    model = "stock"

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self.told: dict[Pair, Verdict] = {}

    async def label(self, pairs: Sequence[Pair]) -> list[Verdict]:
        found = [Verdict(*row) for row in self._peers.verdicts(pairs)]
        self.told.update(zip(pairs, found, strict=True))
        return found

    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Contest:
    """`waking` is asked of each before its turn, untimed: whoever was idle for a second is several times slower at
    first (its memory and its core have gone cold), and peers, which share a process, are idle less than we are."""

    ours: dict[str, Ours]
    peers: Peers
    waking: Question

    def alone(self, one: Question, turn: int) -> Row:
        """What each did for a question, what came of it, and its seconds."""
        names = [*self.ours, *PEERS, *([SLEEPING] if turn % SLEEPING_EVERY == 0 else [])]
        return {name: self._one(name, one) for name in names[turn % len(names) :] + names[: turn % len(names)]}

    def exact(self, one: Question) -> Row:
        model = Exact(self.peers)
        clustered = asyncio.run(Clusterer(model).cluster(one.samples, one.question))
        return _told(clustered, model.told)

    def together(self, block: Sequence[Question], turn: int) -> dict[str, float]:
        """Seconds of each for all of a block at once."""
        names = [*self.ours, *PEERS]
        found = {}
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            sleep(SETTLE_SECONDS)
            whole = self.ours[name].score(block) if name in self.ours else self.peers.score(name, block, AT_ONCE)
            found[name] = whole["seconds"]
        return found

    def _one(self, name: str, one: Question) -> Row:
        _ = self.ours[name].score([self.waking]) if name in self.ours else self.peers.score(name, [self.waking])
        sleep(SETTLE_SECONDS)
        if name not in self.ours:
            row = self.peers.score(name, [one])["rows"][0]
            return {**row, "pairs": row["rows"]}
        whole = self.ours[name].score([one])
        return {**whole["told"][0], **{key: whole[key] for key in ("seconds", "passes", "rows")}}


@contextmanager
def contest(python: Path, threads: int) -> Iterator[Contest]:
    torch.set_num_threads(threads)
    Passes.count()
    with TemporaryDirectory() as folder:
        peers = Peers(python, Path(folder), threads)
        ours = {name: Ours(dtype, threads) for name, dtype in OURS.items()}
        try:
            yield Contest(ours, peers, WAKING)
        finally:
            peers.close()
            for one in ours.values():
                one.close()


def chosen(data: Path, sets: Sequence[str], n: int) -> dict[str, list[Question]]:
    """Of each set the same at every call, and of all its models; fewer are the first of more."""
    found: dict[str, list[Question]] = {}
    for one in questions(data):
        found.setdefault(one.cell.split(" ")[0], []).append(one)
    orders = {name: np.random.default_rng(SEED).permutation(len(asked))[:n] for name, asked in found.items()}
    return {name: [found[name][i] for i in orders[name]] for name in found if name in sets or not sets}


class Kept:
    """Rows that were measured, one line each; the last of an id counts."""

    def __init__(self, kind: str, threads: int) -> None:
        weights = hashlib.sha256((bundled_path("nli") / "model.safetensors").read_bytes()).hexdigest()[:12]
        CACHE.mkdir(exist_ok=True)
        self._path = CACHE / f"peers-{kind}-{weights}-{threads}.jsonl"
        self._path.touch()
        self.rows: dict[str, Row] = {row["id"]: row for row in map(json.loads, self._path.open(encoding="utf-8"))}

    @property
    def timed(self) -> set[str]:
        return {id_ for id_, row in self.rows.items() if row["timed"]}

    def keep(self, row: Row) -> None:
        with self._path.open("a", encoding="utf-8") as lines:
            print(json.dumps(row), file=lines)
        self.rows[row["id"]] = row

    def forget_times(self) -> None:
        for row in list(self.rows.values()):
            self.keep({**row, "timed": False})


def count(contest_: Contest, asked: dict[str, list[Question]], kept: Kept) -> None:
    """What times left out: questions that they did not reach, and the exact verdicts."""
    missing = [turn for turn in _in_turn(asked) if "exact" not in kept.rows.get(turn[2].id, {})]
    for i, name, one in track(missing, "counting", disable=not missing):
        row = kept.rows.get(one.id) or _row(contest_, i, name, one, is_timed=False)
        kept.keep({**row, "exact": contest_.exact(one)})


def time_alone(contest_: Contest, asked: dict[str, list[Question]], kept: Kept) -> None:
    missing = [turn for turn in _in_turn(asked) if turn[2].id not in kept.timed]
    for i, name, one in track(missing, "one at a time", disable=not missing):
        kept.keep({**kept.rows.get(one.id, {}), **_row(contest_, i, name, one, is_timed=True)})


def _row(contest_: Contest, i: int, name: str, one: Question, *, is_timed: bool) -> Row:
    return {"id": one.id, "set": name, "question": one.question, "timed": is_timed, **contest_.alone(one, i)}


def _in_turn(asked: dict[str, list[Question]]) -> list[tuple[int, str, Question]]:
    """One question of each set after another, so that a run that is stopped has some of each."""
    longest = max(map(len, asked.values()))
    return [(i, name, mine[i]) for i in range(longest) for name, mine in asked.items() if i < len(mine)]


def warm_up(contest_: Contest, asked: dict[str, list[Question]]) -> None:
    """With questions that are not measured: the last of each set."""
    last = [one for mine in asked.values() for one in mine[-4:]]
    for turn, one in enumerate(track(last, "warming up")):
        contest_.alone(one, turn)
    contest_.together(last[:AT_ONCE], 0)


def time_together(contest_: Contest, asked: dict[str, list[Question]], kept: Kept) -> None:
    blocks = {
        f"{name} {start}": (name, mine[start : start + AT_ONCE])
        for start in range(0, max(map(len, asked.values())) - AT_ONCE + 1, AT_ONCE)
        for name, mine in asked.items()
        if start + AT_ONCE <= len(mine)
    }
    missing = [(i, key) for i, key in enumerate(blocks) if key not in kept.timed]
    for i, key in track(missing, f"{AT_ONCE} at once", disable=not missing):
        name, block = blocks[key]
        kept.keep({"id": key, "set": name, "timed": True, "seconds": contest_.together(block, i)})


def main() -> None:
    from benchmarks.peers_report import report

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with generations/")
    parser.add_argument("--peers", type=Path, default=Path(".venv-peers/bin/python"), help="the peers' python")
    parser.add_argument("--part", choices=["counts", "times", "report", "all"], default="all")
    parser.add_argument("--sets", nargs="*", default=[], help="uqnlg, defan, math, triviaqa, sciq; default: all")
    parser.add_argument("--questions", type=int, default=200, help="of each set, for counts")
    parser.add_argument("--timed", type=int, default=200, help="of each set, one at a time")
    parser.add_argument("--blocks", type=int, default=6, help=f"of {AT_ONCE} questions of each set, at once")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of each system")
    parser.add_argument("--fresh", action="store_true", help="measure times again")
    options = parser.parse_args()
    asked = chosen(options.data, options.sets, max(options.questions, options.timed, options.blocks * AT_ONCE) + 4)
    alone, together = (Kept(kind, options.threads) for kind in ("alone", "together"))
    if options.part != "report":
        if options.fresh:
            alone.forget_times()
            together.forget_times()
        with contest(options.peers, options.threads) as contest_:
            if options.part != "counts":
                warm_up(contest_, asked)
                time_alone(contest_, {name: mine[: options.timed] for name, mine in asked.items()}, alone)
                time_together(contest_, {n: mine[: options.blocks * AT_ONCE] for n, mine in asked.items()}, together)
            if options.part != "times":
                count(contest_, {name: mine[: options.questions] for name, mine in asked.items()}, alone)
            print(f"counting costs {contest_.peers.counting_seconds * 1e6:.1f} microseconds a pass")
    sys.exit(0 if report(list(alone.rows.values()), list(together.rows.values()), options.threads) else 1)


if __name__ == "__main__":
    main()
