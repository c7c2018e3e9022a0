"""Datasets, and the graders of answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from demur.errors import DatasetUnreadable
from demur.evaluation.dataset import MAX_LINE_BYTES, read_dataset
from demur.evaluation.graders import ExactGrader, Grader, NLIGrader
from demur.types import Pair, Verdict

ROW = {"id": "1", "prompt": "Capital of France?", "references": ["Paris"]}
RECORDED = {**ROW, "answer": "Paris", "samples": ["Paris", "Lyon"]}

pytestmark = pytest.mark.anyio


class Entails:
    """An entailment model for which only the given pairs of texts entail; it remembers what it was asked."""

    model = "given"

    def __init__(self, *entailed: tuple[str, str]) -> None:
        self._entailed = set(entailed)
        self.asked: list[tuple[str, str]] = []

    async def label(self, pairs: Sequence[Pair]) -> list[Verdict]:
        self.asked += [(p.premise.answer, p.hypothesis.answer) for p in pairs]
        return [self._verdict((p.premise.answer, p.hypothesis.answer)) for p in pairs]

    def _verdict(self, pair: tuple[str, str]) -> Verdict:
        return Verdict(0.9, 0.05, 0.05) if pair in self._entailed else Verdict(0.05, 0.9, 0.05)

    async def aclose(self) -> None: ...


def written(folder: Path, *rows: object) -> Path:
    path = folder / "facts.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_rows_are_read(tmp_path: Path) -> None:
    """Blank lines are none; the name is the file's."""
    chat = {"id": "2", "messages": [{"role": "user", "content": "Hi?"}], "references": ["x"]}
    dataset = read_dataset(written(tmp_path, ROW, "", chat))
    assert [row.id for row in dataset.rows] == ["1", "2"]
    assert (dataset.name, dataset.is_recorded, len(dataset.sha256)) == ("facts", False, 64)
    assert dataset.rows[0].conversation[0].content == "Capital of France?"
    assert read_dataset(written(tmp_path, RECORDED)).is_recorded


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "no questions"),
        (["{"], "line 1"),
        ([ROW, {**ROW, "id": "2", "surprise": 1}], "line 2: surprise"),
        ([ROW, ROW], "line 2: the id '1' was used before"),
        ([{**ROW, "prompt": None}], "exactly one of `prompt` and `messages`"),
        ([{**ROW, "references": []}], "`references`, or a `label`"),
        ([{**ROW, "label": True}], "a `label` needs the `answer`"),
        ([{**RECORDED, "samples": ["one"]}], "samples"),
        ([ROW, {**RECORDED, "id": "2"}], "either all questions carry `samples`"),
        ([{**ROW, "prompt": None, "messages": [{"role": "system", "content": "x"}]}], "one of role `user`"),
        (['"' + "x" * MAX_LINE_BYTES + '"'], "longer than"),
    ],
)
def test_what_is_wrong_is_named_by_line(rows: list[object], said: str, tmp_path: Path) -> None:
    """The file, the line and the field."""
    with pytest.raises(DatasetUnreadable, match=r"facts\.jsonl") as caught:
        read_dataset(written(tmp_path, *rows))
    assert said in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """In one line."""
    with pytest.raises(DatasetUnreadable, match="cannot read"):
        read_dataset(tmp_path / "none.jsonl")


@pytest.mark.parametrize("grader", [ExactGrader(), NLIGrader(Entails())], ids=["exact", "nli"])
@pytest.mark.parametrize(
    ("answer", "references", "is_correct"),
    [
        ("Paris.", ["Lyon", "paris"], True),
        ("The answer is 1,200.", ["1200"], True),
        ("Lyon", ["Paris"], False),
        ("I don't know.", ["I don't know."], False),
        ("", ["Paris"], False),
        ("12 km", ["13 km"], False),
    ],
)
async def test_exact_match_is_enough_for_every_grader(
    grader: Grader, answer: str, references: list[str], is_correct: bool
) -> None:
    """By normalised text, number or date; a refusal is never right."""
    assert await grader.is_correct("q", answer, references) is is_correct


async def test_an_answer_may_say_more_than_a_reference() -> None:
    """It must entail one of them; entailed by one is not enough."""
    model = Entails(("It is Paris, on the Seine", "Paris"), ("Paris", "a city"))
    grader = NLIGrader(model)
    assert await grader.is_correct("q", "It is Paris, on the Seine", ["Lyon", "Paris"])
    assert not await grader.is_correct("q", "a city", ["Paris"])


async def test_what_surely_differs_is_not_asked() -> None:
    """Two numbers need no model."""
    model = Entails(("12", "13"))
    assert not await NLIGrader(model).is_correct("q", "12", ["13"])
    assert model.asked == []
