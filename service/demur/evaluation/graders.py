"""Is this answer right? By normalised exact match with the references, or by an NLI model as well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from demur.entailment.base import EntailmentModel
from demur.normalisation.answer_keys import answer_keys, certainly_different
from demur.normalisation.non_answers import is_non_answer
from demur.types import Pair, Statement


class Grader(Protocol):
    """Judges answers. A refusal is never right."""

    name: str

    async def is_correct(self, question: str, answer: str, references: Sequence[str]) -> bool:
        """Whether the answer says what one of the references says."""


class ExactGrader:
    """Right where the normalised text, number or date is that of a reference."""

    name = "exact"

    async def is_correct(self, question: str, answer: str, references: Sequence[str]) -> bool:
        return matches_exactly(answer, references)


class NLIGrader:
    """Right, too, where the answer entails a reference: it may say more, but not less.

    References are short; so the question is read with both. What surely differs from a reference is not asked.
    """

    def __init__(self, entailment: EntailmentModel) -> None:
        self._entailment = entailment
        self.name = f"nli ({entailment.model})"

    async def is_correct(self, question: str, answer: str, references: Sequence[str]) -> bool:
        if is_non_answer(answer):
            return False
        if matches_exactly(answer, references):
            return True
        *keys, key = answer_keys([*references, answer])
        asked = [r for r, known in zip(references, keys, strict=True) if not certainly_different(key, known)]
        pairs = [Pair(Statement(answer, question), Statement(reference, question)) for reference in asked]
        verdicts = await self._entailment.label(pairs) if pairs else []
        return any(verdict.label == "entailment" for verdict in verdicts)


def matches_exactly(answer: str, references: Sequence[str]) -> bool:
    if is_non_answer(answer):
        return False
    *keys, key = answer_keys([*references, answer])
    return key in keys
