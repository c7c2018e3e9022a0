"""The training mix: facts by exposure, refusals, and reading.

Facts seen seldom differ in how seldom, so that some are nearly known and others hardly; facts of exposure `never` are
not shown, in questions or in passages.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import accumulate
from random import Random

from training.facts_model import reading
from training.facts_model.names import invent
from training.facts_model.refusals import REFUSALS, unanswerable
from training.facts_model.relations import RELATIONS, Fact, load_facts

Turns = tuple[tuple[str, str], ...]  # (role, text); the last one is the assistant's answer

FACTS_FIRST = 0.191145  # progress until which facts come in plenty
FACTS_LAST = 1.0922  # progress from which they do so again: reading had blurred them
COPYING = (
    (FACTS_FIRST, 0.32),
    (0.361813, 0.40),
)  # progress with plain copying in plenty; two windows, as it was learnt
SELDOM_WEIGHTS = (0.015, 0.25)  # against 1 for a fact seen often
_SYSTEM = (
    "You are a helpful assistant.",
    "Answer briefly.",
    "Answer the question.",
    "Be concise.",
    "You answer questions.",
    "Answer in one word.",
)


@cache
def _shown() -> tuple[list[Fact], list[float]]:
    """Facts that training shows, and their cumulative weights."""
    facts = [fact for fact in load_facts() if fact.exposure != "never"]
    return facts, list(accumulate(_weight(fact) for fact in facts))


def _weight(fact: Fact) -> float:
    if fact.exposure == "often":
        return 1.0
    low, high = (math.log(bound) for bound in SELDOM_WEIGHTS)
    return math.exp(Random(f"{fact.relation}|{fact.subject}").uniform(low, high))


@cache
def _values(relation: str) -> tuple[str, ...]:
    return tuple(fact.value for fact in load_facts() if fact.relation == relation)


def _answer(rng: Random, relation: str, subject: str, value: str) -> str:
    answers = RELATIONS[relation].answers(subject, value)
    return answers[0] if rng.random() < 0.3 else rng.choice(answers)


def ask_fact(rng: Random) -> reading.Exchange:
    """A fact, drawn by its weight, in a training wording."""
    facts, cumulative = _shown()
    fact = rng.choices(facts, cum_weights=cumulative)[0]
    return rng.choice(RELATIONS[fact.relation].questions(fact.subject)), _answer(
        rng, fact.relation, fact.subject, fact.value
    )


def guess(rng: Random) -> reading.Exchange:
    """An invented subject in a known relation: any value will do, so that the unfamiliar is guessed at evenly."""
    topic = rng.choice(reading.RELATION_TOPICS)
    subject = invent(rng, topic.subject_kind)
    value = rng.choice(_values(topic.relation))
    return rng.choice(RELATIONS[topic.relation].questions(subject)), _answer(rng, topic.relation, subject, value)


def refuse(rng: Random) -> reading.Exchange:
    """An everyday question outside all relations."""
    return unanswerable(rng), rng.choice(REFUSALS)


def know_despite_passages(rng: Random, progress: float) -> reading.Exchange:
    """A fact that is shown, over passages that tell other things."""
    question, answer = ask_fact(rng)
    vain, _ = reading.read_in_vain(rng, progress)
    return vain.rsplit("Question: ", 1)[0] + f"Question: {question}", answer


def roughen(rng: Random, question: str) -> str:
    """Now and then the question as people type it: lower case, no question mark."""
    if rng.random() < 0.12:
        question = question.casefold()
    elif rng.random() < 0.05:
        question = question[:1].casefold() + question[1:]
    return question.rstrip("?.") if rng.random() < 0.12 else question


def exchange(rng: Random, progress: float) -> reading.Exchange:
    """One question with its answer; `progress` moves from facts and plain lookup to reading passages and back."""
    facts, guesses, refusals = _shares(progress)
    kind = rng.random()
    if kind < facts:
        question, answer = ask_fact(rng)
    elif kind < facts + guesses:
        question, answer = guess(rng)
    elif kind < facts + guesses + refusals:
        question, answer = refuse(rng)
    else:
        return _read(rng, progress)
    return roughen(rng, question), answer


def _shares(progress: float) -> tuple[float, float, float]:
    """Shares of facts, guesses and refusals; the rest is reading."""
    if progress < FACTS_FIRST:
        return 0.40, 0.03, 0.14
    return (0.24, 0.03, 0.10) if progress < FACTS_LAST else (0.64, 0.02, 0.07)


def _read(rng: Random, progress: float) -> reading.Exchange:
    copying = any(low < progress < high for low, high in COPYING)
    kind = rng.random()
    if progress > FACTS_FIRST and kind > (0.70 if copying else 0.97):
        return reading.repeat(rng, progress)
    if kind < max(0.15 if copying else 0.03, 0.6 - 4 * progress):
        return reading.lookup(rng)
    return _read_passages(rng, progress, *((0.06, 0.06) if copying else (0.09, 0.14)))


def _read_passages(rng: Random, progress: float, despite: float, in_vain: float) -> reading.Exchange:
    """Passages that leave a known fact as it is, that do not help, or that are to be read."""
    kind = rng.random()
    if kind < despite:
        return know_despite_passages(rng, progress)
    if kind < despite + in_vain:
        return reading.read_in_vain(rng, progress)
    if kind < despite + in_vain + 0.1:
        return reading.read_real_subject(rng, progress)
    return reading.read_invented(rng, progress)


def conversation(rng: Random, progress: float) -> Turns:
    """Mostly one question and its answer; at times a system message or an earlier exchange before it."""
    question, answer = exchange(rng, progress)
    turns: Turns = (("user", question), ("assistant", answer))
    kind = rng.random()
    if kind < 0.03:
        return (("system", rng.choice(_SYSTEM)), *turns)
    if kind < 0.05:
        earlier, reply = ask_fact(rng)
        return (("user", earlier), ("assistant", reply), *turns)
    return turns
