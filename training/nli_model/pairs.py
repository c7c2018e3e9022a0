"""Pairs to train and judge the NLI model on, and the sets they are read from."""

import gzip
import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any
from zlib import crc32

REPOSITORY = Path(__file__).resolve().parents[2]
DEFAULT_DATA = REPOSITORY.parent / "shared" / "data"
HELD_OUT_SHARE = 12  # per cent of EVOUNA's questions kept for the report
CALIBRATION_SHARE = 6  # per cent of its questions on which the export chooses its offset
GENERAL_CALIBRATION_SHARE = 3  # per cent of the general premises kept for the same

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_FOOTNOTE = re.compile(r"\[\^?\d+\^?\]|(?<=[a-z])\d(?=[.,]?(\s|$))")


class Label(IntEnum):
    """The three classes in the order of the model's head, and what is known of a wrong answer: only that it is not
    entailed."""

    CONTRADICTION = 0
    ENTAILMENT = 1
    NEUTRAL = 2
    NOT_ENTAILMENT = 3


@dataclass(frozen=True, slots=True)
class Pair:
    """`premise` stands to `hypothesis` as `label` says; `source` names the set or the rule it comes from."""

    premise: str
    hypothesis: str
    label: Label
    source: str


@dataclass(frozen=True, slots=True)
class Judged:
    """One model's answer to a question, with a person's verdict against the references (EVOUNA)."""

    question: str
    references: tuple[str, ...]
    answer: str
    is_right: bool


@dataclass(frozen=True, slots=True)
class Split:
    """EVOUNA by question: to train on, to choose the export's offset on, and for the report."""

    train: list[Judged]
    calibration: list[Judged]
    report: list[Judged]


def claim(question: str, answer: str) -> str:
    """The text the model reads for one short answer, on either side of a pair."""
    return f"{question} {answer}"


def normalized(text: str) -> str:
    """Lower case without articles, accents and punctuation: two answers equal under it are the same without a model."""
    decomposed = unicodedata.normalize("NFKD", text.lower())
    letters = "".join(c if c.isalnum() else " " for c in decomposed if not unicodedata.combining(c))
    return " ".join(_ARTICLES.sub(" ", letters).split())


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a gzipped jsonl file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def general_pairs(data: Path, split: str) -> list[Pair]:
    """Labelled sentence pairs: `split` is "train" or "dev" (MultiNLI, SNLI and smaller sets)."""
    rows = read_rows(data / "nli" / f"{split}.jsonl.gz")
    return [Pair(r["premise"], r["hypothesis"], Label[r["label"].upper()], r["source"]) for r in rows]


def judged_answers(data: Path) -> list[Judged]:
    """EVOUNA: 24,788 answers of five models that people judged against Natural Questions' and TriviaQA's references."""
    rows = read_rows(data / "equivalence" / "evouna_human_judged.jsonl.gz")
    return [
        Judged(_tidy(r["question"]), tuple(map(_tidy, r["references"])), _tidy(r["answer"]), r["correct"]) for r in rows
    ]


def evaluation_questions(data: Path) -> frozenset[str]:
    """Normalised questions of the sampled generations, which no training pair may contain."""
    files = sorted((data / "generations").glob("*.jsonl.gz"))
    return frozenset(normalized(row["question"]) for file in files for row in read_rows(file))


def is_held_out(question: str) -> bool:
    """Whether the report judges on this question; by the question alone, so every answer to it falls on one side."""
    return crc32(normalized(question).encode()) % 100 < HELD_OUT_SHARE


def is_for_calibration(question: str) -> bool:
    """Whether the export's offset is chosen on this question, which is then neither trained on nor reported."""
    return 0 <= crc32(normalized(question).encode()) % 100 - HELD_OUT_SHARE < CALIBRATION_SHARE


def split_judged(data: Path) -> Split:
    """EVOUNA in three parts of disjoint questions; the generations' questions are in the report's part only."""
    rows, evaluated = judged_answers(data), evaluation_questions(data)
    report = [row for row in rows if is_held_out(row.question)]
    rest = [r for r in rows if not is_held_out(r.question) and normalized(r.question) not in evaluated]
    calibration = [row for row in rest if is_for_calibration(row.question)]
    return Split([row for row in rest if not is_for_calibration(row.question)], calibration, report)


def split_general(data: Path) -> tuple[list[Pair], list[Pair]]:
    """General pairs to train on, and those of a few premises to choose the export's offset on."""
    pairs = general_pairs(data, "train")
    kept = [p for p in pairs if crc32(p.premise.encode()) % 100 < GENERAL_CALIBRATION_SHARE]
    return [p for p in pairs if crc32(p.premise.encode()) % 100 >= GENERAL_CALIBRATION_SHARE], kept


def _tidy(text: str) -> str:
    return " ".join(_FOOTNOTE.sub("", text.replace("**", "")).split())
