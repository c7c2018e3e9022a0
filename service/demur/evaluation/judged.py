"""Answers whose correctness is known, with all that was measured about them: figures and profiles are made of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import TypeAdapter, ValidationError

from demur.calibration.base import BoolArray, Calibrator
from demur.calibration.outcomes import Labelled, Outcomes
from demur.calibration.profile import ProfileKey
from demur.calibration.signals import SIGNALS
from demur.errors import DatasetUnreadable
from demur.types import SignalName

Stage = Literal["closed_book", "with_context"]
ScoreName = Literal[
    "agreement",
    "semantic_entropy",
    "semantic_entropy_weighted",
    "predictive_entropy",
    "token_probability",
    "least_token_probability",
    "majority_share",
    "answer_length",
    "stated_confidence",
]


@dataclass(frozen=True, slots=True)
class Cost:
    """What one answer took: tokens drawn, directed NLI pairs, seconds (0 where samples were replayed)."""

    n_completion_tokens: int
    n_pairs: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Grade:
    """What the grader says of one text."""

    is_correct: bool
    is_refusal: bool


@dataclass(frozen=True, slots=True)
class JudgedAnswer:
    """One answer to the question `id`, as `grader` judged it. `is_voided`: too degraded for any profile to speak.

    `signals` are what maps read. `scores` grow with how sure the answer seems: entropies and the length in
    words carry a minus sign; `majority_share` is the share of the most frequent normalised text, no model asked;
    `stated_confidence` is what the model says when it is asked. `greedy` is the grade of the T=0 answer where another
    one was given.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid", "allow_inf_nan": False}

    id: str
    stage: Stage
    answer: str
    grader: str
    is_correct: bool
    is_refusal: bool
    is_voided: bool
    signals: Mapping[SignalName, float]
    scores: Mapping[ScoreName, float]
    cost: Cost
    key: ProfileKey
    prompt_template: str | None
    greedy: Grade | None = None

    @property
    def of_greedy(self) -> Grade | None:
        """The grade of the T=0 answer; None where nobody judged it.

        It is the answer given where the caller wants that one, and else where it lies in the heaviest cluster.
        """
        strategy = self.key.answer_strategy
        is_given = strategy == "greedy" or (strategy == "auto" and self.signals.get("greedy_agrees") == 1.0)
        return Grade(self.is_correct, self.is_refusal) if is_given else self.greedy


_ANSWER: TypeAdapter[JudgedAnswer] = TypeAdapter(JudgedAnswer)


def write_judged(answers: Iterable[JudgedAnswer], path: Path) -> None:
    """One JSON object a line. Raises DatasetUnreadable where the place cannot be written to."""
    try:
        with path.open("wb") as lines:
            lines.writelines(_ANSWER.dump_json(answer) + b"\n" for answer in answers)
    except OSError as error:
        raise DatasetUnreadable(f"cannot write {path}: {error.strerror}") from error


def read_judged(path: Path) -> list[JudgedAnswer]:
    """Raises DatasetUnreadable, which names the line."""
    found: list[JudgedAnswer] = []
    try:
        with path.open("rb") as lines:
            found.extend(_ANSWER.validate_json(line) for line in lines)
    except OSError as error:
        raise DatasetUnreadable(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = f"{path}, line {len(found) + 1}: {'.'.join(map(str, first['loc'])) or 'row'}"
        raise DatasetUnreadable(f"{where}: {first['msg']}; was it written by `demur evaluate --save`?") from error
    return found


def common_signals(answers: Sequence[JudgedAnswer]) -> tuple[SignalName, ...]:
    """The signals that every answer has: one that is missing here and there cannot be read by a map."""
    return tuple(name for name in SIGNALS if answers and all(name in answer.signals for answer in answers))


def labelled(answers: Sequence[JudgedAnswer]) -> Labelled:
    """Signals and labels as columns; a question is a group."""
    signals = common_signals(answers)
    values = np.array([[answer.signals[name] for name in signals] for answer in answers], dtype=np.float64)
    _, groups = np.unique([answer.id for answer in answers], return_inverse=True)
    return Labelled(signals, values.reshape(len(answers), len(signals)), correctness(answers), groups.astype(np.int64))


def outcomes_of(answers: Sequence[JudgedAnswer], calibrator: Calibrator) -> Outcomes:
    """What would be answered at which threshold: never a refusal, nor what is voided or lacks a signal that the map
    reads, and is given no promise."""
    confidence = np.full(len(answers), -math.inf)
    able = [i for i, answer in enumerate(answers) if _can_be_read(answer, calibrator)]
    if able:
        confidence[able] = calibrator.p_correct(
            np.array([[answers[i].signals[name] for name in calibrator.signals] for i in able], dtype=np.float64)
        )
    return Outcomes(confidence, correctness(answers))


def _can_be_read(answer: JudgedAnswer, calibrator: Calibrator) -> bool:
    is_whole = all(name in answer.signals for name in calibrator.signals)
    return is_whole and not (answer.is_refusal or answer.is_voided)


def correctness(answers: Sequence[JudgedAnswer]) -> BoolArray:
    return np.array([answer.is_correct for answer in answers], dtype=bool)
