"""Judged answers made by hand: as often right as a simulated model would be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from demur.evaluation.judged import Cost, JudgedAnswer, Stage
from tests.unit.calibration.profiles import KEY


def simulated(n: int, *, stage: Stage = "closed_book", skill: float = 3.0, seed: int = 0) -> list[JudgedAnswer]:
    """n questions, ten samples each; agreement tells right from wrong the better, the greater the skill."""
    random = np.random.default_rng(seed)
    return [_one(i, stage, int(c), skill, random) for i, c in enumerate(random.integers(1, 11, n))]


def _one(i: int, stage: Stage, n_agreeing: int, skill: float, random: np.random.Generator) -> JudgedAnswer:
    agreement = n_agreeing / 10
    is_correct = bool(random.random() < 1 / (1 + np.exp(-skill * (4 * agreement - 2))))
    return JudgedAnswer(
        id=f"q{i}",
        stage=stage,
        answer="Paris",
        grader="exact",
        is_correct=is_correct,
        is_refusal=False,
        is_voided=False,
        signals={
            "agreement": (n_agreeing + 0.5) / 11,
            "semantic_entropy": 1 - agreement,
            "greedy_agrees": 1.0,
            "sample_coverage": agreement,
        },
        scores={
            "agreement": agreement,
            "semantic_entropy": agreement - 1,
            "majority_share": agreement,
            "answer_length": -1.0,
        },
        cost=Cost(30, 4, 0.0),
        key=KEY,
        prompt_template=None if stage == "closed_book" else "template",
    )


def refused(answer: JudgedAnswer) -> JudgedAnswer:
    """Unanimously: agreement is 1."""
    signals = {**answer.signals, "agreement": 10.5 / 11}
    return replace(answer, is_refusal=True, is_correct=False, signals=signals, answer="I don't know.")


def with_tokens(answers: list[JudgedAnswer], seed: int = 0) -> list[JudgedAnswer]:
    """The least probable token of a right answer is the likelier one, as a rule."""
    random = np.random.default_rng(seed)
    return [told_tokens(a, -float(random.exponential(0.2 if a.is_correct else 1.5))) for a in answers]


def told_tokens(answer: JudgedAnswer, logprob: float) -> JudgedAnswer:
    told = {"mean_logprob": logprob / 2, "min_logprob": logprob}
    return replace(answer, signals={**answer.signals, **told})  # type: ignore[dict-item]
