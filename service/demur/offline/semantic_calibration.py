"""Semantic calibration: is the share of its samples that mean the most frequent thing how often that thing is right?

Meanings are the classes, and the model, asked often enough, is a classifier: its prediction is the most frequent
meaning, its confidence that meaning's probability. B-confidence-calibrated (Nakkiran et al. 2025) is a model whose
confidence is right as often as it says, before any map was fitted. Base models are, in concise answers and in
sentences; instruct tuning makes them overconfident, and reasoning before the answer breaks it too.

The probability is estimated from samples, and the maximum of estimates is too high: at 10 samples a perfectly
calibrated model seems overconfident by .11, at 50 by little. So it is measured live, on many samples.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from demur.app import running_engine
from demur.backends import open_sampler
from demur.engine.engine import Engine
from demur.engine.measuring import gives_no_answer
from demur.errors import DatasetUnreadable, DemurError
from demur.evaluation.calibration_error import calibration_gap, perfect_model_error, smooth_calibration_error
from demur.evaluation.dataset import Dataset, DatasetRow
from demur.evaluation.graders import Grader
from demur.observability.metrics import Metrics
from demur.offline.running import grading
from demur.samplers.base import OnText, Sampler
from demur.settings import Settings
from demur.types import Message, Question, Retrieval, Sample, Sampling

Style = Literal["as_asked", "concise", "sentence", "reasoned"]

N_SAMPLES = 50
INSTRUCTIONS: dict[Style, str] = {
    "as_asked": "",
    "concise": "Answer in as few words as possible.",
    "sentence": "Answer in one complete sentence.",
    "reasoned": "Think step by step. Then write the answer alone, in a few words, on a line that begins with Answer:",
}
WARNING = (
    "Raw agreement is a probability only of a base model, answering concisely or in a sentence: instruct tuning (RLHF, "
    "DPO) makes it overconfident and chain of thought breaks it. Calibrate (demur calibrate) before you rely on it."
)
_LAST_ANSWER = re.compile(r"(?is).*\banswer\s*:\s*(.+)")
_MIN_ANSWERS = 30


@dataclass(frozen=True, slots=True)
class StyleFigures:
    """Of one way of prompting, over the `n` questions whose most frequent meaning is no refusal; None: too few of them.

    `perfect`: smECE that a faultless model stays below in 95 of 100 such sets. `gap` above 0 is overconfident.
    """

    style: Style
    n: int
    n_refused: int
    n_failed: int
    accuracy: float | None = None
    confidence: float | None = None
    gap: float | None = None
    smooth_ece: float | None = None
    perfect: float | None = None

    @property
    def verdict(self) -> str:
        if self.smooth_ece is None or self.perfect is None or self.gap is None:
            return f"{self.n} answers are too few: {_MIN_ANSWERS} are needed"
        if self.smooth_ece <= self.perfect:
            return "calibrated, as far as so many questions can tell"
        return "overconfident" if self.gap > 0 else "underconfident"


class StyledSampler:
    """Puts an instruction behind the question, and keeps of a reasoned reply the answer alone. Owns nothing."""

    def __init__(self, inner: Sampler) -> None:
        self._inner = inner
        self.style: Style = "as_asked"

    @property
    def model(self) -> str:
        return self._inner.model

    async def sample(
        self, messages: Sequence[Message], sampling: Sampling, on_text: OnText | None = None
    ) -> AsyncGenerator[Sample, None]:
        async with aclosing(self._inner.sample(_instructed(messages, self.style), sampling, on_text)) as samples:
            async for sample in samples:
                yield _answer_alone(sample) if self.style == "reasoned" else sample

    async def aclose(self) -> None:
        """Whoever built the sampler inside closes it."""


def _instructed(messages: Sequence[Message], style: Style) -> list[Message]:
    last = max(i for i, message in enumerate(messages) if message.role == "user")
    asked = f"{messages[last].content}\n\n{INSTRUCTIONS[style]}".rstrip()
    return [replace(m, content=asked) if i == last else m for i, m in enumerate(messages)]


def _answer_alone(sample: Sample) -> Sample:
    found = _LAST_ANSWER.match(sample.text)
    return replace(sample, text=found[1].strip().split("\n")[0].strip()) if found else sample


async def measure_styles(
    dataset: Dataset,
    settings: Settings,
    grader: str,
    styles: Sequence[Style],
    *,
    n: int,
    max_tokens: int,
    seed: int,
    on_done: Callable[[int], None],
) -> tuple[str, list[StyleFigures]]:
    """The model's name, and the figures of each style. Raises DatasetUnreadable, and what the models raise."""
    if dataset.is_recorded:
        raise DatasetUnreadable(
            f"recorded answers cannot tell: {n} samples of each question are needed, drawn live. Leave out `samples`"
        )
    inner = await open_sampler(settings, Metrics())
    try:
        sampler = StyledSampler(inner)
        async with (
            running_engine(settings, Metrics(), sampler=sampler) as engine,
            grading(grader, settings, engine) as chosen,
        ):
            found = []
            asked = [(row, _question(row, n, max_tokens, seed + i)) for i, row in enumerate(dataset.rows)]
            for style in styles:
                sampler.style = style
                found.append(await _measure(engine, style, asked, chosen, lambda: on_done(len(asked) * len(styles))))
            return inner.model, found
    finally:
        await inner.aclose()


def _question(row: DatasetRow, n: int, max_tokens: int, seed: int) -> Question:
    return Question(
        messages=row.conversation,
        sampling=Sampling(n=n, max_tokens=max_tokens, seed=seed),
        retrieval=Retrieval(available=False),
        answer_strategy="mode",
        timeout_seconds=600.0,
        on_deadline="error",
    )


async def _measure(
    engine: Engine,
    style: Style,
    asked: Sequence[tuple[DatasetRow, Question]],
    grader: Grader,
    on_done: Callable[[], None],
) -> StyleFigures:
    confidence: list[float] = []
    labels: list[bool] = []
    n_refused = n_failed = 0
    for row, question in asked:
        try:
            answer = await engine.answer(question)
            agreement = answer.uncertainty.agreement
            if gives_no_answer(answer.chosen):
                n_refused += 1
            elif agreement is not None:
                labels.append(await grader.is_correct(question.text, answer.text, row.references))
                confidence.append(agreement)
        except DemurError:  # counted, and shown
            n_failed += 1
        on_done()
    return figures(style, confidence, labels, n_refused, n_failed)


def figures(
    style: Style, confidence: Sequence[float], labels: Sequence[bool], n_refused: int = 0, n_failed: int = 0
) -> StyleFigures:
    if len(labels) < _MIN_ANSWERS:
        return StyleFigures(style, len(labels), n_refused, n_failed)
    return StyleFigures(
        style=style,
        n=len(labels),
        n_refused=n_refused,
        n_failed=n_failed,
        accuracy=float(np.mean(labels)),
        confidence=float(np.mean(confidence)),
        gap=calibration_gap(confidence, labels),
        smooth_ece=smooth_calibration_error(confidence, labels),
        perfect=perfect_model_error(confidence),
    )


STYLES: tuple[Style, ...] = get_args(Style)
