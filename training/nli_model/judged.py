"""Pairs from EVOUNA: people's verdicts on models' answers to real questions."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import permutations
from random import Random

from training.nli_model.pairs import Judged, Label, Pair, claim, normalized

MAX_ANSWER_WORDS = 40
SHORT_ANSWER_WORDS = 16
REVERSED_SHARE = 0.5
RIGHT_SHARE = 0.7  # of the right rows, which are three times as many as the wrong ones
NEAREST_SHARE = 0.75  # odd aliases teach that two names without a common word may be one
_NUMBER = re.compile(r"\d+")
_PLAIN_ALIAS = re.compile(r"[^()/+%]{2,60}")


def reference_pairs(rows: Sequence[Judged], rng: Random) -> Iterator[Pair]:
    """The answer entails the reference if it was judged right, and does not if wrong. A wrong answer's class is left
    open between contradiction and neutral: the judges said only "not the same", and a refusal is no contradiction."""
    for row in rows:
        answer, references = shortened(row.answer), plain_references(row.references)
        if not answer:
            continue
        label = Label.ENTAILMENT if row.is_right else Label.NOT_ENTAILMENT
        chosen = chosen_references(answer, references, rng)
        if row.is_right:
            chosen = [chosen[0] if rng.random() < NEAREST_SHARE else chosen[-1]][: rng.random() < RIGHT_SHARE]
        for reference in chosen:
            yield Pair(claim(row.question, answer), claim(row.question, reference), label, "evouna")
        if rng.random() < REVERSED_SHARE and (not row.is_right or _is_restated_by(references, answer)):
            yield Pair(claim(row.question, references[0]), claim(row.question, answer), label, "evouna_reverse")


def answer_pairs(rows: Sequence[Judged], rng: Random, per_class: int) -> Iterator[Pair]:
    """Two models' short answers to one question: both right entail each other, right and wrong do not; of each class
    at most `per_class` a question."""
    by_question: dict[str, list[Judged]] = defaultdict(list)
    for row in rows:
        if 0 < len(row.answer.split()) <= SHORT_ANSWER_WORDS:
            by_question[row.question].append(row)
    for question, answers in by_question.items():
        pairs = [p for p in map(_answers_pair, permutations(answers, 2)) if p is not None]
        for wanted in (Label.ENTAILMENT, Label.NOT_ENTAILMENT):
            of_class = [p for p in pairs if p[2] is wanted]
            for premise, hypothesis, label in rng.sample(of_class, min(per_class, len(of_class))):
                yield Pair(claim(question, premise), claim(question, hypothesis), label, "evouna_answers")


def _answers_pair(two: tuple[Judged, ...]) -> tuple[str, str, Label] | None:
    first, second = two
    if (not first.is_right and not second.is_right) or normalized(first.answer) == normalized(second.answer):
        return None
    if first.is_right != second.is_right:
        return first.answer, second.answer, Label.NOT_ENTAILMENT
    if _numbers(second.answer) - _numbers(first.answer):  # it states a date or figure that the first does not
        return None
    return first.answer, second.answer, Label.ENTAILMENT


def shortened(answer: str) -> str:
    return " ".join(answer.split()[:MAX_ANSWER_WORDS])


def plain_references(references: Sequence[str]) -> list[str]:
    """Spellings without brackets, other scripts and repetitions; the first as it is if none is plain."""
    plain = {normalized(r): r for r in references if _PLAIN_ALIAS.fullmatch(r) and len(r.split()) <= 8 and _is_latin(r)}
    return [r for key, r in plain.items() if key] or [references[0]]


def chosen_references(answer: str, references: Sequence[str], rng: Random) -> list[str]:
    """The reference most like the answer, and one at random: alias lists hold oddities as well as the usual name."""
    words = set(normalized(answer).split())

    def overlap(reference: str) -> float:
        own = normalized(reference).split()
        return sum(w in words for w in own) / max(len(own), 1)

    nearest = max(references, key=overlap)
    return list(dict.fromkeys([nearest, rng.choice(references[:12])]))


def _is_restated_by(references: Sequence[str], answer: str) -> bool:
    """Whether a right answer says no figure that no reference says, and is short enough to say nothing else."""
    stated = {n for r in references for n in _numbers(r)}
    return len(answer.split()) <= SHORT_ANSWER_WORDS and _numbers(answer) <= stated


def _numbers(text: str) -> set[str]:
    return set(_NUMBER.findall(text))


def _is_latin(text: str) -> bool:
    return sum(ord(c) < 0x250 for c in text) > 0.9 * len(text)
