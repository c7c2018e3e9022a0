"""Recorded generations with their authors' labels, as the report reads them."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any

from training.nli_model.pairs import normalized, read_rows

# 160 pairs of UQ-NLG (MIT), 80 with either label, at most one of a question and label; how they were read: see the card
READ_AGAIN = Path(__file__).with_name("read_pairs.jsonl")
N_SAMPLES = 10
MAX_ANSWER_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Recorded:
    """A question with sampled answers. `verdicts[i]` judges sample i; empty where the authors judged none.

    `is_right` is their verdict on the greedy answer, or on the most frequent sample where there is no greedy answer.
    """

    question: str
    samples: tuple[str, ...]
    verdicts: tuple[bool, ...]
    is_right: bool


@dataclass(frozen=True, slots=True)
class SamplePair:
    """Two samples of one question: both judged right (`is_same`), or one right and one wrong."""

    question: str
    first: str
    second: str
    is_same: bool


# set, and the field of a sample that holds its verdict
SETS = {
    "uqnlg_triviaqa": "match",
    "defan_n20": "correct",
    "triviaqa_3models": None,
    "sciq_3models": None,
    "math_3models": None,
}


def read_recorded(data: Path, name: str, n_questions: int) -> list[Recorded]:
    """Up to `n_questions` rows of a set, drawn with a fixed seed."""
    rows = list(read_rows(data / "generations" / f"{name}.jsonl.gz"))
    drawn = Random(0).sample(rows, min(n_questions, len(rows)))
    return [_recorded(row, SETS[name]) for row in drawn]


def sample_pairs(rows: Sequence[Recorded], per_class: int) -> Iterator[SamplePair]:
    """Of every question, at most `per_class` pairs of right samples and as many of a right and a wrong one."""
    rng = Random(0)
    for row in rows:
        judged = list(zip(row.samples, row.verdicts, strict=False))
        pairs = [(a, b, x and y) for (a, x), (b, y) in combinations(judged, 2) if x or y]
        for is_same in (True, False):
            of_class = [(a, b) for a, b, same in pairs if same is is_same]
            for a, b in rng.sample(of_class, min(per_class, len(of_class))):
                yield SamplePair(row.question, a, b, is_same)


def read_pairs() -> list[tuple[SamplePair, bool]]:
    """Pairs that a reader judged again, each with the label that the set gives it."""
    rows = (json.loads(line) for line in READ_AGAIN.read_text(encoding="utf-8").splitlines())
    return [(SamplePair(r["question"], r["first"], r["second"], r["is_same"]), r["label_is_same"]) for r in rows]


def _recorded(row: dict[str, Any], verdict_field: str | None) -> Recorded:
    samples = [s for s in row["samples"] if s["text"].strip()]
    texts = tuple(s["text"].strip()[:MAX_ANSWER_CHARACTERS] for s in samples)
    verdicts = tuple(bool(s[verdict_field]) for s in samples) if verdict_field else ()
    is_right = bool(row["greedy"]["correct"]) if row["greedy"] else _modal_verdict(texts[:N_SAMPLES], verdicts)
    return Recorded(row["question"], texts, verdicts, is_right)


def _modal_verdict(texts: Sequence[str], verdicts: Sequence[bool]) -> bool:
    keys = [normalized(text) for text in texts]
    modal = max(keys, key=keys.count)
    return verdicts[keys.index(modal)]
