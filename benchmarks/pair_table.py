"""Every directed pair of answers to recorded questions, judged once by the bundled NLI model, for all methods to share.

`python -m benchmarks.pair_table --data DATA`: 500 questions of each model of each recorded set with samples. The table
is kept in benchmarks/.cache, one line for each question, so that a run that was stopped goes on where it was. With the
question before each answer, and bare; pairs of a text with itself as well, which one of the peers asks for. In
bfloat16, which moves a probability by a few hundredths and takes half the time (20 minutes of one core that has it).
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from demur.entailment.cross_encoder import CrossEncoderModel, Dtype
from demur.settings import bundled_path
from demur.types import Pair, Statement, Verdict

CACHE = Path(__file__).parent / ".cache"
N_QUESTIONS = 500
N_SAMPLES = 10  # two sets have twenty
SEED = 7
DTYPE: Dtype = "bfloat16"

# Natural: at the rates at which the models answered. The others were balanced by hand, and only tell about ranking.
NATURAL = ("uqnlg_triviaqa", "defan_n20", "math_3models")
BALANCED = ("triviaqa_3models", "sciq_3models")

Form = Literal["with_question", "bare"]


@dataclass(frozen=True, slots=True)
class Question:
    """A recorded question. `answer` is the greedy one, where it was recorded; labels are its authors'."""

    cell: str
    id: str
    question: str
    answer: str | None
    samples: tuple[str, ...]
    is_correct: bool | None
    sample_labels: tuple[bool | None, ...]

    @property
    def texts(self) -> list[str]:
        """Different ones, sorted."""
        return sorted({*self.samples, *([] if self.answer is None else [self.answer])})


@dataclass(frozen=True, slots=True)
class Judged:
    """Probabilities of entailment, neutral and contradiction for each directed pair of `texts`, (U, U, 3)."""

    texts: tuple[str, ...]
    with_question: NDArray[np.float64]
    bare: NDArray[np.float64]


class TableModel:
    """An NLI model that has judged all of one question's pairs already."""

    model = "table"

    def __init__(self, known: Judged) -> None:
        self._place = {text: i for i, text in enumerate(known.texts)}
        self._probabilities = known.with_question

    async def label(self, pairs: Sequence[Pair]) -> list[Verdict]:
        places = [(self._place[pair.premise.answer], self._place[pair.hypothesis.answer]) for pair in pairs]
        return [Verdict(*map(float, self._probabilities[place])) for place in places]

    async def aclose(self) -> None: ...


def questions(
    data: Path,
    names: Sequence[str] = (*NATURAL, *BALANCED),
    n_questions: int | None = N_QUESTIONS,
    n_samples: int | None = N_SAMPLES,
) -> list[Question]:
    """Of every cell of these sets, the same at every call; None takes all of them."""
    paths = [data / "generations" / f"{name}.jsonl.gz" for name in names]
    return [one for path in paths for one in _of_set(path, n_questions, n_samples)]


def _of_set(path: Path, n_questions: int | None, n_samples: int | None) -> Iterator[Question]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    for model in dict.fromkeys(row["model"] for row in rows):
        mine = [row for row in rows if row["model"] == model]
        chosen = np.random.default_rng(SEED).permutation(len(mine))[:n_questions]
        cell = f"{path.name.split('_')[0]} {model.split(' ')[0].split('?')[0]}"
        yield from (_question(cell, mine[i], n_samples) for i in sorted(chosen))


def _question(cell: str, row: dict[str, Any], n_samples: int | None) -> Question:
    greedy = row["greedy"] or {}
    return Question(
        cell=cell,
        id=row["id"],
        question=row["question"],
        answer=greedy.get("text"),
        samples=tuple(sample["text"] for sample in row["samples"][:n_samples]),
        is_correct=greedy.get("correct"),
        sample_labels=tuple(sample.get("correct", sample.get("match")) for sample in row["samples"][:n_samples]),
    )


def table_path() -> Path:
    weights = hashlib.sha256((bundled_path("nli") / "model.safetensors").read_bytes()).hexdigest()[:12]
    return CACHE / f"pairs-{weights}-{DTYPE}-{N_SAMPLES}.jsonl"


def judged(asked: Sequence[Question]) -> list[Judged]:
    """From the table; what it lacks is judged first."""
    known = known_ids()
    missing = [one for one in asked if one.id not in known]
    np.random.default_rng(SEED).shuffle(missing)  # type: ignore[arg-type]  # so that all cells grow alike
    if missing:
        _judge(missing, table_path())
    wanted = {one.id for one in asked}
    kept = {row["id"]: _read(row) for row in _lines() if row["id"] in wanted}
    return [kept[one.id] for one in asked]


def known_ids() -> set[str]:
    """Of the questions in the table."""
    return {row["id"] for row in _lines()}


def _lines() -> Iterator[dict[str, Any]]:
    path = table_path()
    path.parent.mkdir(exist_ok=True)
    path.touch()
    with path.open(encoding="utf-8") as lines:
        yield from (json.loads(line) for line in lines if line.endswith("\n"))  # another run may be writing


def _read(row: dict[str, Any]) -> Judged:
    n = len(row["texts"])
    forms = (np.array(row[form], dtype=np.float64).reshape(n, n, 3) for form in ("with_question", "bare"))
    return Judged(tuple(row["texts"]), *forms)


def _judge(asked: Sequence[Question], path: Path) -> None:
    """On one thread."""
    model = CrossEncoderModel.load(bundled_path("nli"), n_threads=1, dtype=DTYPE)
    with path.open("a", encoding="utf-8") as lines:
        for one in track(asked, "judging pairs"):
            forms = {"with_question": _probabilities(model, one, one.question), "bare": _probabilities(model, one, "")}
            print(json.dumps({"id": one.id, "texts": one.texts, **forms}), file=lines, flush=True)


def _probabilities(model: CrossEncoderModel, one: Question, question: str) -> list[float]:
    statements = [Statement(text, question) for text in one.texts]
    encoded = model.encode([Pair(a, b) for a in statements for b in statements])
    order = sorted(range(len(encoded)), key=lambda i: encoded[i].n_tokens)
    verdicts: dict[int, Verdict] = {}
    for start in range(0, len(order), 32):
        batch = order[start : start + 32]
        verdicts.update(zip(batch, model.predict([encoded[i] for i in batch]), strict=True))
    found = (verdicts[i] for i in range(len(encoded)))
    return [round(p, 6) for v in found for p in (v.entailment, v.neutral, v.contradiction)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the recorded sets")
    asked = questions(parser.parse_args().data)
    print(f"{len(judged(asked))} questions in {table_path()}")


if __name__ == "__main__":
    main()
