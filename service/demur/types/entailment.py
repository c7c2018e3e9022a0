"""Statements, pairs of them, and what an NLI model says of a pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Statement:
    """One side of an entailment question: an answer, read as the answer to `question` when there is one."""

    answer: str
    question: str = ""


@dataclass(frozen=True, slots=True)
class Pair:
    """Does the premise entail the hypothesis? One direction."""

    premise: Statement
    hypothesis: Statement

    @property
    def reversed(self) -> Pair:
        return Pair(self.hypothesis, self.premise)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Probabilities of the three relations; they sum to 1. `is_truncated`: the texts did not fit the model."""

    entailment: float
    neutral: float
    contradiction: float
    is_truncated: bool = False

    @property
    def label(self) -> Literal["entailment", "neutral", "contradiction"]:
        """The most probable relation; ties fall to the weaker claim."""
        if self.neutral >= max(self.entailment, self.contradiction):
            return "neutral"
        return "contradiction" if self.contradiction >= self.entailment else "entailment"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the NLI model said of two samples, by index; None stands for the T=0 answer. One direction."""

    premise: int | None
    hypothesis: int | None
    verdict: Verdict
